//! `tributary log`: inspect, verify, export, repair.

use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use core::ops::Range;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use serde::Serialize;
use tributary_core::Offset;
use tributary_core::time::Timestamp;

use super::output::{print, written};
use super::progress::Progress;
use super::when::parse_when;
use super::{BAD_CONFIG, BAD_DIRECTORY, FAILED, PlaceArgs, block_on, unreachable_daemon};
use crate::io::control::{Request, ask};
use crate::io::log_files::{is_locked, output};
use crate::log_tools::{
    Export, Format, INPUT, LogEnd, OpenedLog, Place, Repaired, Selection, Summary, ToolError,
    Verified, repair, survey, verify,
};

/// Buffer in front of the output of an export.
const OUTPUT_BYTES: usize = 256 << 10;
/// Rows of a list that people see; `--json` has all.
const ROWS_MAX: usize = 16;

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Show segments, openings, gaps and what the log remembers; changes nothing
    Inspect {
        #[command(flatten)]
        which: Which,
        /// Print everything as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Read everything and check every checksum; changes nothing
    ///
    /// Exit code 1 if anything that was acknowledged is lost.
    Verify {
        #[command(flatten)]
        which: Which,
        /// Print the result as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Write events to a file or to standard output; changes nothing
    ///
    /// Examples:
    ///   tributary log export > events.ndjson
    ///   tributary log export --format csv --output day.csv \
    ///       --since 2026-03-01 --until 2026-03-02 'plant/+/telemetry'
    #[command(verbatim_doc_comment)]
    Export(ExportArgs),
    /// Do what a start of the daemon does to the log, without serving
    ///
    /// Drops what was never acknowledged behind the end, and notes what is lost. Never takes away
    /// anything that can be read. The daemon must not run.
    Repair {
        #[command(flatten)]
        which: Which,
        /// Print the result as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// Which log.
#[derive(Debug, Args)]
pub(super) struct Which {
    #[command(flatten)]
    place: PlaceArgs,
    /// Which stream of the log: input, dead-letter or downlink
    #[arg(long, value_name = "NAME", default_value = INPUT)]
    stream: String,
}

/// Which events, and where they go.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// MQTT topic filter; all topics without it
    filter: Option<String>,
    #[command(flatten)]
    which: Which,
    /// The first offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// The offset to stop before [default: the end]
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
    /// Events that arrived at this time (UTC) or later, or since so long ago, as 10m; what the log has from
    /// before is not even read
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    since: Option<Timestamp>,
    /// Events that arrived before this time (UTC), or before so long ago
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    until: Option<Timestamp>,
    /// How events are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Also write the log's own records, of routes, positions and time, with bodies in hexadecimal
    #[arg(long)]
    controls: bool,
    /// The file to write, which must not exist [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the numbers at the end as JSON on standard error, for scripts
    #[arg(long)]
    json: bool,
}

/// Runs one of them.
pub(super) fn run(command: &LogCommand) -> Result<(), ExitCode> {
    match command {
        LogCommand::Inspect { which, json } => {
            let (place, log) = open(which)?;
            let summary = survey(&log, &place);
            show(&summary, *json, inspected)
        }
        LogCommand::Verify { which, json } => {
            let (_, log) = open(which)?;
            let mut progress = Progress::new("verify", log.oldest..log.next);
            let found = verify(&log, &mut |offset| progress.at(offset));
            progress.end();
            show(&found, *json, verified)?;
            if found.is_sound() { Ok(()) } else { Err(ExitCode::from(FAILED)) }
        }
        LogCommand::Export(args) => export(args),
        LogCommand::Repair { which, json } => {
            let place = place(which)?;
            let done = repair(&place).map_err(|error| failed(&error))?;
            show(&done, *json, repaired)
        }
    }
}

fn export(args: &ExportArgs) -> Result<(), ExitCode> {
    if let Some(filter) = &args.filter
        && let Err(error) = tributary_core::topic::check_filter(filter)
    {
        eprintln!("error: `{filter}` is not a topic filter: {error}");
        return Err(ExitCode::from(BAD_CONFIG));
    }
    if args.controls && args.format == Format::Csv {
        let text = "control records have no columns: use --format ndjson".to_owned();
        return Err(failed(&ToolError::Request(text)));
    }
    let (_, log) = open(&args.which)?;
    let to = args.to.map_or(log.next, |to| Offset(to).min(log.next));
    let since = args.since.map_or(Offset(0), |since| log.offset_at(since));
    let selection = Selection {
        offsets: Offset(args.from).max(since)..to,
        times: args.since.unwrap_or(Timestamp(i64::MIN))..args.until.unwrap_or(Timestamp(i64::MAX)),
        filter: args.filter.clone(),
        controls: args.controls,
    };
    let out = output(args.output.as_deref()).map_err(|error| {
        let path = args.output.clone().unwrap_or_default();
        eprintln!("error: cannot make {}: {error}", path.display());
        eprintln!("help: name a file that does not exist yet");
        ExitCode::from(FAILED)
    })?;
    let out = BufWriter::with_capacity(OUTPUT_BYTES, out);
    let mut progress = Progress::new("export", selection.offsets.start.max(log.oldest)..to);
    let told = args.json;
    let mut missing = |range: &Range<Offset>, why: &'static str| {
        if !told {
            eprintln!("{}", lost(range.start.0, range.end.0, why));
        }
    };
    let export = Export::new(&log, selection, args.format, out);
    let exported = export.and_then(|e| e.run(&mut |offset| progress.at(offset), &mut missing));
    progress.end();
    let done = match exported {
        Err(ToolError::Output(error)) => return written(Err(error)),
        other => other.map_err(|error| failed(&error))?,
    };
    if args.json {
        eprintln!("{}", json(&done));
    } else if args.output.is_some() || std::io::stderr().is_terminal() {
        eprintln!("{} of {} events exported", done.written, done.read);
    }
    Ok(())
}

fn place(which: &Which) -> Result<Place, ExitCode> {
    Ok(Place { dir: which.place.dir()?, stream: which.stream.clone() })
}

/// Opens a log for reading: asks the daemon that has it, if there is one.
fn open(which: &Which) -> Result<(Place, OpenedLog), ExitCode> {
    let place = place(which)?;
    let answer = ask_end(&place)?;
    let log = OpenedLog::open(&place, answer.as_ref()).map_err(|error| failed(&error))?;
    Ok((place, log))
}

/// What the daemon says that has the directory; `None` if none has.
fn ask_end(place: &Place) -> Result<Option<LogEnd>, ExitCode> {
    let mut answer = String::new();
    let request = Request::LogEnd { stream: place.stream.clone() };
    let asked = ask(&place.dir, &request, |line| {
        line.clone_into(&mut answer);
        false
    });
    let dir = place.dir.display();
    match block_on(asked)? {
        Ok(()) => serde_json::from_str(&answer).map(Some).map_err(|_| {
            eprintln!("error: the daemon that has {dir} does not understand the question");
            eprintln!("help: it may be of another version: use its own `tributary`, or stop it");
            ExitCode::from(FAILED)
        }),
        Err(error) => match is_locked(&place.dir) {
            Ok(false) => Ok(None),
            Ok(true) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(unreachable_daemon(&place.dir, &error))
            }
            Ok(true) => {
                eprintln!("error: a daemon has {dir} and does not answer: {error}");
                eprintln!("help: it may be starting or stopping: try again in a moment");
                Err(ExitCode::from(FAILED))
            }
            Err(error) => {
                eprintln!("error: cannot look into {dir}: {error}");
                Err(ExitCode::from(BAD_DIRECTORY))
            }
        },
    }
}

