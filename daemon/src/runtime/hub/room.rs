//! What sessions take together, and which of them make room for others.
//!
//! Invariant: `Members::bytes` is what the subscriptions and wills of all clients take, and the wills that wait to
//! be published. A session whose client is away has a place among those that make room, and one is due at
//! one time at most.

use core::cmp::Reverse;
use core::mem;
use core::sync::atomic::Ordering;
use std::collections::BTreeSet;

use tributary_core::time::Age;
use tributary_mqtt::Reason;
use tributary_mqtt::limits::SUBSCRIPTION_BYTES_MAX;
use tributary_mqtt::subscriptions::cost;

use super::client::{Client, Entry};
use super::publishing::DueWill;
use super::{Counters, Key, Members};
use crate::runtime::ingest::Desk;
use crate::runtime::sessions::{Change, StoredWill};

/// Subscriptions and wills of all sessions together, in bytes; more are refused.
pub const SESSION_BYTES_MAX: usize = 64 << 20;

/// The order in which sessions whose clients are away make room: first those that lose nothing but their name,
/// and of them who has been away longest.
pub(super) type Place = (bool, Age);

impl Client {
    /// What its subscriptions and its will take.
    pub(super) fn bytes(&self) -> usize {
        self.filter_bytes + self.will.as_ref().map_or(0, |will| will.bytes())
    }

    /// Enters a subscription. The one with this filter before.
    pub(super) fn put_filter(&mut self, filter: &str, entry: Entry) -> Option<Entry> {
        let known = self.filters.insert(filter.into(), entry);
        self.filter_bytes += if known.is_none() { cost(filter) } else { 0 };
        known
    }

    /// Ends a subscription, if there was such a one.
    pub(super) fn take_filter(&mut self, filter: &str) -> Option<Entry> {
        self.filters.remove(filter).inspect(|_| self.filter_bytes -= cost(filter))
    }

    fn place(&self) -> Option<Place> {
        let left = self.left.filter(|_| !self.is_connected())?;
        let is_idle = self.filters.is_empty()
            && self.will.is_none()
            && self.kept.in_flight.is_empty()
            && self.kept.unreleased.is_empty();
        Some((!is_idle, left))
    }
}

impl Members {
    /// Whether a client may have one more subscription.
    pub(super) fn check_room(&self, key: Key, filter: &str) -> Result<(), Reason> {
        let Some(client) = self.sessions.get(&key) else { return Ok(()) };
        let cost = cost(filter);
        let is_full = client.filter_bytes + cost > SUBSCRIPTION_BYTES_MAX
            || self.bytes + cost > SESSION_BYTES_MAX;
        if is_full && !client.filters.contains_key(filter) {
            return Err(Reason::QuotaExceeded);
        }
        Ok(())
    }

    /// Whether there is room for the will of a client that comes, in the place of the one that its session has.
    pub(super) fn has_room_for_will(
        &self,
        will: Option<&StoredWill<'_>>,
        resumed: Option<Key>,
    ) -> bool {
        let Some(will) = will else { return true };
        let before = resumed.and_then(|key| self.sessions.get(&key)?.will.as_ref());
        let before = before.map_or(0, |will| will.bytes());
        self.bytes - before + will.bytes() <= SESSION_BYTES_MAX
    }

