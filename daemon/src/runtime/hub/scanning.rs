//! Retained messages for new subscriptions: looked for in steps, since a search may have to look at every topic.
//!
//! Invariants: a subscription has one search at most; while others wait for the lock no more than [`LOOKS_MAX`]
//! topics are looked at.

use core::num::NonZeroU32;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tributary_core::Offset;
use tributary_core::record::{Origin, Qos};
use tributary_core::topic;
use tributary_mqtt::codec::subscribe::Options;
use tributary_mqtt::session::InFlight;
use tributary_mqtt::subscriptions::{Grant, Subscription};

use super::client::{Client, Connected, is_from};
use super::mailbox::{Mailbox, Outgoing};
use super::retained::Retained;
use super::{Key, Members, Target};
use crate::runtime::sessions::Searches;

/// Topics that are looked at in one step, for all filters of a SUBSCRIBE, or of one client that waits for the
/// rest: a fraction of a millisecond.
pub(super) const LOOKS_MAX: usize = 1_000;

/// A search for retained messages that goes on when there is room.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    filter: Arc<str>,
    wanted: Subscription,
    /// The topic that was looked at last.
    after: Option<Box<str>>,
    /// What comes from here on comes as it comes.
    below: Offset,
    /// It was begun before this run: what it has brought at QoS 2 since then, or is under way by it.
    begun_anew: Option<BTreeSet<Offset>>,
}

/// What came of a step.
#[derive(Default)]
struct Step {
    found: u64,
    /// Of these above QoS 0.
    owed: u64,
    is_over: bool,
}

/// The searches of one client, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Scans {
    under_way: BTreeMap<Key, Scan>,
    /// The log knows that what they find is owed, and not that all has come.
    pub(super) is_noted: bool,
}

impl Scan {
    pub(super) fn new(filter: &str, wanted: Subscription, below: Offset) -> Self {
        Self { filter: filter.into(), wanted, after: None, below, begun_anew: None }
    }
}

impl Scans {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Asks for a search under a number that is higher than all before.
    fn ask(&mut self, number: Key, scan: Scan) {
        self.under_way.insert(number, scan);
    }

    /// Ends a search, if it is not over yet.
    pub(super) fn end(&mut self, number: Key) {
        self.under_way.remove(&number);
    }

    fn first_mut(&mut self) -> Option<(Key, &mut Scan)> {
        self.under_way.iter_mut().next().map(|(number, scan)| (*number, scan))
    }
}

impl Members {
    /// Asks for the retained messages of a subscription of a client, from the beginning.
    pub(super) fn search(&mut self, key: Key, scan: Scan) {
        let number = self.new_key();
        let Some(client) = self.sessions.get_mut(&key) else { return };
        let Some(entry) = client.filters.get_mut(&*scan.filter) else { return };
        client.scans.end(core::mem::replace(&mut entry.search, number));
        client.scans.ask(number, scan);
    }

    /// Puts retained messages for new subscriptions of a client into its mailbox, as far as there is room and
    /// `looks` are left. How many of them are above QoS 0.
    pub(super) fn serve_scans(&mut self, key: Key, looks: &mut usize) -> u64 {
        let Self { sessions, retained, lagging, .. } = self;
        let mut owed = 0;
        let Some(client) = sessions.get_mut(&key).filter(|client| !client.is_resuming()) else {
            return owed;
        };
        let Client { name, connection, scans, figures, .. } = &mut **client;
        let Some(Connected { mailbox, .. }) = connection else { return owed };
        while let Some((number, scan)) = scans.first_mut() {
            let step = scan.step(retained, (name, mailbox), looks);
            figures.delivered += step.found;
            owed += step.owed;
            if !step.is_over {
                mailbox.set_more(true);
                lagging.insert(Target::Client(key));
                return owed;
            }
            scans.end(number);
        }
        owed
    }

    /// Whether the log has to know of the search that was begun last for a subscription of a client, of which
    /// so many were found that are owed: not where it is over, and nothing was.
    pub(super) fn begins_to_owe(&mut self, key: Key, filter: &str, found: u64) -> bool {
        let Some(client) = self.sessions.get_mut(&key).filter(|client| client.lasting) else {
            return false;
        };
        let Some(entry) = client.filters.get(filter) else { return false };
        let is_open = client.scans.under_way.contains_key(&entry.search);
        let owes = entry.wanted.options.qos > Qos::AtMostOnce && (found > 0 || is_open);
        client.scans.is_noted |= owes;
        owes
    }

    /// Begins the searches anew that were not over when the run before ended.
    pub(super) fn search_again(&mut self, key: Key, searches: &Searches) {
        for (filter, known) in searches.in_order() {
            let Some(client) = self.sessions.get_mut(&key) else { return };
            let Some(options) = Options::from_byte(known.options) else { continue };
            let wanted = Subscription { options, identifier: NonZeroU32::new(known.identifier) };
            let passed = known.brought.iter().copied().map(Offset).collect();
            client.scans.is_noted = true;
            let scan = Scan::new(filter, wanted, Offset(known.below));
            self.search(key, Scan { begun_anew: Some(passed), ..scan });
        }
    }

