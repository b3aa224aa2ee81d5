//! A client by others, asked for one thing at a time.

use core::time::Duration;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rumqttc::{
    Client, Connection, Event, MqttOptions, Packet, QoS, SubscribeReasonCode, TlsConfiguration,
    Transport,
};
use tributary::io::tls::ClientFiles;
use tributary_tests::authority::{Authority, Pair};

/// How long an answer may take, password hashing on a busy machine included.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long nothing has to come, for a message that must not.
const SILENCE: Duration = Duration::from_millis(300);

/// A connected client.
pub(crate) struct Peer {
    pub(crate) client: Client,
    connection: Connection,
}

/// A client at a port of this machine.
pub(crate) fn options(name: &str, port: u16) -> MqttOptions {
    MqttOptions::new(name, "localhost", port)
}

/// The same with a user.
pub(crate) fn user(name: &str, port: u16, password: &str) -> MqttOptions {
    let mut options = options(name, port);
    options.set_credentials(name, password);
    options
}

/// TLS that trusts an authority, and shows a certificate if there is one.
pub(crate) fn tls(authority: &Authority, shown: Option<&Pair>) -> Result<TlsConfiguration> {
    let identity = shown.map(|pair| (pair.cert.clone(), pair.key.clone()));
    let files = ClientFiles { ca: Some(authority.cert()), identity };
    Ok(TlsConfiguration::Rustls(Arc::new(files.load()?)))
}

/// A client over TLS.
pub(crate) fn over_tls(mut options: MqttOptions, tls: TlsConfiguration) -> MqttOptions {
    options.set_transport(Transport::Tls(tls));
    options
}

impl Peer {
    /// Connects; an error tells why not, as the client says it.
    pub(crate) fn enter(options: MqttOptions) -> Result<Self> {
        let (client, connection) = Client::new(options, 10);
        let mut peer = Self { client, connection };
        peer.await_packet(|packet| matches!(packet, Packet::ConnAck(_)).then_some(()))?;
        Ok(peer)
    }

    /// Publishes at `QoS` 1; whether it was acknowledged. (MQTT 3.1.1 has no other answer than the
    /// end of the connection.)
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> Result<()> {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload)?;
        self.await_packet(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
    }

    /// Subscribes; whether it was granted.
    pub(crate) fn subscribe(&mut self, filter: &str) -> Result<bool> {
        self.client.subscribe(filter, QoS::AtLeastOnce)?;
        self.await_packet(|packet| match packet {
            Packet::SubAck(ack) => {
                Some(ack.return_codes.iter().all(|code| *code != SubscribeReasonCode::Failure))
            }
            _ => None,
        })
    }

    /// The next message: topic and payload.
    pub(crate) fn message(&mut self) -> Result<(String, String)> {
        self.await_packet(|packet| match packet {
            Packet::Publish(publish) => {
                Some((publish.topic, String::from_utf8_lossy(&publish.payload).into_owned()))
            }
            _ => None,
        })
    }

    /// Nothing comes.
    pub(crate) fn expect_silence(&mut self) -> Result<()> {
        loop {
            match self.connection.recv_timeout(SILENCE) {
                Ok(Ok(Event::Incoming(packet @ Packet::Publish(_)))) => bail!("got {packet:?}"),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => bail!("the connection has ended: {error}"),
                Err(_) => return Ok(()),
            }
        }
    }

    /// The connection ends.
    pub(crate) fn expect_end(&mut self) -> Result<()> {
        for _ in 0..100 {
            match self.connection.recv_timeout(ANSWER_MAX) {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => bail!("the connection goes on"),
            }
        }
        bail!("the connection goes on")
    }

    fn await_packet<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> Result<T> {
        loop {
            let event = self.connection.recv_timeout(ANSWER_MAX);
            match event.map_err(|error| anyhow!("no answer: {error:?}"))? {
                Ok(Event::Incoming(packet)) => {
                    if let Some(found) = wanted(packet) {
                        return Ok(found);
                    }
                }
                Ok(Event::Outgoing(_)) => {}
                Err(error) => bail!("{error:?}"),
            }
        }
    }
}

/// The client is not let in, and what it says contains `told`.
pub(crate) fn expect_refusal(options: MqttOptions, told: &str) -> Result<()> {
    let name = options.client_id();
    let Err(error) = Peer::enter(options) else { bail!("{name} is let in") };
    let said = format!("{error:?}");
    ensure!(said.contains(told), "{name} is told {said}, and not {told}");
    Ok(())
}

/// A client is let in, publishes, and hears itself.
pub(crate) fn expect_service(options: MqttOptions, topic: &str) -> Result<()> {
    let name = options.client_id();
    let mut peer = Peer::enter(options).with_context(|| format!("{name} enters"))?;
    ensure!(peer.subscribe(topic)?, "{name} subscribes to {topic}");
    peer.publish(topic, &name).with_context(|| format!("{name} publishes to {topic}"))?;
    ensure!(peer.message()? == (topic.to_owned(), name));
    Ok(())
}
