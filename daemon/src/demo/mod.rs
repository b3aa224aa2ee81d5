//! `tributary demo`: a bad day, small enough for one machine, and the account of it.
//!
//! It plays everyone around the gateway (the devices, the Kafka cluster, whoever pulls the plug)
//! and then checks as an outsider: what the devices know against what a consumer reads. Nothing
//! that the gateway says of itself enters the verdict, except to be compared.

mod scenario;

mod account;
mod failure;
mod fleet;
mod gateway;
mod reading;
mod stage;
mod upstream;

mod display;

use std::io;
use std::process::ExitCode;

use clap::Args;

use crate::io::signals::Signals;
use display::Display;
use stage::Stage;

/// What the demo is to be like.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// About how long it takes
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u64).range(10..=300))]
    seconds: u64,
    /// How many devices publish
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = devices)]
    devices: usize,
    /// Readings per second, all devices together
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    rate: u64,
    /// Keep the directory with the gateway's configuration, log and messages
    #[arg(long)]
    keep: bool,
    /// Print the account as JSON, and the progress to standard error
    #[arg(long)]
    json: bool,
}

fn devices(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(devices @ 1..=1_000) => Ok(devices),
        _ => Err("1 to 1000 devices".to_owned()),
    }
}

/// Plays the demo. The exit code is 1 if anything was lost, doubled or out of order, or if it could
/// not be played to its end.
#[must_use]
pub fn run(args: &DemoArgs) -> ExitCode {
    let mut display = Display::new(args);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let well = runtime.and_then(|runtime| runtime.block_on(watch(args, &mut display)));
    match well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            display.fail(&format!("cannot start: {error}"), None);
            ExitCode::FAILURE
        }
    }
}

/// Plays until the end or until someone has seen enough. Whether all is well.
async fn watch(args: &DemoArgs, display: &mut Display) -> io::Result<bool> {
    let mut signals = Signals::listen()?;
    let stage = Stage::make()?;
    let played = tokio::select! {
        played = scenario::play(args, &stage, display) => Some(played),
        _ = signals.next() => None,
    };
    // The play is over and all that it started has ended: the directory can go.
    let well = matches!(&played, Some(Ok(outcome)) if outcome.account.is_clean());
    let interrupted = played.is_none();
    let kept = (args.keep || !well && !interrupted).then(|| stage.keep());
    match played {
        Some(Ok(outcome)) => display.close(args, &outcome, kept.as_deref()),
        Some(Err(failure)) => display.fail(&failure.to_string(), kept.as_deref()),
        None => display.fail("interrupted before the account", kept.as_deref()),
    }
    Ok(well)
}
