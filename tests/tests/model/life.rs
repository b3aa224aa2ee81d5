//! One life: some clients, a gateway, and what happens to them.

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tributary_core::record::Qos;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::subscribe::{Options, Request, Requests, RetainHandling, Subscribe};
use tributary_mqtt::codec::unsubscribe::{Filters, Unsubscribe};
use tributary_mqtt::{Reason, Version};
use tributary_tests::wire::{checked, encoded, id};

use crate::client::{Came, Client, Sent, Stage};
use crate::gateway::{Clock, Gateway};
use crate::promises::{AREAS, Promises, Subscription, Will, shared};

const NAMES: [&str; 4] = ["ann", "bob", "cleo", "dan"];
const TOPICS: [&str; 5] = ["a/1", "a/2", "b/1", "b/2", "c"];
const FILTERS: [&str; 9] =
    ["a/#", "+/1", "#", "a/+", "b/2", "c", "$share/g/a/#", "$share/g/+/1", "$share/h/#"];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
const HANDLING: [RetainHandling; 3] =
    [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
/// Things that happen in a life.
const STEPS: usize = 150;
/// Rounds in which everything has to come in the end.
const ROUNDS: usize = 300;
const DAY_MS: i64 = 24 * 3_600_000;
const HOUR_MS: u64 = 3_600_000;
/// Seconds for which something lasts.
const SPANS_S: [u32; 6] = [1, 10, 300, 3_600, 40_000, 1_000_000];

/// What came of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    /// Messages that came to clients; of these at QoS 2, retained ones, and to those who share.
    pub(crate) heard: u64,
    pub(crate) twice: u64,
    pub(crate) retained: u64,
    pub(crate) shared: u64,
    pub(crate) crashes: u64,
    /// Subscriptions that were refused.
    pub(crate) denied: u64,
    /// Wills that were published, and those that came to nothing.
    pub(crate) wills: u64,
    pub(crate) void_wills: u64,
    /// Publishes for which there was no room.
    pub(crate) refused: u64,
    /// Messages that came with what is left of their time, and by a subscription with a name.
    pub(crate) ending: u64,
    pub(crate) named: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.heard += other.heard;
        self.twice += other.twice;
        self.retained += other.retained;
        self.shared += other.shared;
        self.crashes += other.crashes;
        self.denied += other.denied;
        self.wills += other.wills;
        self.void_wills += other.void_wills;
        self.refused += other.refused;
        self.ending += other.ending;
        self.named += other.named;
    }
}

struct Life {
    rng: Rng,
    clock: Clock,
    gateway: Gateway,
    clients: Vec<Client>,
    promises: Promises,
    /// Of those who greet: whether there is a session for them.
    expected: [bool; NAMES.len()],
    /// Publishes for which there was no room, and whose clients have not heard it.
    refused: BTreeSet<(usize, NonZeroU16)>,
    messages: u64,
    outcome: Outcome,
}

/// Lives the life of a seed.
///
/// # Errors
/// A promise that was broken.
pub(crate) fn live(seed: u64) -> Result<Outcome> {
    let mut rng = Rng::with_seed(seed);
    let clock = [Clock::Set, Clock::Late, Clock::Jumping][rng.usize(..3)];
    let gateway = Gateway::new(seed, clock, &rules(&AREAS.into()))?;
    let expiries = NAMES.map(|_| expiry_s(clock, &mut rng));
    let clients = NAMES.iter().zip(expiries);
    let clients = clients.map(|(name, expiry_s)| Client::new(name, expiry_s, &mut rng)).collect();
    let mut promises = Promises::default();
    promises.put_rules(AREAS.into());
    promises.pass(gateway.time());
    let (expected, outcome) = ([false; NAMES.len()], Outcome::default());
    let (refused, messages) = (BTreeSet::new(), 0);
    let mut life =
        Life { rng, clock, gateway, clients, promises, expected, refused, messages, outcome };
    for step in 0..STEPS {
        life.step().with_context(|| format!("step {step}"))?;
    }
    life.end().context("in the end")?;
    (life.outcome.wills, life.outcome.void_wills) = life.promises.wills;
    Ok(life.outcome)
}

