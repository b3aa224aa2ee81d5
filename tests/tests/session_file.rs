//! The file of sessions on cards that rot: bits that flip, pages that hold zeros or something else, pages
//! that were never written, ends that are missing. Never a panic, which would be the end of each start.
//! `TRIBUTARY_ROT` says how many files are damaged (60 unless it is set), `TRIBUTARY_ROT_FROM` which
//! is the first.

use core::panic::AssertUnwindSafe;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use fastrand::Rng;
use tributary::io::sessions::{ASIDE, SessionStore, StoreError};
use tributary::runtime::sessions::{Change, Noted, State};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};

const LOG: u64 = 7;
const NAME: &str = "sessions.redb";
const PAGE: usize = 4096;
const CASES: u64 = 60;
/// How often it was opened and closed before.
const GENERATIONS: u64 = 4;

/// What a file was at some time, and all that may be found in it.
struct Life {
    images: Vec<Vec<u8>>,
    states: Vec<State>,
}

impl Life {
    /// Files as they were while sessions came and went, each at once and behind an orderly end.
    fn live() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut state = State::default();
        let (mut images, mut states) = (Vec::new(), Vec::new());
        for generation in 0..GENERATIONS {
            let mut store = open(dir.path())?;
            for turn in 0..3 {
                step(&mut state, generation * 3 + turn);
                store.write(&mut state).map_err(|why| anyhow!("{why}"))?;
                state.take_touched();
                states.push(state.clone());
            }
            images.push(fs::read(dir.path().join(NAME))?);
            drop(store);
            images.push(fs::read(dir.path().join(NAME))?);
        }
        Ok(Self { images, states })
    }
}

fn open(dir: &Path) -> Result<SessionStore> {
    SessionStore::open(dir, LOG).map_err(|why| anyhow!("{why}"))
}

/// Some come, some go; some messages need many pages, some are no more.
fn step(state: &mut State, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..30 {
        let (number, at) = (state.applied.change, state.applied.offset);
        let client = format!("press-{}", rng.u32(..60));
        let filter = "x".repeat(rng.usize(1..300));
        let change = match rng.u32(..4) {
            0 => Change::Ended,
            1 => Change::Begun { fresh: true, expiry_s: 60, will: None },
            _ => Change::Subscribed { filter: &filter, options: 1, identifier: 0 },
        };
        state.apply_change(number, Noted { client: &client, at, change });
        let topic = format!("plant/{}", rng.u32(..20));
        let bytes = if rng.bool() { 0 } else { rng.usize(1..12_000) };
        let mut payload = vec![0; bytes];
        rng.fill(&mut payload);
        let event = Event {
            topic: &topic,
            payload: &payload,
            client: "press",
            time: Timestamp(5),
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: None,
            origin: Origin::Device,
            properties: Properties::NONE,
        };
        state.apply_event(at, &event, Age(0));
    }
}

/// What a card does to a file; `other` is what the same file was at another time.
fn damage(rng: &mut Rng, image: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.usize(1..4) {
        let pages = image.len() / PAGE;
        if pages == 0 {
            return;
        }
        // What the file is read by lies at its start.
        let page = if rng.u32(..4) == 0 { 0 } else { rng.usize(..pages) * PAGE };
        match rng.u32(..10) {
            0 | 1 => {
                let reach = if page == 0 { 400 } else { PAGE };
                for _ in 0..rng.usize(1..4) {
                    image[page + rng.usize(..reach)] ^= 1 << rng.u32(..8);
                }
            }
            2 => image[page..page + PAGE].fill(0),
            3 => image[page..page + PAGE].fill(0xFF),
            4 => rng.fill(&mut image[page..page + PAGE]),
            5 => {
                let from = rng.usize(..pages) * PAGE;
                image.copy_within(from..from + PAGE, page);
            }
            6 | 7 => {
                let count = rng.usize(1..9) * PAGE;
                let end = (page + count).min(image.len()).min(other.len());
                if page < end {
                    image[page..end].copy_from_slice(&other[page..end]);
                }
            }
            8 => image.truncate(if rng.bool() { page } else { rng.usize(..image.len()) }),
            _ => image.extend((0..rng.usize(1..3 * PAGE)).map(|_| 0)),
        }
    }
}

/// What became of a damaged file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Became {
    Read,
    Anew,
}

/// A start with the file, what is told next, and the start behind that.
fn live_with(dir: &Path, life: &Life) -> Result<Became> {
    let last = life.states.last().ok_or_else(|| anyhow!("it has lived"))?;
    let loaded = SessionStore::open(dir, LOG).and_then(|store| {
        let found = store.load(true)?;
        Ok((store, found))
    });
    let (mut store, mut state, became) = match loaded {
        Ok((store, found)) => {
            ensure!(found.has_all(), "rows: {:?} {:?}", found.clients, found.topics);
            (store, found.state, Became::Read)
        }
        Err(StoreError::Damaged(_)) => {
            let store = SessionStore::create(dir, LOG, last).map_err(|why| anyhow!("{why}"))?;
            ensure!(dir.join(ASIDE).exists());
            (store, last.clone(), Became::Anew)
        }
        Err(StoreError::Device(why)) => bail!("not the disk's fault: {why}"),
    };
    ensure!(state == State::default() || life.states.contains(&state), "it never was so");
    for turn in 0..3 {
        step(&mut state, 1_000 + turn);
        store.write(&mut state).map_err(|why| anyhow!("turn {turn}: {why}"))?;
    }
    drop(store);
    let found = open(dir)?.load(true).map_err(|why| anyhow!("{why}"))?;
    state.take_touched();
    ensure!(found.has_all() && found.state == state, "not what was written");
    Ok(became)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_rotten_file_keeps_the_daemon_from_starting() -> Result<()> {
    let life = Life::live()?;
    let cases = number("TRIBUTARY_ROT").unwrap_or(CASES);
    let first = number("TRIBUTARY_ROT_FROM").unwrap_or(0);
    let mut became = std::collections::BTreeMap::new();
    for seed in first..first + cases {
        let mut rng = Rng::with_seed(seed);
        let mut image = life.images[rng.usize(..life.images.len())].clone();
        let other = &life.images[rng.usize(..life.images.len())];
        damage(&mut rng, &mut image, other);
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join(NAME), image)?;
        let lived = catch_unwind(AssertUnwindSafe(|| live_with(dir.path(), &life)));
        let lived = lived.map_err(|_| anyhow!("TRIBUTARY_ROT_FROM={seed}: a panic"))?;
        let lived = lived.map_err(|why| anyhow!("TRIBUTARY_ROT_FROM={seed}: {why}"))?;
        *became.entry(lived).or_insert(0) += 1;
    }
    println!("{became:?}");
    ensure!(cases < CASES || became.len() == 2, "{became:?}");
    Ok(())
}
