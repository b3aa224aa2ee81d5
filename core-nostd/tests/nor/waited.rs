//! The same log behind the asynchronous traits: it writes the same bytes with as many operations, and
//! what is given up in the middle costs nothing that was acknowledged.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::BTreeMap;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use embedded_storage_async::nor_flash as later;
use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::nor::asynchronous::{NorFound, NorLog};
use tributary_core::log::nor::{self, NorError, NorGeometry, NorReader};
use tributary_core::log::{Entropy, Frame, Item};

use super::sim::{SECTOR, Sim, SimError};
use super::{FRAME_BYTES, ROUND, SECTORS, SLOW, body, clock, payload};

const ENTROPY: Entropy = Entropy { log_id: 7, generation: 1, salt: 99 };

/// A flash that is never ready at once. At one operation it is not ready ever again.
struct Later {
    sim: Sim,
    operations: u64,
    stuck_at: u64,
    /// Whether the operation at which it gets stuck is done all the same.
    is_done: bool,
}

thread_local! {
    /// Whether an operation is not ready ever again; what waits for it has to be given up.
    static STUCK: Cell<bool> = const { Cell::new(false) };
}

impl Later {
    fn new(stuck_at: u64, is_done: bool) -> Self {
        let sim = Sim::new(SECTORS as usize, 1);
        Self { sim, operations: 0, stuck_at, is_done }
    }

    /// Waits once; `true` if for ever.
    async fn wait(&mut self) -> bool {
        let mut polled = false;
        poll_fn(|_| {
            if core::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.operations += 1;
        self.operations - 1 == self.stuck_at
    }

    async fn stick(&self) {
        STUCK.set(true);
        poll_fn(|_| Poll::<()>::Pending).await;
    }
}

impl ErrorType for Later {
    type Error = SimError;
}

impl later::ReadNorFlash for Later {
    const READ_SIZE: usize = Sim::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SimError> {
        if self.wait().await {
            self.stick().await;
        }
        self.sim.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.sim.capacity()
    }
}

impl later::NorFlash for Later {
    const WRITE_SIZE: usize = Sim::WRITE_SIZE;
    const ERASE_SIZE: usize = Sim::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), SimError> {
        let is_stuck = self.wait().await;
        let done = if is_stuck && !self.is_done { Ok(()) } else { self.sim.erase(from, to) };
        if is_stuck {
            self.stick().await;
        }
        done
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimError> {
        let is_stuck = self.wait().await;
        let done = if is_stuck && !self.is_done { Ok(()) } else { self.sim.write(offset, bytes) };
        if is_stuck {
            self.stick().await;
        }
        done
    }
}

/// Polls to the end; `None`: it was given up.
fn drive<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
        if STUCK.take() {
            return None;
        }
    }
}

fn geometry() -> NorGeometry {
    NorGeometry::of(SECTORS as usize * SECTOR, SECTOR)
}

type Log<'f> = NorLog<&'f mut Later, Vec<u8>>;

fn found(flash: &mut Later) -> Option<NorFound<&mut Later, Vec<u8>>> {
    let buffer = vec![0; FRAME_BYTES];
    let found = drive(NorLog::mount(flash, buffer, geometry(), crc32c, &mut |_| {}))?;
    Some(found.expect("mounting only reads"))
}

