//! A connection in MQTT 5.

use core::num::NonZeroU16;

use rumqttc::NetworkOptions;
use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, Publish, PublishProperties, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{self, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};

use super::link::{self, Heard, Way, short_of};
use super::message;
use crate::io::dial;
use crate::source::UNACKED_MAX;

/// For how long the broker keeps what we have not acknowledged, in seconds: 30 days.
const SESSION_EXPIRY_S: u32 = 30 * 24 * 3_600;
/// What a broker of MQTT 3.1.1 answers to MQTT 5: a code of its own version.
const OLD_VERSION: u8 = 1;

/// A connection.
pub(super) struct Link {
    client: AsyncClient,
    events: EventLoop,
    asked: (Vec<String>, u8),
}

impl Link {
    /// Not connected yet.
    ///
    /// # Errors
    /// If the files that it needs do not serve.
    pub(super) fn new(way: &Way<'_>) -> Result<Self, String> {
        let mut options = MqttOptions::new(way.client_id, way.host(), way.source.port);
        options.set_transport(way.transport()?);
        if let Some((user, password)) = way.login()? {
            options.set_credentials(user, password);
        }
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(SESSION_EXPIRY_S))
            .set_receive_maximum(Some(UNACKED_MAX))
            .set_max_packet_size(Some(link::PACKET_BYTES_MAX))
            .set_keep_alive(link::KEEP_ALIVE)
            .set_connection_timeout(link::CONNECT_TIMEOUT_S)
            .set_network_options(network)
            .set_manual_acks(true);
        let (client, events) = AsyncClient::new(options, link::REQUESTS_MAX);
        Ok(Self { client, events, asked: (Vec::new(), 0) })
    }
}

impl link::Link for Link {
    async fn connect(&mut self) -> Result<bool, String> {
        loop {
            let event = self.events.poll().await.map_err(|error| explain(&error))?;
            if let Event::Incoming(Packet::ConnAck(answer)) = event {
                return Ok(answer.session_present);
            }
        }
    }

    async fn next(&mut self) -> Result<Heard, String> {
        Ok(match self.events.poll().await.map_err(|error| explain(&error))? {
            Event::Incoming(Packet::Publish(publish)) => {
                let Publish { topic, payload, pkid, retain, dup, properties, .. } = publish;
                let topic = String::from_utf8(topic.into())
                    .map_err(|_| "the broker has sent a topic that is not UTF-8".to_owned())?;
                let mut message = message(topic, payload.into(), pkid, (retain, dup));
                if let Some(properties) = properties {
                    message.properties = encode(&properties);
                }
                Heard::Message(message)
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let granted = answer.return_codes.iter().map(|code| match code {
                    SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                    _ => None,
                });
                let (topics, qos) = &self.asked;
                let short = topics.iter().zip(granted);
                let mut short = short.filter_map(|(topic, granted)| short_of(topic, granted, *qos));
                short.next().map_or(Heard::Other, Heard::Refused)
            }
            _ => Heard::Other,
        })
    }

    fn subscribe(&mut self, topics: &[String], qos: u8) -> Result<(), String> {
        self.asked = (topics.to_vec(), qos);
        let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let filter = |topic: &String| Filter {
            path: topic.clone(),
            qos,
            nolocal: false,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::OnNewSubscribe,
        };
        self.client.try_subscribe_many(topics.iter().map(filter)).map_err(|error| error.to_string())
    }

    fn acknowledge(&mut self, id: NonZeroU16) -> Result<(), String> {
        let publish = Publish { qos: QoS::AtLeastOnce, pkid: id.get(), ..Publish::default() };
        self.client.try_ack(&publish).map_err(|error| error.to_string())
    }

    fn disconnect(&mut self) -> Result<(), String> {
        self.client.try_disconnect().map_err(|error| error.to_string())
    }
}

/// What travels with a message, as it travels in a PUBLISH (MQTT 5.0, 3.3.2.3).
fn encode(properties: &PublishProperties) -> Vec<u8> {
    let mut out = Vec::new();
    let piece = |out: &mut Vec<u8>, bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.extend(length.to_be_bytes());
        out.extend(&bytes[..usize::from(length)]);
    };
    if let Some(format) = properties.payload_format_indicator {
        out.extend([0x01, format]);
    }
    if let Some(seconds) = properties.message_expiry_interval {
        out.push(0x02);
        out.extend(seconds.to_be_bytes());
    }
    let texts = [(0x03, &properties.content_type), (0x08, &properties.response_topic)];
    for (identifier, text) in texts {
        if let Some(text) = text {
            out.push(identifier);
            piece(&mut out, text.as_bytes());
        }
    }
    if let Some(data) = &properties.correlation_data {
        out.push(0x09);
        piece(&mut out, data);
    }
    for (name, value) in &properties.user_properties {
        out.push(0x26);
        piece(&mut out, name.as_bytes());
        piece(&mut out, value.as_bytes());
    }
    out
}

fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => refused(*code),
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => dial::explain(error),
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::InvalidConnectReturnCode(OLD_VERSION),
        )) => refused(ConnectReturnCode::UnsupportedProtocolVersion),
        ConnectionError::Timeout(_) => "the broker does not answer".to_owned(),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker has closed the connection".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker does not answer any more".to_owned()
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let why = reason_string.as_deref().unwrap_or_default();
            format!("the broker has ended the connection: {reason_code:?} {why}")
        }
        other => other.to_string(),
    }
}

fn refused(code: ConnectReturnCode) -> String {
    match code {
        ConnectReturnCode::UnsupportedProtocolVersion => {
            "the broker does not speak MQTT 5: write `protocol = \"3.1.1\"`".to_owned()
        }
        ConnectReturnCode::BadUserNamePassword => {
            "the broker does not know our user name and password".to_owned()
        }
        other => format!("the broker does not let us in: {other:?}"),
    }
}
