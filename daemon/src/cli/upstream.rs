//! `tributary upstream`: is the cluster there, does it let us work, and what is to be done if not.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tributary_bridge::Finding;

use super::output::print;
use super::{BAD_CONFIG, FAILED, FileArg, PlaceArgs, block_on, status, unreachable_daemon};
use crate::config::{Config, Template, Upstream};
use crate::io::control::{self, Decide, Request};
use crate::runtime::checkup::{self, Wanted};

/// What is done with the upstream.
#[derive(Debug, Subcommand)]
pub(super) enum UpstreamCommand {
    /// Look at the way to the cluster and what it permits, step by step
    ///
    /// Opens connections, logs in and commits a transaction without records under an identity of
    /// its own (the lane `check`): the running daemon is not disturbed. Each
    /// step is shown with ✓, or with what is wrong and the commands that mend it. Exit code 1 if
    /// anything is wrong.
    Check {
        #[command(flatten)]
        file: FileArg,
        /// One JSON object a line, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Make the topics that are missing, where that is permitted; then look as `check` does
    Setup {
        #[command(flatten)]
        file: FileArg,
        /// One JSON object a line, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Read in Kafka how far a lane that is in doubt has come, and let it go on there
    ///
    /// Nothing is lost and nothing comes twice. The daemon does it by itself when a lane comes into doubt,
    /// unless there is much to read; this reads whatever there is. The gateway needs READ on the lane's topics,
    /// and nothing in them may have been deleted since. Says why if it cannot be told. It also ends a
    /// `hanging transaction`, or prints what an administrator has to abort first.
    Repair {
        #[command(flatten)]
        place: PlaceArgs,
        /// The lane [default: the one that has halted]
        #[arg(long, value_name = "LANE")]
        lane: Option<String>,
        /// Answer as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Let a lane that has halted go on where nothing is lost, and some may come twice
    ///
    /// For lanes in the states `in doubt` and `identity`. Says what it will do to which events, and
    /// asks before it does it.
    Adopt(DecideArgs),
    /// Let a lane that has halted go on where nothing comes twice, and some may be missing
    ///
    /// As `adopt`, at the other end of what nobody knows. What is passed over is counted as skipped.
    Skip(DecideArgs),
    /// Show how replication stands, of the running daemon
    Status {
        #[command(flatten)]
        place: PlaceArgs,
        /// Print it as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// What is decided for a lane.
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The lane [default: the one that has halted]
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Go on exactly here, between what is sure and what is possible
    #[arg(long, value_name = "OFFSET")]
    at: Option<u64>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Answer as JSON, for scripts; without --yes only tells what would be done
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &UpstreamCommand) -> Result<(), ExitCode> {
    match command {
        UpstreamCommand::Check { file, json } => look(file, *json, false),
        UpstreamCommand::Setup { file, json } => look(file, *json, true),
        UpstreamCommand::Repair { place, lane, json } => repair(place, lane.as_deref(), *json),
        UpstreamCommand::Adopt(args) => decide(args, false),
        UpstreamCommand::Skip(args) => decide(args, true),
        UpstreamCommand::Status { place, json } => status::of_upstream(place, *json),
    }
}

fn look(file: &FileArg, json: bool, create: bool) -> Result<(), ExitCode> {
    let config = file.load()?;
    let Some(upstream) = &config.upstream else {
        eprintln!("error: the configuration has no [upstream]");
        eprintln!("help: `tributary init` writes one to begin with");
        return Err(ExitCode::from(BAD_CONFIG));
    };
    let well = block_on(look_at(&config, upstream, json, create))??;
    if well { Ok(()) } else { Err(ExitCode::from(FAILED)) }
}

/// Whether all is well.
async fn look_at(
    config: &Config,
    upstream: &Upstream,
    json: bool,
    create: bool,
) -> Result<bool, ExitCode> {
    let name = |topic: &String| Template::of(topic).map_or(topic.clone(), |it| it.overflow());
    let topics: BTreeSet<String> = config.routes.iter().map(|route| name(&route.topic)).collect();
    let gateway = match &config.gateway {
        Some(name) => Some(name.clone()),
        None => told_by_daemon(config).await,
    };
    let gateway = gateway.unwrap_or_else(|| {
        eprintln!("note: neither `gateway` nor a running daemon tells the gateway's name");
        "gateway".to_owned()
    });
    let (mut well, mut told) = (true, Ok(()));
    let reads = config.downlinks.iter().map(|downlink| downlink.from.clone()).collect();
    let wanted = Wanted { gateway: &gateway, upstream, topics, reads, create };
    checkup::run(wanted, |finding| {
        well &= finding.outcome.is_ok();
        if told.is_ok() {
            told = print(&shown(finding, json));
        }
    })
    .await;
    told.map(|()| well)
}

/// The name that the daemon goes by, if it runs.
async fn told_by_daemon(config: &Config) -> Option<String> {
    let mut name = None;
    let asked = control::ask(&config.log.dir, &Request::Status, |line| {
        let status: Option<serde_json::Value> = serde_json::from_str(line).ok();
        name = status.and_then(|status| Some(status["gateway"].as_str()?.to_owned()));
        false
    });
    asked.await.ok().and(name)
}

fn shown(finding: &Finding, json: bool) -> String {
    let Finding { step, outcome, mend } = finding;
    let (mark, words) = match outcome {
        Ok(words) => ('✓', words),
        Err(words) => ('✗', words),
    };
    if json {
        let ok = outcome.is_ok();
        return serde_json::json!({ "step": step, "ok": ok, "words": words, "mend": mend })
            .to_string();
    }
    let commands = mend.iter().map(|command| format!("\n  {command}"));
    [format!("{mark} {step:<17} {words}")].into_iter().chain(commands).collect()
}

fn repair(place: &PlaceArgs, lane: Option<&str>, json: bool) -> Result<(), ExitCode> {
    let lane = lane.map(str::to_owned);
    let decide = Decide { lane, skip: false, at: None, read: true, confirmed: true };
    let done = ask_to_decide(&place.dir()?, decide)?;
    let text = if json { done.to_string() } else { format!("done: {}", said(&done)) };
    print(&text)
}

fn decide(args: &DecideArgs, skip: bool) -> Result<(), ExitCode> {
    let DecideArgs { place, lane, at, yes, json } = args;
    let dir = place.dir()?;
    let decide = Decide { lane: lane.clone(), skip, at: *at, read: false, confirmed: false };
    let plan = ask_to_decide(&dir, decide.clone())?;
    let is_asked = !yes && !json;
    if is_asked {
        let halt = plan["halt"].as_str().unwrap_or_default();
        print(&format!("{halt}\n{}\nType yes to do that:", said(&plan)))?;
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if read.is_err() || answer.trim() != "yes" {
            eprintln!("nothing was done");
            return Err(ExitCode::from(FAILED));
        }
    }
    // Exactly what was told, whatever has happened since.
    let confirmed = Decide { at: plan["at"].as_u64(), confirmed: true, ..decide };
    let done = if is_asked || *yes { ask_to_decide(&dir, confirmed)? } else { plan };
    let text = if *json { done.to_string() } else { format!("done: {}", said(&done)) };
    print(&text)
}

fn said(plan: &serde_json::Value) -> &str {
    plan["words"].as_str().unwrap_or_default()
}

fn ask_to_decide(dir: &Path, decide: Decide) -> Result<serde_json::Value, ExitCode> {
    let mut plan = serde_json::Value::Null;
    let asked = block_on(control::ask(dir, &Request::Decide(decide), |line| {
        plan = serde_json::from_str(line).unwrap_or_default();
        false
    }))?;
    asked.map_err(|error| unreachable_daemon(dir, &error))?;
    if let Some(why) = plan["error"].as_str() {
        eprintln!("error: {why}");
        return Err(ExitCode::from(FAILED));
    }
    Ok(plan)
}
