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

/// Folds all that the log holds behind the state's place into it. What is missing is told.
///
/// # Errors
/// If a frame is larger than any that the log writes.
pub fn replay<M: ReadMedia>(state: &mut State, media: &M, end: End) -> Result<Lost, ReadError> {
    let mut reader = Reader::new(Offset(state.applied.offset), crc32c);
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
                Item::Control(_) => {}
                Item::Gap { range, .. } => {
                    state.applied.offset = state.applied.offset.max(range.end.0);
                    lost.push(range);
                }
            }
        }
    }
    state.applied.offset = state.applied.offset.max(end.offset.0);
    Ok(lost)
}
