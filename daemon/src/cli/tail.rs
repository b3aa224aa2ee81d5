//! `tributary tail`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use tributary_core::time::Timestamp;

use super::output::{try_print, written};
use super::when::parse_when;
use super::{BAD_CONFIG, FAILED, PlaceArgs, block_on, unreachable_daemon};
use crate::io::control::{Request, ask, read};

/// Which events to show, and how.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// MQTT topic filter; all topics without it
    filter: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Begin at this offset instead of at the next event or where the cursor stands
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Begin with what came in at this time (UTC), as 2026-03-01T12:00:00Z, or so long ago, as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_when, conflicts_with_all = ["from", "cursor"])]
    since: Option<Timestamp>,
    /// Show so many events and end
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// End when everything durable has been shown
    #[arg(long)]
    end: bool,
    /// Go on where this reader was, and have the daemon remember how far it has come
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,
    /// Have the daemon forget the cursor
    #[arg(long, requires = "cursor", conflicts_with_all = ["filter", "from", "since", "count", "end", "json"])]
    forget: bool,
    /// Print each event as a line of JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// What is shown of an event.
#[derive(Deserialize)]
struct Line {
    offset: u64,
    time: String,
    /// Whether the gateway's clock was set.
    #[serde(default = "is_trusted")]
    trusted: bool,
    topic: String,
    payload: Option<String>,
    payload_hex: Option<String>,
}

/// Only doubt is told.
const fn is_trusted() -> bool {
    true
}

/// Why the daemon does not do what was asked.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// How such an answer begins.
const REFUSAL: &str = r#"{"error":"#;

#[derive(Deserialize)]
struct Lost {
    gap: String,
    first: u64,
    end: u64,
}

/// Asks, and prints what comes.
pub(super) fn run(args: &TailArgs) -> Result<(), ExitCode> {
    if let Some(filter) = &args.filter
        && let Err(error) = tributary_core::topic::check_filter(filter)
    {
        eprintln!("error: `{filter}` is not a topic filter: {error}");
        return Err(ExitCode::from(BAD_CONFIG));
    }
    let dir = args.place.dir()?;
    let request = match &args.cursor {
        Some(cursor) if args.forget => Request::Forget { cursor: cursor.clone() },
        cursor => Request::Tail {
            filter: args.filter.clone(),
            from: args.from,
            since_ms: args.since.map(|since| since.0),
            count: args.count,
            until_end: args.end,
            cursor: cursor.clone(),
        },
    };
    let width = if std::io::stdout().is_terminal() { 100 } else { usize::MAX };
    let (mut refused, mut printed) = (None, Ok(()));
    let show = |line: &str| {
        if line.starts_with(REFUSAL) {
            refused = serde_json::from_str(line).ok();
            return false;
        }
        if args.forget {
            return false;
        }
        let text = if args.json { line.to_owned() } else { render(line, width) };
        printed = try_print(&text);
        printed.is_ok()
    };
    let asked = if args.cursor.is_some() && !args.forget {
        block_on(read(&dir, &request, show))?
    } else {
        block_on(ask(&dir, &request, show))?
    };
    if let Some(Refused { error }) = refused {
        eprintln!("error: {error}");
        return Err(ExitCode::from(FAILED));
    }
    written(printed)?;
    asked.map_err(|error| unreachable_daemon(&dir, &error))
}

fn render(line: &str, width: usize) -> String {
    if let Ok(Lost { gap, first, end }) = serde_json::from_str(line) {
        return format!("{first:>10}  ({} events {gap})", end - first);
    }
    let Ok(event) = serde_json::from_str::<Line>(line) else { return line.to_owned() };
    let hex = || event.payload_hex.map(|hex| format!("0x{hex}")).unwrap_or_default();
    let payload = event.payload.unwrap_or_else(hex);
    let doubt = if event.trusted { ' ' } else { '~' };
    let line = format!("{:>10}  {}{doubt} {}  {payload}", event.offset, event.time, event.topic);
    shorten(&line, width)
}

/// Cuts a line, and keeps control characters of a payload away from the terminal.
fn shorten(line: &str, width: usize) -> String {
    let mut text: String =
        line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(width).collect();
    if line.chars().nth(width).is_some() {
        text.pop();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use tributary_core::Offset;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};

    use super::*;
    use crate::log_tools::EventLine;

    fn shown(trusted: bool, width: usize) -> String {
        let event = Event {
            topic: "plant/1",
            payload: b"7\n8",
            client: "press",
            time: Timestamp(1_772_366_400_000),
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        let line = serde_json::to_string(&EventLine::new(Offset(5), &event, trusted));
        render(&line.expect("plain values"), width)
    }

    #[test]
    fn an_event_is_a_line_and_a_time_in_doubt_is_marked() {
        let line = shown(true, 100);
        assert_eq!(line, "         5  2026-03-01T12:00:00.000Z  plant/1  7\u{fffd}8");
        let line = shown(false, 100);
        assert_eq!(line, "         5  2026-03-01T12:00:00.000Z~ plant/1  7\u{fffd}8");
        assert_eq!(shown(true, 15), "         5  20…");
    }
}
