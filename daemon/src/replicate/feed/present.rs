//! What a filling needs to know, and what comes of it.

use tributary_core::Offset;
use tributary_core::log::{Clock, End};

use crate::replicate::traffic::View;
use crate::runtime::clock::Anchor;

/// What stopped a filling.
#[derive(Debug, PartialEq, Eq)]
pub enum Filled {
    /// The durable end was reached.
    All,
    /// A route enters this lane here, and the lane that it leaves has not come so far yet.
    Waits,
    /// Enough was read for one turn; there is more, and room for it.
    Halfway,
    /// What was read so far goes first; there is more.
    Paused,
    /// The batch is full, or lacks a topic that the cluster has not told of yet.
    HandIn,
    /// The fold cannot go on; why, for people.
    Stopped(String),
}

/// What a filling needs to know of the present.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// The durable end.
    pub end: End,
    /// The oldest offset that is kept.
    pub oldest: Offset,
    /// Both clocks.
    pub clock: Clock,
    /// For correcting the times of events from before the clock was set.
    pub anchor: Anchor,
    /// How the other lanes are.
    pub traffic: View,
}
