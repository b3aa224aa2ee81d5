//! What handling a packet comes to.

use core::num::NonZeroU16;

use super::{Close, InFlight};
use crate::codec::connect::Connect;
use crate::codec::publish::Publish;
use crate::codec::subscribe::Subscribe;
use crate::codec::unsubscribe::Unsubscribe;

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
    /// Decide about the client: [`super::Session::accept`] or [`super::Session::refuse`].
    Connect(Connect<'a>),
    /// Append [`super::Session::event`] to the log; above QoS 0 then [`super::Session::handle_appended`], or
    /// [`super::Session::handle_refused`]. Both may come later, in the order of the publishes.
    Publish(Publish<'a>),
    /// Enter the subscriptions by [`super::Session::answer_subscribe`].
    Subscribe(Subscribe<'a>),
    /// Remove the subscriptions by [`super::Session::answer_unsubscribe`].
    Unsubscribe(Unsubscribe<'a>),
    /// The client has acknowledged a message: there is room for one more [`super::Session::deliver`].
    Acknowledged(InFlight),
    /// QoS 2, in a session that lasts: the client releases an identifier. Once that is on its way
    /// to the log, [`super::Session::hold_pubcomp`].
    Released(NonZeroU16),
    /// QoS 2, in a session that lasts: the client has a message. Once that is on its way to the
    /// log, [`super::Session::hold_pubrel`].
    Received(NonZeroU16),
    /// Write what was encoded, close the connection, publish [`super::Session::take_will`].
    Close(Close),
}
