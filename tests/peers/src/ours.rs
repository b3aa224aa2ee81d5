//! Our log on its files, as the daemon writes and reads it.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, bail};
use tributary::io::clock::moment;
use tributary::io::crc::crc32c;
use tributary::io::files::entropy;
use tributary::io::segments::{SegmentFiles, SegmentReader};
use tributary::runtime::clock::Clocks;
use tributary::runtime::opening::{Recovered, recover};
use tributary::runtime::snapshot::Snapshot;
use tributary_core::Offset;
use tributary_core::log::{AppendError, Clock, Frame, Item, Log, Media, ReadMedia, Reader};
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::Timestamp;

use crate::store::{RECORD_BYTES, Store};

/// Bytes that a reader reads at once, as the daemon's tools do.
const CHUNK_BYTES: usize = 256 << 10;

/// The log.
pub struct Ours {
    log: Box<Log<SegmentFiles, Box<[u8]>>>,
    reader: SegmentReader,
    snapshot: Snapshot,
    clocks: Clocks,
}

impl Ours {
    /// Opens it; a new one gets a ring of `keep` bytes, of which each segment is written before its
    /// first use.
    pub fn open(dir: &Path, keep: u64) -> Result<Self> {
        let files = SegmentFiles::open(dir, keep, true)?;
        let reader = files.reader();
        let recovered = recover(files, entropy()?, moment())?;
        let Recovered { log, snapshot, clocks, .. } = recovered;
        Ok(Self { log, reader, snapshot, clocks })
    }

    /// Has all segments made now, so that no figure contains it.
    pub fn prepare_all(&mut self) -> Result<()> {
        for index in 0..self.log.media().geometry().segments {
            self.log.media_mut().prepare(index)?;
        }
        Ok(())
    }

    fn clock(&self) -> Clock {
        self.clocks.now(moment())
    }
}

impl Store for Ours {
    fn commit(&mut self, records: &[u8]) -> Result<()> {
        let count = u32::try_from(records.len() / RECORD_BYTES)?;
        let clock = self.clock();
        let frame = Frame { count, clock, body: records };
        match self.log.append(&frame) {
            Err(AppendError::SegmentFull) => {
                self.log.roll(&self.snapshot.records(), clock)?;
                self.log.append(&frame)?;
            }
            other => other?,
        }
        self.log.commit()?;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        let (end, oldest, _) = self.reader.durable();
        let mut reader = Reader::new(oldest, crc32c);
        let (mut buffer, mut events, mut bytes) = (vec![0; CHUNK_BYTES], 0, 0);
        while let Some(chunk) = reader.read(&self.reader, end, &mut buffer)? {
            for item in chunk {
                match item {
                    Item::Events(frame) => {
                        for (_, event) in frame {
                            events += 1;
                            bytes += black_box(event).payload.len();
                        }
                    }
                    Item::Gap { range, .. } if range.start > Offset(0) => bail!("a gap: {range:?}"),
                    Item::Gap { .. } | Item::Control(_) => {}
                }
            }
        }
        black_box(bytes);
        Ok(events)
    }

    fn end(&self) -> Option<(u64, u32)> {
        let end = self.log.end();
        Some((end.sequence, end.at))
    }
}

/// Events of a sensor as records of [`RECORD_BYTES`], each with other bytes in its payload.
pub fn records(count: usize) -> Vec<u8> {
    let mut records = Vec::with_capacity(count * RECORD_BYTES);
    let mut random = 1_u64;
    for _ in 0..count {
        let mut payload = Vec::new();
        while payload.len() < RECORD_BYTES {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            payload.extend_from_slice(&random.to_be_bytes()[..4]);
        }
        let base = Timestamp(0);
        let mut event = Event {
            topic: "plant/1/telemetry",
            payload: &payload,
            client: "press-1",
            time: base,
            qos: Qos::AtLeastOnce,
            retain: false,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties::NONE,
        };
        while record::encoded_len(&event, base) > RECORD_BYTES {
            event.payload = &event.payload[1..];
        }
        let begin = records.len();
        records.resize(begin + record::encoded_len(&event, base), 0);
        record::encode(&event, base, &mut records[begin..]);
        assert_eq!(records.len(), begin + RECORD_BYTES, "a record has its size");
    }
    records
}
