//! The way to a cluster, by processes and sockets: logins of every kind, passwords that are replaced,
//! TLS with good and bad certificates, proxies; and no secret in anything that people get to see.

use core::time::Duration;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tributary_cluster::{BrokerId, Cluster, Permission, Served, Settings, TopicSettings, Users};
use tributary_tests::certificates::{self, Authority, EXPIRED, NOT_YET_VALID, VALID};
use tributary_tests::daemon::Daemon;
use tributary_tests::device::Device;
use tributary_tests::front::{Front, Kind};
use tributary_tests::wait;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
const CHANGE_MAX: Duration = Duration::from_secs(20);
const TOPIC: &str = "plant/1/telemetry";
/// What must be seen nowhere.
const SECRETS: [&str; 3] = ["old-pencil", "new-pencil", "a.b.token"];

/// One broker that lets in `gw` with `old-pencil` and the token, everybody else not.
fn cluster(lifetime_ms: i64) -> Result<Served> {
    let mut users = Users::default();
    users.lifetime_ms = lifetime_ms;
    users.set_password("gw", "old-pencil");
    users.set_tokens(&["a.b.token"]);
    served(Some(users))
}

fn served(users: Option<Users>) -> Result<Served> {
    let mut cluster = Cluster::new(Settings { users, ..Settings::default() });
    cluster.create_topic("all", TopicSettings::default()).ok().context("a new topic")?;
    Ok(Served::start(cluster)?)
}

/// `[upstream]` with these lines, and a route for everything.
fn sections(broker: &str, lines: &str) -> String {
    format!(
        "[upstream]\nbrokers = [\"{broker}\"]\n{lines}\n[[route]]\nfrom = \"#\"\ntopic = \"all\"\n"
    )
}

fn address(served: &Served) -> String {
    served.addresses()[0].to_string()
}

/// Publishes, and waits until all of it is in the cluster.
fn deliver(daemon: &Daemon, served: &Served, count: usize) -> Result<Value> {
    let before = served.with(|cluster| cluster.read_committed("all", 0).len());
    Device::publish(daemon.port(), TOPIC, (0..count).map(|n| n.to_string()).collect())?;
    let status = daemon.drain()?;
    let after = served.with(|cluster| cluster.read_committed("all", 0).len());
    ensure!(after == before + count, "{before} and {count} are not {after}");
    Ok(status)
}

/// Waits until the daemon says why it does not deliver.
fn complaint(daemon: &Daemon, words: &str) -> Result<()> {
    let mut last = Value::Null;
    let told = wait::until("the complaint", CHANGE_MAX, || {
        last = daemon.status()?["upstream"].clone();
        Ok(last["reason"].as_str().is_some_and(|why| why.contains(words)).then_some(()))
    });
    told.with_context(|| format!("{words}: {last:#}"))
}

