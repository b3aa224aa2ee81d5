//! A gateway's dead letters, on a disk of their own.

use tributary::replicate::letter::Fate;
use tributary::runtime::clock::Moment;
use tributary::runtime::dead_letters::DeadLetters;
use tributary::runtime::opening::recover;
use tributary::runtime::stream::Stream;
use tributary_core::Offset;
use tributary_core::log::{Entropy, Geometry, Item, Reader};

use crate::disk::{Disk, DiskReader};

/// It takes as many as a day may bring.
pub(super) const GEOMETRY: Geometry =
    Geometry { segments: 16, segment_bytes: 128 << 10, page_bytes: 4096 };

type Open = Box<dyn FnMut(Moment) -> Result<Stream<Disk, DiskReader>, String>>;
/// The daemon's stream over it.
pub(super) type Letters = DeadLetters<Disk, DiskReader, Open>;

/// A letter, as somebody finds it who reads the stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) route: String,
    pub(super) log_id: u64,
    pub(super) offset: u64,
    pub(super) payload: String,
}

/// The stream during one opening of the log.
pub(super) fn open(disk: Disk, generation: u32) -> Letters {
    DeadLetters::new(Box::new(move |moment| {
        let entropy = Entropy { log_id: 7, generation, salt: generation.into() };
        let recovered = recover(disk.clone(), entropy, moment);
        let recovered = recovered.map_err(|error| error.to_string())?;
        Ok(Stream::new("dead-letter", recovered, disk.reader()))
    }))
}

/// All that is durable of it.
pub(super) fn read(disk: &Disk) -> Vec<Found> {
    let (reader, mut found) = (disk.reader(), Vec::new());
    let Some((end, _)) = reader.opened() else { return found };
    let mut place = Reader::new(Offset(0), tributary_core::crc::crc32c);
    let mut buffer = vec![0; GEOMETRY.segment_bytes as usize];
    while let Ok(Some(chunk)) = place.read(&reader, end, &mut buffer) {
        for item in chunk {
            let Item::Events(frame) = item else { continue };
            found.extend(frame.into_iter().map(|(_, letter)| {
                let fate = Fate::read(letter.properties).expect("it says what it is");
                Found {
                    route: fate.route.to_owned(),
                    log_id: fate.log_id,
                    offset: fate.offset.0,
                    payload: String::from_utf8_lossy(letter.payload).into_owned(),
                }
            }));
        }
    }
    found
}
