//! One connection as the server sees it.
//!
//! The driver hands in bytes, the log's answers and time; the session appends what is to be sent to
//! a buffer of the driver's and says what to do next. One turn of a driver:
//!
//! ```text
//! while session.wants_packet() {
//!     let step = session.handle_bytes(now, &unread[used..], &mut out);
//!     used += step.used;
//!     match step.effect {
//!         Effect::Incomplete => break,                    // read from the socket
//!         Effect::None => {}
//!         Effect::Connect(connect) => …                   // accept or refuse, now or later
//!         Effect::Publish(publish) => log.append(session.event(&publish, wall_time)),
//!                                                         // then handle_appended or handle_refused
//!         Effect::Subscribe(subscribe) => session.answer_subscribe(&subscribe, &mut out, |filter, wanted| …),
//!         Effect::Unsubscribe(unsubscribe) => session.answer_unsubscribe(&unsubscribe, &mut out, |filter| …),
//!         Effect::Acknowledged => …                       // room for one more deliver
//!         Effect::Close(close) => …                       // write out, close, publish take_will()
//!     }
//! }
//! ```
//!
//! However a connection ends, the driver publishes what [`Session::take_will`] gives, if anything,
//! and forgets the subscriptions.
//!
//! Invariants: no PUBACK leaves before its event is durable, PUBACKs leave in the order of their
//! publishes (MQTT-4.6.0-2), nothing is encoded for the client before its CONNECT is answered or
//! after the connection is closed, and no more than the allowed messages are under way to it.

mod connecting;
mod ending;
mod handling;
mod inbound;
mod outbound;
mod settings;
#[cfg(test)]
mod tests;
mod will;

pub use ending::Close;
pub use outbound::{Delivered, Message};
pub use settings::Settings;
pub use will::Will;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU16;

use tributary_core::Offset;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin};
use tributary_core::time::{Instant, Timestamp};

use crate::codec::ack::{Ack, puback_reason};
use crate::codec::connect::Connect;
use crate::codec::publish::Publish;
use crate::codec::reason::Reason;
use crate::codec::subscribe::Subscribe;
use crate::codec::unsubscribe::Unsubscribe;
use crate::codec::{Packet, Version, property};
use crate::limits;
use crate::subscriptions::{Grant, Subscription};
use connecting::Wishes;
use inbound::{Aliases, Unacked};
use outbound::Outbound;