/// No secret is in what the daemon has logged or says.
fn check_secrecy(daemon: &Daemon) -> Result<()> {
    let log = std::fs::read_to_string(daemon.dir().join("daemon.log"))?;
    let shown = [log, daemon.status()?.to_string()];
    let text = daemon.try_command(&["status"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for shown in shown.iter().chain([&text]) {
        for secret in SECRETS {
            ensure!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    Ok(())
}

#[test]
fn every_mechanism_gets_in_by_every_source_of_secrets() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let password = certificates::write(dir.path(), "password", "old-pencil\n")?;
    let token = certificates::write(dir.path(), "token", "a.b.token\n")?;
    let user = |mechanism: &str, source: &str| {
        format!("sasl = {{ mechanism = \"{mechanism}\", username = \"gw\", {source} }}")
    };
    let bearer = |source: &str| format!("sasl = {{ mechanism = \"OAUTHBEARER\", {source} }}");
    let logins = [
        user("PLAIN", &format!("password_file = \"{}\"", password.display())),
        user("SCRAM-SHA-256", "password_env = \"KAFKA_PASSWORD\""),
        user("SCRAM-SHA-512", "password_credential = \"password\""),
        bearer(&format!("token_file = \"{}\"", token.display())),
        bearer(&format!("token_command = [\"cat\", \"{}\"]", token.display())),
    ];
    let served = cluster(0)?;
    let credentials = format!("CREDENTIALS_DIRECTORY={}", dir.path().display());
    let runner = ["env", "KAFKA_PASSWORD=old-pencil", credentials.as_str()];
    for login in logins {
        let daemon = Daemon::start_under(&runner, TRIBUTARY, &sections(&address(&served), &login))?;
        deliver(&daemon, &served, 20).with_context(|| login.clone())?;
        check_secrecy(&daemon)?;
    }
    Ok(())
}

/// A login holds for six seconds; the session goes on for longer than two of them. (On a busy machine a shorter
/// one may be over before it is repeated.)
#[test]
fn a_login_is_repeated_within_a_session() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let password = certificates::write(dir.path(), "password", "old-pencil")?;
    let served = cluster(6_000)?;
    let login = scram(&password);
    let daemon = Daemon::start(TRIBUTARY, &sections(&address(&served), &login))?;
    for _ in 0..3 {
        deliver(&daemon, &served, 20)?;
        wait::pass(Duration::from_millis(4_500));
    }
    let status = deliver(&daemon, &served, 20)?;
    ensure!(status["upstream"]["counters"]["sessions"] == 1, "{status:#}");
    Ok(())
}

fn scram(password: &Path) -> String {
    let path = password.display();
    format!(
        "sasl = {{ mechanism = \"SCRAM-SHA-256\", username = \"gw\", password_file = \"{path}\" }}"
    )
}

/// The password is changed in the cluster, then in the file: the daemon says so, waits, and goes on
/// without a restart.
#[test]
fn a_replaced_password_is_taken_without_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let password = certificates::write(dir.path(), "password", "old-pencil")?;
    let served = cluster(0)?;
    let daemon = Daemon::start(TRIBUTARY, &sections(&address(&served), &scram(&password)))?;
    deliver(&daemon, &served, 20)?;
    served.with(|cluster| {
        let users = cluster.users().as_mut();
        users.expect("there are users").set_password("gw", "new-pencil");
    });
    served.go_away();
    served.come_back()?;
    Device::publish(daemon.port(), TOPIC, vec!["waits".to_owned()])?;
    complaint(&daemon, "SASL_AUTHENTICATION_FAILED (58)")?;
    check_secrecy(&daemon)?;
    certificates::write(dir.path(), "password", "new-pencil")?;
    deliver(&daemon, &served, 20).map(drop).or_else(|_| daemon.drain().map(drop))?;
    check_secrecy(&daemon)
}

/// TLS in front of the cluster: bad certificates are told apart in words, a good one is taken as soon
/// as it is shown.
#[test]
fn bad_certificates_are_told_apart_and_a_good_one_is_taken() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (authority, stranger) = (Authority::new("ours")?, Authority::new("stranger")?);
    let ca = certificates::write(dir.path(), "ca.pem", &authority.pem)?;
    let served = served(None)?;
    let backend = served.addresses()[0].port();
    let first = stranger.server(&["localhost"], VALID)?;
    let front = Front::start(Kind::Tls(backend), Some(&first))?;
    served.with(|cluster| cluster.set_address(BrokerId(1), "localhost", front.port()));
    let tls = format!("tls = {{ ca = \"{}\" }}", ca.display());
    let broker = format!("localhost:{}", front.port());
    let daemon = Daemon::start(TRIBUTARY, &sections(&broker, &tls))?;
    complaint(&daemon, "of no authority that is trusted here")?;
    let cases = [
        (&["localhost"], EXPIRED, "has expired"),
        (&["localhost"], NOT_YET_VALID, "is not valid yet"),
        (&["other.host"], VALID, "is for another host name"),
    ];
    for (names, years, words) in cases {
        front.show(&authority.server(names, years)?)?;
        complaint(&daemon, words)?;
    }
    // With a wrong clock the certificate is not the one at fault: what the clock says is said.
    front.show(&authority.server(&["localhost"], NOT_YET_VALID)?)?;
    complaint(&daemon, "the clock says 2")?;
    front.show(&authority.server(&["localhost"], VALID)?)?;
    deliver(&daemon, &served, 20)?;
    Ok(())
}

/// Names that only the proxy knows; a login at the proxy.
#[test]
fn proxies_lead_to_names_that_only_they_know() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let password = certificates::write(dir.path(), "password", "old-pencil\n")?;
    let kinds = [
        ("socks5", Kind::Socks5("gw".to_owned(), "old-pencil".to_owned())),
        ("http", Kind::Http("Basic Z3c6b2xkLXBlbmNpbA==".to_owned())),
    ];
    for (scheme, kind) in kinds {
        let served = served(None)?;
        let port = served.addresses()[0].port();
        served.with(|cluster| cluster.set_address(BrokerId(1), "broker.plant.invalid", port));
        let front = Front::start(kind, None)?;
        let proxy = |file: &Path| {
            format!(
                "proxy = {{ url = \"{scheme}://127.0.0.1:{}\", username = \"gw\", password_file = \
                 \"{}\" }}",
                front.port(),
                file.display()
            )
        };
        let broker = format!("broker.plant.invalid:{port}");
        let daemon = Daemon::start(TRIBUTARY, &sections(&broker, &proxy(&password)))?;
        deliver(&daemon, &served, 20)?;
        ensure!(front.served() >= 1, "by the proxy");
        check_secrecy(&daemon)?;
    }
    Ok(())
}

