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
mod inbound;
mod outbound;
mod settings;
mod will;

pub use outbound::{Delivered, Message};
pub use settings::Settings;
pub use will::Will;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use tributary_core::Offset;
use tributary_core::record::Event;
use tributary_core::time::{Instant, Timestamp};

use crate::codec::connect::Connect;
use crate::codec::publish::Publish;
use crate::codec::reason::Reason;
use crate::codec::subscribe::Subscribe;
use crate::codec::unsubscribe::Unsubscribe;
use crate::subscriptions::{Grant, Subscription};

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

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why. `Success` and `DisconnectWithWill`: the client has taken its leave.
    pub reason: Reason,
    /// The normative statement of MQTT 5.0, or the section where there is none.
    pub statement: &'static str,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    client_id: Box<str>,
}

impl Session {
    /// A connection that was opened just now.
    #[must_use]
    pub fn new(now: Instant, settings: &Settings) -> Self {
        todo!()
    }

    /// Whether the next packet may be handled. `false` leaves bytes unread, so that a slow disk
    /// slows its clients: while the answer to a CONNECT is out, while an MQTT 3.1.1 client has as
    /// many publishes unacknowledged as it may, and after the end. (An MQTT 5 client knows its
    /// limit, and breaks the protocol by exceeding it.)
    #[must_use]
    pub fn wants_packet(&self) -> bool {
        todo!()
    }

    /// Handles the next packet of `bytes`.
    ///
    /// The driver calls only while `wants_packet`, and while `out` is small: answers to a client
    /// that does not read are bounded by not reading from it.
    pub fn handle_bytes<'a>(
        &mut self,
        now: Instant,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        todo!()
    }

    /// The client is welcome. `assigned` is its identifier if it came without one: at most 23
    /// bytes, unique among the clients.
    ///
    /// # Panics
    /// If no CONNECT waits, or the client has no identifier.
    pub fn accept(&mut self, now: Instant, assigned: Option<&str>, out: &mut Vec<u8>) {
        todo!()
    }

    /// The client is turned away: CONNACK with `reason`, then the driver closes.
    ///
    /// # Panics
    /// If no CONNECT waits.
    pub fn refuse(&mut self, reason: Reason, out: &mut Vec<u8>) {
        todo!()
    }

    /// The event of a publish that [`Effect::Publish`] brought, with its topic alias resolved.
    #[must_use]
    pub fn event<'a>(&'a self, publish: &Publish<'a>, time: Timestamp) -> Event<'a> {
        todo!()
    }

    /// The oldest publish above QoS 0 that was not answered yet is in the log at `offset`. Its
    /// PUBACK waits for [`Session::handle_durable`].
    ///
    /// # Panics
    /// If that publish has another packet identifier.
    pub fn handle_appended(&mut self, offset: Offset, packet_id: NonZeroU16) {
        todo!()
    }

    /// The oldest publish above QoS 0 that was not answered yet cannot be taken. MQTT 5 has a
    /// PUBACK with `reason` for that, which keeps its place in the order; an MQTT 3.1.1 connection
    /// ends.
    ///
    /// # Panics
    /// If that publish has another packet identifier.
    pub fn handle_refused(
        &mut self,
        packet_id: NonZeroU16,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> Effect<'static> {
        todo!()
    }

    /// Everything below `end` survives a power cut: the PUBACKs that waited for it are encoded.
    /// May be called at any time and with any `end`, on a closed session too.
    pub fn handle_durable(&mut self, end: Offset, out: &mut Vec<u8>) {
        todo!()
    }

    /// Answers a SUBSCRIBE. `enter` is called for each filter that can be granted, in order, and
    /// says whether it is; the rest is refused here.
    pub fn answer_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        out: &mut Vec<u8>,
        enter: impl FnMut(&str, Subscription) -> Result<(), Reason>,
    ) {
        todo!()
    }

    /// Answers an UNSUBSCRIBE. `remove` is called for each filter, in order, and says whether
    /// there was such a subscription.
    pub fn answer_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Vec<u8>,
        remove: impl FnMut(&str) -> bool,
    ) {
        todo!()
    }

    /// Sends a message to the client.
    pub fn deliver(
        &mut self,
        message: &Message<'_>,
        grant: Grant<'_>,
        out: &mut Vec<u8>,
    ) -> Delivered {
        todo!()
    }

    /// Whether a message above QoS 0 would be `Busy`.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        todo!()
    }

    /// When to call [`Session::handle_timeout`]. `None`: not at all, for now.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// The deadline of [`Session::poll_timeout`] may have passed.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<u8>) -> Effect<'static> {
        todo!()
    }

    /// The driver itself left bytes unread until `now`: the client's silence is ours, and the
    /// keep-alive begins anew.
    pub fn handle_unread(&mut self, now: Instant) {
        todo!()
    }

    /// Another connection has the same client identifier (MQTT-3.1.4-3): the driver closes this one.
    pub fn take_over(&mut self, out: &mut Vec<u8>) {
        todo!()
    }

    /// The server stops: the driver closes the connection.
    pub fn shut_down(&mut self, out: &mut Vec<u8>) {
        todo!()
    }

    /// What to publish now that the connection has ended, once.
    pub fn take_will(&mut self) -> Option<Will> {
        todo!()
    }

    /// Empty until the CONNECT is accepted.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }
}
