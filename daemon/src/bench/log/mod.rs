//! `tributary bench log`: how fast this disk or card makes events durable, and whether it keeps them.
//!
//! Measures the log beside a bare file that is written and synced the same way. And, in two steps, the
//! one question that no program can answer alone: whether what was acknowledged is still there after
//! the plug was pulled.

mod check;
mod device;
mod measure;
mod peer;
mod promise;
mod writer;

use std::path::PathBuf;

use clap::Args;

/// The log that is measured, in a directory of its own below the one that is named.
const MEASURED: &str = "tributary-bench";
/// The log of a promise, which outlives a power cut.
const PROMISED: &str = "tributary-promise";

/// A disk or card.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// A directory on the disk or card; the bench makes one of its own in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// How long each figure is measured; a promise ends after so long [default: when the power goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Write numbered events, and tell the peer of each that is acknowledged, until the power goes
    #[arg(long, value_name = "HOST:PORT", group = "step")]
    promise: Option<String>,
    /// Be the peer: remember what was acknowledged, on a machine that keeps its power
    #[arg(long, value_name = "HOST:PORT", group = "step")]
    listen: Option<String>,
    /// After the power has come back: ask the peer, and say what is lost
    #[arg(long, value_name = "HOST:PORT", group = "step")]
    check: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs what is asked for: its result, as text for people or scripts, and whether it is a good one.
///
/// # Errors
/// What went wrong, for people.
pub(super) fn run(args: &LogArgs) -> Result<(String, bool), String> {
    if let Some(address) = &args.listen {
        let ended = peer::listen(address, args.seconds);
        return ended
            .map(|()| (String::new(), true))
            .map_err(|e| format!("cannot listen on {address}: {e}"));
    }
    if let Some(peer) = &args.promise {
        return promise::run(&args.dir.join(PROMISED), peer, args.seconds);
    }
    if let Some(peer) = &args.check {
        let found = check::run(&args.dir.join(PROMISED), peer)?;
        let text = if args.json { found.json() } else { found.text() };
        return Ok((text, found.lost() == 0));
    }
    let measured = measure::run(&args.dir.join(MEASURED), args.seconds.unwrap_or(2))?;
    Ok((if args.json { measured.json() } else { measured.text() }, true))
}
