//! One client as the hub knows it: with a connection, or a session that waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use core::num::{NonZeroU16, NonZeroU32};

use tributary_core::Offset;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::{Age, Timestamp};
use tributary_core::topic;
use tributary_mqtt::Session;
use tributary_mqtt::codec::subscribe::Options;
use tributary_mqtt::session::{InFlight, Kept, Phase};
use tributary_mqtt::subscriptions::Subscription;

use super::Key;
use super::group::split;
use super::mailbox::{Mailbox, Outgoing};
use super::rare::Rare;
use super::room::Place;
use super::scanning::Scans;
use crate::door::Guest;
use crate::runtime::clock::Anchor;
use crate::runtime::sessions::{ClientState, StoredWill};

/// A client with its session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: Box<str>,
    pub(super) connection: Option<Connected>,
    /// The session outlives the connection.
    pub(super) lasting: bool,
    /// The log knows something of it.
    pub(super) noted: bool,
    pub(super) expiry_s: u32,
    /// When the client left.
    pub(super) left: Option<Age>,
    pub(super) will: Option<Box<StoredWill<'static>>>,
    pub(super) will_due: Option<Age>,
    /// Its will is to be published, and the log does not have it yet.
    pub(super) will_waits: bool,
    /// When it is looked at for what is due.
    pub(super) due_noted: Option<Age>,
    /// Its place among the sessions that make room.
    pub(super) away: Option<Place>,
    pub(super) filters: BTreeMap<Box<str>, Entry>,
    /// What they take.
    pub(super) filter_bytes: usize,
    pub(super) kept: Kept,
    /// Retained messages that did not leave.
    pub(super) left_over: Rare<Outgoing>,
    /// What was under way and is to be read from the log again.
    pub(super) resend: Rare<InFlight>,
    /// Retained messages for new subscriptions that are still to be looked for.
    pub(super) scans: Scans,
    /// Messages from here on are read from the log for this client alone; `None`: it gets them as
    /// they come.
    pub(super) lag: Option<Offset>,
    /// Below, it was away: QoS 0 is not for it.
    pub(super) away_until: Offset,
    /// Offsets whose messages are over, or were under way, of an opening before.
    pub(super) over: BTreeSet<u64>,
    /// The cursor that the log knows.
    pub(super) cursor_noted: Offset,
    /// Messages delivered when it was noted.
    pub(super) delivered_noted: u64,
    pub(super) figures: Figures,
}

/// What happened on one client's session since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// On connections that are over.
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
}

#[derive(Debug)]
pub(super) struct Connected {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) session: Arc<Mutex<Session>>,
    /// What it may do, if it leaves a will behind.
    pub(super) guest: Option<Box<Guest>>,
}

/// A subscription of one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) wanted: Subscription,
    /// The first offset for which it holds.
    pub(super) since: Offset,
    /// The search for its retained messages that was asked for last; 0: none was.
    pub(super) search: Key,
}

/// How a message is for one client.
pub(super) struct Share {
    pub(super) qos: Qos,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Vec<NonZeroU32>,
}

impl Client {
    pub(super) fn new(name: &str, at: Offset) -> Self {
        Self {
            name: name.into(),
            connection: None,
            lasting: false,
            noted: false,
            expiry_s: 0,
            left: None,
            will: None,
            will_due: None,
            will_waits: false,
            due_noted: None,
            away: None,
            filters: BTreeMap::new(),
            filter_bytes: 0,
            kept: Kept::default(),
            left_over: Rare::new(),
            resend: Rare::new(),
            scans: Scans::default(),
            lag: None,
            away_until: at,
            over: BTreeSet::new(),
            cursor_noted: at,
            delivered_noted: 0,
            figures: Figures::default(),
        }
    }

    /// As the log remembers it. A client that was connected has left `now`.
    pub(super) fn restored(name: &str, state: ClientState, (now, anchor): (Age, &Anchor)) -> Self {
        let mut client = Self::new(name, Offset(state.cursor));
        client.lasting = state.expiry_s > 0;
        client.noted = true;
        client.expiry_s = state.expiry_s;
        let left = state.left.map(|left| anchor.counted(Age(left)));
        client.left = Some(left.unwrap_or(now));
        client.will_due = match (&state.will, state.left) {
            (None, _) => None,
            // It waits for as long as it did by the ages that were read then.
            (Some(_), Some(read)) => state
                .will_due
                .zip(left)
                .map(|(due, left)| Age(left.0.saturating_add(due.saturating_sub(read)))),
            (Some(will), None) => {
                let delay_s = will.delay_s.min(state.expiry_s);
                Some(Age(now.0 + u64::from(delay_s) * 1_000))
            }
        };
        client.will = state.will.map(Box::new);
        for (filter, known) in state.filters {
            let identifier = NonZeroU32::new(known.identifier);
            let Some(options) = Options::from_byte(known.options) else { continue };
            let wanted = Subscription { options, identifier };
            client.put_filter(&filter, Entry { wanted, since: Offset(known.since), search: 0 });
        }
        client.kept = Kept {
            unreleased: state
                .unreleased
                .iter()
                .filter_map(|(&id, &offset)| Some((NonZeroU16::new(id)?, Offset(offset))))
                .collect(),
            in_flight: state
                .in_flight
                .iter()
                .filter_map(|entry| {
                    Some(InFlight {
                        packet_id: NonZeroU16::new(entry.packet_id)?,
                        offset: Offset(entry.offset),
                        exactly_once: true,
                        retained: entry.retained,
                        phase: if entry.received { Phase::Received } else { Phase::SentBefore },
                    })
                })
                .collect(),
        };
        // What is under way is sent again as what it is, and never read as something new: it may be over
        // before the session's cursor gets there.
        let under_way = state.in_flight.iter().filter(|entry| !entry.retained);
        client.over = state.over;
        client.over.extend(under_way.map(|entry| entry.offset));
        client.lag = Some(Offset(state.cursor));
        client.away_until = Offset(u64::MAX);
        client
    }

