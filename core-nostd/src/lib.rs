//! The words of the domain, and the durable event log.
//!
//! Everything here is a value: bytes, events and time go in; bytes and the next thing to do come
//! out. There is no allocator, no clock, no socket and no thread, so the same code runs in the
//! daemon, in the simulator and on a microcontroller.
#![no_std]

pub mod crc;
pub mod limits;
pub mod log;
pub mod properties;
pub mod record;
pub mod time;
pub mod topic;
pub mod varint;

mod offset;

pub use offset::Offset;
