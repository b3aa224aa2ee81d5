//! CONNECT (MQTT 5.0, 3.1): the first packet of every connection, and what tells the version.

use alloc::vec::Vec;

use tributary_core::record::Qos;
use tributary_core::topic;

use super::malformed::Malformed;
use super::property::{Carrier, Properties};
use super::reader::Reader;
use super::reason::Reason;
use super::{Version, writer};

/// A client introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What it speaks.
    pub version: Version,
    /// Clean Session (3.1.1) or Clean Start (5): the client wants nothing of an earlier session.
    pub clean_start: bool,
    /// Seconds; 0: none.
    pub keep_alive_s: u16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// Empty if the server shall choose.
    pub client_id: &'a str,
    /// What to publish when the connection ends without DISCONNECT.
    pub will: Option<LastWill<'a>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// The will as it stands in a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWill<'a> {
    /// Quality of service.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// Without wildcards, not empty.
    pub topic: &'a str,
    /// What to publish.
    pub payload: &'a [u8],
}

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;
