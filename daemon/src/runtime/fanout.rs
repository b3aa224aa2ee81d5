//! Hands durable events to those who subscribed to their topics.
//!
//! A reader of the log like any other, so a slow moment costs no memory and loses nothing; what a
//! slow subscriber loses is decided at its outbox. While nobody listens it reads nothing.

use std::sync::Arc;

use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{Item, Reader};

use super::hub::Hub;
use crate::io::crc::crc32c;
use crate::io::segments::SegmentReader;

/// Bytes read from the log at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Runs until `durable` has no sender any more. Reading may block: give it a thread of its own.
pub(super) async fn run(log: SegmentReader, hub: Arc<Hub>, mut durable: watch::Receiver<Offset>) {
    let mut reader = Reader::new(Offset(0), crc32c);
    let mut buffer = Vec::new();
    let mut heard = false;
    loop {
        if !heard {
            reader.seek(hub.audience().await);
            buffer.resize(CHUNK_BYTES, 0);
        }
        durable.mark_unchanged();
        let end = log.end();
        loop {
            match reader.read(&log, end, &mut buffer) {
                Ok(None) => break,
                Ok(Some(chunk)) => chunk.for_each(|item| distribute(&hub, item)),
                Err(error) => {
                    let at = reader.next_offset();
                    tracing::error!(%at, %error, "subscribers miss events that cannot be read");
                    reader.seek(end.offset);
                    break;
                }
            }
        }
        heard = hub.is_anyone_listening();
        if heard && durable.changed().await.is_err() {
            return;
        }
    }
}

fn distribute(hub: &Hub, item: Item<'_>) {
    if let Item::Events(frame) = item {
        let clock = frame.clock();
        for (_, event) in frame {
            hub.distribute(&event, clock.age);
        }
    }
}
