//! One life: some clients, a gateway, and what happens to them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tributary_core::record::Qos;
use tributary_mqtt::codec::Packet;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::property::Properties;
use tributary_mqtt::codec::subscribe::{Options, Request, Requests, RetainHandling, Subscribe};
use tributary_mqtt::codec::unsubscribe::{Filters, Unsubscribe};
use tributary_mqtt::{Reason, Version};
use tributary_tests::wire::id;

use crate::client::{Came, Client, Sent, Stage};
use crate::gateway::Gateway;
use crate::promises::{AREAS, Promises};

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
    }
}

struct Life {
    rng: Rng,
    gateway: Gateway,
    clients: Vec<Client>,
    promises: Promises,
    /// Of those who greet: whether there is a session for them.
    expected: [bool; NAMES.len()],
    messages: u64,
    outcome: Outcome,
}

/// Lives the life of a seed.
///
/// # Errors
/// A promise that was broken.
pub(crate) fn live(seed: u64) -> Result<Outcome> {
    let mut rng = Rng::with_seed(seed);
    let gateway = Gateway::new(seed, &rules(&AREAS.into()))?;
    let clients = NAMES.iter().map(|name| Client::new(name, &mut rng)).collect();
    let mut promises = Promises::default();
    promises.put_rules(AREAS.into());
    let (expected, outcome) = ([false; NAMES.len()], Outcome::default());
    let mut life = Life { rng, gateway, clients, promises, expected, messages: 0, outcome };
    for step in 0..STEPS {
        life.step().with_context(|| format!("step {step}"))?;
    }
    life.end().context("in the end")?;
    Ok(life.outcome)
}

fn rules(readable: &BTreeSet<&str>) -> String {
    let lines = readable.iter().map(|area| format!("topic read {area}/#\n"));
    lines.chain(["topic write #\n".to_owned()]).collect()
}

impl Life {
    fn step(&mut self) -> Result<()> {
        let client = self.rng.usize(..self.clients.len());
        let is_here = self.clients[client].stage == Stage::Here;
        match self.rng.u8(..40) {
            0..14 if is_here => self.publish(client),
            14..18 if is_here => return self.subscribe(client),
            18 if is_here => return self.unsubscribe(client),
            19 if is_here => self.lose(client),
            20..26 if is_here => self.clients[client].answer(),
            26 => self.connect(client),
            27..36 => self.commit(),
            36 => self.put_rules()?,
            37 => {
                let jump = if self.rng.bool() { 0 } else { self.rng.i64(-400..400) * DAY_MS };
                self.gateway.pass(self.rng.u64(..10 * 3_600_000), jump);
            }
            38 if self.rng.bool() => self.crash()?,
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
        let sent = Sent { topic, payload, retain, qos, received: false };
        let id = self.clients[client].publish(sent.clone());
        self.promises.publish(client, id, &sent);
    }

    fn subscribe(&mut self, client: usize) -> Result<()> {
        let filter = FILTERS[self.rng.usize(..FILTERS.len())];
        let qos = QOS[self.rng.usize(..3)];
        let handling = HANDLING[self.rng.usize(..3)];
        let answer = self.promises.subscribe(client, (filter, qos, handling));
        let mut bytes = Vec::new();
        let options = Options { retain_handling: handling, ..Options::with_qos(qos) };
        Request { filter, options }.encode(Version::V5, &mut bytes);
        let requests = Requests::new(Version::V5, &bytes).map_err(anyhow::Error::msg)?;
        let subscribe = Subscribe { packet_id: id(65_000), properties: Properties::NONE, requests };
        self.clients[client].send(&Packet::Subscribe(subscribe));
        let mut came = self.turn(client)?;
        self.commit();
        came.extend(self.turn(client)?);
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
        self.promises.lose(client, self.clients[client].lasting);
    }

    fn connect(&mut self, client: usize) {
        self.clients[client].is_clean |= self.rng.u8(..8) == 0;
        let wire = self.gateway.welcome();
        if self.clients[client].stage != Stage::Away {
            self.promises.lose(client, self.clients[client].lasting);
        }
        let is_clean = self.clients[client].is_clean;
        self.expected[client] = self.promises.connect(client, is_clean);
        let before = self.clients[client].greet(wire);
        // The one before learns of it later, or not at all.
        drop(before);
    }

    fn commit(&mut self) {
        self.gateway.commit();
        self.promises.commit();
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
        let lasting: Vec<bool> = self.clients.iter().map(|client| client.lasting).collect();
        self.gateway.crash(self.rng.bool())?;
        self.promises.crash(&lasting);
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
            Came::Message { payload, qos, retain } => {
                self.outcome.heard += 1;
                self.outcome.twice += u64::from(*qos == Qos::ExactlyOnce);
                self.outcome.retained += u64::from(*retain);
                let is_shared = self.promises.hear(client, (payload, *qos, *retain))?;
                self.outcome.shared += u64::from(is_shared);
            }
            Came::Acknowledged(id) => {
                self.outcome.acknowledged += 1;
                self.promises.acknowledge(client, *id)?;
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
                self.promises.publish(client, Some(id), &sent);
            }
        }
    }

    /// All who have a session come, answer, and get what they are owed.
    fn end(&mut self) -> Result<()> {
        for client in 0..self.clients.len() {
            self.clients[client].be_prompt();
            if self.clients[client].stage == Stage::Away && self.clients[client].lasting {
                let wire = self.gateway.welcome();
                let is_clean = self.clients[client].is_clean;
                self.expected[client] = self.promises.connect(client, is_clean);
                drop(self.clients[client].greet(wire));
            }
        }
        for _ in 0..ROUNDS {
            self.clients.iter_mut().for_each(Client::answer);
            self.settle()?;
            self.commit();
            self.gateway.pass(10, 0);
        }
        // Whose session did not last has given up.
        for client in self.clients.iter().filter(|client| client.stage == Stage::Here) {
            ensure!(client.under_way.is_empty(), "{}: {:?}", client.name, client.under_way);
        }
        self.promises.finish()
    }
}