/// A token by client credentials over HTTPS: once for several connections, and again when refused.
#[test]
fn an_identity_provider_gives_the_token() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::new("ours")?;
    let ca = certificates::write(dir.path(), "ca.pem", &authority.pem)?;
    let secret = certificates::write(dir.path(), "secret", "old-pencil\n")?;
    let answer = r#"{"access_token":"a.b.token","expires_in":3600,"token_type":"Bearer"}"#;
    let login = "Basic Z3c6b2xkLXBlbmNpbA==".to_owned();
    let provider = Front::start(
        Kind::Provider(login, answer.to_owned()),
        Some(&authority.server(&["localhost"], VALID)?),
    )?;
    let served = cluster(0)?;
    let sasl = format!(
        "sasl = {{ mechanism = \"OAUTHBEARER\", token_url = \"https://localhost:{}/token\", \
         client_id = \"gw\", client_secret_file = \"{}\", token_ca = \"{}\", scope = \"kafka\" }}",
        provider.port(),
        secret.display(),
        ca.display()
    );
    let daemon = Daemon::start(TRIBUTARY, &sections(&address(&served), &sasl))?;
    deliver(&daemon, &served, 20)?;
    ensure!(provider.served() == 1, "asked {} times", provider.served());
    check_secrecy(&daemon)?;
    // A broker that refuses the token: another one is asked for.
    served.with(|cluster| {
        cluster.users().as_mut().expect("there are users").set_tokens(&["another"]);
    });
    served.go_away();
    served.come_back()?;
    Device::publish(daemon.port(), TOPIC, vec!["waits".to_owned()])?;
    complaint(&daemon, "invalid_token")?;
    wait::until("the provider to be asked again", CHANGE_MAX, || {
        Ok((provider.served() > 1).then_some(()))
    })?;
    check_secrecy(&daemon)
}

/// What `upstream check` or `setup` finds wrong: the step, the words, and the commands to mend it.
fn wrong(daemon: &Daemon, command: &str) -> Result<Vec<(String, String, String)>> {
    let output = daemon.try_command(&["upstream", command, "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for secret in SECRETS {
        ensure!(!text.contains(secret), "{text}");
    }
    let findings: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!findings.is_empty(), "nothing was looked at: {output:?}");
    let wrong: Vec<_> = findings.iter().filter(|finding| finding["ok"] == false).collect();
    ensure!(output.status.code() == Some(i32::from(!wrong.is_empty())), "{output:?}");
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = wrong.iter().map(|f| (words(&f["step"]), words(&f["words"]), f["mend"].to_string()));
    Ok(all.collect())
}

/// What a cluster lacks is found by trying, with the command that mends it; the lane that runs
/// meanwhile is not disturbed.
#[test]
fn the_check_finds_what_is_wrong_and_says_how_to_mend_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let password = certificates::write(dir.path(), "password", "old-pencil")?;
    let served = cluster(0)?;
    let login = scram(&password);
    let daemon = Daemon::start(TRIBUTARY, &sections(&address(&served), &login))?;
    deliver(&daemon, &served, 20)?;
    ensure!(wrong(&daemon, "check")?.is_empty(), "{:?}", wrong(&daemon, "check")?);

    let identity = "tributary.gw.0000000000000000.check".to_owned();
    let cases = [
        (Permission::WriteTopic("all".to_owned()), "write", "--operation Write --topic all"),
        (
            Permission::WriteTransactionalId(identity.clone()),
            "transactional id",
            "--transactional-id tributary.gw. --resource-pattern-type prefixed",
        ),
        (
            Permission::ReadGroup(identity),
            "group",
            "--operation Read --group tributary.gw. --resource-pattern-type prefixed",
        ),
        (
            Permission::ReadTopic("tributary.positions".to_owned()),
            "position",
            "--operation Read --topic tributary.positions",
        ),
    ];
    for (permission, step, command) in cases {
        served.with(|cluster| cluster.deny(permission.clone()));
        let found = wrong(&daemon, "check")?;
        ensure!(
            found.iter().any(|(at, _, mend)| at == step && mend.contains(command)),
            "{found:?}"
        );
        ensure!(found[0].2.contains("--allow-principal 'User:gw'"), "{found:?}");
        served.with(|cluster| cluster.allow(&permission));
    }
    let status = deliver(&daemon, &served, 20)?;
    ensure!(status["upstream"]["counters"]["sessions"] == 1, "disturbed: {status:#}");

    certificates::write(dir.path(), "password", "new-pencil")?;
    let found = wrong(&daemon, "check")?;
    ensure!(found[0].0 == "login" && found[0].1.contains("(58)"), "{found:?}");
    served.go_away();
    let found = wrong(&daemon, "check")?;
    ensure!(found[0].0 == "tcp" && found.len() == 1, "{found:?}");
    Ok(())
}

