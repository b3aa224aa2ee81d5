//! Bytes that nobody wrote in good faith: each target takes them without a panic, without hanging,
//! and without more memory than it may.
//!
//! `cargo test` feeds each target the stored corpus and some thousands of changed good inputs;
//! `TRIBUTARY_SECONDS=N` feeds each for so long, from a seed that differs from run to run;
//! `TRIBUTARY_SEED=N` repeats one input, which a failure names.

use std::env;
use std::panic::catch_unwind;
use std::time::Instant;

use core::panic::AssertUnwindSafe;
use core::time::Duration;

use fastrand::Rng;
use tributary_tests::fuzz::{INPUT_BYTES_MAX, MEMORY_BYTES_MAX, TARGETS, Target, target};

/// Inputs of each target in an ordinary run.
const INPUTS: u64 = 20_000;

/// Feeds a target until it has had enough.
fn run(name: &str) {
    let target = target(name).expect("it is a target");
    let corpus = target.corpus().unwrap_or_else(|error| panic!("no corpus of {name}: {error}"));
    let good = [(target.good)(), corpus].concat();
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TRIBUTARY_SEED") {
        (target.feed)(&input(seed, &good));
        return;
    }
    for bytes in &good {
        feed(&target, bytes, "the corpus");
    }
    let time = number("TRIBUTARY_SECONDS").map(Duration::from_secs);
    let (begun, first) = (Instant::now(), time.map_or(0, |_| fastrand::u64(..) >> 16));
    for seed in first.. {
        let enough = time.map_or(seed == INPUTS, |time| begun.elapsed() > time);
        if enough {
            return;
        }
        feed(&target, &input(seed, &good), &format!("TRIBUTARY_SEED={seed}"));
    }
}

fn feed(target: &Target, bytes: &[u8], from: &str) {
    let mut memory = 0;
    let fed = catch_unwind(AssertUnwindSafe(|| {
        memory = allocation_counter::measure(|| (target.feed)(bytes)).bytes_max;
    }));
    let shown = bytes.escape_ascii();
    assert!(fed.is_ok(), "{from} repeats it: {shown}");
    assert!(memory <= MEMORY_BYTES_MAX, "{from} takes {memory} bytes: {shown}");
}

/// Good bytes with some changes.
fn input(seed: u64, good: &[Vec<u8>]) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut bytes = good[rng.usize(..good.len())].clone();
    for _ in 0..rng.usize(..6) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            3 if at < bytes.len() => bytes[at] = [0, 0x7F, 0x80, 0xFF, b'"', b'\\'][rng.usize(..6)],
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 => {
                let other = &good[rng.usize(..good.len())];
                let from = rng.usize(..=other.len());
                let to = from + rng.usize(..=(other.len() - from).min(64));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let end = at + rng.usize(..=(bytes.len() - at).min(32));
                let piece = bytes[at..end].to_vec();
                let again = rng.usize(..5);
                bytes.splice(at..at, piece.repeat(again));
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

#[test]
fn expressions() {
    run("expressions");
}

#[test]
fn payloads() {
    run("payloads");
}

#[test]
fn programs() {
    run("programs");
}

#[test]
fn configurations() {
    run("configurations");
}

#[test]
fn packets() {
    run("packets");
}

#[test]
fn access_lists() {
    run("access_lists");
}

#[test]
fn passwords() {
    run("passwords");
}

#[test]
fn layers() {
    run("layers");
}

#[test]
fn records() {
    run("records");
}

#[test]
fn controls() {
    run("controls");
}

#[test]
fn questions() {
    run("questions");
}

#[test]
fn answers() {
    run("answers");
}

#[test]
fn every_target_is_fed() {
    let source = include_str!("fuzz.rs");
    for Target { name, .. } in TARGETS {
        assert!(source.contains(&format!("run(\"{name}\")")), "{name}");
    }
}
