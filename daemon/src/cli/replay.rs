//! `tributary replay`: what Kafka did not take goes on its way once more.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use tributary_core::Offset;
use tributary_core::time::Timestamp;

use super::output::print;
use super::progress::Progress;
use super::when::parse_when;
use super::{BAD_CONFIG, FAILED, PlaceArgs, block_on, unreachable_daemon};
use crate::io::control::{self, Request, ask};
use crate::runtime::dead_letters::Figures;

/// What is replayed.
#[derive(Debug, Subcommand)]
pub(super) enum ReplayCommand {
    /// Put dead letters back on their way to Kafka, by the routes that selected them
    ///
    /// Each goes once, whatever crashes: one that was put back before is passed over. What Kafka
    /// still does not take becomes a dead letter again. The daemon must run.
    ///
    /// Examples:
    ///   tributary replay dead-letter --dry-run
    ///   tributary replay dead-letter --route hot --since 2026-03-01
    #[command(verbatim_doc_comment)]
    DeadLetter(DeadLetterArgs),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(super) struct DeadLetterArgs {
    /// MQTT topic filter; all topics without it
    filter: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Those of one route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The first offset in the stream of dead letters
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// The offset to stop before [default: the end]
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
    /// Events that arrived at this time (UTC) or later, or since so long ago, as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    since: Option<Timestamp>,
    /// Events that arrived before this time (UTC), or before so long ago
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    until: Option<Timestamp>,
    /// Say what would be put back, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the numbers as JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Place {
    at: u64,
    first: u64,
    end: u64,
}

#[derive(Default, Deserialize)]
struct End {
    error: Option<String>,
    done: Option<Figures>,
}

pub(super) fn run(command: &ReplayCommand) -> Result<(), ExitCode> {
    let ReplayCommand::DeadLetter(args) = command;
    if let Some(filter) = &args.filter
        && let Err(error) = tributary_core::topic::check_filter(filter)
    {
        eprintln!("error: `{filter}` is not a topic filter: {error}");
        return Err(ExitCode::from(BAD_CONFIG));
    }
    let dir = args.place.dir()?;
    let request = Request::Replay(control::Replay {
        route: args.route.clone(),
        filter: args.filter.clone(),
        from: args.from,
        to: args.to,
        since: args.since.map(|time| time.0),
        until: args.until.map(|time| time.0),
        dry_run: args.dry_run,
    });
    let mut progress: Option<Progress> = None;
    let mut end = None;
    let asked = block_on(ask(&dir, &request, |line| {
        if let Ok(Place { at, first, end }) = serde_json::from_str(line) {
            let range = Offset(first)..Offset(end);
            progress.get_or_insert_with(|| Progress::new("replay", range)).at(Offset(at));
            return true;
        }
        end = serde_json::from_str(line).ok();
        false
    }))?;
    if let Some(mut progress) = progress {
        progress.end();
    }
    asked.map_err(|error| unreachable_daemon(&dir, &error))?;
    let End { error, done } = end.unwrap_or_else(|| End {
        error: Some("the daemon went away: the replay goes on from where it was".to_owned()),
        done: None,
    });
    if let Some(figures) = &done {
        print(&shown(figures, args))?;
    }
    match error {
        None => Ok(()),
        Some(why) => {
            eprintln!("error: {why}");
            Err(ExitCode::from(FAILED))
        }
    }
}

fn shown(figures: &Figures, args: &DeadLetterArgs) -> String {
    if args.json {
        return serde_json::to_string(figures).unwrap_or_default();
    }
    let Figures { wanted, put_back, before, without_route, in_doubt } = figures;
    let verb = if args.dry_run { "would be" } else { "are" };
    let mut lines = vec![format!("{put_back} of {wanted} dead letters {verb} put back")];
    for (count, why) in [
        (before, "were put back before"),
        (without_route, "are of routes that are not in force: they stay"),
        (in_doubt, "may have been put back before, what told of it is damaged: they stay"),
    ] {
        if *count > 0 {
            lines.push(format!("{count} {why}"));
        }
    }
    lines.join("\n")
}