/// How long a session lasts without its client: where clocks are off, for ever or not at all.
fn expiry_s(clock: Clock, rng: &mut Rng) -> u32 {
    match (rng.u8(..4), clock) {
        (0, _) => 0,
        (1 | 2, Clock::Set) => SPANS_S[rng.usize(..SPANS_S.len())],
        _ => u32::MAX,
    }
}

fn rules(readable: &BTreeSet<&str>) -> String {
    let lines = readable.iter().map(|area| format!("topic read {area}/#\n"));
    lines.chain(["topic write #\n".to_owned()]).collect()
}

impl Life {
    fn step(&mut self) -> Result<()> {
        let client = self.rng.usize(..self.clients.len());
        let is_here = self.clients[client].stage == Stage::Here;
        match self.rng.u8(..42) {
            0..14 if is_here => self.publish(client),
            // Its answer would wait for room.
            14..18 if is_here && !self.gateway.holds() => return self.subscribe(client),
            18 if is_here => return self.unsubscribe(client),
            19 if is_here => self.lose(client),
            20..26 if is_here => self.clients[client].answer(),
            26 => self.connect(client),
            27..29 if self.gateway.holds() => self.hold(false),
            27..36 => self.commit(),
            36 => self.put_rules()?,
            37 | 39 => self.pass(),
            40 if is_here => self.depart(client),
            38 if self.rng.bool() => self.crash()?,
            41 => self.hold(true),
            _ if !is_here && self.clients[client].stage == Stage::Away => self.connect(client),
            _ => {}
        }
        self.settle()
    }

    fn publish(&mut self, client: usize) {
        self.messages += 1;
        let retain = self.rng.u8(..4) == 0;
        let is_empty = retain && self.rng.u8(..5) == 0;
        let payload = if is_empty { String::new() } else { format!("m{}", self.messages) };
        let topic = TOPICS[self.rng.usize(..TOPICS.len())];
        let qos = QOS[self.rng.usize(..3)];
        let expiry_s = self.message_expiry_s();
        let sent = Sent { topic, payload, retain, qos, expiry_s, received: false };
        let id = self.clients[client].publish(sent.clone());
        self.note_published(client, id, &sent);
    }

    /// A publish is on its way: it becomes an event, or there is no room for it. One that became an event before, at
    /// QoS 2, is known.
    fn note_published(&mut self, client: usize, id: Option<NonZeroU16>, sent: &Sent) {
        if self.gateway.holds() && !self.promises.is_taken(client, id) {
            self.refused.extend(id.map(|id| (client, id)));
        } else {
            self.promises.publish(client, id, sent);
        }
    }

    /// The log is full and holds, or there is room again.
    fn hold(&mut self, holds: bool) {
        self.gateway.hold(holds);
        self.promises.hold(holds);
        // What has waited is what there is room for first.
        self.commit();
    }

    fn message_expiry_s(&mut self) -> Option<u32> {
        let ends = self.clock != Clock::Jumping && self.rng.u8(..3) == 0;
        ends.then(|| SPANS_S[self.rng.usize(..SPANS_S.len())])
    }

    /// Each has a topic of its own: in which order those are published that are due at once nobody says.
    fn will(&mut self, client: usize) -> Option<Will> {
        if self.rng.bool() {
            return None;
        }
        self.messages += 1;
        let (topic, payload) = (TOPICS[client], format!("w{}", self.messages));
        let (qos, retain) = (QOS[self.rng.usize(..3)], self.rng.u8(..4) == 0);
        let expiry_s = self.message_expiry_s();
        let waits = self.clock == Clock::Set && self.rng.u8(..3) > 0;
        let delay_s = if waits { SPANS_S[self.rng.usize(..SPANS_S.len())] } else { 0 };
        let sent = Sent { topic, payload, retain, qos, expiry_s, received: false };
        Some(Will { sent, delay_s })
    }