    /// When its will or the end of its session is due; `None`: it is connected.
    pub(super) fn due(&self) -> Option<Age> {
        let ends = Age(self.left?.0.saturating_add(u64::from(self.expiry_s) * 1_000));
        Some(self.will_due.unwrap_or(ends).min(ends))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether something waits to be looked for on its behalf.
    pub(super) fn is_behind(&self) -> bool {
        self.lag.is_some() || !self.resend.is_empty() || !self.scans.is_empty()
    }

    /// Its connection says when it has room for more.
    pub(super) fn ask_for_more(&self) {
        if let Some(connection) = &self.connection {
            connection.mailbox.set_more(true);
        }
    }

    /// Whether nothing may be put in front of what is under way: that takes up the client's room until it
    /// was sent again.
    pub(super) fn is_resuming(&self) -> bool {
        !self.resend.is_empty() || !self.left_over.is_empty()
    }

    /// What did not leave goes behind what is under way, into an empty mailbox: one holds at least as
    /// many as were left in one.
    pub(super) fn serve_left_over(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| self.resend.is_empty()) else {
            return;
        };
        while let Some(outgoing) = self.left_over.pop_front() {
            connection.mailbox.put(outgoing);
        }
    }

    /// Whether its will may not be published, by the rules in force.
    pub(super) fn is_will_denied(&self) -> bool {
        let guest = self.connection.as_ref().and_then(|connected| connected.guest.clone());
        self.will.as_ref().zip(guest).is_some_and(|(will, mut guest)| {
            let event = will.event(&self.name, Timestamp(0));
            !guest.may_publish(event.client, event.topic)
        })
    }

    /// Events that it published since the start.
    pub(super) fn published(&self) -> u64 {
        let now = self.connection.as_ref().map_or(0, |connected| connected.mailbox.published());
        self.figures.published + now
    }

    /// Messages that were dealt to it at QoS 2, before a restart too: they are its own, then.
    pub(super) fn had(&self) -> impl Iterator<Item = Offset> {
        let is_own = |entry: &&InFlight| entry.exactly_once && !entry.retained;
        let under_way = self.kept.in_flight.iter().filter(is_own).map(|entry| entry.offset);
        self.over.iter().map(|offset| Offset(*offset)).chain(under_way)
    }

    /// Whether such a message is at `offset`.
    pub(super) fn has_had(&self, offset: Offset) -> bool {
        self.over.contains(&offset.0) || self.had().any(|had| had == offset)
    }

    /// The oldest message that may not have come to it, but for what is its own at QoS 2. While its session is at
    /// work nobody knows: perhaps the oldest of all.
    pub(super) fn oldest_unacked(&self) -> Option<Offset> {
        let is_open = |entry: &&InFlight| !entry.exactly_once && !entry.retained;
        let left_over = self.left_over.iter().filter(|outgoing| outgoing.group.is_some());
        let left_over = left_over.filter_map(|outgoing| Some(outgoing.message.as_ref()?.offset));
        let Some(connection) = &self.connection else {
            let under_way = self.kept.in_flight.iter().filter(is_open).map(|entry| entry.offset);
            return under_way.chain(left_over).min();
        };
        let session = connection.session.try_lock();
        let Some(session) = session.ok().filter(|session| session.is_welcomed()) else {
            return Some(Offset(0));
        };
        let under_way = session.in_flight().filter(is_open).map(|entry| entry.offset);
        under_way.chain(left_over).chain(connection.mailbox.oldest(true)).min()
    }

    /// Whether it is connected and gets messages as they come.
    pub(super) fn is_live(&self) -> bool {
        self.is_connected() && self.lag.is_none() && !self.filters.is_empty()
    }

    /// How an event of the log is for this client, read for it alone: not what is under way
    /// already, nor what was over before.
    pub(super) fn share_of(&self, offset: Offset, event: &Event<'_>) -> Option<Share> {
        if self.over.contains(&offset.0) {
            return None;
        }
        let known = |entry: &InFlight| entry.offset == offset && !entry.retained;
        if self.kept.in_flight.iter().any(known) {
            return None;
        }
        let share = self.share(offset, event)?;
        let qos = share.qos.min(event.qos);
        (qos > Qos::AtMostOnce || offset >= self.away_until).then_some(share)
    }

