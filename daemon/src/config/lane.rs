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
}

/// How many lanes there are.
pub const LANES: usize = 3;

impl Lane {
    /// Every lane, by priority.
    pub const ALL: [Self; LANES] = [Self::High, Self::Normal, Self::Bulk];

    /// As it is written in the configuration and in Kafka identifiers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }

    /// The lane of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.name() == name)
    }

    /// Its place in [`Lane::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
