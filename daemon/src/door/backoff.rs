//! Failed logins cost time: more and more of it, per address and user, and in a bounded table.
//!
//! Only credentials that are not known to be good are held up, so the devices that share an address
//! with one that has a wrong password go on.

use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::hash::RandomState;

use tributary_core::time::Instant;

/// Mistakes of one user at one address that cost nothing.
const FREE: u32 = 3;
/// Mistakes of all users at one address that cost nothing.
const FREE_PER_ADDRESS: u32 = 100;
/// The first wait, doubled with each further mistake.
const FIRST_MS: u64 = 1_000;
/// The longest wait.
const LONGEST_MS: u64 = 60_000;
/// After so long without a mistake all are forgotten.
const FORGET_MS: u64 = 600_000;
/// Addresses and users that are remembered.
pub(super) const ENTRIES_MAX: usize = 4_096;

/// Who has failed how often.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    entries: HashMap<Key, Entry>,
    hasher: RandomState,
}

/// An address (of IPv6 the network: one machine has many), and a user at it or all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(IpAddr, Option<u64>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: u32,
    last: Instant,
    until: Instant,
}

impl Backoff {
    /// Whether a login may be tried now.
    pub(super) fn allows(&self, now: Instant, address: IpAddr, user: &str) -> bool {
        let waits = |key| self.entries.get(&key).is_some_and(|entry| now < entry.until);
        !self.keys(address, user).into_iter().any(waits)
    }

    /// A login has failed.
    pub(super) fn failed(&mut self, now: Instant, address: IpAddr, user: &str) {
        for key in self.keys(address, user) {
            self.make_room(now, key);
            let fresh = Entry { failures: 0, last: now, until: now };
            let entry = self.entries.entry(key).or_insert(fresh);
            if now.ms_since(entry.last) > FORGET_MS {
                *entry = fresh;
            }
            entry.failures = entry.failures.saturating_add(1);
            entry.last = now;
            let free = if key.1.is_some() { FREE } else { FREE_PER_ADDRESS };
            if let Some(doublings) = entry.failures.checked_sub(free) {
                let wait = FIRST_MS << doublings.min(16);
                entry.until = now.plus_ms(wait.min(LONGEST_MS));
            }
        }
    }

    /// A login has succeeded: the user's mistakes are forgotten.
    pub(super) fn succeeded(&mut self, address: IpAddr, user: &str) {
        let [key, _] = self.keys(address, user);
        self.entries.remove(&key);
    }

    fn keys(&self, address: IpAddr, user: &str) -> [Key; 2] {
        let address = network(address);
        [Key(address, Some(self.hasher.hash_one(user))), Key(address, None)]
    }

    fn make_room(&mut self, now: Instant, key: Key) {
        if self.entries.len() < ENTRIES_MAX || self.entries.contains_key(&key) {
            return;
        }
        self.entries.retain(|_, entry| now.ms_since(entry.last) <= FORGET_MS);
        while self.entries.len() >= ENTRIES_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { return };
            self.entries.remove(&oldest);
        }
    }
}

/// What one machine has: an address, or of IPv6 a network (of 64 bits).
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(whole) => IpAddr::V6(Ipv6Addr::from_bits(whole.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2));

    fn at(ms: u64) -> Instant {
        Instant(1_000_000 + ms)
    }

    #[test]
    fn mistakes_cost_more_and_more_time_and_only_their_user() {
        let mut backoff = Backoff::default();
        for _ in 0..FREE {
            assert!(backoff.allows(at(0), HERE, "ann"));
            backoff.failed(at(0), HERE, "ann");
        }
        assert!(!backoff.allows(at(FIRST_MS - 1), HERE, "ann"));
        assert!(backoff.allows(at(FIRST_MS), HERE, "ann"));
        assert!(backoff.allows(at(0), HERE, "bob") && backoff.allows(at(0), THERE, "ann"));
        backoff.failed(at(FIRST_MS), HERE, "ann");
        assert!(!backoff.allows(at(3 * FIRST_MS - 1), HERE, "ann"));
        for _ in 0..100 {
            backoff.failed(at(10_000), HERE, "ann");
        }
        assert!(backoff.allows(at(10_000 + LONGEST_MS), HERE, "ann"), "the wait has an end");
        backoff.succeeded(HERE, "ann");
        backoff.failed(at(20_000), THERE, "ann");
        assert!(backoff.allows(at(20_000), THERE, "ann"), "one mistake is free");
    }

    #[test]
    fn guessing_names_from_one_address_is_held_up_too() {
        let mut backoff = Backoff::default();
        for user in 0..FREE_PER_ADDRESS {
            backoff.failed(at(0), HERE, &user.to_string());
        }
        assert!(!backoff.allows(at(0), HERE, "never seen"));
        assert!(backoff.allows(at(0), THERE, "never seen"));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut backoff = Backoff::default();
        for number in 0..2 * u32::try_from(ENTRIES_MAX).unwrap_or(0) {
            backoff.failed(at(number.into()), IpAddr::V4(number.into()), "x");
            assert!(backoff.entries.len() <= ENTRIES_MAX);
        }
        let neighbours = ["fd00::1", "fd00::2"].map(|text| text.parse().unwrap_or(HERE));
        assert_eq!(backoff.keys(neighbours[0], "x"), backoff.keys(neighbours[1], "x"));
    }
}