/// Appends, in the next segment if need be; `None`: given up.
fn append(log: &mut Log<'_>, serial: u64) -> Option<u64> {
    let body = body(serial);
    let frame = Frame { count: 1, clock: clock(0), body: &body };
    loop {
        let offset = log.next_offset().0;
        match drive(log.append(&frame))? {
            Ok(()) => return Some(offset),
            Err(NorError::SegmentFull) => drop(drive(log.roll(&[], clock(0)))?.expect("it rolls")),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn both_ways_write_the_same_bytes() {
    let mut flash = Later::new(u64::MAX, false);
    let mut begun = found(&mut flash).expect("it does not get stuck");
    drive(begun.begin(ENTROPY, clock(0), &[])).expect("it ends").expect("a generation begins");
    let mut log = begun.into_log();
    for serial in 0..ROUND {
        append(&mut log, serial).expect("it does not get stuck");
    }
    let sim = Sim::new(SECTORS as usize, 1);
    let mounted = nor::NorLog::mount(sim, vec![0; FRAME_BYTES], geometry(), crc32c, &mut |_| {});
    let mut begun = mounted.expect("mounting only reads");
    begun.begin(ENTROPY, clock(0), &[]).expect("a generation begins");
    let mut log = begun.into_log();
    for serial in 0..ROUND {
        let body = body(serial);
        let frame = Frame { count: 1, clock: clock(0), body: &body };
        if log.append(&frame).is_err() {
            log.roll(&[], clock(0)).expect("it rolls");
            log.append(&frame).expect("there is room");
        }
    }
    let sim = log.into_parts().0;
    assert_eq!(flash.sim.done, sim.done);
    assert!(flash.sim.bytes() == sim.bytes(), "the images differ");
}

/// What can be read of events.
fn events(log: &mut Log<'_>) -> BTreeMap<u64, Vec<u8>> {
    let (mut reader, mut buffer) = (NorReader::new(Offset(0)), vec![0; FRAME_BYTES]);
    let mut events = BTreeMap::new();
    loop {
        // Given up: the reader is where it was.
        let Some(read) = drive(log.read(&mut reader, &mut buffer)) else { continue };
        let Some(chunk) = read.expect("it can be read") else { return events };
        for item in chunk {
            let Item::Events(frame) = item else { continue };
            events.extend(frame.map(|(offset, event)| (offset.0, event.payload.to_vec())));
        }
    }
}

fn judge(log: &mut Log<'_>, acked: &BTreeMap<u64, u64>) {
    let (oldest, events) = (log.oldest().0, events(log));
    for (offset, serial) in acked.range(oldest..) {
        assert_eq!(events.get(offset), Some(&payload(*serial)), "event {offset}");
    }
}

/// One opening, some work, and what was acknowledged; goes on with the same log where an append was given up.
fn live(flash: &mut Later, acked: &mut BTreeMap<u64, u64>, events: u64) {
    let Some(mut begun) = found(flash) else { return };
    let entropy = Entropy { generation: 2 + u32::try_from(acked.len()).expect("few"), ..ENTROPY };
    if let Some(begun) = drive(begun.begin(entropy, clock(0), &[])) {
        begun.expect("a generation begins");
    } else {
        // Asked again, it begins the next segment.
        drive(begun.begin(entropy, clock(0), &[])).expect("it ends").expect("a generation begins");
    }
    let mut log = begun.into_log();
    for _ in 0..events {
        let serial = 1_000 + acked.len() as u64;
        if let Some(offset) = append(&mut log, serial) {
            assert!(acked.insert(offset, serial).is_none(), "{offset} is given out once");
        }
    }
    judge(&mut log, acked);
}

#[test]
fn what_is_given_up_in_the_middle_costs_nothing_that_was_acknowledged() {
    let (operations, every) = (ROUND + 60, if SLOW { 50 } else { 1 });
    let mut stuck = 0_u64;
    for stuck_at in (0..operations).step_by(every) {
        let both = if SLOW { &[true][..] } else { &[false, true] };
        for &is_done in both {
            let (mut flash, mut acked) = (Later::new(stuck_at, is_done), BTreeMap::new());
            live(&mut flash, &mut acked, ROUND / 2);
            live(&mut flash, &mut acked, ROUND / 2);
            stuck += u64::from(flash.operations > stuck_at);
            live(&mut flash, &mut acked, 1);
            assert!(acked.len() as u64 >= ROUND / 2, "{} events", acked.len());
        }
    }
    assert!(stuck >= ROUND / every as u64, "{stuck} were given up");
}
