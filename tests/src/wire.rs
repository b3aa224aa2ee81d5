//! A client that speaks packet by packet, for what a client library would hide.

use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use tributary_core::record::Qos;
use tributary_mqtt::codec::ack::Ack;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::codec::disconnect::Disconnect;
use tributary_mqtt::codec::property::{Carrier, Properties, Property};
use tributary_mqtt::codec::publish::{Delivery, Publish};
use tributary_mqtt::codec::subscribe::{Options, Request, Requests, Subscribe};
use tributary_mqtt::codec::unsubscribe::{Filters, Unsubscribe};
use tributary_mqtt::codec::{Decoded, Packet, decode};
use tributary_mqtt::{Reason, Version};

/// How long an answer may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// In which nothing comes that should not.
pub const QUIET: Duration = Duration::from_millis(300);

/// A client's connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    version: Version,
    unread: Vec<u8>,
    /// Came while something else was waited for.
    pending: VecDeque<Message>,
}

/// How the server welcomed a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// There was a session.
    pub present: bool,
    /// Success, or why not.
    pub reason: Reason,
    properties: Vec<u8>,
}

/// What a server sends on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    Message(Message),
    Release(NonZeroU16),
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Empty where an alias stands for it.
    pub topic: String,
    /// What it says.
    pub payload: String,
    /// Its quality of service.
    pub delivery: Delivery,
    /// RETAIN.
    pub retain: bool,
    /// As they are encoded; see [`Message::properties`].
    pub encoded: Vec<u8>,
}

/// A packet identifier.
///
/// # Panics
/// If it is 0.
#[must_use]
pub fn id(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).expect("not 0")
}

/// A CONNECT of 3.1.1 with a session that lasts.
#[must_use]
pub const fn connect(name: &str) -> Connect<'_> {
    Connect {
        version: Version::V311,
        clean_start: false,
        keep_alive_s: 60,
        properties: Properties::NONE,
        client_id: name,
        will: None,
        user_name: None,
        password: None,
    }
}

/// A CONNECT of MQTT 5 without a session from before.
#[must_use]
pub const fn connect_5<'a>(name: &'a str, properties: Properties<'a>) -> Connect<'a> {
    Connect { version: Version::V5, clean_start: true, properties, ..connect(name) }
}

/// Properties as they are encoded, for [`checked`].
#[must_use]
pub fn encoded(properties: &[Property<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for property in properties {
        property.encode(&mut bytes);
    }
    bytes
}

/// Encoded properties of a packet.
///
/// # Panics
/// If they may not stand there.
#[must_use]
pub fn checked(carrier: Carrier, encoded: &[u8]) -> Properties<'_> {
    Properties::new(carrier, encoded).expect("the test's properties may stand there")
}

impl Welcome {
    /// What the server announces.
    pub fn properties(&self) -> impl Iterator<Item = Property<'_>> {
        checked(Carrier::ConnAck, &self.properties).iter()
    }
}

impl Message {
    /// What came with it.
    pub fn properties(&self) -> impl Iterator<Item = Property<'_>> {
        checked(Carrier::Publish, &self.encoded).iter()
    }

    /// Its packet identifier.
    ///
    /// # Errors
    /// It has none.
    pub fn packet_id(&self) -> Result<NonZeroU16> {
        self.delivery.packet_id().with_context(|| format!("at QoS 0: {self:?}"))
    }
}

impl Wire {
    /// Connects; whether there was a session.
    ///
    /// # Errors
    /// The client is turned away.
    pub fn open(port: u16, asked: &Connect<'_>) -> Result<(Self, bool)> {
        let (wire, welcome) = Self::enter(port, asked)?;
        ensure!(!welcome.reason.is_failure(), "{:?}", welcome.reason);
        Ok((wire, welcome.present))
    }

    /// Connects, and says how it was received.
    ///
    /// # Errors
    /// There is no CONNACK.
    pub fn enter(port: u16, asked: &Connect<'_>) -> Result<(Self, Welcome)> {
        let mut wire = Self::raw(port, asked.version)?;
        wire.send(&Packet::Connect(*asked))?;
        let welcome = wire.next(|packet| match packet {
            Packet::ConnAck(connack) => Some(Welcome {
                present: connack.session_present,
                reason: connack.reason,
                properties: connack.properties.bytes().to_vec(),
            }),
            _ => None,
        })?;
        Ok((wire, welcome))
    }

