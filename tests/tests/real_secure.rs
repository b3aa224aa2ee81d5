//! A real broker that lets nobody in and permits nothing by itself: each way of logging in, the
//! permissions that `upstream check` asks for and no others, and what is taken back and given again.

use core::time::Duration;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::real::kafka::Setup;
use tributary_tests::real::security::{PASSWORD, Secured, USER};
use tributary_tests::real::{readers, scratch, wait};

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const DIR: &str = env!("CARGO_TARGET_TMPDIR");
const TOPIC: &str = "all";
/// Of each way.
const EVENTS: usize = 30;
/// Of these so often, with a pause between: a login has to be repeated meanwhile.
const LASTING: [&str; 2] = ["scram-512", "bearer"];
const PORTIONS: usize = 3;
const PAUSE: Duration = Duration::from_millis(1_500);
/// A check that finds something wrong is followed by what mends it, not more often than this.
const CHECKS_MAX: usize = 12;
const COMPLAINT_MAX: Duration = Duration::from_secs(40);
/// After a refusal the lane tries again within a minute.
const AGAIN_MAX: Duration = Duration::from_mins(3);

/// How one gets in: a name, and the lines of `[upstream]`.
struct Way {
    name: &'static str,
    lines: String,
}

impl Way {
    fn all(secured: &Secured, dir: &Path) -> Result<Vec<Self>> {
        let password = dir.join("password");
        std::fs::write(&password, PASSWORD)?;
        let token = dir.join("token");
        std::fs::write(&token, unsecured_token()?)?;
        let ca = secured.authority.cert();
        let logins = [
            ("scram-512", "SCRAM-SHA-512", true),
            ("scram-256", "SCRAM-SHA-256", true),
            ("plain", "PLAIN", true),
            ("bearer", "OAUTHBEARER", false),
        ];
        let by_login = logins.map(|(name, mechanism, has_password)| {
            let secret = if has_password {
                format!("username = \"{USER}\", password_file = \"{}\"", password.display())
            } else {
                format!("token_file = \"{}\"", token.display())
            };
            let lines = format!(
                "brokers = [\"{}\"]\ntls = {{ ca = \"{}\" }}\n\
                 sasl = {{ mechanism = \"{mechanism}\", {secret} }}\n",
                secured.sasl,
                ca.display()
            );
            Self { name, lines }
        });
        let own = &secured.identity;
        let lines = format!(
            "brokers = [\"{}\"]\ntls = {{ ca = \"{}\", cert = \"{}\", key = \"{}\" }}\n",
            secured.mtls,
            ca.display(),
            own.cert.display(),
            own.key.display()
        );
        Ok(by_login.into_iter().chain([Self { name: "certificate", lines }]).collect())
    }

    fn sections(&self) -> String {
        format!("[upstream]\n{}[[route]]\nfrom = \"#\"\ntopic = \"{TOPIC}\"\n", self.lines)
    }
}

/// A token that nobody has signed, as brokers take it that are told to (RFC 7519, 6). Header, and
/// `{"sub":"gw","iat":1,"exp":9000000000}`.
fn unsecured_token() -> Result<String> {
    ensure!(USER == "gw", "the token is for gw");
    Ok("eyJhbGciOiJub25lIn0.eyJzdWIiOiJndyIsImlhdCI6MSwiZXhwIjo5MDAwMDAwMDAwfQ.".to_owned())
}

