//! Events for people and scripts: lines of JSON as an export has them, read from the log as it grows.

use std::io;

use serde::Serialize;
use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{Chunk, Item, Reader};
use tributary_core::topic;

use super::cursors::Reading;
use crate::io::control::Lines;
use crate::io::crc::crc32c;
use crate::io::segments::SegmentReader;
use crate::log_tools::{EventLine, GapLine};

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
            // Damage that has cost no event.
            Item::Gap { range, .. } if range.is_empty() => {}
            Item::Gap { range, cause } => {
                push(&mut text, &GapLine::new(&range, cause.name()))?;
                if let Some(cursor) = cursor {
                    cursor.pass_gone(range);
                }
            }
            Item::Events(frame) => {
                let trusted = frame.clock().trusted;
                for (offset, event) in frame {
                    let heard =
                        wanted.filter.as_deref().is_none_or(|f| topic::matches(f, event.topic));
                    if *left > 0 && heard {
                        push(&mut text, &EventLine::new(offset, &event, trusted))?;
                        (*left, last) = (*left - 1, offset);
                    }
                }
            }
        }
    }
    Ok((text, last))
}

fn push(text: &mut String, line: &impl Serialize) -> io::Result<()> {
    text.push_str(&serde_json::to_string(line).map_err(io::Error::other)?);
    text.push('\n');
    Ok(())
}
