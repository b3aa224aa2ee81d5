//! `tributary upstream`: is the cluster there, does it let us work, and what is to be done if not.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Subcommand;
use tributary_bridge::Finding;

use super::{BAD_CONFIG, FAILED, FileArg, PlaceArgs, block_on, unreachable_daemon};
use crate::config::{Config, Upstream};
use crate::io::control::{self, Request};
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
    /// Show how replication stands, of the running daemon
    Status {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

pub(super) fn run(command: &UpstreamCommand) -> Result<(), ExitCode> {
    match command {
        UpstreamCommand::Check { file, json } => look(file, *json, false),
        UpstreamCommand::Setup { file, json } => look(file, *json, true),
        UpstreamCommand::Status { place } => status(place),
    }
}

fn look(file: &FileArg, json: bool, create: bool) -> Result<(), ExitCode> {
    let config = file.load()?;
    let Some(upstream) = &config.upstream else {
        eprintln!("error: the configuration has no [upstream]");
        eprintln!("help: `tributary init` writes one to begin with");
        return Err(ExitCode::from(BAD_CONFIG));
    };
    let well = block_on(look_at(&config, upstream, json, create))?;
    if well { Ok(()) } else { Err(ExitCode::from(FAILED)) }
}

async fn look_at(config: &Config, upstream: &Upstream, json: bool, create: bool) -> bool {
    let topics: BTreeSet<String> = config.routes.iter().map(|route| route.topic.clone()).collect();
    let gateway = match &config.gateway {
        Some(name) => Some(name.clone()),
        None => told_by_daemon(config).await,
    };
    let gateway = gateway.unwrap_or_else(|| {
        eprintln!("note: neither `gateway` nor a running daemon tells the gateway's name");
        "gateway".to_owned()
    });
    let mut well = true;
    let wanted = Wanted { gateway: &gateway, upstream, topics, create };
    checkup::run(wanted, |finding| {
        well &= finding.outcome.is_ok();
        show(finding, json);
    })
    .await;
    well
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

fn show(finding: &Finding, json: bool) {
    let Finding { step, outcome, mend } = finding;
    if json {
        let words = match outcome {
            Ok(words) | Err(words) => words,
        };
        let ok = outcome.is_ok();
        let line = serde_json::json!({ "step": step, "ok": ok, "words": words, "mend": mend });
        println!("{line}");
        return;
    }
    match outcome {
        Ok(words) => println!("✓ {step:<17} {words}"),
        Err(words) => println!("✗ {step:<17} {words}"),
    }
    for command in mend {
        println!("  {command}");
    }
}

fn status(place: &PlaceArgs) -> Result<(), ExitCode> {
    let dir = place.dir()?;
    let mut shown = String::new();
    let asked = block_on(control::ask(&dir, &Request::Status, |line| {
        let status: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        shown = format!("{:#}", status["upstream"]);
        false
    }))?;
    asked.map_err(|error| unreachable_daemon(&dir, &error))?;
    println!("{shown}");
    Ok(())
}
