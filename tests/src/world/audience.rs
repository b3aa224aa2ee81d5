//! What subscribers were promised, and what they may hear: the judge of deliveries.
//!
//! Knows what was published and when each subscription was granted, and nothing of hub, mailboxes
//! and log. What a subscription is owed are the acknowledged readings that were first sent behind
//! its SUBACK: at least once, and first copies in the order in which their device made them; at
//! QoS 2 on both legs exactly once. A subscription that ends with its connection, or at QoS 0, is
//! owed that while the connection lasts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::ledger::{Ledger, Name, Seen};

/// All subscribers.
pub(super) struct Audience {
    members: Vec<Member>,
    /// Sessions may be gone, or know less than they were told: nothing is owed.
    pub(super) is_unsure: bool,
    heard: u64,
}

struct Member {
    lasting: bool,
    qos: u8,
    /// Its session has begun, as far as it was told.
    has_session: bool,
    /// When its subscription was granted; a lasting one holds on.
    granted: Option<u64>,
    /// Readings that were first sent behind this moment are owed.
    owed_since: Option<u64>,
    copies: BTreeMap<Name, u64>,
    /// Of each device, the newest reading of those owed.
    newest: BTreeMap<usize, u64>,
}

impl Audience {
    pub(super) fn new(subscribers: impl Iterator<Item = (bool, u8)>) -> Self {
        let member = |(lasting, qos)| Member {
            lasting,
            qos,
            has_session: false,
            granted: None,
            owed_since: None,
            copies: BTreeMap::new(),
            newest: BTreeMap::new(),
        };
        Self { members: subscribers.map(member).collect(), is_unsure: false, heard: 0 }
    }

    /// Messages that were heard.
    pub(super) const fn heard(&self) -> u64 {
        self.heard
    }

    /// A subscriber is connected; `present`: to the session that it had. Whether its subscription
    /// holds.
    pub(super) fn begin(
        &mut self,
        number: usize,
        present: bool,
        ledger: &mut Ledger,
    ) -> Result<bool> {
        let is_unsure = self.is_unsure;
        let member = &mut self.members[number];
        ensure!(member.lasting || !present, "subscriber {number}: a session that nobody wanted");
        let lost = member.has_session && !present;
        ensure!(!lost || is_unsure, "subscriber {number}: its session is gone");
        member.has_session = member.lasting;
        if !present {
            (member.granted, member.owed_since) = (None, None);
        }
        if member.granted.is_some() && !member.is_owed_when_away() {
            member.begin_to_owe(ledger.now());
        }
        Ok(member.granted.is_some())
    }

    /// A SUBACK.
    pub(super) fn grant(&mut self, number: usize, ledger: &mut Ledger) {
        let moment = ledger.now();
        let member = &mut self.members[number];
        member.granted = Some(moment);
        member.begin_to_owe(moment);
    }

    /// A subscriber has lost its connection, or given it up.
    pub(super) fn lose(&mut self, number: usize) {
        let member = &mut self.members[number];
        if !member.is_owed_when_away() {
            member.owed_since = None;
        }
        if !member.lasting {
            member.granted = None;
        }
    }

    /// A message came, that is no repetition of one that is held.
    pub(super) fn hear(
        &mut self,
        number: usize,
        (payload, qos): (&str, u8),
        ledger: &mut Ledger,
    ) -> Result<()> {
        self.heard += 1;
        let seen = ledger.see(payload);
        let seen = seen.with_context(|| format!("{payload} was never sent"))?;
        let Seen { name, exactly_once, first_sent, events } = seen;
        let member = &mut self.members[number];
        let granted = member.qos.min(if exactly_once { 2 } else { 1 });
        let fits = qos == granted || self.is_unsure;
        ensure!(fits, "subscriber {number}: {name:?} at QoS {qos}, not {granted}");
        let copies = member.copies.entry(name).or_default();
        *copies += 1;
        let most = if qos == 1 { u64::MAX } else { events };
        ensure!(
            *copies <= most || self.is_unsure,
            "subscriber {number}: {copies} times {name:?} at QoS {qos}, which was {events} events"
        );
        if *copies == 1 && member.owed_since.is_some_and(|since| first_sent > since) {
            let before = member.newest.insert(name.device, name.serial);
            ensure!(
                before.is_none_or(|before| before < name.serial) || self.is_unsure,
                "subscriber {number}: {name:?} comes behind reading {before:?}"
            );
        }
        Ok(())
    }

    /// Which readings somebody is owed and has not heard, if they are more than `missed`.
    pub(super) fn missing(&self, ledger: &Ledger, missed: u64) -> Option<String> {
        if self.is_unsure {
            return None;
        }
        let members = self.members.iter().enumerate();
        let missing = members.filter_map(|(number, member)| {
            let owed = ledger.owed_since(member.owed_since?);
            Some((number, member, owed.filter(|name| !member.copies.contains_key(name))))
        });
        let missing = missing.flat_map(|(number, Member { lasting, qos, .. }, names)| {
            names.map(move |name| format!("subscriber {number}: {name:?} ({qos}, {lasting})"))
        });
        let missing: Vec<String> = missing.collect();
        (missing.len() as u64 > missed).then(|| missing.join(", "))
    }
}

impl Member {
    /// What comes while it is away is kept for it.
    const fn is_owed_when_away(&self) -> bool {
        self.lasting && self.qos > 0
    }

    fn begin_to_owe(&mut self, moment: u64) {
        self.owed_since = Some(moment);
        self.newest.clear();
    }
}
