//! What is taken of the messages of one broker.
//!
//! Invariants: a message is acknowledged only when its event is durable, and in the order in which
//! messages came (MQTT 5.0, 4.6). A message that the broker sends again, because it has not seen our
//! PUBACK, is recognised by packet identifier and content while we run, and not taken twice; after a
//! restart nobody can tell, and it is taken and counted.

use core::hash::{Hash, Hasher};
use core::num::NonZeroU16;
use std::collections::VecDeque;
use std::hash::DefaultHasher;

use tributary_core::Offset;
use tributary_core::limits::{PAYLOAD_BYTES_MAX, PROPERTIES_BYTES_MAX};
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;
use tributary_core::topic::{check_name, matches};

use crate::config::{Source, selected};
use crate::lines::shown;
use crate::runtime::ingest::NotTaken;

/// Messages that may wait for their PUBACK; with more of them nothing is read.
pub const UNACKED_MAX: u16 = 1_024;
/// Messages in memory that the log has not taken; with more of them nothing is read.
const HELD_MAX: usize = 256;
/// The same in bytes.
const HELD_BYTES_MAX: usize = 1 << 20;
/// Messages that are remembered, to be recognised when they come again: more than are ever under way.
const RECENT_MAX: usize = 2 * UNACKED_MAX as usize;

/// A message as it came from the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The broker's topic.
    pub topic: String,
    /// As it was published.
    pub payload: Vec<u8>,
    /// MQTT 5 properties, encoded (MQTT 5.0, 2.2.2, without the length in front).
    pub properties: Vec<u8>,
    /// By which it is acknowledged; `None` at QoS 0.
    pub packet_id: Option<NonZeroU16>,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag: the broker may have sent it before.
    pub again: bool,
}

impl Message {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.topic, &self.payload).hash(&mut hasher);
        hasher.finish()
    }
}

/// What became of messages, since the source was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages that are events in the log.
    pub received: u64,
    /// Messages that the broker sent again and that were in the log: not taken twice.
    pub duplicates: u64,
    /// Messages that the broker sent again and that were taken: after a restart of ours some of them
    /// may be in the log twice.
    pub repeated: u64,
    /// Messages that cannot be events: acknowledged, and not taken.
    pub refused: u64,
    /// Why the last of these was refused.
    pub refusal: Option<String>,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    packet_id: NonZeroU16,
    fingerprint: u64,
    offset: Offset,
}

/// Takes the messages of one source.
#[derive(Debug)]
pub struct Intake {
    name: String,
    prefix: String,
    topics: Vec<String>,
    held: VecDeque<Message>,
    held_bytes: usize,
    /// In the order in which they came: each waits for its event, if it has become one.
    unacked: VecDeque<(NonZeroU16, Option<Offset>)>,
    recent: VecDeque<Taken>,
    figures: Figures,
}

impl Intake {
    /// For a source of the configuration.
    #[must_use]
    pub fn new(source: &Source) -> Self {
        let selected = source.topics.iter().filter_map(|topic| selected(topic));
        Self {
            name: source.name.clone(),
            prefix: source.prefix.clone(),
            topics: selected.map(str::to_owned).collect(),
            held: VecDeque::new(),
            held_bytes: 0,
            unacked: VecDeque::new(),
            recent: VecDeque::new(),
            figures: Figures::default(),
        }
    }

    /// What became of messages so far.
    #[must_use]
    pub const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// A connection begins. What was not acknowledged on the last one the broker sends again, if it
    /// still knows the session; its packet identifiers begin anew if it does not.
    pub fn handle_connected(&mut self, session_present: bool) {
        self.held.clear();
        self.held_bytes = 0;
        self.unacked.clear();
        if !session_present {
            self.recent.clear();
        }
    }

    /// Whether another message may be read.
    #[must_use]
    pub fn wants_message(&self) -> bool {
        self.held.len() < HELD_MAX
            && self.held_bytes < HELD_BYTES_MAX
            && self.unacked.len() < usize::from(UNACKED_MAX)
    }

