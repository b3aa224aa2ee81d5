//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0, 3.10 and 3.11).

use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, subscribe, writer};

/// A client ends subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// What the UNSUBACK will name.
    pub packet_id: NonZeroU16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Filters<'a>,
}

/// The checked topic filters of an UNSUBSCRIBE, as they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters<'a>(&'a [u8]);
