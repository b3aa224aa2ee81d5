//! A queue that is empty for almost everybody, and takes one word then: there are as many as clients.

use std::collections::VecDeque;

/// Oldest first. Invariant: what is in the box is not empty.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a word instead of four for who has nothing")]
pub(super) struct Rare<T>(Option<Box<VecDeque<T>>>);

impl<T> Rare<T> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.0.as_ref()?.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|queue| queue.iter())
    }

    pub(super) fn push_back(&mut self, value: T) {
        self.0.get_or_insert_default().push_back(value);
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let value = self.0.as_mut()?.pop_front();
        self.0.take_if(|queue| queue.is_empty());
        value
    }
}

impl<T> FromIterator<T> for Rare<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let queue: VecDeque<T> = values.into_iter().collect();
        Self((!queue.is_empty()).then(|| Box::new(queue)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_and_one_word() {
        assert_eq!(size_of::<Rare<[u64; 9]>>(), size_of::<usize>());
        let mut queue: Rare<u8> = [1, 2].into_iter().collect();
        queue.push_back(3);
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(queue.front(), Some(&1));
        assert_eq!(queue.pop_front(), Some(1));
        assert_eq!(
            (queue.pop_front(), queue.pop_front(), queue.pop_front()),
            (Some(2), Some(3), None)
        );
        assert!(queue.is_empty() && queue.front().is_none());
        assert!([0; 0].into_iter().collect::<Rare<u8>>().is_empty());
    }
}
