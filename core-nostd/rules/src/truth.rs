//! What a predicate answers: SQL's three truth values, and why one of them is NULL.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// The answer of a `where`. Only `True` lets an event pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The event is not selected.
    False,
    /// The event is selected.
    True,
    /// It cannot be said, so the event is not selected.
    Null(Why),
}

impl Truth {
    /// Whether the event is selected.
    #[must_use]
    pub fn passes(self) -> bool {
        self == Self::True
    }
}

/// What an evaluation met that made a value NULL: a set of reasons. Empty if the NULL is the
/// device's own (`{"t":null}`) or the operator's (`WHERE NULL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Why(u8);

impl Why {
    /// No reason.
    pub const NONE: Self = Self(0);
    /// A field was asked of a payload that is not JSON.
    pub const NOT_JSON: Self = Self(1);
    /// The payload has no such field, or the topic no such level.
    pub const MISSING: Self = Self(1 << 1);
    /// A value was of the wrong type, as in `'warm' > 70`; or `payload()` is not UTF-8.
    pub const TYPE: Self = Self(1 << 2);
    /// A division by zero, or a result that does not fit its type.
    pub const ARITHMETIC: Self = Self(1 << 3);
    /// Text longer than [`TEXT_BYTES_MAX`](crate::limits::TEXT_BYTES_MAX), or than the caller's buffer.
    pub const TOO_LONG: Self = Self(1 << 4);

    /// Every reason, with the name that counters and people know it by.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::NOT_JSON, "not_json"),
        (Self::MISSING, "missing_field"),
        (Self::TYPE, "type_mismatch"),
        (Self::ARITHMETIC, "arithmetic"),
        (Self::TOO_LONG, "too_long"),
    ];

    /// Whether all reasons of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no reason is given.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Why {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Why {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (reason, name) in Self::ALL {
            if self.contains(reason) {
                write!(f, "{separator}{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}