fn failed(error: &ToolError) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(match error {
        ToolError::Directory(_) => BAD_DIRECTORY,
        ToolError::Request(_) => BAD_CONFIG,
        ToolError::Output(_) => FAILED,
    })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| unreachable!("plain values"))
}

fn show<T: Serialize>(
    value: &T,
    as_json: bool,
    text: impl Fn(&T) -> Vec<String>,
) -> Result<(), ExitCode> {
    print(&if as_json { json(value) } else { text(value).join("\n") })
}

fn lost(first: u64, end: u64, why: &str) -> String {
    let count = end - first;
    let events = if count == 1 { "event" } else { "events" };
    format!("gap: offsets {first} to {} are missing: {count} {events} {why}", end - 1)
}

fn rows<T>(lines: &mut Vec<String>, all: &[T], row: impl Fn(&T) -> String) {
    lines.extend(all.iter().take(ROWS_MAX).map(row));
    if all.len() > ROWS_MAX {
        lines.push(format!("  and {} more: --json has them all", all.len() - ROWS_MAX));
    }
}

fn inspected(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let vanished = summary.vanished.as_ref().map(|(id, end)| {
        format!("({id} is lost, offsets below {end}: no segment has a header that can be read)")
    });
    let never = || "(none: nothing was ever written)".to_owned();
    let id = summary.log_id.clone().or(vanished).unwrap_or_else(never);
    let running = if summary.running { "a daemon has it open" } else { "no daemon has it open" };
    lines.push(format!("log        {id}, stream {}", summary.stream));
    lines.push(format!("in         {}", summary.dir));
    lines.push(format!("           {running}"));
    let held = summary.next.saturating_sub(summary.oldest);
    lines.push(if held == 0 {
        format!("events     none; the next one gets offset {}", summary.next)
    } else {
        format!("events     {held}: offsets {} to {}", summary.oldest, summary.next - 1)
    });
    let (count, of) = (summary.files, ByteSize(u64::from(summary.segment_bytes)));
    lines.push(format!("files      {count} of {of}, {} in all", ByteSize(summary.bytes)));
    if let Some((segment, at)) = summary.end {
        lines.push(format!("end        byte {at} of segment {segment}"));
    }
    if summary.torn_bytes > 0 {
        lines.push(format!(
            "torn       {} bytes behind the end, never acknowledged",
            summary.torn_bytes
        ));
    }
    for (first, end) in &summary.gaps {
        lines.push(lost(*first, *end, "damaged"));
    }
    for (name, topic) in &summary.routes {
        lines.push(format!("route      {name} -> {topic}"));
    }
    for hint in &summary.hints {
        lines.push(format!(
            "lane       {}: Kafka has all below {}, and nothing above {}",
            hint.lane, hint.low, hint.high
        ));
    }
    if !summary.generations.is_empty() {
        lines.push(format!("openings   {}, the latest:", summary.generations.len()));
        let latest: Vec<_> = summary.generations.iter().rev().collect();
        rows(&mut lines, &latest, |(number, first)| format!("           {number} from {first}"));
    }
    lines.push(format!(
        "{:>8} {:>9} {:>20} {:>20} {:>6} {:>9}",
        "segment", "state", "sequence", "first offset", "page", "opening"
    ));
    let used: Vec<_> = summary.segments.iter().rev().filter(|s| s.state != "blank").collect();
    rows(&mut lines, &used, |segment| {
        let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        format!(
            "{:>8} {:>9} {:>20} {:>20} {:>6} {:>9}",
            segment.index,
            segment.state,
            number(segment.sequence),
            number(segment.base),
            number(segment.page_bytes.map(u64::from)),
            segment.generation.as_deref().unwrap_or_default()
        )
    });
    lines
}

