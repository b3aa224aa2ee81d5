//! What all connections together have read and cannot deal with yet: begins of packets, logins that wait for their
//! verification, and what waits for us; and long topics behind aliases.
//!
//! Invariant: above [`UNREAD_BYTES_MAX`] nobody who has begun a packet, whose login waits, or who has set such aliases, holds
//! more than an equal share of it, whether he sends more or is silent. Who has been silent for longest makes room first, and
//! only as many do as have to; and less is read at once. So what waits for us was within such a share when it came.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::sync::lock;

/// Bytes of all connections together, up to which nobody is looked at.
pub const UNREAD_BYTES_MAX: usize = 16 << 20;
/// Bytes read at once.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Bytes read at once while there is more than that.
const READ_BYTES_SCARCE: usize = 4 << 10;

/// What connections hold, together.
#[derive(Debug, Default)]
pub struct Unread {
    bytes: AtomicUsize,
    holders: Mutex<Holders>,
}

/// Those who hold anything, in the order in which they have last sent something.
#[derive(Debug, Default)]
struct Holders {
    by_turn: BTreeMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    bytes: usize,
    /// The begin of a packet, a login, or aliases: what waits for us is not given up.
    may_go: bool,
    wake: Arc<Notify>,
}

impl Unread {
    fn is_scarce(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > UNREAD_BYTES_MAX
    }

    fn remove(&self, holders: &mut Holders, turn: u64) -> Option<Holder> {
        let holder = holders.by_turn.remove(&turn)?;
        self.bytes.fetch_sub(holder.bytes, Ordering::Relaxed);
        Some(holder)
    }

    /// Takes what is above their share from those who have been silent for longest, until there is room.
    fn make_room(&self, holders: &mut Holders) {
        let share = UNREAD_BYTES_MAX / holders.by_turn.len().max(1);
        let is_too_much = |holder: &Holder| holder.may_go && holder.bytes > share;
        let mut from = 0;
        while self.is_scarce()
            && let Some((&turn, _)) =
                holders.by_turn.range(from..).find(|(_, holder)| is_too_much(holder))
        {
            from = turn;
            if let Some(given_up) = self.remove(holders, turn) {
                given_up.wake.notify_one();
            }
        }
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Portion {
    all: Arc<Unread>,
    wake: Arc<Notify>,
    /// Its place among those who hold anything.
    turn: Option<u64>,
    /// As it was set last.
    last: (usize, bool),
}

impl Portion {
    /// `wake` is told when it is [given up](Self::is_given_up).
    pub(super) const fn new(all: Arc<Unread>, wake: Arc<Notify>) -> Self {
        Self { all, wake, turn: None, last: (0, false) }
    }

    /// How much to read at once.
    pub(super) fn read_bytes(&self) -> usize {
        if self.all.is_scarce() { READ_BYTES_SCARCE } else { READ_BYTES }
    }

    /// What the connection holds may have changed since it was heard: what waited was dealt with.
    pub(super) fn correct(&mut self, bytes: usize, may_go: bool) {
        if (bytes, may_go) != self.last {
            self.set(bytes, may_go);
        }
    }

    /// The connection has been heard, and holds so many bytes from now on. `may_go`: they may be
    /// [given up](Self::is_given_up).
    pub(super) fn set(&mut self, bytes: usize, may_go: bool) {
        self.last = (bytes, may_go);
        if bytes == 0 && self.turn.is_none() {
            return;
        }
        let holders = &mut *lock(&self.all.holders);
        if let Some(turn) = self.turn.take() {
            self.all.remove(holders, turn);
        }
        if bytes > 0 {
            let (turn, wake) = (holders.next, Arc::clone(&self.wake));
            holders.next += 1;
            holders.by_turn.insert(turn, Holder { bytes, may_go, wake });
            self.turn = Some(turn);
            self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.all.make_room(holders);
        }
    }

    /// Whether others needed the room: what it holds is given up, and the connection with it.
    pub(super) fn is_given_up(&self) -> bool {
        self.turn.is_some_and(|turn| !lock(&self.all.holders).by_turn.contains_key(&turn))
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.set(0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 256 << 10;

    fn portions(all: &Arc<Unread>, count: usize) -> Vec<Portion> {
        let one = |_| Portion::new(Arc::clone(all), Arc::default());
        (0..count).map(one).collect()
    }

    fn given_up(portions: &[Portion]) -> Vec<usize> {
        let of_one = |(index, portion): (usize, &Portion)| portion.is_given_up().then_some(index);
        portions.iter().enumerate().filter_map(of_one).collect()
    }

    #[test]
    fn who_has_been_silent_for_longest_makes_room_first() {
        let all = Arc::new(Unread::default());
        let mut large = portions(&all, 64);
        for portion in &mut large {
            portion.set(LARGE, true);
            assert!(portion.read_bytes() == READ_BYTES);
        }
        // One that sends on goes behind the others.
        large[0].set(LARGE, true);
        assert_eq!(given_up(&large), [0; 0]);
        let mut small = portions(&all, 2);
        small[0].set(10, true);
        assert_eq!((given_up(&large), given_up(&small)), (vec![1], vec![]));
        assert_eq!(small[0].read_bytes(), READ_BYTES, "there is room again");
        // Half of a megabyte more: two have to go.
        small[1].set(2 * LARGE, true);
        assert_eq!((given_up(&large), given_up(&small)), (vec![1, 2, 3], vec![]));
        // Who has gone leaves nothing behind.
        drop((large, small));
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        assert!(lock(&all.holders).by_turn.is_empty());
    }

    #[test]
    fn nobody_who_keeps_to_his_share_makes_room() {
        let all = Arc::new(Unread::default());
        let mut waiting = portions(&all, 63);
        for portion in &mut waiting {
            portion.set(LARGE, false);
        }
        let mut begun = portions(&all, 2);
        begun[0].set(LARGE / 2, true);
        begun[1].set(LARGE, true);
        assert_eq!(begun[0].read_bytes(), READ_BYTES);
        assert_eq!((given_up(&waiting), given_up(&begun)), (vec![], vec![1]));
    }

    #[test]
    fn what_was_dealt_with_since_makes_room() {
        let all = Arc::new(Unread::default());
        let mut waiting = portions(&all, 65);
        for portion in &mut waiting {
            portion.set(LARGE, false);
        }
        assert_eq!(waiting[0].read_bytes(), READ_BYTES_SCARCE);
        waiting[0].correct(LARGE, false);
        assert_eq!(waiting[0].turn, Some(0), "nothing has changed");
        waiting[0].correct(0, false);
        assert_eq!(waiting[0].read_bytes(), READ_BYTES);
    }
}
