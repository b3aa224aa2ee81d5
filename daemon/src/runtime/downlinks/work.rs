//! Reads the topics of `[[downlink]]`s, and leaves their records as events of the log.
//!
//! Invariant: a place in a topic is taken for reached only when what lies before it is durable, as
//! events or as records that were passed over; and an event is durable together with the place behind
//! its record. So each record becomes one event, whatever ends when.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use core::time::Duration;

use tokio::sync::{Notify, watch};
use tributary_bridge::{Began, Found, ReadRecord, Reader, Settings, Talk as _};
use tributary_core::Offset;
use tributary_core::log::ControlKind;
use tributary_core::time::Instant;

use super::keeping::Keeping;
use crate::config::{self, Downlink};
use crate::downlink::command::{Command, Passed};
use crate::downlink::place::{Place, Places, TopicPlaces};
use crate::io::clock::{moment, now};
use crate::io::files::entropy;
use crate::io::kafka::{self, Links};
use crate::io::network::Watch;
use crate::runtime::commands::Fresh;
use crate::runtime::dialogue::Shared;
use crate::runtime::ingest::{Closed, NotTaken};
use crate::runtime::status::DownlinkStatus;
use crate::sync::lock;

/// How long a broker may hold back an answer without records: so often something is sent while nothing
/// comes.
const POLL_MS: u32 = 30_000;
/// Places behind records that were passed over are written when there are so many of these,
const PASSED_MAX: u64 = 1_000;
/// or at the latest after this time.
const SAVED_MS: u64 = 10 * 60_000;
/// While a command's age cannot be judged, how often it is looked at the clock.
const CLOCK_LOOKED_AT: Duration = Duration::from_secs(1);

/// How each downlink stands.
pub(super) type Reports = Arc<Mutex<Vec<DownlinkStatus>>>;

/// Why the work ends.
enum Ended {
    /// It was told to.
    Stopped,
    /// The log takes nothing more.
    Closed,
}

/// What reads, and what it leaves where.
pub(super) struct Work {
    rules: Vec<Downlink>,
    gateway: String,
    shared: Arc<Shared>,
    places: Arc<Mutex<Places>>,
    report: Reports,
    reader: Reader,
    links: Links,
    /// What was found and is not kept.
    found: Vec<Found>,
    /// Topics whose places in the log are behind, as of when, by how many records.
    unsaved: BTreeSet<String>,
    saved_at: Instant,
    passed: u64,
    /// The last event that was left.
    last: Option<Offset>,
    keeping: Keeping,
}

impl Work {
    pub(super) fn new(
        (upstream, downlinks): (&config::Upstream, &[Downlink]),
        (gateway, log_id): (&str, u64),
        (shared, places, report): (Arc<Shared>, Arc<Mutex<Places>>, Reports),
        keeping: Keeping,
    ) -> Self {
        let settings = Settings {
            authenticate: upstream.access.sasl.is_some(),
            encrypted: upstream.access.tls.is_some(),
            ..Settings::new(gateway, log_id, upstream.brokers.clone())
        };
        let start = |rule: &Downlink| (rule.from.clone(), lock(&places).start_of(&rule.from));
        let topics = downlinks.iter().map(start).collect();
        // It only spreads waits.
        let seed = entropy().map_or(log_id, |entropy| entropy.salt);
        let links = Links::new(&upstream.access);
        Self {
            rules: downlinks.to_vec(),
            gateway: gateway.to_owned(),
            reader: Reader::new(now(), settings, topics, POLL_MS, seed),
            links,
            shared,
            places,
            report,
            found: Vec::new(),
            unsaved: BTreeSet::new(),
            saved_at: now(),
            passed: 0,
            last: None,
            keeping,
        }
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.keeping.settle(lock(&self.places).settled());
        match self.work(&mut stop).await {
            Ended::Stopped => self.save().await.unwrap_or_default(),
            Ended::Closed => tracing::warn!("the log takes nothing more: downlinks end"),
        }
    }

    async fn work(&mut self, stop: &mut watch::Receiver<bool>) -> Ended {
        let network = Watch::new();
        loop {
            kafka::connect(&mut self.reader, &mut self.links);
            self.found.extend(core::iter::from_fn(|| self.reader.poll_found()));
            let waits = self.waits_for_clock();
            if self.found.is_empty() {
                self.keeping.pass(self.shared.ingest.durable());
            }
            self.tell(waits);
            if !self.found.is_empty() && !waits {
                let kept = tokio::select! {
                    kept = self.keep() => kept,
                    _ = stop.changed() => return Ended::Stopped,
                };
                if kept.is_err() {
                    return Ended::Closed;
                }
                self.reader.handle_kept(now());
                continue;
            }
            let until =
                self.reader.poll_timeout().map(|at| Duration::from_millis(at.ms_since(now())));
            let pause = until.unwrap_or(CLOCK_LOOKED_AT);
            let pause = if waits { pause.min(CLOCK_LOOKED_AT) } else { pause };
            tokio::select! {
                event = self.links.next() => kafka::hand_over(event, &mut self.reader),
                () = network.returned() => self.reader.handle_link_returned(now()),
                _ = stop.changed() => return Ended::Stopped,
                () = tokio::time::sleep(pause) => self.reader.handle_timeout(now()),
            }
        }
    }

