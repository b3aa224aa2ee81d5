//! Partition logs: record batches kept as they came, and what a broker knows about them.

mod batch;
mod decompress;
mod partition;
mod producers;
mod records;

pub(crate) use batch::{Batch, Header, parse_produced, peek_produced};
pub(crate) use partition::{Aborted, Append, Appended, Partition, Upto};
pub(crate) use records::Record;