fn verified(found: &Verified) -> Vec<String> {
    let mut lines = vec![format!(
        "{} events with {} of payload and {} control records are whole",
        found.events,
        ByteSize(found.payload_bytes),
        found.controls
    )];
    rows(&mut lines, &found.gaps, |(first, end)| lost(*first, *end, "damaged"));
    if found.without_events > 0 {
        let places = found.without_events;
        lines.push(format!("{places} damaged places held no events, perhaps control records"));
    }
    for (what, segments) in [
        ("has a damaged header", &found.damaged_segments),
        ("is of a newer version", &found.newer_segments),
    ] {
        rows(&mut lines, segments, |index| format!("segment {index} {what}"));
    }
    if found.unread_pages > 0 {
        lines.push(format!("{} pages cannot be read: the device fails", found.unread_pages));
    }
    if found.torn_bytes > 0 {
        let torn = found.torn_bytes;
        lines.push(format!("{torn} bytes behind the end were never acknowledged: not a loss"));
    }
    lines.push(if found.is_sound() {
        "nothing that was acknowledged is lost".to_owned()
    } else {
        format!("{} events that were acknowledged are lost", found.lost())
    });
    lines
}

fn repaired(done: &Repaired) -> Vec<String> {
    let mut lines = Vec::new();
    if done.torn_bytes > 0 {
        lines.push(format!("dropped {} bytes that were never acknowledged", done.torn_bytes));
    }
    rows(&mut lines, &done.noted, |(first, end)| {
        format!("noted: {}", lost(*first, *end, "damaged"))
    });
    if done.torn_bytes == 0 && done.noted.is_empty() {
        lines.push("there was nothing to repair".to_owned());
    }
    lines.push(format!("the log is sound at its end; the next event gets offset {}", done.next));
    lines
}