/// What `upstream check` finds wrong.
fn wrong(daemon: &Daemon) -> Result<Vec<Value>> {
    let output = daemon.try_command(&["upstream", "check", "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!findings.is_empty(), "nothing was looked at: {output:?}");
    Ok(findings.into_iter().filter(|finding| finding["ok"] == false).collect())
}

/// Does what the check says, as an administrator would, until it is content; what was permitted.
fn mend(daemon: &Daemon, secured: &Secured) -> Result<Vec<String>> {
    let mut permitted = Vec::new();
    for _ in 0..CHECKS_MAX {
        let found = wrong(daemon)?;
        if found.is_empty() {
            return Ok(permitted);
        }
        let commands = found.iter().filter_map(|finding| finding["mend"].as_array()).flatten();
        let mut mended = false;
        for command in commands.filter_map(Value::as_str) {
            let Some((tool, arguments)) = command.split_once(" --command-config admin.properties ")
            else {
                continue;
            };
            if tool.starts_with("kafka-acls ") && !permitted.iter().any(|done| done == arguments) {
                secured.acls(arguments)?;
                permitted.push(arguments.to_owned());
                mended = true;
            } else if tool.starts_with("kafka-topics ") {
                let name =
                    arguments.split_whitespace().skip_while(|word| *word != "--topic").nth(1);
                secured.kafka.create_topic(name.context("a topic")?, 4)?;
                mended = true;
            }
        }
        ensure!(mended, "nothing says how to mend {found:?}");
    }
    anyhow::bail!("still wrong: {:?}", wrong(daemon)?)
}

fn publish(daemon: &Daemon, way: &str, numbers: core::ops::Range<usize>) -> Result<()> {
    let payloads = numbers.map(|number| format!("{way}-{number}")).collect();
    Device::publish(daemon.port(), &format!("plant/{way}"), payloads).map(drop)
}

fn every_way_in(setup: Setup) -> Result<()> {
    scratch::within(DIR, &format!("secure-{}", setup.name()), |dir| {
        let secured = Secured::start(setup, &dir.join("kafka"))?;
        secured.kafka.create_topic(TOPIC, 1)?;
        let mut expected = Vec::new();
        for way in Way::all(&secured, dir)? {
            let mut daemon = Daemon::start(TRIBUTARY, &way.sections())?;
            let permitted = mend(&daemon, &secured).context(way.name)?;
            let is_first = expected.is_empty();
            ensure!(permitted.is_empty() != is_first, "{}: {permitted:?}", way.name);
            if is_first {
                // After a refusal the next attempt may be a minute away.
                daemon.stop()?;
                daemon.restart()?;
            }
            let mut events = 0;
            for _ in 0..if LASTING.contains(&way.name) { PORTIONS } else { 1 } {
                if events > 0 {
                    wait::pass(PAUSE);
                }
                publish(&daemon, way.name, events..events + EVENTS)?;
                daemon.drain().context(way.name)?;
                events += EVENTS;
            }
            if is_first {
                taken_back(&secured, &daemon, (way.name, events))?;
                events += EVENTS;
            }
            expected.extend((0..events).map(|number| format!("{}-{number}", way.name)));
        }
        let values = readers::read(&secured.kafka, TOPIC, dir)?.values()?;
        ensure!(values == expected, "{values:?}");
        Ok(())
    })
}

/// The right to write is taken back and given again: the lane says so, waits, and loses nothing.
fn taken_back(secured: &Secured, daemon: &Daemon, (way, first): (&str, usize)) -> Result<()> {
    let right = format!("--allow-principal User:{USER} --operation Write --topic {TOPIC}");
    secured.acls(&format!("--remove --force {right}"))?;
    publish(daemon, way, first..first + EVENTS)?;
    let mut last = Value::Null;
    wait::until("the complaint", COMPLAINT_MAX, || {
        last = daemon.status()?["upstream"].clone();
        let reason = last["reason"].as_str().unwrap_or_default();
        Ok(reason.contains("TOPIC_AUTHORIZATION_FAILED").then_some(()))
    })
    .with_context(|| format!("{last:#}"))?;
    secured.acls(&format!("--add {right}"))?;
    wait::until("what had to wait", AGAIN_MAX, || {
        Ok((daemon.status()?["upstream"]["backlog"] == 0).then_some(()))
    })?;
    daemon.drain().map(drop)
}

#[test]
fn every_way_in_on_3_9_2() -> Result<()> {
    every_way_in(Setup::V392Tv0)
}

#[test]
fn every_way_in_on_4_1_2() -> Result<()> {
    every_way_in(Setup::V412Tv2)
}
