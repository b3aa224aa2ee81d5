//! What requests and connections are for.

/// What a request was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Versions,
    Handshake,
    Authenticate,
    Coordinator(Role),
    Metadata,
    CreateTopic,
    Settings,
    Producer,
    Position,
    AddPartitions,
    AddOffsets,
    /// The batches in it: index of the chain, index in the chain.
    Produce(Vec<(usize, usize)>),
    CommitPosition,
    End,
    /// At this broker.
    Offsets(i32),
    /// From this broker.
    Fetch(i32),
}

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Transactions,
    Group,
}

/// What a connection is for: a broker looks at the next request only when it has answered the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Answers that come at once.
    Answers,
    /// Answers that are held back until there is something to tell.
    Waiting,
}