/// What became of the bytes handed in.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// So many bytes are done with.
    pub used: usize,
    /// What the driver has to do.
    pub effect: Effect<'a>,
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Read more: the next packet is not all there.
    Incomplete,
    /// Nothing; go on with the bytes that are left.
    None,
    /// Decide about the client: [`Session::accept`] or [`Session::refuse`].
    Connect(Connect<'a>),
    /// Append [`Session::event`] to the log; above QoS 0 then [`Session::handle_appended`], or
    /// [`Session::handle_refused`]. Both may come later, in the order of the publishes.
    Publish(Publish<'a>),
    /// Enter the subscriptions by [`Session::answer_subscribe`].
    Subscribe(Subscribe<'a>),
    /// Remove the subscriptions by [`Session::answer_unsubscribe`].
    Unsubscribe(Unsubscribe<'a>),
    /// The client has acknowledged a message: there is room for one more [`Session::deliver`].
    Acknowledged,
    /// Write what was encoded, close the connection, publish [`Session::take_will`].
    Close(Close),
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    stage: Stage,
    version: Version,
    client_id: Box<str>,
    /// What the CONNECT asked for; that and nothing else bounds what a DISCONNECT may ask for.
    expiry_asked_s: u32,
    /// One and a half times the client's keep-alive; 0: none.
    silence_ms_max: u64,
    deadline: Option<Instant>,
    will: Option<Box<Will>>,
    unacked: Unacked,
    aliases: Aliases,
    outbound: Outbound,
}

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    /// Nothing has come yet.
    Opened,
    /// The driver decides about the client.
    Deciding(Box<Wishes>),
    /// The client is welcome.
    Connected,
    /// Nothing more is read or sent.
    Closed,
}

impl Session {
    /// A connection that was opened just now.
    #[must_use]
    pub fn new(now: Instant, settings: &Settings) -> Self {
        Self {
            settings: *settings,
            stage: Stage::Opened,
            version: Version::V311,
            client_id: Box::default(),
            expiry_asked_s: 0,
            silence_ms_max: 0,
            deadline: Some(now.plus_ms(settings.connect_timeout_ms)),
            will: None,
            unacked: Unacked::default(),
            aliases: Aliases::default(),
            outbound: Outbound::new(settings.in_flight_max),
        }
    }

    /// Whether the next packet may be handled. `false` leaves bytes unread, so that a slow disk
    /// slows its clients: while the answer to a CONNECT is out, while an MQTT 3.1.1 client has as
    /// many publishes unacknowledged as it may, and after the end. (An MQTT 5 client knows its
    /// limit, and breaks the protocol by exceeding it.)
    #[must_use]
    pub fn wants_packet(&self) -> bool {
        match self.stage {
            Stage::Opened => true,
            Stage::Connected => self.version == Version::V5 || !self.is_unacked_full(),
            Stage::Deciding(_) | Stage::Closed => false,
        }
    }

    /// Handles the next packet of `bytes`.
    ///
    /// The driver calls only while `out` is small: answers to a client that does not read them are
    /// bounded by not reading from it.
    ///
    /// # Panics
    /// If the session does not [want a packet](Session::wants_packet).
    pub fn handle_bytes<'a>(
        &mut self,
        now: Instant,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        assert!(self.wants_packet(), "bytes are left unread while the session wants no packet");
        self.handle_next(now, bytes, out)
    }

    /// The client is welcome. `assigned` is its identifier if it came without one, unique among the
    /// clients and of at most [`limits::ASSIGNED_ID_BYTES_MAX`] bytes.
    ///
    /// # Panics
    /// If no CONNECT waits, if a client without identifier gets none or one that is too long, or if
    /// a client with one gets another.
    pub fn accept(&mut self, now: Instant, assigned: Option<&str>, out: &mut Vec<u8>) {
        let Stage::Deciding(wishes) = mem::replace(&mut self.stage, Stage::Connected) else {
            panic!("no CONNECT waits");
        };
        assert_eq!(assigned.is_some(), self.client_id.is_empty(), "a client has one identifier");
        if let Some(client_id) = assigned {
            assert!((1..=limits::ASSIGNED_ID_BYTES_MAX).contains(&client_id.len()));
            self.client_id = client_id.into();
        }
        wishes.encode_welcome(&self.settings, assigned, out);
        if let Some(maximum) = wishes.receive_maximum {
            self.outbound.limit(maximum);
        }
        self.outbound.packet_bytes_max = wishes.packet_bytes_max;
        self.expiry_asked_s = wishes.session_expiry_s;
        self.silence_ms_max = u64::from(wishes.granted_keep_alive_s(&self.settings)) * 1500;
        self.will = wishes.will;
        self.handle_unread(now);
    }

    /// The client is turned away: the driver closes the connection, and no will is published.
    /// (`Unspecified` stands for a reason that CONNACK cannot carry.)
    ///
    /// # Panics
    /// If no CONNECT waits, or `reason` is no failure.
    pub fn refuse(&mut self, reason: Reason, out: &mut Vec<u8>) {
        assert!(matches!(self.stage, Stage::Deciding(_)), "no CONNECT waits");
        assert!(reason.is_failure(), "a refusal has a reason");
        connecting::encode_refusal(self.version, reason, out);
        self.stage = Stage::Closed;
    }

    /// The event of a publish that [`Effect::Publish`] has just brought. The topic behind an alias
    /// is found as long as no later packet is handled.
    #[must_use]
    pub fn event<'a>(&'a self, publish: &Publish<'a>, time: Timestamp) -> Event<'a> {
        let alias = if publish.topic.is_empty() { publish.properties.topic_alias() } else { None };
        let topic = alias.and_then(|alias| self.aliases.resolve(alias)).unwrap_or(publish.topic);
        Event {
            topic,
            payload: publish.payload,
            client: &self.client_id,
            time,
            qos: publish.delivery.qos(),
            retain: publish.retain,
            origin: Origin::Device,
            properties: Properties(publish.properties.bytes()),
        }
    }

    /// The oldest publish above QoS 0 that was not answered yet is in the log at `offset`. Its
    /// PUBACK waits for the next [`Session::handle_durable`] beyond it, even if it is durable
    /// already.
    ///
    /// # Panics
    /// If that publish has another packet identifier.
    pub fn handle_appended(&mut self, offset: Offset, packet_id: NonZeroU16) {
        self.unacked.handle_appended(packet_id, offset);
    }

    /// The oldest publish above QoS 0 that was not answered yet cannot be taken. MQTT 5 has a
    /// PUBACK with `reason` for that (`Unspecified` where it cannot carry it), which keeps its place
    /// in the order; an MQTT 3.1.1 connection ends.
    ///
    /// # Panics
    /// If that publish has another packet identifier, or `reason` is no failure.
    pub fn handle_refused(
        &mut self,
        packet_id: NonZeroU16,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> Effect<'static> {
        assert!(reason.is_failure(), "a refusal has a reason");
        self.unacked.handle_refused(packet_id, puback_reason(reason));
        if self.version == Version::V311 {
            self.stage = Stage::Closed;
            return Effect::Close(Close { reason, statement: "MQTT-4.8.0-2 (3.1.1)" });
        }
        self.handle_durable(Offset(0), out);
        Effect::None
    }

    /// Everything below `end` survives a power cut: the PUBACKs that waited for it are encoded.
    /// May be called at any time and with any `end`, on a closed session too.
    pub fn handle_durable(&mut self, end: Offset, out: &mut Vec<u8>) {
        if !self.is_connected() {
            return;
        }
        while let Some((packet_id, reason)) = self.unacked.poll_acknowledgement(end) {
            let properties = property::Properties::NONE;
            Packet::PubAck(Ack { packet_id, reason, properties }).encode(self.version, out);
        }
    }

    /// Answers a SUBSCRIBE. `enter` is called for each filter that can be granted, in order, and
    /// says whether it is; the rest is refused here. (`Unspecified` stands for a reason that SUBACK
    /// cannot carry.)
    pub fn answer_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        out: &mut Vec<u8>,
        mut enter: impl FnMut(&str, Subscription) -> Result<(), Reason>,
    ) {
        let version = self.version;
        let identifier = subscribe.properties.subscription_identifier();
        let answers = subscribe.requests.iter().map(|request| {
            let answer = handling::grant(&request, identifier)
                .and_then(|granted| enter(request.filter, granted).map(|()| granted));
            handling::suback_code(answer, version)
        });
        if self.is_connected() {
            subscribe.encode_answer(version, answers, out);
        }
    }

    /// Answers an UNSUBSCRIBE. `remove` is called for each filter, in order, and says whether
    /// there was such a subscription.
    pub fn answer_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Vec<u8>,
        mut remove: impl FnMut(&str) -> bool,
    ) {
        let answers = unsubscribe.filters.iter().map(|filter| {
            if remove(filter) { Reason::Success } else { Reason::NoSubscriptionExisted }
        });
        if self.is_connected() {
            unsubscribe.encode_answer(self.version, answers, out);
        }
    }

    /// Sends a message to the client, at the lower of its and the granted quality of service.
    pub fn deliver(
        &mut self,
        message: &Message<'_>,
        grant: Grant<'_>,
        out: &mut Vec<u8>,
    ) -> Delivered {
        if !self.is_connected() {
            return Delivered::NotConnected;
        }
        self.outbound.deliver(message, grant, self.version, out)
    }

    /// Whether a message above QoS 0 would find the client [busy](Delivered::Busy).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.outbound.is_busy()
    }

    /// Empty while a client without one of its own is not accepted yet.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What the client speaks; of meaning once its CONNECT was handled.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Publishes that wait for their PUBACK.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    const fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected)
    }

    fn is_unacked_full(&self) -> bool {
        self.unacked.len() >= usize::from(self.settings.unacked_max.get())
    }
}
