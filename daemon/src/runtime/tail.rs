//! Events for people: lines of JSON, read from the log.

use std::io;

use serde::Serialize;
use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{Chunk, Item, Reader};
use tributary_core::properties::Property;
use tributary_core::record::Event;
use tributary_core::topic;

use super::cursors::Reading;
use crate::io::control::Lines;
use crate::io::crc::crc32c;
use crate::io::segments::SegmentReader;

/// Bytes read from the log at once; the largest frame fits.
const CHUNK_BYTES: usize = 1 << 20;

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// MQTT topic filter; none selects all.
    pub filter: Option<String>,
    /// The first offset.
    pub from: Offset,
    /// So many and no more.
    pub count: u64,
    /// Whether to end at the durable end instead of waiting.
    pub until_end: bool,
}

/// One event as a line.
#[derive(Serialize)]
struct Line<'a> {
    offset: u64,
    time_ms: i64,
    topic: &'a str,
    client: &'a str,
    qos: u8,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Where the payload is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(&'a str, &'a str)>,
}

/// Offsets that are not there any more.
#[derive(Serialize)]
struct Lost {
    gap: &'static str,
    first: u64,
    end: u64,
}

/// For who reads with a cursor: all below was sent.
#[derive(Serialize)]
struct At {
    at: u64,
}

/// Sends events as they become durable, until there have been enough or nobody listens.
pub(super) async fn run(
    log: SegmentReader,
    mut durable: watch::Receiver<Offset>,
    (wanted, cursor): (Wanted, Option<&Reading>),
    lines: &mut Lines,
) -> io::Result<()> {
    let mut reader = Reader::new(wanted.from, crc32c);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut left = wanted.count;
    loop {
        durable.borrow_and_update();
        let end = log.end();
        loop {
            let read = tokio::task::block_in_place(|| {
                let chunk = reader.read(&log, end, &mut buffer).map_err(io::Error::other)?;
                chunk.map(|chunk| render(chunk, (&wanted, cursor), &mut left)).transpose()
            })?;
            let Some((mut text, last)) = read else { break };
            if cursor.is_some() {
                let at = if left == 0 { last.plus(1) } else { reader.next_offset() };
                push(&mut text, &At { at: at.0 })?;
            }
            lines.send(&text).await?;
            if left == 0 {
                return Ok(());
            }
        }
        if wanted.until_end || durable.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Lines for what is wanted of a chunk, and the offset of the last event in them.
fn render(
    chunk: Chunk<'_>,
    (wanted, cursor): (&Wanted, Option<&Reading>),
    left: &mut u64,
) -> io::Result<(String, Offset)> {
    let (mut text, mut last) = (String::new(), Offset(0));
    for item in chunk {
        match item {
            Item::Control(_) => {}
            Item::Gap { range, cause } => {
                let gap = cause.name();
                if let Some(cursor) = cursor {
                    cursor.pass_gone(range.clone());
                }
                push(&mut text, &Lost { gap, first: range.start.0, end: range.end.0 })?;
            }
            Item::Events(frame) => {
                for (offset, event) in frame {
                    let heard =
                        wanted.filter.as_deref().is_none_or(|f| topic::matches(f, event.topic));
                    if *left > 0 && heard {
                        push(&mut text, &line(offset, &event))?;
                        (*left, last) = (*left - 1, offset);
                    }
                }
            }
        }
    }
    Ok((text, last))
}

fn line<'a>(offset: Offset, event: &Event<'a>) -> Line<'a> {
    let payload = core::str::from_utf8(event.payload).ok();
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    let digits = |&byte: &u8| [digit(byte >> 4), digit(byte & 0xF)].into_iter().flatten();
    let hex = || event.payload.iter().flat_map(digits).collect();
    let user = |property| match property {
        Property::User(name, value) => Some((name, value)),
        _ => None,
    };
    Line {
        offset: offset.0,
        time_ms: event.time.0,
        topic: event.topic,
        client: event.client,
        qos: event.qos as u8,
        retain: event.retain,
        payload,
        payload_hex: payload.is_none().then(hex),
        user_properties: event.properties.iter().filter_map(user).collect(),
    }
}

fn push(text: &mut String, line: &impl Serialize) -> io::Result<()> {
    text.push_str(&serde_json::to_string(line).map_err(io::Error::other)?);
    text.push('\n');
    Ok(())
}