    /// Ends one of the sessions whose clients are away. Whether there was one.
    pub(super) fn make_room(&mut self, desk: &mut Desk<'_>, counters: &Counters) -> bool {
        let Some((.., key)) = self.away.first().copied() else { return false };
        let Some(client) = self.remove(key) else { return false };
        counters.displaced.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            client = &*client.name,
            "there are too many sessions: this one makes room for a new one"
        );
        self.end(client, desk);
        true
    }

    /// A session has ended: the log is told with its will, if there is one, or if one waits.
    pub(super) fn end(&mut self, client: Client, desk: &mut Desk<'_>) {
        if client.noted && client.will.is_none() && !client.will_waits {
            desk.change(&client.name, &Change::Ended);
        }
        self.publish_will(client);
    }

    /// A will is to be published now.
    pub(super) fn push_will(&mut self, due: DueWill) {
        self.bytes += due.will.bytes();
        self.note_will_waits(&due.client, true);
        self.wills.push_back(due);
    }

    /// Notes the place of a session among those that make room, or that it has none.
    pub(super) fn note_place(&mut self, key: Key) {
        let Some(client) = self.sessions.get_mut(&key) else { return };
        let place = client.place();
        if let Some((has_more, left)) = mem::replace(&mut client.away, place) {
            self.away.remove(&(has_more, left, key));
        }
        self.away.extend(place.map(|(has_more, left)| (has_more, left, key)));
    }

    /// Notes when something of a session is due.
    pub(super) fn note_due(&mut self, key: Key, due: Option<Age>) {
        let Some(client) = self.sessions.get_mut(&key) else { return };
        if let Some(before) = mem::replace(&mut client.due_noted, due) {
            self.due.remove(&(before, key));
        }
        self.due.extend(due.map(|due| (due, key)));
    }

    /// A session is removed: what it took is free.
    pub(super) fn free_room(&mut self, key: Key, client: &Client) {
        self.bytes -= client.bytes();
        if let Some((has_more, left)) = client.away {
            self.away.remove(&(has_more, left, key));
        }
        if let Some(due) = client.due_noted {
            self.due.remove(&(due, key));
        }
    }
}

