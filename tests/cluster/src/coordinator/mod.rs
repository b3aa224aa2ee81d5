//! The two coordinators of a cluster: of transactions and of group offsets.

mod groups;
mod transactions;

pub(crate) use groups::{Committed, Groups};
pub(crate) use transactions::{
    Client, InitProducer, Participant, Producer, TransactionSettings, Transactions,
};
