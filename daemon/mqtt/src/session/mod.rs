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
//!         Effect::Acknowledged(over) => …                 // room for one more deliver
//!         Effect::Released(id) => …                       // make that durable, then hold
//!         Effect::Received(id) => …                       // the same
//!         Effect::Close(close) => …                       // write out, close, publish take_will()
//!     }
//! }
//! ```
//!
//! However a connection ends, the driver publishes what [`Session::take_will`] gives, if anything,
//! and forgets the subscriptions.
//!
//! Invariants: no PUBACK and no PUBREC leaves before its event is durable, and of a session that
//! lasts no PUBCOMP and no PUBREL before what it confirms is; acknowledgements leave in the order
//! of their publishes (MQTT-4.6.0-2, MQTT-4.6.0-3, MQTT-4.6.0-4), nothing is encoded for the client before its CONNECT is answered or
//! after the connection is closed, and no more than the allowed messages are under way to it.

mod connecting;
mod delivering;
mod effect;
mod ending;
mod exactly_once;
mod forward;
mod handling;
mod inbound;
mod outbound;
mod reasons;
mod settings;
#[cfg(test)]
mod tests;
mod will;

pub use connecting::Welcome;
pub use effect::{Effect, Step};
pub use ending::Close;
pub use exactly_once::{Kept, Withdrawn};
pub use outbound::{Delivered, InFlight, Message, Phase};
pub use settings::Settings;
pub use will::Will;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU16;

use tributary_core::Offset;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin};
use tributary_core::time::{Instant, Timestamp};

use crate::codec::ack::{Ack, puback_reason};
use crate::codec::property::Carrier;
use crate::codec::publish::{Delivery, Publish};
use crate::codec::reason::Reason;
use crate::codec::subscribe::Subscribe;
use crate::codec::unsubscribe::Unsubscribe;
use crate::codec::{Packet, Version};
use crate::limits;
use crate::subscriptions::Subscription;
use connecting::Wishes;
use exactly_once::Held;
use forward::AliasesOut;
use inbound::{Acknowledgement, Aliases, Unacked};
use outbound::Outbound;