    /// Whether it cannot be told how old the commands are that were found.
    fn waits_for_clock(&self) -> bool {
        let is_dated = |found: &Found| match found {
            Found::Records { topic, records, .. } => {
                !records.is_empty() && self.rule(topic).is_some_and(|it| it.max_age.is_some())
            }
            Found::Began { .. } | Found::AtEnd { .. } => false,
        };
        self.found.iter().any(is_dated) && !lock(&self.shared.clocks).now(moment()).trusted
    }

    fn rule(&self, topic: &str) -> Option<&Downlink> {
        self.rules.iter().find(|rule| rule.from == topic)
    }

    /// Keeps all that was found. If it is given up in the middle, what is in the log is in it with its
    /// place, and nothing else is taken for read.
    async fn keep(&mut self) -> Result<(), Closed> {
        let mut has_begun = false;
        for found in core::mem::take(&mut self.found) {
            match found {
                Found::Began { topic, id, partition, next, why, .. } => {
                    self.begin(&topic, id, (partition, next), why);
                    has_begun = true;
                }
                Found::Records { topic, partition, records, unreadable, next } => {
                    for (first, last) in unreadable {
                        let words = format!(
                            "offsets {first} to {last} of partition {partition}: a batch that cannot be read: too large, or damaged"
                        );
                        self.refuse(&topic, words);
                    }
                    self.take(&topic, partition, &records).await?;
                    lock(&self.places).follow(&Place { topic: topic.clone(), partition, next });
                    self.unsaved.insert(topic);
                }
                Found::AtEnd { .. } => {}
            }
        }
        let is_due = self.passed >= PASSED_MAX || now().ms_since(self.saved_at) >= SAVED_MS;
        if has_begun || is_due && !self.unsaved.is_empty() {
            self.save().await?;
        }
        Ok(())
    }

    /// Reading of a partition begins.
    fn begin(&mut self, topic: &str, id: Option<u128>, (partition, next): (i32, u64), why: Began) {
        match why {
            Began::First => tracing::info!(topic, partition, next, "a downlink begins here"),
            Began::Recreated => tracing::warn!(
                topic,
                partition,
                next,
                "the topic was deleted and made again: its downlink begins at what comes next"
            ),
            Began::Gone(from) => tracing::error!(
                topic,
                partition,
                from,
                next,
                "records were deleted before this gateway has read them"
            ),
            Began::Beyond(place) => tracing::error!(
                topic,
                partition,
                place,
                next,
                "the partition has lost records: its downlink goes on at what comes next"
            ),
        }
        let mut places = lock(&self.places);
        let mut known = places.get(topic).cloned().unwrap_or_default();
        if why == Began::Recreated && known.id != id {
            known.next.clear();
        }
        topic.clone_into(&mut known.topic);
        known.id = id.or(known.id);
        known.next.insert(partition, next);
        places.note(known);
        self.unsaved.insert(topic.to_owned());
        if let Began::Gone(from) = why
            && let Some(status) = lock(&self.report).iter_mut().find(|it| it.topic == topic)
        {
            status.lost += next.saturating_sub(from);
        }
    }

    /// Leaves records as events, and returns when these are durable.
    async fn take(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[ReadRecord],
    ) -> Result<(), Closed> {
        let Some(rule) = self.rule(topic).cloned() else { return Ok(()) };
        let wall = moment().wall;
        let mut commands = Vec::new();
        for record in records {
            match Command::of(record, partition, (&rule, &self.gateway), wall) {
                Ok(command) => {
                    let next = record.offset + 1;
                    let place = Place { topic: topic.to_owned(), partition, next };
                    commands.push((command, place));
                }
                Err(passed) => {
                    let place = format!("offset {} of partition {partition}", record.offset);
                    self.pass(topic, &place, passed);
                }
            }
        }
        let mut left = &commands[..];
        let mut fresh = Vec::new();
        while !left.is_empty() {
            let shared = Arc::clone(&self.shared);
            let space = shared.ingest.space();
            let waiter = Arc::new(Notify::new());
            let (taken, end) = self.leave(&rule, &mut left, (&waiter, &mut fresh));
            match taken {
                Ok(()) => {}
                Err(NotTaken::Closed(closed @ (Closed::Failed | Closed::Stopping))) => {
                    return Err(closed);
                }
                Err(NotTaken::Busy | NotTaken::Closed(Closed::Full)) => space.await,
            }
            let Some(end) = end else { continue };
            while shared.ingest.durable() <= end {
                if shared.ingest.is_failed() {
                    return Err(Closed::Failed);
                }
                waiter.notified().await;
            }
        }
        self.keeping.keep(&fresh);
        Ok(())
    }

