//! The Tributary daemon: MQTT devices into a durable log, and exactly once into Kafka.
//!
//! - [`config`]: the file, checked.
//! - [`runtime`]: what is joined to what while it runs.
//! - [`replicate`]: from the log to Kafka.
//! - [`source`]: what is taken from other brokers.
//! - [`downlink`]: what the centre sends down.
//! - [`door`]: who is let in, and what they may do.
//! - [`import`]: another broker's configuration.
//! - [`io`]: everything that asks something of the operating system.
//! - [`log_tools`]: looking at a log from outside.
//! - [`cli`]: the commands.

#[cfg(feature = "bench")]
pub mod bench;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod door;
pub mod downlink;
pub mod import;
pub mod io;
mod lines;
pub mod log_tools;
mod properties;
pub mod replicate;
pub mod runtime;
pub mod source;
mod sync;