    /// Whether retained messages are still looked for on behalf of `target`.
    pub(super) fn is_searching(&self, target: Target) -> bool {
        let Target::Client(key) = target else { return false };
        self.sessions.get(&key).is_some_and(|client| !client.scans.is_empty())
    }
}

impl Client {
    /// Whether something that was looked for may not have come to it. What is under way at QoS 2 the log knows.
    pub(super) fn is_owed_retained<'a>(
        &self,
        mut in_flight: impl Iterator<Item = &'a InFlight>,
    ) -> bool {
        let waits = |connected: &Connected| connected.mailbox.has_retained();
        !self.scans.is_empty()
            || self.left_over.iter().any(|outgoing| outgoing.retained)
            || self.connection.as_ref().is_some_and(waits)
            || in_flight.any(|entry| entry.retained && !entry.exactly_once)
    }
}

impl Scan {
    /// Goes on as far as there is room and `looks` are left.
    fn step(
        &mut self,
        retained: &Retained,
        (name, mailbox): (&str, &Mailbox),
        looks: &mut usize,
    ) -> Step {
        let scan = &*self;
        let identifiers: &[_] = scan.wanted.identifier.as_slice();
        let grant = Grant { qos: scan.wanted.options.qos, retain_as_published: true, identifiers };
        let (mut done, mut last) = (Step { is_over: true, ..Step::default() }, None);
        for message in retained.around(&scan.filter, scan.after.as_deref()) {
            let event = message.event();
            let is_own = is_from(name, &event);
            let is_owed = event.qos.min(grant.qos) > Qos::AtMostOnce;
            // What the daemon tells of itself has no place in the log.
            let is_below = event.origin == Origin::Rule || message.offset < scan.below;
            let is_wanted = is_below
                && !scan.has_passed(message.offset, is_owed)
                && !(scan.wanted.options.no_local && is_own)
                && topic::matches(&scan.filter, event.topic);
            let outgoing = || {
                let found_by = Some(Arc::clone(&scan.filter));
                Outgoing { retained: true, found_by, ..Outgoing::new(Arc::clone(message), grant) }
            };
            if *looks == 0 || is_wanted && !mailbox.put(outgoing()) {
                done.is_over = false;
                break;
            }
            *looks -= 1;
            done.found += u64::from(is_wanted);
            done.owed += u64::from(is_wanted && is_owed);
            last = Some(event.topic);
        }
        if let Some(last) = last {
            self.after = Some(last.into());
        }
        done
    }

