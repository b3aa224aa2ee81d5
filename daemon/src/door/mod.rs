//! Who is let in at a listener, and what they may do: passwords, certificates' names, access lists,
//! back-off, and places. Everything here is decided from values; the one thing that takes time,
//! verifying a password, is done by a [`Verifier`] and its outcome waits in a [`Ticket`].
//!
//! Invariants: nobody publishes, subscribes or gets a message without being asked for here; a client
//! is judged by the rules in force at that moment, so a reload holds from the next message on.

pub mod acl;
mod admission;
mod backoff;
pub mod credential;
mod guest;
mod rules;
pub mod users;
mod verifier;

pub use admission::{Admission, Ticket, Visit};
pub use guest::Guest;
pub use rules::{Flaw, Rules, Subject};
pub use verifier::Verifier;

use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use backoff::{Backoff, network};
use ring::hmac;
use tributary_core::time::Instant;
use users::Users;

use crate::io::files;
use crate::lines::Pace;
use crate::sync::lock;

/// A line of a file that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1 on.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Mistake {
    fn new(line: usize, what: impl Into<String>, help: &str) -> Self {
        Self { line, what: what.into(), help: help.to_owned() }
    }
}

/// What happened at a door since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Logins that were refused.
    pub refused: AtomicU64,
    /// Publishes that were not allowed.
    pub publishes_denied: AtomicU64,
    /// Messages that were not delivered because the subscriber may not read them.
    pub deliveries_denied: AtomicU64,
    /// Connections that were closed because of a limit.
    pub over_limit: AtomicU64,
}

/// The door of one listener.
pub struct Door {
    rules: Mutex<Arc<Rules>>,
    /// Counts the changes of `rules`.
    edition: AtomicU64,
    /// The password of each user that was verified, as [`Door::tag`] makes it unreadable.
    known: Mutex<HashMap<Box<str>, Known>>,
    key: hmac::Key,
    backoff: Mutex<Backoff>,
    /// Connections by address; of IPv6 by network.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    verifier: Arc<Verifier>,
    /// Hashes that are to be written in place of older ones.
    dated: Mutex<Vec<Dated>>,
    /// Lines about clients that are not let in.
    refusals: Mutex<Pace>,
    /// What happened so far.
    pub counters: Counters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    tag: Tag,
    hash: Arc<str>,
    /// Of the same password: what takes its place in the file, sooner or later.
    stronger: Option<Arc<str>>,
}

/// A password that was verified, unreadable.
type Tag = [u8; 32];

struct Dated {
    user: Box<str>,
    old: Arc<str>,
    new: Arc<str>,
}

/// So many hashes are gathered before the password file is written, unless it is quiet.
const DATED_MAX: usize = 256;

impl Door {
    /// A door with these rules.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn new(rules: Rules, verifier: Arc<Verifier>) -> io::Result<Arc<Self>> {
        let secret: [u8; 32] = files::random()?;
        Ok(Arc::new(Self {
            rules: Mutex::new(Arc::new(rules)),
            edition: AtomicU64::new(0),
            known: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            backoff: Mutex::default(),
            addresses: Mutex::default(),
            verifier,
            dated: Mutex::default(),
            refusals: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&lock(&self.rules))
    }

    /// Puts other rules into force. Passwords that are not in them any more are unknown again, and
    /// who came in with one is not welcome any more.
    pub fn put(&self, rules: Rules) {
        lock(&self.known).retain(|user, known| {
            let hash = rules.users.as_ref().and_then(|users| lock(users).hash(user).cloned());
            hash.is_some_and(|hash| hash == known.hash || Some(hash) == known.stronger)
        });
        *lock(&self.rules) = Arc::new(rules);
        self.edition.fetch_add(1, Ordering::AcqRel);
    }

    /// A place for a connection from an address, or from a network of IPv6, of which one machine has all addresses;
    /// `None` if there are as many as may be.
    #[must_use]
    pub fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let max = self.rules().listener.per_address_max;
        let address = network(address);
        let mut addresses = lock(&self.addresses);
        let count = addresses.entry(address).or_insert(0);
        if *count >= max {
            self.counters.over_limit.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        drop(addresses);
        Some(Place { door: Arc::clone(self), address })
    }

    /// Whether a login of this user from this address may be tried now.
    fn may_try(&self, now: Instant, address: IpAddr, user: &str) -> bool {
        lock(&self.backoff).allows(now, address, user)
    }

    /// A password was verified: it is known from now on, if the hash is still the user's.
    fn note_good(&self, address: IpAddr, user: &str, tag: Tag, hash: &Arc<str>) -> bool {
        lock(&self.backoff).succeeded(address, user);
        // Before the rules are looked at: a reload in between then finds it.
        lock(&self.known)
            .insert(user.into(), Known { tag, hash: Arc::clone(hash), stronger: None });
        let is_current = self.hash_of(user).is_some_and(|current| current == *hash);
        if !is_current {
            lock(&self.known).remove(user);
        }
        is_current
    }

    fn hash_of(&self, user: &str) -> Option<Arc<str>> {
        let rules = self.rules();
        let users = rules.users.as_ref()?;
        lock(users).hash(user).cloned()
    }

    fn note_bad(&self, now: Instant, address: IpAddr, user: &str) {
        lock(&self.backoff).failed(now, address, user);
    }

    /// A password of an older kind of hash was verified: it gets one of ours.
    fn note_dated(&self, user: &str, old: Arc<str>, new: Arc<str>) {
        if let Some(known) = lock(&self.known).get_mut(user).filter(|known| known.hash == old) {
            known.stronger = Some(Arc::clone(&new));
        }
        lock(&self.dated).push(Dated { user: user.into(), old, new });
    }

    /// Writes gathered hashes into the password file, if there are many or `is_quiet`. An entry
    /// that has become another meanwhile is left alone.
    fn write_dated(&self, is_quiet: bool) {
        let mut dated = lock(&self.dated);
        if dated.is_empty() || !(is_quiet || dated.len() >= DATED_MAX) {
            return;
        }
        let dated = core::mem::take(&mut *dated);
        let rules = self.rules();
        let (Some(path), Some(users)) = (&rules.listener.users, &rules.users) else { return };
        let written = files::edit(path, |text| {
            let users = Users::parse(text).unwrap_or_default();
            let is_same = |one: &&Dated| users.hash(&one.user) == Some(&one.old);
            let next = |text: String, one: &Dated| users::edited(&text, &one.user, Some(&one.new));
            Ok(dated.iter().filter(is_same).fold(text.to_owned(), next))
        });
        if let Err(error) = written {
            tracing::info!(path = %path.display(), %error, "older hashes of passwords stay as they are");
            return;
        }
        let mut users = lock(users);
        for Dated { user, old, new } in dated {
            if users.hash(&user) == Some(&old) {
                users.replace(&user, new);
            }
        }
    }

    fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    fn tag(&self, user: &str, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&user.len().to_le_bytes());
        context.update(user.as_bytes());
        context.update(password);
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn is_known(&self, user: &str, tag: &Tag) -> bool {
        lock(&self.known).get(user).is_some_and(|known| known.tag == *tag)
    }
}

/// One of the connections that an address may have; given back when it is dropped.
pub struct Place {
    door: Arc<Door>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = lock(&self.door.addresses);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
