//! Who may do what: one principal, everything allowed, except what a test takes away.

use std::collections::BTreeSet;

/// Something that the broker's authorizer is asked about. A name is matched exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Produce to a topic. Without: 29.
    WriteTopic(String),
    /// Fetch from a topic, commit offsets on it. Without: 29.
    ReadTopic(String),
    /// See a topic in Metadata. Without: 29.
    DescribeTopic(String),
    /// See a topic's settings. Without: 29.
    DescribeTopicConfigs(String),
    /// Make topics. Without: 29.
    CreateTopics,
    /// Commit offsets of a group. Without: 30.
    ReadGroup(String),
    /// Find a group's coordinator and fetch its offsets. Without: 30.
    DescribeGroup(String),
    /// Use a transactional id. Without: 53.
    WriteTransactionalId(String),
    /// Find the coordinator of a transactional id. Without: 53.
    DescribeTransactionalId(String),
}

/// The permissions that were taken away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    denied: BTreeSet<Permission>,
}

impl Access {
    pub(crate) fn deny(&mut self, permission: Permission) {
        self.denied.insert(permission);
    }

    pub(crate) fn allow(&mut self, permission: &Permission) {
        self.denied.remove(permission);
    }

    pub(crate) fn allows(&self, permission: &Permission) -> bool {
        !self.denied.contains(permission)
    }
}
