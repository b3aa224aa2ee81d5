//! What others have chosen, or can cause as often as they like, in lines for people: names are cut, and of lines of
//! one kind only some are written.

use tributary_core::time::Instant;

/// Characters of a name that are shown.
const SHOWN_CHARS_MAX: usize = 80;
/// Lines of one kind within [`WINDOW_MS`].
const LINES_MAX: u32 = 10;
/// What counts as at once.
const WINDOW_MS: u64 = 1_000;

/// The begin of a name that somebody else has chosen.
#[must_use]
pub(crate) fn shown(name: &str) -> &str {
    name.char_indices().nth(SHOWN_CHARS_MAX).map_or(name, |(end, _)| &name[..end])
}

/// How fast lines of one kind come.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the first of those was written that count now.
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Pace {
    /// Whether a line may be written now, and how many were left out before it.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.ms_since(since) >= WINDOW_MS) {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= LINES_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(core::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!((shown(""), shown("press-3")), ("", "press-3"));
        let long = "\u{E9}".repeat(SHOWN_CHARS_MAX + 1);
        assert_eq!(shown(&long), "\u{E9}".repeat(SHOWN_CHARS_MAX));
        assert_eq!(shown(&long[2..]), &long[2..]);
    }

    #[test]
    fn lines_that_are_left_out_are_counted_in_the_next_one() {
        let mut pace = Pace::default();
        let mut admitted = |ms, count: u32| -> Vec<Option<u64>> {
            (0..count).map(|_| pace.admit(Instant(5_000 + ms))).collect()
        };
        let first = [vec![Some(0); 10], vec![None; 3]].concat();
        assert_eq!(admitted(0, 13), first);
        assert_eq!(admitted(WINDOW_MS - 1, 1), [None]);
        assert_eq!(admitted(WINDOW_MS, 2), [Some(4), Some(0)]);
    }
}
