//! What the centre sends down: records of Kafka topics that become events of the input log.
//!
//! Values: what a record becomes ([`command`]), and how far each topic was read ([`place`]).
//! `runtime/downlinks.rs` reads the topics and leaves the events.

pub mod command;
pub mod place;
