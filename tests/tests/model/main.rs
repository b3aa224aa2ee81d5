//! Random clients against the daemon's sessions, and a model of what MQTT promises them: wildcards, overlapping
//! and shared subscriptions with all their options and identifiers, retained messages, messages and sessions that
//! expire, wills, clean starts, take-overs, crashes, clocks that are set late or jump, an access list that changes in
//! between, and a log that is full and holds for a while. In virtual time; all of it follows from one number.
//!
//! `TRIBUTARY_SEED=N` repeats a life; `TRIBUTARY_SECONDS=N` makes as many as there is time for.

mod client;
mod gateway;
mod life;
mod promises;

use std::env;
use std::time::Instant;

use life::{Outcome, live};

/// Lives of an ordinary run.
const LIVES: u64 = 1_500;

#[test]
fn clients_get_what_they_are_promised() {
    if let Some(seed) = number("TRIBUTARY_SEED") {
        println!("{:#?}", outcome(seed));
        return;
    }
    let started = Instant::now();
    let (mut lives, mut all) = (0, Outcome::default());
    let first = if number("TRIBUTARY_SECONDS").is_some() { fastrand::u64(..) >> 16 } else { 0 };
    let goes_on = |lives| match number("TRIBUTARY_SECONDS") {
        Some(seconds) => started.elapsed().as_secs() < seconds,
        None => lives < LIVES,
    };
    while goes_on(lives) {
        all.add(outcome(first + lives));
        lives += 1;
    }
    println!("{lives} lives in {:.1} s: {all:?}", started.elapsed().as_secs_f64());
    // A life in which nothing happens proves nothing.
    let Outcome { acknowledged, heard, twice, retained, shared, crashes, denied, .. } = all;
    let Outcome { wills, void_wills, ending, named, refused, .. } = all;
    assert!(
        [acknowledged, heard, twice, retained, shared, crashes, denied]
            .into_iter()
            .chain([wills, void_wills, ending, named, refused])
            .all(|count| count > lives / 4)
    );
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn outcome(seed: u64) -> Outcome {
    live(seed).unwrap_or_else(|why| panic!("TRIBUTARY_SEED={seed} repeats it: {why:?}"))
}
