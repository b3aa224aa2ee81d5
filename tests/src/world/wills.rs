//! When a will has to stand in the log, and when not: the judge of wills.
//!
//! Knows when connections were made and lost, when the gateway failed and came back, and what
//! stands in the log. A will is due when its connection is lost, or its gateway failed, and its
//! delay has passed; not if its client took its leave, or went on with its session before that.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// In which the gateway, when it runs, does what is due: a timer, a commit on a slow card.
const SLACK_MS: u64 = 3_000;

/// What becomes of a will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its connection was asked for, and perhaps never made.
    Asked,
    /// Its connection lasts.
    Kept,
    /// Its connection is lost, since this moment.
    Lost(u64),
    /// Its gateway failed at this moment: the delay counts from what its log knew last.
    Failed(u64),
    /// Its client has taken its leave, which the log may not know yet.
    Leaving,
    /// It may appear or not: a gateway failed before something was sure.
    Unsure,
    /// It must not appear any more.
    Void,
}

#[derive(Clone, Debug)]
struct Will {
    client: usize,
    asked: u64,
    delay_ms: u64,
    fate: Fate,
    /// Where it stands in the log.
    places: Vec<u64>,
}

/// All wills, by payload.
#[derive(Default)]
pub(super) struct Wills {
    all: BTreeMap<String, Will>,
    /// When the gateway has started last, and how often it failed.
    started: u64,
    /// Of each failure: what stands in the log from here on may not be known to be done.
    doubtful: Vec<u64>,
    /// Too much went wrong for judging.
    pub(super) is_unsure: bool,
}

impl Wills {
    /// How many have come to stand in the log.
    pub(super) fn published(&self) -> u64 {
        self.all.values().filter(|will| !will.places.is_empty()).count() as u64
    }

    /// A client connects with a will, whose delay is told in seconds.
    pub(super) fn ask(&mut self, (client, payload): (usize, String), delay: u32, now: u64) {
        let (delay_ms, places) = (u64::from(delay) * 1_000, Vec::new());
        let will = Will { client, asked: now, delay_ms, fate: Fate::Asked, places };
        self.all.insert(payload, will);
    }

    /// The connection with that will is made; `resumed`: its client goes on with a session.
    pub(super) fn begin(&mut self, payload: &str, (now, resumed): (u64, bool)) {
        let Some(&Will { client, asked, .. }) = self.all.get(payload) else { return };
        let started = self.started;
        for (other, will) in &mut self.all {
            if will.client != client {
                continue;
            }
            if other == payload {
                will.fate = Fate::Kept;
            } else if resumed && will.places.is_empty() {
                will.fate = match will.fate {
                    Fate::Lost(at) if at.max(started) + will.delay_ms < asked => will.fate,
                    Fate::Failed(at) if at.max(started) + will.delay_ms < asked => will.fate,
                    Fate::Failed(_) => Fate::Unsure,
                    Fate::Lost(at) if at + will.delay_ms <= now => Fate::Unsure,
                    Fate::Lost(_) | Fate::Leaving | Fate::Void => Fate::Void,
                    fate => fate,
                };
            }
        }
    }

    /// A client's connection is lost.
    pub(super) fn lose(&mut self, payload: &str, now: u64) {
        self.doubt(payload);
        if let Some(will) = self.all.get_mut(payload) {
            will.fate = match will.fate {
                Fate::Asked => Fate::Unsure,
                Fate::Kept => Fate::Lost(now),
                fate => fate,
            };
        }
    }

    /// A client cannot know whether it went on with its session when it asked for this connection:
    /// if it did, the wills of those before are void.
    fn doubt(&mut self, payload: &str) {
        let Some(&Will { client, asked, fate: Fate::Asked, .. }) = self.all.get(payload) else {
            return;
        };
        let started = self.started;
        for will in self.all.values_mut().filter(|will| will.client == client) {
            if let Fate::Lost(at) | Fate::Failed(at) = will.fate
                && at.max(started) + will.delay_ms >= asked
            {
                will.fate = Fate::Unsure;
            }
        }
    }

    /// A client has sent its DISCONNECT.
    pub(super) fn leave(&mut self, payload: &str) {
        self.turn(payload, Fate::Kept, Fate::Unsure);
    }

    /// The gateway has taken a DISCONNECT.
    pub(super) fn let_go(&mut self, payload: &str) {
        self.turn(payload, Fate::Unsure, Fate::Leaving);
    }

    fn turn(&mut self, payload: &str, from: Fate, to: Fate) {
        if let Some(will) = self.all.get_mut(payload).filter(|will| will.fate == from) {
            will.fate = to;
        }
    }

    /// The gateway has committed all that it knows.
    pub(super) fn commit(&mut self) {
        for will in self.all.values_mut().filter(|will| will.fate == Fate::Leaving) {
            will.fate = Fate::Void;
        }
    }

    /// The gateway fails; what stands in the log from `doubtful` on may not be known to be done.
    pub(super) fn fail(&mut self, now: u64, doubtful: u64) {
        self.doubtful.push(doubtful);
        let asked = self.all.iter().filter(|(_, will)| will.fate == Fate::Asked);
        let asked: Vec<String> = asked.map(|(payload, _)| payload.clone()).collect();
        for payload in asked {
            self.doubt(&payload);
        }
        for will in self.all.values_mut() {
            will.fate = match will.fate {
                Fate::Kept => Fate::Failed(now),
                Fate::Asked | Fate::Leaving => Fate::Unsure,
                fate => fate,
            };
        }
    }

    /// The gateway runs again.
    pub(super) fn start(&mut self, now: u64) {
        self.started = now;
    }

    /// A will stands in the log.
    pub(super) fn appear(&mut self, payload: &str, (now, place): (u64, u64)) -> Result<()> {
        if self.is_unsure {
            return Ok(());
        }
        let Some(will) = self.all.get_mut(payload) else {
            anyhow::bail!("{payload} was never left")
        };
        let in_time = match will.fate {
            Fate::Lost(at) => at + will.delay_ms <= now,
            Fate::Unsure | Fate::Failed(_) => true,
            Fate::Asked | Fate::Kept | Fate::Leaving | Fate::Void => false,
        };
        // One that was published as the gateway failed may be published again.
        let is_excused = will.places.iter().any(|before| {
            self.doubtful.iter().any(|doubtful| doubtful <= before && *before < place)
        });
        let is_first = will.places.is_empty();
        ensure!(is_first || is_excused, "{payload} stands in the log twice: {will:?}, {place}");
        ensure!(in_time || !is_first, "{payload} stands in the log at {now}: {will:?}");
        will.places.push(place);
        Ok(())
    }

    /// The first will that should stand in the log and does not.
    pub(super) fn missing(&self, now: u64) -> Option<String> {
        let is_missing = |will: &Will| match will.fate {
            Fate::Lost(at) | Fate::Failed(at) => {
                let due = at.max(self.started) + will.delay_ms + SLACK_MS;
                due < now && will.places.is_empty()
            }
            _ => false,
        };
        let mut missing = self.all.iter().filter(|(_, will)| is_missing(will));
        let (payload, will) = missing.next().filter(|_| !self.is_unsure)?;
        Some(format!("{payload} should stand in the log at {now}: {will:?}"))
    }
}