/// Those of the sessions that a start has found for which there is no room: who has been away longest.
pub(super) fn without_room(clients: &[Client]) -> BTreeSet<usize> {
    let lasting = clients.iter().enumerate().filter(|(_, client)| client.lasting);
    let mut lasting: Vec<(usize, &Client)> = lasting.collect();
    lasting.sort_by_key(|(_, client)| Reverse(client.left));
    let mut bytes = 0;
    let ends = lasting.into_iter().filter(|(_, client)| {
        bytes += client.bytes();
        bytes > SESSION_BYTES_MAX
    });
    ends.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::Guest;
    use crate::runtime::clock::Anchor;
    use crate::runtime::hub::{Ask, Asking, Entered, Hub, NotEntered, SESSIONS_MAX};
    use crate::runtime::ingest::Ingest;
    use crate::runtime::sessions::{ClientState, Filter, State, read_batch};
    use crate::sync::lock;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use tributary_core::Offset;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};
    use tributary_core::time::{Instant, Timestamp};
    use tributary_mqtt::codec::subscribe::Options;
    use tributary_mqtt::limits::FILTER_LEVELS_MAX;
    use tributary_mqtt::subscriptions::Subscription;
    use tributary_mqtt::{Session, Settings};

    /// Bytes of a large will.
    const LARGE: usize = 60_000;

    struct Gateway {
        hub: Hub,
        ingest: Ingest,
    }

    type Came = (Entered, Arc<Mutex<Session>>);

    impl Gateway {
        fn new() -> Self {
            Self { hub: Hub::default(), ingest: Ingest::new(Offset(0)) }
        }

        fn enter(&self, name: &str, will: Option<StoredWill<'static>>) -> Result<Came, NotEntered> {
            let session = Arc::new(Mutex::new(Session::new(Instant(0), &Settings::default())));
            let wake = &Arc::default();
            let (session_of, guest) = (&session, &Guest::unchecked());
            let ask = Ask {
                name,
                clean_start: false,
                expiry_s: 60,
                will,
                guest,
                session: session_of,
                wake,
            };
            let entered = self.hub.enter(&ask, &mut self.ingest.desk())?;
            self.check();
            Ok((entered, session))
        }

        fn leave(&self, (entered, session): &Came, age: u64) {
            let (session, desk) = (&mut lock(session), &mut self.ingest.desk());
            self.hub.leave(entered.key, &entered.mailbox, session, (Age(age), desk));
            self.check();
        }

        /// Whether there was the very same one.
        fn subscribe(&self, key: Key, filter: &str) -> Result<bool, Reason> {
            let options = Options::with_qos(Qos::AtMostOnce);
            let wanted = Subscription { options, identifier: None };
            let mut asking = Asking::at(Offset(0));
            let granted = self.hub.subscribe(key, filter, wanted, &mut asking);
            self.check();
            granted.map(|granted| granted.is_known)
        }

        /// Subscribes to large filters until it may not.
        fn fill(&self, key: Key) -> usize {
            let filters = (0..).map(large);
            filters.take_while(|filter| self.subscribe(key, filter).is_ok()).count()
        }

        fn check(&self) {
            let members = self.hub.lock();
            let clients: usize = members.sessions.values().map(|client| client.bytes()).sum();
            let wills: usize = members.wills.iter().map(|due| due.will.bytes()).sum();
            assert_eq!(members.bytes, clients + wills);
            let away = members.sessions.values().filter(|client| !client.is_connected()).count();
            assert_eq!((members.away.len(), members.due.len()), (away, away));
        }

        fn names(&self) -> Vec<String> {
            let all = self.hub.sessions(usize::MAX).into_iter();
            all.map(|session| session.client).collect()
        }
    }

    /// A filter that takes much: of as many levels as there may be.
    fn large(number: usize) -> String {
        format!("{number:08}{}", "/x".repeat(FILTER_LEVELS_MAX - 1))
    }

    fn will(bytes: usize) -> StoredWill<'static> {
        let event = Event {
            topic: "w",
            payload: &vec![0; bytes],
            client: "",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: false,
            packet_id: None,
            origin: Origin::Device,
            properties: Properties::NONE,
        };
        StoredWill::of(&event, 0).into_owned()
    }

    #[test]
    fn what_sessions_take_together_is_bounded() {
        let gateway = Gateway::new();
        let each = SUBSCRIPTION_BYTES_MAX / cost(&large(0));
        let all = SESSION_BYTES_MAX / cost(&large(0));
        let mut came = Vec::new();
        let mut filters = 0;
        loop {
            assert!(came.len() < 100, "it has no bound");
            let name = format!("{:03}", came.len());
            came.push(gateway.enter(&name, None).expect("there is room for a name"));
            let count = gateway.fill(came[came.len() - 1].0.key);
            assert!(count <= each);
            filters += count;
            if count < each {
                break;
            }
        }
        assert_eq!(filters, all);
        // What is there already may be changed, one may be ended, and another takes its place.
        let (first, last) = (came[0].0.key, came[came.len() - 1].0.key);
        let filter = large(0);
        assert_eq!(gateway.subscribe(first, &filter), Ok(true));
        assert!(gateway.hub.unsubscribe(first, &filter));
        assert_eq!(gateway.subscribe(last, &large(1_000)), Ok(false));
        assert_eq!(gateway.subscribe(last, &large(1_001)), Err(Reason::QuotaExceeded));
        // Wills come from the same room, also those that wait for the log.
        assert_eq!(gateway.enter("will", Some(will(LARGE))).err(), Some(NotEntered::Full));
        gateway.leave(&came[0], 0);
        gateway.hub.handle_due(Age(60_000), &mut gateway.ingest.desk());
        let came = gateway.enter("will", Some(will(LARGE))).expect("there is room now");
        gateway.leave(&came, 60_000);
        gateway.hub.handle_due(Age(200_000), &mut gateway.ingest.desk());
        gateway.check();
        assert_eq!((gateway.hub.wills(), gateway.hub.take_will().is_some()), (1, true));
        gateway.check();
    }

    /// Filters of one client that are shared are bounded with the others.
    #[test]
    fn what_one_client_takes_is_bounded_shared_or_not() {
        let gateway = Gateway::new();
        let key = gateway.enter("ann", None).expect("there is room").0.key;
        let filters = (0..).map(|number| format!("$share/g/{}", large(number)));
        let count = filters.take_while(|filter| gateway.subscribe(key, filter).is_ok()).count();
        assert_eq!(count, SUBSCRIPTION_BYTES_MAX / cost(&format!("$share/g/{}", large(0))));
    }

    /// Away since some age; with so many large subscriptions.
    fn away(left: u64, filters: usize) -> ClientState {
        let filter = Filter { options: 0, identifier: 0, since: 0 };
        let names = (0..filters).map(|number| (large(number), filter));
        let filters: BTreeMap<String, Filter> = names.collect();
        ClientState { expiry_s: 60_000, left: Some(left), filters, ..ClientState::default() }
    }

    fn ended(ingest: &Ingest) -> Vec<String> {
        let mut names = Vec::new();
        for batch in ingest.take().changes {
            let ended = read_batch(batch.body()).filter(|(_, noted)| noted.change == Change::Ended);
            names.extend(ended.map(|(_, noted)| noted.client.to_owned()));
        }
        names
    }

    #[test]
    fn a_start_ends_those_sessions_for_which_there_is_no_room() {
        let gateway = Gateway::new();
        let mut state = State::default();
        for number in 0..70_u64 {
            // Every third one came earlier.
            let left = if number % 3 == 0 { number } else { 1_000 + number };
            state.clients.insert(
                format!("{number:02}"),
                away(left, SUBSCRIPTION_BYTES_MAX / cost(&large(0))),
            );
        }
        gateway.hub.restore(state, Age(5_000), &Anchor::default());
        gateway.check();
        let names = gateway.names();
        assert!((60..=66).contains(&names.len()), "{}", names.len());
        assert!(gateway.hub.lock().bytes <= SESSION_BYTES_MAX);
        gateway.hub.handle_due(Age(5_000), &mut gateway.ingest.desk());
        let ended = ended(&gateway.ingest);
        let expected: Vec<String> =
            (0..70 - names.len()).map(|number| format!("{:02}", number * 3)).collect();
        assert_eq!(ended, expected, "the log is told of who was away longest");
    }

    #[test]
    fn a_newcomer_ends_the_session_that_was_away_longest_and_has_nothing_to_lose() {
        let gateway = Gateway::new();
        let mut state = State::default();
        for number in 0..SESSIONS_MAX {
            let (left, filters) = match number {
                7 => (1, 1),
                8 => (2, 0),
                9 => (3, 0),
                _ => (1_000, 1),
            };
            let mut client = away(left, 0);
            if filters > 0 {
                let filter = Filter { options: 0, identifier: 0, since: 0 };
                client.filters.insert("a".to_owned(), filter);
            }
            state.clients.insert(format!("{number:05}"), client);
        }
        gateway.hub.restore(state, Age(5_000), &Anchor::default());
        let mut gone = Vec::new();
        for name in ["a", "b", "c"] {
            let session = Arc::new(Mutex::new(Session::new(Instant(0), &Settings::default())));
            let (session, wake, guest) = (&session, &Arc::default(), &Guest::unchecked());
            let (clean_start, expiry_s, will) = (true, 60, None);
            let ask = Ask { name, clean_start, expiry_s, will, guest, session, wake };
            assert!(gateway.hub.enter(&ask, &mut gateway.ingest.desk()).is_ok());
            gone.extend(ended(&gateway.ingest));
        }
        gateway.check();
        assert_eq!(gone, ["00008", "00009", "00007"]);
        assert_eq!(gateway.hub.totals().0, SESSIONS_MAX);
        assert_eq!(gateway.hub.counters.displaced.load(Ordering::Relaxed), 3);
    }

    /// Each time the end of its session is due at another moment.
    #[test]
    fn who_comes_and_goes_takes_no_more_each_time() {
        let gateway = Gateway::new();
        for age in 0..100 {
            let came = gateway.enter("ann", Some(will(10))).expect("there is room");
            gateway.subscribe(came.0.key, "a/b").expect("there is room");
            gateway.leave(&came, age * 1_000);
        }
        assert_eq!(gateway.hub.next_due(), Some(Age(99_000)), "its will");
    }
}