    /// A connection on which nothing was said yet.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn raw(port: u16, version: Version) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream, version, unread: Vec::new(), pending: VecDeque::new() })
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, packet: &Packet<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes)
    }

    /// Takes leave, and waits for the server to close.
    ///
    /// # Errors
    /// It does not.
    pub fn leave(mut self, reason: Reason, properties: Properties<'_>) -> Result<()> {
        self.send(&Packet::Disconnect(Disconnect { reason, properties }))?;
        ensure!(self.end()?.is_none(), "it is told why");
        Ok(())
    }

    /// The next packet, which must be of the kind that is looked for.
    ///
    /// # Errors
    /// It is of another kind, or nothing comes.
    pub fn next<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> Result<T> {
        loop {
            match decode(&self.unread, Some(self.version), u32::MAX) {
                Ok(Decoded::Packet(packet, used)) => {
                    let found = wanted(&packet).with_context(|| format!("came: {packet:?}"));
                    self.unread.drain(..used);
                    return found;
                }
                Ok(Decoded::Incomplete) => {}
                Err(malformed) => bail!("malformed: {malformed}"),
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("closed"),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                // With a time-out a read is not taken up again after the process was stopped.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the server to close the connection: the reason, if there was a DISCONNECT. What
    /// comes before is passed over.
    ///
    /// # Errors
    /// It does not close.
    pub fn end(&mut self) -> Result<Option<Reason>> {
        let mut bytes = self.rest()?;
        self.unread.append(&mut bytes);
        while let Ok(Decoded::Packet(packet, used)) =
            decode(&self.unread, Some(self.version), u32::MAX)
        {
            if let Packet::Disconnect(disconnect) = packet {
                return Ok(Some(disconnect.reason));
            }
            self.unread.drain(..used);
        }
        Ok(None)
    }

    /// All bytes that come until the server closes the connection.
    ///
    /// # Errors
    /// It does not close.
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(bytes),
            Err(error) => Err(error).context("it does not close"),
        }
    }

    /// Subscribes.
    ///
    /// # Errors
    /// It is not granted.
    pub fn subscribe(&mut self, filter: &str, qos: Qos) -> Result<()> {
        let reasons = self.subscribe_to(&[(filter, Options::with_qos(qos))], &[])?;
        ensure!(!reasons.iter().any(|reason| reason.is_failure()), "{reasons:?}");
        Ok(())
    }

    /// Subscribes, and says what was granted.
    ///
    /// # Errors
    /// There is no SUBACK.
    pub fn subscribe_to(
        &mut self,
        asked: &[(&str, Options)],
        properties: &[Property<'_>],
    ) -> Result<Vec<Reason>> {
        let mut bytes = Vec::new();
        for &(filter, options) in asked {
            Request { filter, options }.encode(self.version, &mut bytes);
        }
        let requests = Requests::new(self.version, &bytes).map_err(anyhow::Error::msg)?;
        let properties = encoded(properties);
        let properties = checked(Carrier::Subscribe, &properties);
        let subscribe = Subscribe { packet_id: id(9), properties, requests };
        self.send(&Packet::Subscribe(subscribe))?;
        self.answer(|packet| match packet {
            Packet::SubAck(suback) if suback.packet_id == id(9) => {
                Some(suback.reasons.iter().collect())
            }
            _ => None,
        })
    }

    /// Ends subscriptions, and says what was there (MQTT 5).
    ///
    /// # Errors
    /// There is no UNSUBACK.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<Vec<Reason>> {
        let mut bytes = Vec::new();
        for filter in filters {
            Filters::encode(filter, &mut bytes);
        }
        let filters = Filters::new(&bytes).map_err(anyhow::Error::msg)?;
        let unsubscribe = Unsubscribe { packet_id: id(8), properties: Properties::NONE, filters };
        self.send(&Packet::Unsubscribe(unsubscribe))?;
        self.answer(|packet| match packet {
            Packet::UnsubAck(unsuback) if unsuback.packet_id == id(8) => {
                Some(unsuback.reasons.iter().collect())
            }
            _ => None,
        })
    }

    /// Publishes; does not wait for anything.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn publish(&mut self, topic: &str, payload: &str, delivery: Delivery) -> Result<()> {
        self.publish_as(topic, payload, delivery, false)
    }

    /// Publishes; does not wait for anything.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn publish_as(
        &mut self,
        topic: &str,
        payload: &str,
        delivery: Delivery,
        retain: bool,
    ) -> Result<()> {
        let (properties, payload) = (Properties::NONE, payload.as_bytes());
        self.send(&Packet::Publish(Publish { delivery, retain, topic, properties, payload }))
    }

    /// Publishes at any QoS with properties and sees it through; what comes meanwhile waits for
    /// [`Wire::message`].
    ///
    /// # Errors
    /// It is not taken.
    pub fn tell(
        &mut self,
        (topic, payload): (&str, &str),
        qos: Qos,
        retain: bool,
        properties: &[Property<'_>],
    ) -> Result<()> {
        let properties = encoded(properties);
        let properties = checked(Carrier::Publish, &properties);
        let (packet_id, dup) = (id(1), false);
        let delivery = match qos {
            Qos::AtMostOnce => Delivery::AtMostOnce,
            Qos::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            Qos::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        };
        let payload = payload.as_bytes();
        self.send(&Packet::Publish(Publish { delivery, retain, topic, properties, payload }))?;
        match qos {
            Qos::AtMostOnce => Ok(()),
            Qos::AtLeastOnce => self.acknowledged(),
            Qos::ExactlyOnce => self.completed(),
        }
    }

    fn acknowledged(&mut self) -> Result<()> {
        let reason = self.answer(|packet| match packet {
            Packet::PubAck(ack) if ack.packet_id == id(1) => Some(ack.reason),
            _ => None,
        })?;
        ensure!(!reason.is_failure(), "{reason:?}");
        Ok(())
    }

    fn completed(&mut self) -> Result<()> {
        let reason = self.answer(|packet| match packet {
            Packet::PubRec(ack) if ack.packet_id == id(1) => Some(ack.reason),
            _ => None,
        })?;
        ensure!(!reason.is_failure(), "{reason:?}");
        self.send(&Packet::PubRel(Ack::success(id(1))))?;
        self.answer(|packet| matches!(packet, Packet::PubComp(_)).then_some(()))
    }

    /// The answer that is looked for; messages that come before it wait for [`Wire::message`].
    fn answer<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> Result<T> {
        loop {
            let found = self.next(|packet| match packet {
                Packet::Publish(publish) => Some(Err(Message::of(publish))),
                packet => wanted(packet).map(Ok),
            })?;
            match found {
                Ok(found) => return Ok(found),
                Err(message) => self.pending.push_back(message),
            }
        }
    }

    /// Publishes at QoS 1 and waits for the PUBACK.
    ///
    /// # Errors
    /// It does not come next.
    pub fn publish_once(&mut self, topic: &str, payload: &str, retain: bool) -> Result<()> {
        self.tell((topic, payload), Qos::AtLeastOnce, retain, &[])
    }

    /// Publishes at QoS 2, all four steps.
    ///
    /// # Errors
    /// One does not come.
    pub fn publish_twice(&mut self, topic: &str, payload: &str) -> Result<()> {
        self.tell((topic, payload), Qos::ExactlyOnce, false, &[])
    }

    /// The next thing that the server sends on its own.
    fn came(&mut self) -> Result<Came> {
        self.next(|packet| match packet {
            Packet::Publish(publish) => Some(Came::Message(Message::of(publish))),
            Packet::PubRel(ack) => Some(Came::Release(ack.packet_id)),
            _ => None,
        })
    }

    /// The next message; what is released on the way is complete.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn message(&mut self) -> Result<Message> {
        if let Some(message) = self.pending.pop_front() {
            return Ok(message);
        }
        loop {
            match self.came()? {
                Came::Message(message) => return Ok(message),
                Came::Release(id) => self.send(&Packet::PubComp(Ack::success(id)))?,
            }
        }
    }

    /// Waits for the release of an identifier, and completes it.
    fn complete(&mut self, packet_id: NonZeroU16) -> Result<()> {
        loop {
            match self.came()? {
                Came::Message(message) => self.pending.push_back(message),
                Came::Release(id) => {
                    self.send(&Packet::PubComp(Ack::success(id)))?;
                    if id == packet_id {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The next message, acknowledged as its quality of service wants it.
    ///
    /// # Errors
    /// Something else comes, or nothing.
    pub fn take(&mut self) -> Result<Message> {
        let message = self.message()?;
        match message.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce { packet_id, .. } => {
                self.send(&Packet::PubAck(Ack::success(packet_id)))?;
            }
            Delivery::ExactlyOnce { packet_id, .. } => {
                self.send(&Packet::PubRec(Ack::success(packet_id)))?;
                self.complete(packet_id)?;
            }
        }
        Ok(message)
    }

    /// Asks whether the server is there: it has then dealt with all that was sent before.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ping(&mut self) -> Result<()> {
        self.send(&Packet::PingReq)?;
        self.answer(|packet| (*packet == Packet::PingResp).then_some(()))
    }

    /// No message comes.
    ///
    /// # Errors
    /// One does.
    pub fn is_quiet(&mut self) -> Result<()> {
        self.stream.set_read_timeout(Some(QUIET))?;
        let came = self.message();
        self.stream.set_read_timeout(Some(ANSWER_MAX))?;
        match came {
            Ok(message) => bail!("came: {message:?}"),
            Err(_) => Ok(()),
        }
    }
}

impl Message {
    fn of(publish: &Publish<'_>) -> Self {
        Self {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            delivery: publish.delivery,
            retain: publish.retain,
            encoded: publish.properties.bytes().to_vec(),
        }
    }
}
