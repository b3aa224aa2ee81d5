//! Reads the log into a [`State`].

use tributary_core::Offset;
use tributary_core::log::{ControlKind, End, Item, ReadError, ReadMedia, Reader};

use super::change::read_batch;
use super::state::State;
use crate::io::crc::crc32c;

/// Bytes read from the log at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Offsets behind the state's place that the log does not hold any more.
pub type Lost = Vec<core::ops::Range<Offset>>;

/// What a start knows: `known`, as a file kept it, and all that the log holds behind. Of a log that
/// was rolled back the file knows too much: then the log alone tells.
///
/// # Errors
/// If a frame is larger than any that the log writes.
pub fn resume<M: ReadMedia>(
    known: Option<State>,
    media: &M,
    end: End,
) -> Result<(State, Lost), ReadError> {
    let known = known.filter(|state| state.applied.offset <= end.offset.0);
    let mut state = known.unwrap_or_default();
    let lost = replay(&mut state, media, end)?;
    Ok((state, lost))
}

/// Folds all that the log holds behind the state's place into it. What is missing is told.
///
/// # Errors
/// If a frame is larger than any that the log writes.
pub fn replay<M: ReadMedia>(state: &mut State, media: &M, end: End) -> Result<Lost, ReadError> {
    // Changes that hold from there on may stand in segments before the one that holds the event.
    let mut reader = Reader::with_controls(Offset(state.applied.offset), crc32c);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut lost = Lost::new();
    while let Some(chunk) = reader.read(media, end, &mut buffer)? {
        for item in chunk {
            match item {
                Item::Events(frame) => {
                    let age = frame.clock().age;
                    for (offset, event) in frame {
                        state.apply_event(offset.0, &event, age);
                    }
                }
                Item::Control(control) if control.kind == ControlKind::Sessions => {
                    for (number, noted) in read_batch(control.body) {
                        state.apply_change(number, noted);
                    }
                }
                Item::Control(control) if control.kind == ControlKind::Anchor => {
                    state.apply_anchor(control.body);
                }
                Item::Control(_) => {}
                Item::Gap { range, .. } => {
                    let first = range.start.0.max(state.applied.offset);
                    if first < range.end.0 {
                        state.applied.offset = range.end.0;
                        lost.push(Offset(first)..range.end);
                    }
                }
            }
        }
    }
    state.applied.offset = state.applied.offset.max(end.offset.0);
    state.forget_groups();
    state.forget_over();
    Ok(lost)
}