    fn subscribe(&mut self, client: usize) -> Result<()> {
        let filter = FILTERS[self.rng.usize(..FILTERS.len())];
        let wanted = Subscription {
            qos: QOS[self.rng.usize(..3)],
            handling: HANDLING[self.rng.usize(..3)],
            // Who shares a subscription may not ask for that (MQTT-3.8.3-4).
            no_local: self.rng.bool() && shared(filter).is_none(),
            retain_as_published: self.rng.bool(),
            name: self.rng.u32(..4),
        };
        let answer = self.promises.subscribe(client, (filter, wanted));
        let mut bytes = Vec::new();
        let options = Options {
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            retain_handling: wanted.handling,
        };
        Request { filter, options }.encode(Version::V5, &mut bytes);
        let requests = Requests::new(Version::V5, &bytes).map_err(anyhow::Error::msg)?;
        let name = NonZeroU32::new(wanted.name).map(Property::SubscriptionIdentifier);
        let said = encoded(&name.into_iter().collect::<Vec<_>>());
        let properties = checked(Carrier::Subscribe, &said);
        let subscribe = Subscribe { packet_id: id(65_000), properties, requests };
        self.clients[client].send(&Packet::Subscribe(subscribe));
        let mut came = self.turn(client)?;
        // It may wait for what its client published before, and its answer for itself.
        for _ in 0..2 {
            self.commit();
            came.extend(self.turn(client)?);
        }
        let granted = came.iter().find_map(|came| match came {
            Came::Granted(reasons) => Some(reasons.clone()),
            _ => None,
        });
        ensure!(granted == Some(vec![answer]), "{filter}: {granted:?} and not {answer}");
        self.outcome.denied += u64::from(answer == Reason::NotAuthorized as u8);
        self.settle()
    }

