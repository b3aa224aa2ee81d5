//! Limits that more than one crate relies on, each with its unit.

/// The largest payload of one event.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// The longest topic (MQTT 5.0, 1.5.4: a two-byte length).
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// The longest client id that we accept.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;
/// The properties of one event, encoded: as much as its payload, so that a packet which is not too large as a whole
/// is in none of its parts.
pub const PROPERTIES_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;
/// The largest record of the log: one event with everything.
pub const RECORD_BYTES_MAX: usize =
    PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + CLIENT_ID_BYTES_MAX + PROPERTIES_BYTES_MAX + 64;

const _: () = assert!(RECORD_BYTES_MAX < 1024 * 1024, "a record fits one frame");
