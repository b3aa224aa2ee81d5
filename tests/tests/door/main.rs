//! Who is let in, over what, and what they may do there: the daemon as a process, and clients that
//! are not ours (rumqttc) over TCP, TLS, mutual TLS and WebSocket; hostile ones on bare sockets.

mod check;
mod client;
mod descriptors;
mod import;
mod limits;
mod passwords;
mod rights;
mod transports;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
