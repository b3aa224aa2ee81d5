//! On a simulated NOR flash of 16 MiB with sectors of 4 KiB and words of 4 bytes, which counts and is
//! strict: the flash of the log's own tests.

#[path = "../../../core-nostd/tests/nor/sim.rs"]
#[expect(dead_code, reason = "its cuts and faults are for those tests")]
mod sim;

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use anyhow::{Context as _, Result, anyhow, bail};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sequential_storage::cache::page_pointers::ArrayPagePointers;
use sequential_storage::cache::page_states::CalculatedPageStates;
use sequential_storage::cache::{Cache, CacheImpl, Uncached};
use sequential_storage::queue::{QueueConfig, QueueStorage};
use sim::{Done, SECTOR, Sim, SimError};
use tributary::io::crc::crc32c;
use tributary_core::Offset;
use tributary_core::log::nor::{NorError, NorGeometry, NorLog, NorReader};
use tributary_core::log::{Clock, Entropy, Frame};
use tributary_core::time::{Age, Timestamp};

const SECTORS: u32 = 4096;
const FRAME_BYTES: usize = 512;
/// A small reading.
const EVENT_BYTES: usize = 24;
/// The flash is gone round once and a half.
const ERASES: u64 = 6_200;
/// Appends that are counted: over some dozens of sectors.
const APPENDS: u32 = 2_000;

/// What one of the two costs.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// Who.
    pub name: &'static str,
    /// Reads and bytes from nothing to the first append, that one included.
    pub mount: (u64, u64),
    /// Programs and reads per append, new sectors included.
    pub append: (f64, f64),
    /// Programs and reads of appends within a sector, where it is told apart.
    pub within: Option<(u64, u64)>,
    /// Reads to the event in the middle.
    pub seek: u64,
    /// Bytes of state in RAM, buffers apart.
    pub state: usize,
}

/// Both.
pub fn measure() -> Result<Vec<Costs>> {
    Ok(vec![
        ours()?,
        queue("sequential-storage 8", Cached::No)?,
        queue("the same, with its caches", Cached::Yes)?,
    ])
}

fn clock() -> Clock {
    Clock { wall: Timestamp(0), age: Age(0), trusted: false }
}

type Ours = NorLog<Sim, Vec<u8>>;

fn mount(flash: Sim, generation: u32) -> Result<(Ours, u64)> {
    let geometry = NorGeometry::whole(&flash);
    let mounted = NorLog::mount(flash, vec![0; FRAME_BYTES], geometry, crc32c, &mut |_| {});
    let mut found = mounted.map_err(|error| anyhow!("{error}"))?;
    let entropy = Entropy { log_id: 7, generation, salt: u64::from(generation) };
    let reads = u64::from(found.report().reads);
    found.begin(entropy, clock(), &[]).map_err(|error| anyhow!("{error}"))?;
    Ok((found.into_log(), reads))
}

fn append(log: &mut Ours) -> Result<()> {
    let frame = Frame { count: 1, clock: clock(), body: &[0x5A; EVENT_BYTES] };
    loop {
        match log.append(&frame) {
            Ok(()) => return Ok(()),
            Err(NorError::SegmentFull) => {
                log.roll(&[], clock()).map_err(|error| anyhow!("{error}"))?;
            }
            Err(error) => bail!("{error}"),
        }
    }
}

