//! The log, and the rules, on a Cortex-M4F: appends events, is reset in the middle of a word, recovers,
//! checks everything that it ever acknowledged, and goes on.
//!
//! The flash is a model in RAM that a reset leaves alone. Prints by semihosting; ends with success
//! after [`RESETS`] resets, or fails where anything is wrong.
#![no_std]
#![no_main]

mod console;
mod crc;
mod flash;
mod readings;
mod witness;

use core::mem::size_of;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use tributary_core::Offset;
use tributary_core::log::nor::{NorError, NorGeometry, NorLog, NorReader};
use tributary_core::log::{Clock, ControlKind, Entropy, Frame, Item};
use tributary_core::time::{Age, Timestamp};

use console::Line;
use flash::RamNor;
use readings::{Filter, READING_BYTES, Readings};

/// The largest frame.
const FRAME_BYTES: usize = 256;
/// How often the machine is reset.
const RESETS: u32 = 300;
/// The records that every segment begins with.
const SNAPSHOT: &[(ControlKind, &[u8])] = &[];

/// The log of this program.
type Log = NorLog<RamNor, [u8; FRAME_BYTES]>;

#[entry]
fn main() -> ! {
    let flash = RamNor::after_reset();
    let geometry = NorGeometry::whole(&flash);
    let mut log = open(flash, geometry);
    let (kept, selected) = check(&mut log);
    if witness::resets() >= RESETS {
        report(&log, kept, selected);
        debug::exit(debug::EXIT_SUCCESS);
    }
    witness::plan_reset();
    work(&mut log)
}

/// Finds what is there, and begins a generation.
fn open(flash: RamNor, geometry: NorGeometry) -> Log {
    let mounted = NorLog::mount(flash, [0; FRAME_BYTES], geometry, crc::crc32c, &mut |_| {});
    let Ok(mut found) = mounted else { panic!("the log cannot be read") };
    let entropy = Entropy {
        log_id: u64::from(witness::number()),
        generation: witness::number(),
        salt: u64::from(witness::number()) << 32 | u64::from(witness::number()),
    };
    assert!(found.begin(entropy, clock(0), SNAPSHOT).is_ok(), "a generation begins");
    found.into_log()
}

fn clock(age: u64) -> Clock {
    Clock { wall: Timestamp(0), age: Age(age), trusted: false }
}

/// Everything that was acknowledged is there, in order and as it was: how many, and how many of them
/// the rule selects.
fn check(log: &mut Log) -> (u64, u64) {
    let oldest = log.oldest();
    let mut reader = NorReader::new(oldest);
    let (mut buffer, mut due, mut selected) = ([0; FRAME_BYTES], oldest, 0);
    let mut filter = Filter::new();
    loop {
        let Ok(chunk) = log.read(&mut reader, &mut buffer) else { panic!("it can be read") };
        let Some(chunk) = chunk else { break };
        for item in chunk {
            match item {
                Item::Control(_) => {}
                Item::Gap { .. } => panic!("a gap in what was acknowledged"),
                Item::Events(events) => {
                    for (offset, event) in events {
                        assert!(offset == due, "offsets are dense");
                        due = due.plus(1);
                        assert!(Readings::is(offset, &event), "an event is as it was written");
                        selected += u64::from(filter.selects(offset, &event));
                    }
                }
            }
        }
    }
    assert!(due == log.next_offset(), "the log ends where it says");
    assert!(due.0 >= u64::from(witness::acknowledged()), "what was acknowledged is there");
    (due.0 - oldest.0, selected)
}

/// Appends until the reset.
fn work(log: &mut Log) -> ! {
    let mut body = [0; READING_BYTES];
    loop {
        let offset = log.next_offset();
        let body = Readings::encode(offset, &mut body);
        if cfg!(feature = "early") {
            witness::acknowledge(offset.plus(1));
        }
        let frame = Frame { count: 1, clock: clock(0), body };
        match log.append(&frame) {
            Ok(()) => witness::acknowledge(offset.plus(1)),
            Err(NorError::SegmentFull) => {
                assert!(log.roll(SNAPSHOT, clock(0)).is_ok(), "the next segment begins");
            }
            Err(_) => panic!("this flash does not fail"),
        }
    }
}

fn report(log: &Log, kept: u64, selected: u64) {
    let Offset(next) = log.next_offset();
    Line::new()
        .number(u64::from(witness::resets()))
        .text(" resets, ")
        .number(next)
        .text(" events appended, ")
        .number(kept)
        .text(" kept, all that was acknowledged; ")
        .number(selected)
        .text(" selected\nstate of the log ")
        .number((size_of::<Log>() - FRAME_BYTES) as u64)
        .text(" bytes and a frame of ")
        .number(FRAME_BYTES as u64)
        .text("\n");
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    Line::new().text("failed at ").text(file).text(":").number(u64::from(line)).text("\n");
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