    /// Leaves commands at the desk as far as it takes them; the last one's offset.
    fn leave<'a>(
        &mut self,
        rule: &Downlink,
        left: &mut &'a [(Command, Place)],
        (waiter, fresh): (&Arc<Notify>, &mut Vec<Fresh<'a>>),
    ) -> (Result<(), NotTaken>, Option<Offset>) {
        let moment = moment();
        let clock = lock(&self.shared.clocks).now(moment);
        let shared = Arc::clone(&self.shared);
        let Shared { ingest, hub, .. } = &*shared;
        let mut end = None;
        let mut desk = ingest.desk();
        while let [(command, place), rest @ ..] = left {
            let mut event = command.event(rule, moment.wall);
            if event.retain && !shared.has_room_for(&event, moment) {
                hub.note_unretained(moment.now, &event);
                event.retain = false;
            }
            match desk.append_read(&event, place.clone()) {
                Ok(offset) => {
                    if event.retain {
                        hub.retain(&event, (offset, shared.age(moment)), ingest.durable());
                    }
                    lock(&self.places).follow(place);
                    (end, self.last) = (Some(offset), Some(offset));
                    fresh.push(Fresh { offset, clock, event });
                    *left = rest;
                    self.note(&place.topic, |status| status.received += 1);
                }
                Err(not_taken) => {
                    if end.is_some() {
                        desk.wake(waiter);
                    }
                    return (Err(not_taken), end);
                }
            }
        }
        desk.wake(waiter);
        (Ok(()), end)
    }

    fn pass(&mut self, topic: &str, place: &str, passed: Passed) {
        self.passed += 1;
        match passed {
            Passed::Others => self.note(topic, |status| status.others += 1),
            Passed::Expired => self.note(topic, |status| status.expired += 1),
            Passed::Refused(why) => self.refuse(topic, format!("{place}: {why}")),
        }
    }

    fn refuse(&self, topic: &str, why: String) {
        tracing::warn!(topic, why, "a record becomes no command");
        self.note(topic, |status| {
            status.refused += 1;
            status.refusal = Some(why);
        });
    }

    fn note(&self, topic: &str, note: impl FnOnce(&mut DownlinkStatus)) {
        if let Some(status) = lock(&self.report).iter_mut().find(|it| it.topic == topic) {
            note(status);
        }
    }

    /// Has the log know how far the topics were read; not before all events of before are durable,
    /// for a control record may overtake them where a log holds.
    async fn save(&mut self) -> Result<(), Closed> {
        if self.last.is_some_and(|last| last >= self.shared.ingest.durable()) {
            return Ok(());
        }
        while let Some(topic) = self.unsaved.first().cloned() {
            let (record, gone) = {
                let places = lock(&self.places);
                let is_wanted = |topic: &str| self.rules.iter().any(|rule| rule.from == topic);
                (places.get(&topic).cloned(), places.superseded_by(&topic, is_wanted).cloned())
            };
            if let Some(gone) = gone {
                let gone = TopicPlaces { forgotten: true, ..gone };
                lock(&self.places).note(gone.clone());
                self.write(gone).await?;
            }
            if let Some(record) = record {
                self.write(record).await?;
            }
            self.unsaved.remove(&topic);
        }
        (self.saved_at, self.passed) = (now(), 0);
        Ok(())
    }

    async fn write(&self, record: TopicPlaces) -> Result<(), Closed> {
        let body = move |at: Offset, _| TopicPlaces { at: at.0, ..record }.encode();
        let written = self.shared.ingest.write_control(ControlKind::Downlink, body);
        written.await.map(drop).map_err(|_| Closed::Failed)
    }

    fn tell(&self, waits_for_clock: bool) {
        let status = self.reader.status();
        let places = lock(&self.places);
        let unkept = self.keeping.unkept();
        for told in lock(&self.report).iter_mut() {
            told.live = status.is_live && status.missing.is_empty() && !waits_for_clock;
            told.waits_for = if waits_for_clock {
                Some("the clock: how old commands are cannot be told".to_owned())
            } else {
                status.missing()
            };
            told.last_error = unkept.clone().or_else(|| status.last_error.clone());
            told.next = places.get(&told.topic).map(|it| it.next.clone()).unwrap_or_default();
        }
    }
}
