//! Everything that asks something of the operating system: files, sockets, clocks, threads,
//! signals. Nothing else in the daemon does.

pub mod clock;
pub mod control;
pub mod crc;
pub mod credentials;
pub mod dial;
pub mod files;
pub mod kafka;
pub mod log_files;
pub mod mqtt;
pub mod network;
pub mod oidc;
pub mod secrets;
pub mod segments;
pub mod sessions;
pub mod signals;
pub mod source;
pub mod terminal;
pub mod threads;
pub mod tls;
