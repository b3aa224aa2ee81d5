//! Bits that turned while nobody looked, and bytes that no log has written.

use core::ops::Range;

use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{
    Clock, Entropy, FRAME_HEADER_BYTES, Geometry, Item, ReadMedia, Reader, Recovery, buffer_bytes,
};
use tributary_core::time::{Age, Timestamp};
use tributary_tests::power::{Disk, Random};

use super::world::World;

const GEOMETRY: Geometry = Geometry { segments: 4, segment_bytes: 16 << 10, page_bytes: 1024 };
/// A log that is not read to its end by then never is.
const CHUNKS_MAX: usize = 10_000;

/// A frame of events of a closed log.
#[derive(Clone)]
struct Written {
    segment: u32,
    sequence: u64,
    places: Range<u32>,
    offsets: Range<u64>,
}

/// A closed log, each frame of which was committed alone.
fn closed_log(seed: u64) -> (World, Vec<Written>) {
    let mut world = World::new(GEOMETRY, seed);
    world.open().expect("there is power");
    let mut frames = Vec::new();
    for _ in 0..2 + world.random.below(160) {
        let sizes = vec![world.random.below(300); 1 + world.random.below(2)];
        let first = world.log().next_offset().0;
        let body_bytes = world.append_of(&sizes).expect("there is power");
        world.commit().expect("there is power");
        let end = world.log().end();
        let bytes = u32::try_from(FRAME_HEADER_BYTES + body_bytes).expect("small");
        let places = end.at - bytes..end.at;
        let (segment, sequence, offsets) = (end.segment, end.sequence, first..end.offset.0);
        frames.push(Written { segment, sequence, places, offsets });
    }
    world.close();
    (world, frames)
}

/// The frames that byte `at` of a segment belongs to. A byte of a slot may be any frame's that
/// ends in the last page.
fn hit(frames: &[Written], segment: u32, at: u32) -> Vec<Written> {
    let page_bytes = GEOMETRY.page_bytes;
    // A segment that was recycled holds the newer ones.
    let here = frames.iter().filter(|frame| frame.segment == segment);
    let sequence = here.clone().map(|frame| frame.sequence).max();
    let in_segment = here.filter(|frame| Some(frame.sequence) == sequence);
    let last_page = in_segment.clone().map(|frame| GEOMETRY.page_at(frame.places.end - 1)).max();
    let is_hit = |frame: &&Written| match at / page_bytes {
        0 => false,
        1 | 2 => last_page.is_some_and(|page| frame.places.contains(&(page + at % page_bytes))),
        _ => frame.places.contains(&at),
    };
    in_segment.filter(is_hit).cloned().collect()
}

#[test]
fn a_bit_that_turned_costs_the_frame_that_it_was_in_and_nothing_else() {
    for seed in 0..400 {
        let (mut world, frames) = closed_log(seed);
        let (segment, bit) = match frames.last() {
            Some(last) => {
                let segments = frames.iter().map(|frame| frame.segment).max().unwrap_or(0) + 1;
                let segment = u32::try_from(world.random.below(segments as usize)).expect("few");
                let end = if segment == last.segment { last.places.end } else { 16 << 10 };
                (segment, world.random.below(end as usize * 8))
            }
            None => (0, world.random.below(8 * 3072)),
        };
        let at = u32::try_from(bit / 8).expect("inside a segment");
        world.disk.flip(segment, bit);
        let hit = hit(&frames, segment, at);
        for frame in &hit {
            world.model.doubt(frame.offsets.clone());
        }
        // A damaged end cannot be told from a torn one: its offsets may be given out again.
        if let (Some(hit), Some(last)) = (hit.last(), frames.last())
            && hit.offsets == last.offsets
        {
            world.model.next = hit.offsets.start;
        }
        // What the opening of an earlier life noted may be hit, too.
        world.model.generations.clear();
        world.open().unwrap_or_else(|error| panic!("seed {seed}, byte {at}: {error}"));
        for _ in 0..20 {
            world.step().expect("there is power");
        }
        world.commit().expect("there is power");
        world.close();
        world.open().expect("there is power");
    }
}

/// Opens whatever there is and reads it to the end.
fn read_anything(disk: &Disk, random: &mut Random) {
    let geometry = disk.geometry();
    let buffer = vec![0; buffer_bytes(geometry, 4096)].into_boxed_slice();
    let Ok(recovery) = Recovery::run(disk.clone(), buffer, Offset(0), crc32c, &mut |_| {}) else {
        return;
    };
    let clock = Clock { wall: Timestamp(0), age: Age(0), trusted: false };
    let number = random.number();
    let generation = u32::try_from(number >> 32).expect("32 bits");
    let entropy = Entropy { log_id: number, generation, salt: random.number() };
    let log = recovery.begin(entropy, clock, &[]).expect("the device works");
    let mut reader = Reader::new(Offset(0), crc32c);
    let mut buffer = vec![0; 16 << 10];
    for _ in 0..CHUNKS_MAX {
        let Some(chunk) = reader.read(&disk.reader(), log.end(), &mut buffer).expect("fits") else {
            return;
        };
        for item in chunk {
            if let Item::Events(events) = item {
                assert!(events.count() <= 1 << 16);
            }
        }
    }
    panic!("the log has no end");
}

#[test]
fn bytes_of_any_kind_are_opened_and_read_to_an_end() {
    for seed in 0..400 {
        let (world, _) = closed_log(seed);
        let mut random = Random::new(seed);
        for _ in 0..=random.below(20) {
            let (from, to) = (random.below(4), random.below(4));
            let mut bytes = world.disk.segment(u32::try_from(to).expect("four"));
            let source = world.disk.segment(u32::try_from(from).expect("four"));
            let count = 1 << random.below(14);
            let (at, other) =
                (random.below(bytes.len() - count), random.below(bytes.len() - count));
            match random.below(4) {
                0 => random.fill(&mut bytes[at..at + count]),
                1 => bytes[at..at + count].fill(0),
                2 => bytes[at..at + count].copy_from_slice(&source[other..other + count]),
                _ => bytes.copy_from_slice(&source),
            }
            world.disk.put_segment(u32::try_from(to).expect("four"), &bytes);
        }
        read_anything(&world.disk, &mut random);
    }
}
