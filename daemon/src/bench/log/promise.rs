//! The first step of the plug-pull check: numbered events, and a peer that hears of each one that is
//! acknowledged.

use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::Timestamp;

use super::peer::Promise;
use super::writer::LogWriter;

/// The topic of the events.
pub(super) const TOPIC: &str = "bench/promise";

/// What an event says: its own offset, and enough more to fill its place.
pub(super) fn payload(offset: u64) -> String {
    format!("event {offset:020}, {:016x}", offset.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Writes until the power goes, or for so many seconds.
pub(super) fn run(dir: &Path, peer: &str, seconds: Option<u64>) -> Result<(String, bool), String> {
    let mut log = LogWriter::open(dir)?;
    let id = log.id().to_string();
    let mut promise =
        Promise::begin(peer, &id).map_err(|error| format!("cannot reach {peer}: {error}"))?;
    let (begun, mut offset) = (Instant::now(), log.next());
    while seconds.is_none_or(|seconds| begun.elapsed() < Duration::from_secs(seconds)) {
        let clock = log.clock();
        let body = encode(offset, log.wall());
        let end = log.commit(1, clock, &body)?;
        // Not before: whoever hears of it may rely on it.
        promise
            .durable(end.offset.0)
            .map_err(|error| format!("the peer {peer} is gone: {error}"))?;
        offset = end.offset.0;
    }
    let text = format!("{offset} events are acknowledged in {}; log {id}", dir.display());
    Ok((text, true))
}

fn encode(offset: u64, wall: Timestamp) -> Vec<u8> {
    let payload = payload(offset);
    let event = Event {
        topic: TOPIC,
        payload: payload.as_bytes(),
        client: "bench",
        time: wall,
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::NONE,
    };
    let mut body = vec![0; record::encoded_len(&event, wall)];
    record::encode(&event, wall, &mut body);
    body
}
