//! Crowds and bad guests at the door of the released daemon: ten thousand connections, a plant that comes
//! back at once, a thousand wills, clients that read nothing or stop in the middle of a packet. Its
//! memory stays under a bound, and a client that behaves is answered meanwhile.
//!
//! The bounds are for safety, with room for a slow machine; what was measured is printed.

#![expect(clippy::print_stdout, reason = "the figures are asked for")]

mod client;
mod crowds;
mod guests;
mod witness;
