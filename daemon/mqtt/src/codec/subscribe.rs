//! SUBSCRIBE and SUBACK (MQTT 5.0, 3.8 and 3.9).

use alloc::vec::Vec;
use core::num::NonZeroU16;

use tributary_core::record::Qos;
use tributary_core::topic;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, writer};

/// A client asks for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// What the SUBACK will name.
    pub packet_id: NonZeroU16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub requests: Requests<'a>,
}

/// One topic filter with what is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Valid; may begin with `$share/<name>/`.
    pub filter: &'a str,
    /// How the messages shall come.
    pub options: Options,
}

/// Subscription options (MQTT 5.0, 3.8.3.1). 3.1.1 has only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The highest quality of service to deliver with.
    pub qos: Qos,
    /// The client does not want its own messages back.
    pub no_local: bool,
    /// RETAIN is passed on as it was published, instead of 0.
    pub retain_as_published: bool,
    /// Which retained messages to send for a new subscription.
    pub retain_handling: RetainHandling,
}

/// Which retained messages to send for a new subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    /// All that match.
    Send = 0,
    /// All that match, if the subscription did not exist.
    SendIfNew = 1,
    /// None.
    DoNotSend = 2,
}

impl Options {
    /// What a 3.1.1 client asks for.
    #[must_use]
    pub const fn with_qos(qos: Qos) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }
}

/// The checked topic filters of a SUBSCRIBE, as they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests<'a> {
    version: Version,
    bytes: &'a [u8],
}