    /// All matching subscriptions that are not shared with others, together.
    fn share(&self, offset: Offset, event: &Event<'_>) -> Option<Share> {
        let is_own = is_from(&self.name, event);
        let selecting = self.filters.iter().filter(|(filter, entry)| {
            let own = entry.wanted.options.no_local && is_own;
            offset >= entry.since && !own && topic::matches(filter, event.topic)
        });
        Share::by(selecting.map(|(_, entry)| entry))
    }

    /// All matching subscriptions that are shared with others, together.
    fn share_with_others(&self, event: &Event<'_>) -> Option<Share> {
        let selecting = self.filters.iter().filter(|(filter, _)| {
            split(filter).is_some_and(|(_, inner)| topic::matches(inner, event.topic))
        });
        Share::by(selecting.map(|(_, entry)| entry))
    }

    /// How a message that is under way already is for this client: its subscriptions may have
    /// ended meanwhile, and others may have come. Whether it came by one that is shared is known where no
    /// other selected it.
    pub(super) fn share_again(&self, entry: &InFlight, event: &Event<'_>) -> Share {
        let qos = if entry.exactly_once { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        let own = |until: Offset| self.share(until, event);
        let came = if entry.retained {
            None
        } else {
            own(entry.offset).or_else(|| self.share_with_others(event))
        };
        let share = came.or_else(|| own(Offset(u64::MAX))).unwrap_or_default();
        Share { qos, ..share }
    }
}

/// Whether an event is a client's own: it is not for its No Local subscriptions (MQTT-3.8.3-3). What comes
/// from elsewhere bears a name that may be a client's.
pub(super) fn is_from(name: &str, event: &Event<'_>) -> bool {
    event.origin == Origin::Device && event.client == name
}

impl Default for Share {
    fn default() -> Self {
        let (qos, retain_as_published) = (Qos::AtMostOnce, false);
        Self { qos, retain_as_published, identifiers: Vec::new() }
    }
}

impl Share {
    /// These subscriptions together, if there are any.
    fn by<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<Self> {
        let mut share: Option<Self> = None;
        for Entry { wanted, .. } in entries {
            let share = share.get_or_insert_default();
            share.qos = share.qos.max(wanted.options.qos);
            share.retain_as_published |= wanted.options.retain_as_published;
            share.identifiers.extend(wanted.identifier);
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sessions::{Filter, InFlightState};
    use tributary_core::properties::Properties;

    #[test]
    fn what_is_sent_again_comes_as_a_shared_subscription_wants_it_too() {
        let mut client = Client::new("ann", Offset(0));
        let event = Event {
            topic: "a/1",
            payload: b"1",
            client: "press",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: None,
            origin: Origin::Device,
            properties: Properties::NONE,
        };
        let entry = InFlight {
            packet_id: NonZeroU16::MIN,
            offset: Offset(5),
            exactly_once: false,
            retained: false,
            phase: Phase::SentBefore,
        };
        let mut subscribe = |filter: &str, (number, since): (u32, u64)| {
            let options =
                Options { retain_as_published: true, ..Options::with_qos(Qos::AtMostOnce) };
            let wanted = Subscription { options, identifier: NonZeroU32::new(number) };
            client.filters.insert(filter.into(), Entry { wanted, since: Offset(since), search: 0 });
            client.share_again(&entry, &event)
        };
        assert_eq!(subscribe("$share/g/b/#", (2, 0)).identifiers, []);
        let share = subscribe("$share/g/a/#", (3, 0));
        assert_eq!(share.identifiers, [NonZeroU32::new(3).expect("not 0")]);
        assert_eq!((share.qos, share.retain_as_published), (Qos::AtLeastOnce, true));
        // One of its own selects it: it came by that, or by both. Or it did not select it then.
        for (since, number) in [(6, 3), (5, 4)] {
            let share = subscribe("a/+", (4, since));
            assert_eq!(share.identifiers, [NonZeroU32::new(number).expect("not 0")]);
        }
    }

    #[test]
    fn what_was_under_way_before_a_restart_is_never_read_as_something_new() {
        let known = InFlightState { packet_id: 1, offset: 5, retained: false, received: false };
        let filter = Filter { options: 2, identifier: 0, since: 0 };
        let state = ClientState {
            expiry_s: 60,
            cursor: 3,
            in_flight: vec![known],
            filters: BTreeMap::from([("a".to_owned(), filter)]),
            ..ClientState::default()
        };
        let mut client = Client::restored("ann", state, (Age(0), &Anchor::default()));
        // It was sent again and is over, before the session has read so far.
        client.kept = Kept::default();
        let event = Event {
            topic: "a",
            payload: b"1",
            client: "press",
            time: Timestamp(0),
            qos: Qos::ExactlyOnce,
            retain: false,
            packet_id: None,
            origin: Origin::Device,
            properties: Properties::NONE,
        };
        assert!(client.share_of(Offset(5), &event).is_none());
        assert!(client.share_of(Offset(6), &event).is_some());
    }
}
