//! What a listener allows its clients.

use core::num::NonZeroU16;

use crate::limits;

/// What a listener allows its clients, and what it announces to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest packet taken, in bytes with its fixed header.
    pub packet_bytes_max: u32,
    /// Publishes of one client that may wait for their PUBACK (Receive Maximum).
    pub unacked_max: NonZeroU16,
    /// Messages above QoS 0 under way to one client; a client may ask for less.
    pub in_flight_max: NonZeroU16,
    /// Topic aliases that a client may set; 0: none.
    pub topic_alias_max: u16,
    /// The longest keep-alive of an MQTT 5 client in seconds; 0: as the client likes.
    pub keep_alive_max_s: u16,
    /// For how long a session outlives its connection at most, in seconds; `u32::MAX`: for ever.
    pub session_expiry_max_s: u32,
    /// From the opening of a connection to its CONNECT and the answer to it, in milliseconds.
    pub connect_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        const UNACKED: NonZeroU16 = NonZeroU16::new(limits::UNACKED_MAX_DEFAULT).expect("not 0");
        const IN_FLIGHT: NonZeroU16 =
            NonZeroU16::new(limits::IN_FLIGHT_MAX_DEFAULT).expect("not 0");
        Self {
            packet_bytes_max: limits::PACKET_BYTES_DEFAULT,
            unacked_max: UNACKED,
            in_flight_max: IN_FLIGHT,
            topic_alias_max: limits::TOPIC_ALIASES_DEFAULT,
            keep_alive_max_s: 0,
            session_expiry_max_s: limits::SESSION_EXPIRY_S_DEFAULT,
            connect_timeout_ms: limits::CONNECT_TIMEOUT_MS_DEFAULT,
        }
    }
}
