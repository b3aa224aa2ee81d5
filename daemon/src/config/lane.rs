//! Lanes: outbound streams to Kafka, each with a priority and a position of its own.

use serde::{Deserialize, Serialize};

/// A lane. The order is that of priority.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Alarms: before everything else.
    High,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// What can wait.
    Bulk,
    /// The first of those that take what Kafka refuses, so that the others go on without it.
    Aside1,
    /// The second.
    Aside2,
    /// The third.
    Aside3,
    /// The last.
    Aside4,
}

/// How many lanes there are.
pub const LANES: usize = 7;
/// How many of them a route can be in by the configuration.
pub const CONFIGURED: usize = 3;

impl Lane {
    /// Every lane, by priority.
    pub const ALL: [Self; LANES] = [
        Self::High,
        Self::Normal,
        Self::Bulk,
        Self::Aside1,
        Self::Aside2,
        Self::Aside3,
        Self::Aside4,
    ];

    /// Those that the configuration knows.
    #[must_use]
    pub const fn configured() -> &'static [Self] {
        Self::ALL.split_at(CONFIGURED).0
    }

    /// Those that take what Kafka refuses.
    #[must_use]
    pub const fn aside() -> &'static [Self] {
        Self::ALL.split_at(CONFIGURED).1
    }

    /// As it is written in the configuration and in Kafka identifiers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
            Self::Aside1 => "aside-1",
            Self::Aside2 => "aside-2",
            Self::Aside3 => "aside-3",
            Self::Aside4 => "aside-4",
        }
    }

    /// The lane of this name, as the configuration knows it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::configured().iter().copied().find(|lane| lane.name() == name)
    }

    /// Its place in [`Lane::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it takes what Kafka refuses.
    #[must_use]
    pub const fn is_aside(self) -> bool {
        self.index() >= CONFIGURED
    }
}
