//! Limits of the MQTT side, each with its unit.

use tributary_core::limits::{PAYLOAD_BYTES_MAX, PROPERTIES_BYTES_MAX, TOPIC_BYTES_MAX};

/// The largest packet that MQTT can spell: five bytes of fixed header and a remaining length of
/// four digits in base 128 (MQTT 5.0, 1.5.5).
pub const PACKET_BYTES_MAX: u32 = 5 + 268_435_455;
/// The largest packet that is accepted unless the settings say less. Whatever is in it, it can be an event or a will:
/// what was announced to a client ends no connection.
pub const PACKET_BYTES_DEFAULT: u32 = 256 * 1024;
/// Publishes of one client that may wait for their PUBACK, unless the settings say otherwise.
pub const UNACKED_MAX_DEFAULT: u16 = 1024;
/// Messages above QoS 0 under way to one client, unless the settings or the client say less.
pub const IN_FLIGHT_MAX_DEFAULT: u16 = 128;
/// Topic aliases that a client may set, unless the settings say otherwise.
pub const TOPIC_ALIASES_DEFAULT: u16 = 16;
/// Topic aliases that are used towards a client, if it takes as many.
pub const TOPIC_ALIASES_OUT_MAX: usize = 16;
/// For how long a session outlives its connection at most, unless the settings say otherwise, in
/// seconds: 30 days.
pub const SESSION_EXPIRY_S_DEFAULT: u32 = 30 * 24 * 3600;
/// All topics behind the aliases of one client together, in bytes: as much is everybody's. Those that a client sets may
/// take more, as many as it was announced, and the driver is told how much more.
pub const TOPIC_ALIAS_BYTES_FREE: usize = 16 * 1024;
/// From the opening of a connection to its CONNECT and the answer to it, in milliseconds.
pub const CONNECT_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// The smallest Maximum Packet Size of a client with which it can be served: every CONNACK fits.
pub const CLIENT_PACKET_BYTES_MIN: u32 = 64;
/// The longest client identifier that the driver may assign, in bytes.
pub const ASSIGNED_ID_BYTES_MAX: usize = 23;
/// Levels of one topic filter: the tree of subscriptions is as deep.
pub const FILTER_LEVELS_MAX: usize = 128;
/// All subscriptions of one client together, in bytes: the filters themselves, and for each of
/// their levels [`SUBSCRIPTION_LEVEL_BYTES`].
pub const SUBSCRIPTION_BYTES_MAX: usize = 1024 * 1024;
/// About what a level of a filter takes in the tree, in bytes.
pub const SUBSCRIPTION_LEVEL_BYTES: usize = 256;

const _: () = assert!(PACKET_BYTES_DEFAULT as usize <= PAYLOAD_BYTES_MAX);
const _: () = assert!(PACKET_BYTES_DEFAULT as usize <= PROPERTIES_BYTES_MAX);
const _: () = assert!(TOPIC_ALIASES_DEFAULT as usize * TOPIC_BYTES_MAX <= 1024 * 1024);
