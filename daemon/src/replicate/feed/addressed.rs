//! Whom an event is for: all routes, or one alone, to which it was put back.

use tributary_core::Offset;
use tributary_core::record::{Event, Origin};

use crate::replicate::letter::{Fate, First};
use crate::replicate::mapping::EventTime;

/// What an event says of itself that a route has to know.
pub(super) struct Addressed<'a> {
    /// The only route that it is for; none has an empty name. `None`: whichever selects it.
    pub(super) route: Option<&'a str>,
    /// Its offset when it came in first, if that was another.
    pub(super) first: Option<Offset>,
}

impl<'a> Addressed<'a> {
    /// Reads it, and leaves the event and its time as they first came.
    pub(super) fn of(event: &mut Event<'a>, time: &mut EventTime) -> Self {
        match event.origin {
            Origin::Replay => {}
            Origin::Device | Origin::Source | Origin::Rule | Origin::Downlink => {
                return Self { route: None, first: None };
            }
        }
        match Fate::of_put_back(event) {
            Some(fate) => {
                event.properties = fate.own;
                let trusted = fate.first.is_none_or(First::is_trusted);
                *time = EventTime { time: event.time, trusted };
                let first = fate.first.and_then(First::offset);
                Self { route: Some(fate.route), first }
            }
            None => Self { route: Some(""), first: None },
        }
    }
}