/// Missing topics: the check tells how to make them, `setup` makes them.
#[test]
fn setup_makes_what_is_missing() -> Result<()> {
    let served = served(None)?;
    let route = "[[route]]\nfrom = \"x/#\"\ntopic = \"more\"\nwhere = \"x > 1\"";
    let daemon = Daemon::start(TRIBUTARY, &(sections("127.0.0.1:1", "") + route))?;
    daemon.configure(&(sections(&address(&served), "") + route))?;
    let found = wrong(&daemon, "check")?;
    for topic in ["more", "tributary.positions"] {
        let command = format!("--create --topic {topic} --partitions");
        let told = found.iter().any(|(step, _, mend)| step == "topic" && mend.contains(&command));
        ensure!(told, "{topic}: {found:?}");
    }
    served.with(|cluster| cluster.deny(Permission::CreateTopics));
    let found = wrong(&daemon, "setup")?;
    ensure!(found.iter().any(|(_, words, _)| words.contains("more cannot be made")), "{found:?}");
    served.with(|cluster| cluster.allow(&Permission::CreateTopics));
    let found = wrong(&daemon, "setup")?;
    ensure!(found.is_empty(), "{found:?}");
    ensure!(wrong(&daemon, "check")?.is_empty(), "all is there");
    Ok(())
}

/// How replication stands is told to people, and to scripts where they ask for it.
#[test]
fn its_state_is_told_in_words() -> Result<()> {
    let daemon = Daemon::start(TRIBUTARY, &sections("127.0.0.1:1", ""))?;
    let why = "no connection to 127.0.0.1:1: Connection refused";
    complaint(&daemon, why)?;
    let text = daemon.command(&["upstream", "status"])?;
    ensure!(text.starts_with("upstream  ") && text.contains(why), "{text}");
    ensure!(text.contains("\nroute ") && !text.contains('{'), "with the account: {text}");
    let status: Value = serde_json::from_str(&daemon.command(&["upstream", "status", "--json"])?)?;
    ensure!(status["brokers"][0] == "127.0.0.1:1", "{status}");
    Ok(())
}

/// The first upstream of a log to which nothing is added any more gets what is there.
#[test]
fn a_first_upstream_gets_what_an_idle_log_holds() -> Result<()> {
    let served = served(None)?;
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    let readings: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    Device::publish(daemon.port(), "plant/1/telemetry", readings)?;
    daemon.reload(&sections(&address(&served), ""), &["all"])?;
    let status = daemon.drain()?;
    let delivered = status["routes"][0]["delivered"].as_u64();
    ensure!(delivered == Some(30), "{status:#}");
    Ok(())
}

#[test]
fn what_waits_to_be_read_back_is_backlog() -> Result<()> {
    let mut daemon = Daemon::start(TRIBUTARY, "")?;
    Device::publish(daemon.port(), TOPIC, (0..6).map(|n| n.to_string()).collect())?;
    daemon.stop()?;
    daemon.configure(&sections("127.0.0.1:1", ""))?;
    daemon.restart()?;
    let status = daemon.status()?;
    let upstream = &status["upstream"];
    ensure!(status["routes"][0]["pending"] == 6, "{status:#}");
    ensure!(upstream["backlog"] == 6 && upstream["lanes"][0]["backlog"] == 6, "{upstream:#}");
    ensure!(upstream["oldest_undelivered_ms"].is_u64(), "{upstream:#}");
    let shown = daemon.command(&["status"])?;
    ensure!(shown.contains("backlog 6 events, the oldest"), "{shown}");
    Ok(())
}
