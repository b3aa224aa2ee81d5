//! What the centre sends down: records of Kafka topics that become events of the input log.
//!
//! Values: what a record becomes ([`command`]), how far each topic was read ([`place`]), and what is kept of a
//! command for devices that stay away for long ([`copy`]). `runtime/downlinks/` reads the topics and leaves the
//! events, `runtime/commands.rs` keeps the copies.

pub mod command;
pub mod copy;
pub mod place;
