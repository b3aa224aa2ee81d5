//! One change of a session, and how many of them make the body of a control record.
//!
//! ```text
//! u64      number of the first change, little endian; the others follow on
//! postcard changes, one behind the other: client id, offset at which it holds, change
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;

/// What happened to the session of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change<'a> {
    /// Its client has come.
    Begun {
        /// Nothing of an earlier session holds any more.
        fresh: bool,
        /// Seconds for which it outlives the connection.
        expiry_s: u32,
        /// What the client leaves behind.
        #[serde(borrow)]
        will: Option<StoredWill<'a>>,
    },
    /// A subscription holds.
    Subscribed {
        /// Its topic filter.
        filter: &'a str,
        /// QoS and options, as in a SUBSCRIBE of MQTT 5.
        options: u8,
        /// Its identifier; 0: none.
        identifier: u32,
    },
    /// A subscription ends.
    Unsubscribed {
        /// Its topic filter.
        filter: &'a str,
    },
    /// QoS 2, from the client: an identifier is free.
    Released {
        /// Which.
        packet_id: u16,
    },
    /// To the client: a message gets an identifier.
    Reserved {
        /// Which.
        packet_id: u16,
        /// The message's place in the log.
        offset: u64,
        /// It is a retained message for a new subscription.
        retained: bool,
    },
    /// QoS 2, to the client: it has the message.
    Received {
        /// Of this identifier.
        packet_id: u16,
    },
    /// To the client: a message is over, and its identifier free.
    Completed {
        /// Which.
        packet_id: u16,
    },
    /// All below is dealt with, but for what is reserved.
    Progress {
        /// Offset in the log.
        cursor: u64,
    },
    /// The client has gone.
    Left {
        /// Age clock, ms.
        age: u64,
        /// Seconds from then until the session ends.
        expiry_s: u32,
        /// Age clock at which the will is due; `None`: there is none, or it was published.
        will_due: Option<u64>,
    },
    /// The will was published.
    WillPublished,
    /// Nothing of the session holds any more.
    Ended,
    /// Of a shared subscription, whose filter stands in the place of a client: all below has come to its
    /// members, or is their own.
    Dealt {
        /// Offset in the log.
        cursor: u64,
    },
    /// Retained messages are looked for on behalf of a subscription: some are owed, or may be.
    Searching {
        /// Its topic filter.
        filter: &'a str,
        /// QoS and options with which it asked for them, as in a SUBSCRIBE of MQTT 5.
        options: u8,
        /// Its identifier then; 0: none.
        identifier: u32,
        /// Those from this offset on come as they come.
        below: u64,
    },
    /// All that was looked for on behalf of the client's subscriptions has come to it, or is under way at QoS 2.
    Found,
    /// To the client, at QoS 2: a retained message gets an identifier. Of several subscriptions that select it, each
    /// brings it.
    Brought {
        /// Which.
        packet_id: u16,
        /// The message's place in the log.
        offset: u64,
        /// The filter of the subscription for which it was looked for.
        filter: &'a str,
    },
}

/// A will as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWill<'a> {
    topic: Cow<'a, str>,
    payload: Cow<'a, [u8]>,
    properties: Cow<'a, [u8]>,
    qos: u8,
    retain: bool,
    /// Seconds between the end of the connection and the will.
    pub delay_s: u32,
}

impl<'a> StoredWill<'a> {
    /// The will of a client.
    #[must_use]
    pub fn of(event: &Event<'a>, delay_s: u32) -> Self {
        Self {
            topic: event.topic.into(),
            payload: event.payload.into(),
            properties: event.properties.0.into(),
            qos: event.qos as u8,
            retain: event.retain,
            delay_s,
        }
    }

    /// About what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// A copy that outlives the buffer.
    #[must_use]
    pub fn into_owned(self) -> StoredWill<'static> {
        StoredWill {
            topic: self.topic.into_owned().into(),
            payload: self.payload.into_owned().into(),
            properties: self.properties.into_owned().into(),
            ..self
        }
    }

    /// The event to append.
    #[must_use]
    pub fn event<'b>(&'b self, client: &'b str, time: Timestamp) -> Event<'b> {
        Event {
            topic: &self.topic,
            payload: &self.payload,
            client,
            time,
            qos: match self.qos {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            retain: self.retain,
            origin: Origin::Device,
            packet_id: None,
            properties: Properties(&self.properties),
        }
    }
}

/// A change as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted<'a> {
    /// Whose: a client, or those who share a filter.
    pub client: &'a str,
    /// The offset of the first event that comes after it.
    pub at: u64,
    /// What.
    #[serde(borrow)]
    pub change: Change<'a>,
}

/// The changes in the body of a control record, each with its number. Ends at what a later version
/// wrote.
pub fn read_batch(body: &[u8]) -> impl Iterator<Item = (u64, Noted<'_>)> {
    let (first, mut rest) = match body.split_first_chunk::<8>() {
        Some((first, rest)) => (u64::from_le_bytes(*first), rest),
        None => (0, &[][..]),
    };
    let mut number = first;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (noted, after) = postcard::take_from_bytes(rest).ok()?;
        rest = after;
        number += 1;
        Some((number - 1, noted))
    })
}