    fn unsubscribe(&mut self, client: usize) -> Result<()> {
        let filter = FILTERS[self.rng.usize(..FILTERS.len())];
        self.promises.unsubscribe(client, filter);
        let mut bytes = Vec::new();
        Filters::encode(filter, &mut bytes);
        let filters = Filters::new(&bytes).map_err(anyhow::Error::msg)?;
        let (packet_id, properties) = (id(65_001), Properties::NONE);
        self.clients[client].send(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            properties,
            filters,
        }));
        self.turn(client)?;
        self.commit();
        self.settle()
    }

    fn lose(&mut self, client: usize) {
        let Some(mut wire) = self.clients[client].lose() else { return };
        wire.leave(self.gateway.moment());
        self.refused.retain(|(whose, _)| *whose != client);
        self.promises.lose(client, false);
        self.gateway.keep();
    }

    fn depart(&mut self, client: usize) {
        let reason = if self.rng.bool() { Reason::Success } else { Reason::DisconnectWithWill };
        let was_heard = self.clients[client].depart(self.gateway.moment(), reason);
        self.refused.retain(|(whose, _)| *whose != client);
        self.promises.lose(client, was_heard && reason == Reason::Success);
        self.gateway.keep();
    }

    fn connect(&mut self, client: usize) {
        self.clients[client].is_clean |= self.rng.u8(..8) == 0;
        let wire = self.gateway.welcome();
        if self.clients[client].stage != Stage::Away {
            self.promises.lose(client, false);
        }
        let (is_clean, expiry_s) = (self.clients[client].is_clean, self.clients[client].expiry_s);
        let will = self.will(client);
        let before = self.clients[client].greet(wire, will.as_ref());
        self.refused.retain(|(whose, _)| *whose != client);
        self.expected[client] = self.promises.connect((client, is_clean), (expiry_s, will));
        // The one before learns of it later, or not at all.
        drop(before);
    }

    /// Time passes: what came is durable by then.
    fn pass(&mut self) {
        self.commit();
        let jumps = self.clock == Clock::Jumping && self.rng.bool();
        let jump = if jumps { self.rng.i64(-400..400) * DAY_MS } else { 0 };
        let most_ms = [1_000, 30_000, HOUR_MS, 10 * HOUR_MS][self.rng.usize(..4)];
        // Nobody knows better than a clock that was steady for a day.
        let is_late = self.gateway.uptime() + most_ms > 20 * HOUR_MS || self.rng.u8(..3) == 0;
        if is_late && self.clock == Clock::Late && !self.gateway.is_set() && !self.gateway.holds() {
            self.gateway.set_clock();
            self.promises.confirm();
            // The writer sees it, and what it notes of it is durable.
            self.commit();
            self.commit();
        }
        self.gateway.pass(self.rng.u64(..most_ms), jump);
        self.promises.pass(self.gateway.time());
    }

    fn commit(&mut self) {
        if !self.gateway.holds() {
            self.gateway.commit();
            self.promises.commit();
        }
    }

    fn put_rules(&mut self) -> Result<()> {
        let readable: BTreeSet<&str> = AREAS.into_iter().filter(|_| self.rng.u8(..4) > 0).collect();
        self.gateway.put_rules(&rules(&readable))?;
        self.promises.put_rules(readable);
        Ok(())
    }

    fn crash(&mut self) -> Result<()> {
        self.outcome.crashes += 1;
        self.clients.iter_mut().for_each(|client| drop(client.lose()));
        self.refused.clear();
        let is_off = self.clock != Clock::Jumping && self.rng.bool();
        let off_ms = if is_off { self.rng.u64(..100 * HOUR_MS) } else { 0 };
        self.gateway.crash(self.rng.bool(), off_ms)?;
        self.promises.crash(self.gateway.time(), self.gateway.is_set());
        self.gateway.keep();
        Ok(())
    }

    /// Everybody sends and hears what there is.
    fn settle(&mut self) -> Result<()> {
        loop {
            let mut any = false;
            for client in 0..self.clients.len() {
                any |= !self.turn(client)?.is_empty();
            }
            if !any {
                return Ok(());
            }
        }
    }

    fn turn(&mut self, client: usize) -> Result<Vec<Came>> {
        let moment = self.gateway.moment();
        let came = self.clients[client].turn(moment)?;
        for came in &came {
            self.take(client, came).with_context(|| format!("{}: {came:?}", NAMES[client]))?;
        }
        Ok(came)
    }

    fn take(&mut self, client: usize, came: &Came) -> Result<()> {
        match came {
            Came::Welcome { present } => {
                ensure!(*present == self.expected[client], "a session is lost, or was not wanted");
                self.resume(client, *present);
            }
            Came::Message(heard) => {
                self.outcome.heard += 1;
                self.outcome.twice += u64::from(heard.qos == Qos::ExactlyOnce);
                self.outcome.retained += u64::from(heard.retain);
                self.outcome.ending += u64::from(heard.expiry_s.is_some());
                self.outcome.named += u64::from(!heard.identifiers.is_empty());
                let is_shared = self.promises.hear(client, heard)?;
                self.outcome.shared += u64::from(is_shared);
            }
            Came::Acknowledged(id) => {
                self.outcome.acknowledged += 1;
                ensure!(!self.refused.contains(&(client, *id)), "there was no room for it");
                self.promises.acknowledge(client, *id)?;
            }
            Came::Refused(id) => {
                self.outcome.refused += 1;
                ensure!(self.refused.remove(&(client, *id)), "there was room for it");
            }
            Came::Granted(_) | Came::Released(_) => {}
        }
        Ok(())
    }

    /// What was under way goes on, or nothing does.
    fn resume(&mut self, client: usize, present: bool) {
        if !present {
            return self.clients[client].forget();
        }
        for (id, sent) in self.clients[client].under_way.clone() {
            if sent.received {
                self.clients[client].send(&Packet::PubRel(Ack::success(id)));
            } else {
                self.clients[client].send_message(Some(id), &sent, true);
                self.note_published(client, Some(id), &sent);
            }
        }
    }

    /// All who have a session come, answer, and get what they are owed.
    fn end(&mut self) -> Result<()> {
        self.hold(false);
        for client in 0..self.clients.len() {
            self.clients[client].be_prompt();
            if self.clients[client].stage == Stage::Away && self.clients[client].expiry_s > 0 {
                self.connect(client);
            }
        }
        for _ in 0..ROUNDS {
            self.clients.iter_mut().for_each(Client::answer);
            self.settle()?;
            self.commit();
            self.gateway.pass(10, 0);
            self.promises.pass(self.gateway.time());
        }
        // Whose session did not last has given up.
        for client in self.clients.iter().filter(|client| client.stage == Stage::Here) {
            ensure!(client.under_way.is_empty(), "{}: {:?}", client.name, client.under_way);
        }
        ensure!(self.refused.is_empty(), "they were not told: {:?}", self.refused);
        self.promises.finish()
    }
}
