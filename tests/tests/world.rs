//! The simulated world, over many seeds.
//!
//! `TRIBUTARY_SEED=N` lives through one world; `TRIBUTARY_SECONDS=N` through as many as there is
//! time for, from a seed that differs from run to run.
#![expect(clippy::print_stdout, reason = "how many worlds there were is part of the result")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;
use std::{env, thread};

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use tributary_tests::world::{Outcome, live};

/// Worlds of an ordinary run.
const WORLDS: u64 = 2_000;

#[test]
fn keeps_its_promises() {
    if let Some(seed) = number("TRIBUTARY_SEED") {
        println!("{:#?}", outcome(seed));
        return;
    }
    let started = Instant::now();
    let tally = match number("TRIBUTARY_SECONDS").map(Duration::from_secs) {
        None => live_through(0, |seed| seed < WORLDS),
        Some(time) => live_through(fastrand::u64(..) >> 16, |_| started.elapsed() < time),
    };
    tally.print(started.elapsed());
    // A world in which nothing happens proves nothing.
    assert!(tally.records > 0 && tally.acked > 0 && tally.heard > 0 && tally.wills > 0);
    assert!(tally.detours.iter().all(|count| *count > 0));
    let stands = tally.worlds - tally.states["live"];
    assert!(stands * 4 < tally.worlds, "too many lanes stand still: {tally:?}");
}

#[test]
fn repeats_itself() {
    for seed in 0..50 {
        assert_eq!(outcome(seed), outcome(seed));
    }
}

/// The worlds of all seeds from `first` on, as long as `goes_on`: several at a time.
fn live_through(first: u64, goes_on: impl Fn(u64) -> bool + Sync) -> Tally {
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(seed) {
                        break;
                    }
                    let outcome = outcome(seed);
                    tally.lock().expect("no world has failed").count(&outcome);
                }
            });
        }
    });
    tally.into_inner().expect("no world has failed")
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn outcome(seed: u64) -> Outcome {
    live(seed).unwrap_or_else(|why| panic!("TRIBUTARY_SEED={seed} repeats it: {why:?}"))
}

/// What many worlds came to.
#[derive(Debug, Default)]
struct Tally {
    worlds: u64,
    readings: u64,
    acked: u64,
    records: u64,
    lost: u64,
    evicted: u64,
    heard: u64,
    wills: u64,
    detours: [u64; 2],
    ms: u64,
    states: BTreeMap<&'static str, u64>,
    misfortunes: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.readings += outcome.readings;
        self.acked += outcome.acked;
        self.records += outcome.records;
        self.lost += outcome.lost;
        self.evicted += outcome.evicted;
        self.heard += outcome.heard;
        self.wills += outcome.wills;
        let [left, returned] = outcome.detours;
        self.detours = [self.detours[0] + left, self.detours[1] + returned];
        self.ms += outcome.ms;
        *self.states.entry(outcome.state).or_default() += 1;
        for name in &outcome.misfortunes {
            *self.misfortunes.entry(name).or_default() += 1;
        }
    }

    fn print(&self, took: Duration) {
        let Self { worlds, readings, acked, records, ms, states, misfortunes, .. } = self;
        let Self { lost, evicted, heard, wills, .. } = self;
        let (seconds, hours) = (took.as_secs_f64(), ms / 3_600_000);
        println!("{worlds} worlds in {seconds:.1} s, {hours} virtual hours");
        println!("{readings} readings, {acked} acknowledged, {records} records in Kafka");
        println!("{evicted} events made room in full logs, {lost} records are lost by that");
        println!("{heard} messages to subscribers, {wills} wills in the log");
        let [left, returned] = self.detours;
        println!("lanes went on without {left} topics, {returned} times some came back");
        println!("lanes at the end: {states:?}\nmisfortunes: {misfortunes:?}");
    }
}