/// A connection.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    stage: Stage,
    version: Version,
    client_id: Box<str>,
    /// What the CONNECT asked for; that and nothing else bounds what a DISCONNECT may ask for.
    expiry_asked_s: u32,
    /// Seconds for which the session outlives the connection.
    expiry_s: u32,
    /// One and a half times the client's keep-alive; 0: none.
    silence_ms_max: u64,
    deadline: Option<Instant>,
    will: Option<Box<Will>>,
    unacked: Unacked,
    aliases: Aliases,
    outbound: Outbound,
    /// What may leave only when a change of the session is durable, oldest first.
    held: VecDeque<Held>,
    /// The connection was accepted.
    welcomed: bool,
    /// The client wants Reason Strings in answers (MQTT 5.0, 3.1.2.11.7).
    is_told_why: bool,
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
    ///
    /// # Panics
    /// If larger packets are allowed than can be taken whatever is in them.
    #[must_use]
    pub fn new(now: Instant, settings: &Settings) -> Self {
        assert!(settings.packet_bytes_max <= limits::PACKET_BYTES_DEFAULT);
        Self {
            settings: *settings,
            stage: Stage::Opened,
            version: Version::V311,
            client_id: Box::default(),
            expiry_asked_s: 0,
            expiry_s: 0,
            silence_ms_max: 0,
            deadline: Some(now.plus_ms(settings.connect_timeout_ms)),
            will: None,
            unacked: Unacked::default(),
            aliases: Aliases::default(),
            outbound: Outbound::new(settings.in_flight_max),
            held: VecDeque::new(),
            welcomed: false,
            is_told_why: false,
        }
    }

    /// Whether the next packet may be handled. `false` leaves bytes unread, so that a slow disk
    /// slows its clients: while the answer to a CONNECT is out, while an MQTT 3.1.1 client has as
    /// many publishes unacknowledged as it may, while as many answers wait, and after the end. (An MQTT 5 client knows its
    /// limit. Where it does not keep to that, what is beyond is left unread, too.)
    #[must_use]
    pub fn wants_packet(&self) -> bool {
        match self.stage {
            Stage::Opened => true,
            Stage::Connected => {
                let max = usize::from(self.settings.unacked_max.get());
                let has_room = match self.version {
                    Version::V5 => !self.unacked.is_held_back(),
                    Version::V31 | Version::V311 => self.unacked.len() < max,
                };
                has_room && self.held.len() < max
            }
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

    /// The client is welcome.
    ///
    /// # Panics
    /// If no CONNECT waits, if a client without identifier gets none or one that is too long, or if
    /// a client with one gets another.
    pub fn accept(&mut self, now: Instant, welcome: Welcome<'_>, out: &mut Vec<u8>) {
        let Welcome { assigned, kept, lasting } = welcome;
        let Stage::Deciding(wishes) = mem::replace(&mut self.stage, Stage::Connected) else {
            panic!("no CONNECT waits");
        };
        assert_eq!(assigned.is_some(), self.client_id.is_empty(), "a client has one identifier");
        if let Some(client_id) = assigned {
            assert!((1..=limits::ASSIGNED_ID_BYTES_MAX).contains(&client_id.len()));
            self.client_id = client_id.into();
        }
        self.welcomed = true;
        wishes.encode_welcome(&self.settings, (assigned, kept.is_some()), out);
        if let Some(maximum) = wishes.receive_maximum {
            self.outbound.limit(maximum);
        }
        self.outbound.packet_bytes_max = wishes.packet_bytes_max;
        self.is_told_why = wishes.problem_information && self.version == Version::V5;
        self.outbound.lasting = lasting;
        self.outbound.aliases = AliasesOut::up_to(wishes.topic_alias_max);
        self.silence_ms_max = u64::from(wishes.granted_keep_alive_s(&self.settings)) * 1500;
        self.handle_unread(now);
        if let Some(kept) = kept {
            self.resume(kept, out);
        }
    }

    /// The client is turned away: the driver closes the connection, and no will is published.
    /// (`Unspecified` stands for a reason that CONNACK cannot carry.)
    ///
    /// # Panics
    /// If no CONNECT waits, or `reason` is no failure.
    pub fn refuse(&mut self, reason: Reason, out: &mut Vec<u8>) {
        assert!(matches!(self.stage, Stage::Deciding(_)), "no CONNECT waits");
        assert!(reason.is_failure(), "a refusal has a reason");
        connecting::encode_refusal(self.version, reason, &reasons::of_turning_away(reason), out);
        self.will = None;
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
            packet_id: match publish.delivery {
                Delivery::ExactlyOnce { packet_id, .. } => Some(packet_id),
                Delivery::AtMostOnce | Delivery::AtLeastOnce { .. } => None,
            },
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
        if self.version != Version::V5 {
            self.stage = Stage::Closed;
            return Effect::Close(Close { reason, statement: "MQTT-4.8.0-2 (3.1.1)" });
        }
        self.handle_durable(Offset(0), 0, out);
        Effect::None
    }

    /// Everything below `end`, and all changes up to the one with the number `changes`, survive a
    /// power cut: what waited for it is encoded. May be called at any time and with any numbers, on
    /// a closed session too.
    pub fn handle_durable(&mut self, end: Offset, changes: u64, out: &mut Vec<u8>) {
        if !self.is_connected() {
            return;
        }
        while let Some(acknowledgement) = self.unacked.poll_acknowledgement(end) {
            let Acknowledgement { packet_id, exactly_once, reason } = acknowledgement;
            let told = if self.is_told_why { reasons::of_refusal(reason) } else { Vec::new() };
            let properties = reasons::properties(Carrier::Acknowledgement, &told);
            let ack = Ack { packet_id, reason, properties };
            let packet = if exactly_once { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
            packet.encode(self.version, out);
        }
        self.release_held(changes, out);
    }

    /// Answers a SUBSCRIBE. `enter` is called for each filter, in order, and says whether it is
    /// granted. (`Unspecified` stands for a reason that SUBACK cannot carry.)
    pub fn answer_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        out: &mut Vec<u8>,
        mut enter: impl FnMut(&str, Subscription) -> Result<(), Reason>,
    ) {
        let version = self.version;
        let identifier = subscribe.properties.subscription_identifier();
        let answers = subscribe.requests.iter().map(|request| {
            let wanted = Subscription { options: request.options, identifier };
            let answer = enter(request.filter, wanted).map(|()| wanted);
            handling::suback_code(answer, version)
        });
        let answers: Vec<Reason> = answers.collect();
        if self.is_connected() {
            let told = self.why_denied(&answers);
            let properties = reasons::properties(Carrier::Acknowledgement, &told);
            subscribe.encode_answer(version, (properties, &answers), out);
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

    /// Seconds for which the session outlives its connection, as the client asks and the settings
    /// allow; of meaning once the CONNECT was handled.
    #[must_use]
    pub const fn expiry_s(&self) -> u32 {
        self.expiry_s
    }

    /// What the client leaves behind, if its connection ends now.
    #[must_use]
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// Whether a CONNECT waits for [`Session::accept`] or [`Session::refuse`].
    #[must_use]
    pub const fn is_deciding(&self) -> bool {
        matches!(self.stage, Stage::Deciding(_))
    }

    /// Whether the connection has ended, from either side: nothing more is read or sent.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Whether everything that was to be acknowledged is.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unacked.len() == 0 && self.held.is_empty()
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
        self.unacked.under_way() >= usize::from(self.settings.unacked_max.get())
    }
}