    /// A message has come; it waits for [`Self::take`].
    pub fn handle_message(&mut self, message: Message) {
        self.held_bytes += message.bytes();
        self.held.push_back(message);
    }

    /// Hands the messages that wait to `append`, as events that arrived at `time`; what is not taken
    /// waits on. Why, if something does.
    pub fn take(
        &mut self,
        time: Timestamp,
        mut append: impl FnMut(&Event<'_>) -> Result<Offset, NotTaken>,
    ) -> Option<NotTaken> {
        while let Some(message) = self.held.pop_front() {
            match self.take_one(&message, time, &mut append) {
                Ok(()) => self.held_bytes -= message.bytes(),
                Err(not_taken) => {
                    self.held.push_front(message);
                    return Some(not_taken);
                }
            }
        }
        None
    }

    fn take_one(
        &mut self,
        message: &Message,
        time: Timestamp,
        append: &mut impl FnMut(&Event<'_>) -> Result<Offset, NotTaken>,
    ) -> Result<(), NotTaken> {
        let fingerprint = message.fingerprint();
        if let Some(offset) = self.known(message, fingerprint) {
            self.figures.duplicates += 1;
            self.unacked.extend(message.packet_id.map(|id| (id, Some(offset))));
            return Ok(());
        }
        let topic = format!("{}{}", self.prefix, message.topic);
        if let Err(why) = self.check(message, &topic) {
            self.figures.refused += 1;
            self.figures.refusal = Some(why);
            self.unacked.extend(message.packet_id.map(|id| (id, None)));
            return Ok(());
        }
        let at_least_once = message.packet_id.is_some();
        let offset = append(&Event {
            topic: &topic,
            payload: &message.payload,
            client: &self.name,
            time,
            qos: if at_least_once { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: message.retain,
            origin: Origin::Source,
            packet_id: None,
            properties: Properties(&message.properties),
        })?;
        self.figures.received += 1;
        self.figures.repeated += u64::from(message.again);
        if let Some(packet_id) = message.packet_id {
            self.unacked.push_back((packet_id, Some(offset)));
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(Taken { packet_id, fingerprint, offset });
        }
        Ok(())
    }

    /// Where the log has a message that the broker sends again.
    fn known(&self, message: &Message, fingerprint: u64) -> Option<Offset> {
        let packet_id = message.packet_id.filter(|_| message.again)?;
        let last = self.recent.iter().rev().find(|taken| taken.packet_id == packet_id)?;
        (last.fingerprint == fingerprint).then_some(last.offset)
    }

    /// Whether a message can be an event.
    fn check(&self, message: &Message, topic: &str) -> Result<(), String> {
        let shown = shown(&message.topic);
        if !self.topics.iter().any(|filter| matches(filter, &message.topic)) {
            return Err(format!(
                "`{shown}` is none of `topics`: the broker keeps an older subscription of this \
                 `client_id`; another `client_id` has none"
            ));
        }
        check_name(topic).map_err(|error| format!("`{shown}`: {error}"))?;
        let bytes = message.payload.len();
        if bytes > PAYLOAD_BYTES_MAX || message.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(format!(
                "`{shown}`: {bytes} bytes, an event has at most {PAYLOAD_BYTES_MAX}"
            ));
        }
        Ok(())
    }

    /// The next message to be acknowledged, when all below `durable` is durable.
    pub fn poll_ack(&mut self, durable: Offset) -> Option<NonZeroU16> {
        let is_due = |(_, at): &mut (_, Option<Offset>)| at.is_none_or(|at| at < durable);
        self.unacked.pop_front_if(is_due).map(|(id, _)| id)
    }

    /// Whether messages wait for [`Self::take`].
    #[must_use]
    pub fn has_messages(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether everything that was taken is acknowledged.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.unacked.is_empty()
    }
}

#[cfg(test)]
mod tests;