    /// Whether it is begun anew, and passes this message over: it brought it at QoS 2, or it may have come at QoS 0.
    fn has_passed(&self, offset: Offset, is_owed: bool) -> bool {
        self.begun_anew.as_ref().is_some_and(|passed| !is_owed || passed.contains(&offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::Guest;
    use crate::runtime::hub::Hub;
    use crate::runtime::hub::mailbox::{Message, OUTBOX_MESSAGES_MAX};
    use crate::runtime::hub::subscribing::Asking;
    use crate::runtime::hub::{Ask, Next};
    use crate::runtime::ingest::Ingest;
    use core::num::NonZeroU32;
    use std::sync::Mutex;
    use tributary_core::properties::Properties;
    use tributary_core::record::{Event, Origin, Qos};
    use tributary_core::time::{Age, Instant, Timestamp};
    use tributary_mqtt::codec::subscribe::{Options, RetainHandling};
    use tributary_mqtt::{Session, Settings};

    const START: Offset = Offset(100_000);

    /// A hub with so many retained messages, and a client.
    fn hub(retained: usize) -> (Hub, Key, Arc<Mailbox>) {
        let (hub, ingest) = (Hub::default(), Ingest::new(START));
        for number in 0..retained {
            keep(&hub, &format!("{number:05}/y"), Offset(number as u64));
        }
        let session = Session::new(Instant(0), &Settings::default());
        let ask = Ask {
            name: "ann",
            clean_start: true,
            expiry_s: 0,
            will: None,
            guest: &Guest::unchecked(),
            session: &Arc::new(Mutex::new(session)),
            wake: &Arc::default(),
        };
        let entered = hub.enter(&ask, &mut ingest.desk()).expect("there is room");
        (hub, entered.key, entered.mailbox)
    }

    fn keep(hub: &Hub, topic: &str, offset: Offset) {
        let event = Event {
            topic,
            payload: b"1",
            client: "press",
            time: Timestamp(0),
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: None,
            origin: Origin::Device,
            properties: Properties::NONE,
        };
        hub.lock().retained.keep(&Arc::new(Message::of(&event, offset, Age(0))));
    }

    /// Topics that it looked at.
    fn subscribe(hub: &Hub, key: Key, filters: &[&str]) -> usize {
        let wanted =
            Subscription { options: Options::with_qos(Qos::AtLeastOnce), identifier: None };
        let mut asking = Asking::at(START);
        for filter in filters {
            hub.subscribe(key, filter, wanted, &mut asking).expect("there is room");
        }
        LOOKS_MAX - asking.looks
    }

    fn searches(hub: &Hub, key: Key) -> usize {
        hub.lock().sessions[&key].scans.under_way.len()
    }

    fn topics(mailbox: &Mailbox) -> Vec<String> {
        core::iter::from_fn(|| mailbox.take())
            .filter_map(|outgoing| Some(outgoing.message?.event().topic.to_owned()))
            .collect()
    }

    #[test]
    fn a_subscription_has_one_search_however_often_it_is_asked_for() {
        let (hub, key, mailbox) = hub(OUTBOX_MESSAGES_MAX + 10);
        subscribe(&hub, key, &["#"]);
        for _ in 0..10_000 {
            subscribe(&hub, key, &["#", "+/y"]);
        }
        assert_eq!(searches(&hub, key), 2);
        // Each time all of them are asked for again: those that did not leave yet come from the beginning.
        let first = topics(&mailbox);
        assert_eq!((first.len(), &*first[0]), (OUTBOX_MESSAGES_MAX, "00000/y"));
        assert!(hub.unsubscribe(key, "+/y"));
        assert_eq!(searches(&hub, key), 1);
        while let Next::Search = hub.next_work(START) {}
        assert_eq!(topics(&mailbox)[0], "00000/y");
    }

    #[test]
    fn what_is_looked_at_in_one_step_is_bounded_and_all_is_found() {
        let (hub, key, mailbox) = hub(5 * LOOKS_MAX);
        keep(&hub, "z/x", Offset(9_999));
        let filters: Vec<String> = (0..50).map(|number| format!("+/x{number}")).collect();
        let mut filters: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
        filters.insert(25, "+/x");
        assert_eq!(subscribe(&hub, key, &filters), LOOKS_MAX);
        assert_eq!((searches(&hub, key), topics(&mailbox).len()), (51, 0));
        let mut steps = 0;
        while let Next::Search = hub.next_work(START) {
            steps += 1;
        }
        // Every search looks at all topics, but for the thousand that the SUBSCRIBE has looked at.
        assert_eq!(steps, 51 * (5 * LOOKS_MAX + 1) / LOOKS_MAX - 1);
        assert_eq!((searches(&hub, key), topics(&mailbox)), (0, vec!["z/x".to_owned()]));
        assert!(matches!(hub.next_work(START), Next::Wait) && hub.lock().lagging.is_empty());
    }

    /// The fan-out has read the log for a client, and there is still something to look for.
    #[test]
    fn who_has_caught_up_is_still_looked_for() {
        let (hub, key, mailbox) = hub(2 * LOOKS_MAX);
        keep(&hub, "z/x", Offset(9_999));
        hub.lock().with_client(key, |client| client.lag = Some(START));
        hub.lock().lagging.insert(Target::Client(key));
        let Next::Read(work) = hub.next_work(START) else { panic!("there is something to read") };
        subscribe(&hub, key, &["+/x"]);
        hub.caught_up(&work, START, START);
        while let Next::Search = hub.next_work(START) {}
        assert_eq!(topics(&mailbox), ["z/x"]);
    }

    #[test]
    fn what_has_no_wildcard_is_found_at_once() {
        let (hub, key, mailbox) = hub(10);
        for number in 0..100 {
            keep(&hub, &format!("00003/y/{number}"), Offset(50));
        }
        assert_eq!(subscribe(&hub, key, &["00003/y", "00004/y"]), 2);
        assert_eq!(topics(&mailbox), ["00003/y", "00004/y"]);
    }

    /// A search goes on for the subscription as it was when it was asked for.
    #[test]
    fn what_is_not_to_be_sent_again_is_not() {
        let (hub, key, mailbox) = hub(3);
        let mut asking = Asking::at(START);
        for (retain_handling, count) in [
            (RetainHandling::Send, 3),
            (RetainHandling::SendIfNew, 0),
            (RetainHandling::DoNotSend, 0),
            (RetainHandling::Send, 3),
        ] {
            let options = Options { retain_handling, ..Options::with_qos(Qos::AtLeastOnce) };
            let wanted = Subscription { options, identifier: NonZeroU32::new(7) };
            hub.subscribe(key, "#", wanted, &mut asking).expect("there is room");
            assert_eq!(topics(&mailbox).len(), count, "{retain_handling:?}");
        }
    }
}
