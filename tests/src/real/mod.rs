//! The suites against real servers: Kafka from Maven, the released binary, and outside clients.
//!
//! Nothing in here decides what is right: the readings come from a public package, and
//! `tests/real/check.py` compares what stands in Kafka with them. `tests/run` installs what this
//! needs; each test gets a broker, a gateway and a directory of its own.

pub mod binary;
pub mod cache;
pub mod expect;
pub mod fleet;
pub mod gateway;
pub mod kafka;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod readers;
pub mod readings;
pub mod scratch;
pub mod wait;
pub mod world;