fn ours() -> Result<Costs> {
    let (mut log, _) = mount(Sim::new(SECTORS as usize, 1), 1)?;
    while log.flash().done.erases < ERASES {
        append(&mut log)?;
    }
    let mut flash = log.into_parts().0;
    flash.done = Done::default();
    let (mut log, _) = mount(flash, 2)?;
    append(&mut log)?;
    let mounted = log.flash().done;
    log.flash().done = Done::default();
    (0..10).try_for_each(|_| append(&mut log))?;
    let within = log.flash().done;
    log.flash().done = Done::default();
    (0..APPENDS).try_for_each(|_| append(&mut log))?;
    let appended = log.flash().done;
    let (oldest, next) = (log.oldest().0, log.next_offset().0);
    let mut seek = 0;
    for step in 0..64 {
        log.flash().done = Done::default();
        let mut reader = NorReader::new(Offset(oldest + (next - oldest) * step / 64));
        log.seek(&mut reader).map_err(|error| anyhow!("{error}"))?;
        seek = seek.max(log.flash().done.reads);
    }
    Ok(Costs {
        name: "tributary",
        mount: (mounted.reads, mounted.read_bytes),
        append: per_append(appended),
        within: Some((within.programs, within.reads)),
        seek,
        state: size_of::<NorLog<&mut Sim, &mut [u8]>>(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "ratios")]
fn per_append(done: Done) -> (f64, f64) {
    let each = |count: u64| count as f64 / f64::from(APPENDS);
    (each(done.programs), each(done.reads))
}

/// The same flash behind the asynchronous traits: it never waits.
struct Ready(Sim);

impl ErrorType for Ready {
    type Error = SimError;
}

impl embedded_storage_async::nor_flash::ReadNorFlash for Ready {
    const READ_SIZE: usize = Sim::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SimError> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl embedded_storage_async::nor_flash::NorFlash for Ready {
    const WRITE_SIZE: usize = Sim::WRITE_SIZE;
    const ERASE_SIZE: usize = Sim::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), SimError> {
        self.0.erase(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimError> {
        self.0.write(offset, bytes)
    }
}

fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

type Error = sequential_storage::Error<SimError>;

fn said(error: &Error) -> anyhow::Error {
    anyhow!("sequential-storage: {error:?}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cached {
    No,
    Yes,
}

fn queue(name: &'static str, cached: Cached) -> Result<Costs> {
    let config = || QueueConfig::<Ready>::new(0..SECTORS * u32::try_from(SECTOR).unwrap_or(0));
    let caches = || {
        let states = CalculatedPageStates::new(SECTORS as usize);
        Cache::new(states, ArrayPagePointers::<{ SECTORS as usize }>::new(), Uncached)
    };
    let flash = Ready(Sim::new(SECTORS as usize, 1));
    let mut filling = QueueStorage::new(flash, config(), caches());
    while filling.flash().0.done.erases < ERASES {
        now(filling.push(&[0x5A; EVENT_BYTES], true)).map_err(|error| said(&error))?;
    }
    let mut flash = filling.destroy().0;
    flash.0.done = Done::default();
    match cached {
        Cached::No => counted(name, QueueStorage::new(flash, config(), Cache::new_uncached())),
        Cached::Yes => counted(name, QueueStorage::new(flash, config(), caches())),
    }
}

fn counted<C: CacheImpl<()>>(
    name: &'static str,
    mut queue: QueueStorage<Ready, C>,
) -> Result<Costs> {
    // A reference stands for the flash.
    let state = size_of_val(&queue) - size_of::<Ready>() + size_of::<&mut Ready>();
    let event = [0x5A; EVENT_BYTES];
    now(queue.push(&event, true)).map_err(|error| said(&error))?;
    let mounted = queue.flash().0.done;
    queue.flash().0.done = Done::default();
    for _ in 0..APPENDS {
        now(queue.push(&event, true)).map_err(|error| said(&error))?;
    }
    let appended = queue.flash().0.done;
    let seek = middle(&mut queue)?;
    Ok(Costs {
        name,
        mount: (mounted.reads, mounted.read_bytes),
        append: per_append(appended),
        within: None,
        seek,
        state,
    })
}

/// Reads from the oldest to the middle: there is no other way to it.
fn middle<C: CacheImpl<()>>(queue: &mut QueueStorage<Ready, C>) -> Result<u64> {
    let mut buffer = [0; 64];
    let mut count = 0_u64;
    let mut all = now(queue.iter()).map_err(|error| said(&error))?;
    while now(all.next(&mut buffer)).map_err(|error| said(&error))?.is_some() {
        count += 1;
    }
    drop(all);
    queue.flash().0.done = Done::default();
    let mut all = now(queue.iter()).map_err(|error| said(&error))?;
    for _ in 0..count / 2 {
        now(all.next(&mut buffer)).map_err(|error| said(&error))?.context("it was there")?;
    }
    drop(all);
    Ok(queue.flash().0.done.reads)
}
