//! A connection in MQTT 3.1.1.

use core::num::NonZeroU16;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions,
    Packet, Publish, QoS, StateError, SubscribeFilter, SubscribeReasonCode, TlsError, mqttbytes,
};

use super::link::{self, Heard, Way, short_of};
use super::message;
use crate::io::dial;

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
        let bytes_max = link::FOREIGN_PACKET_BYTES_MAX;
        options
            .set_clean_session(false)
            .set_keep_alive(link::KEEP_ALIVE)
            .set_max_packet_size(bytes_max, bytes_max)
            .set_manual_acks(true);
        let (client, mut events) = AsyncClient::new(options, link::REQUESTS_MAX);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(link::CONNECT_TIMEOUT_S);
        events.set_network_options(network);
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
                let Publish { topic, payload, pkid, retain, dup, .. } = publish;
                Heard::Message(message(topic, payload.into(), pkid, (retain, dup)))
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let granted = answer.return_codes.iter().map(|code| match code {
                    SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                    SubscribeReasonCode::Failure => None,
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
        let filter = |topic: &String| SubscribeFilter::new(topic.clone(), qos);
        self.client.try_subscribe_many(topics.iter().map(filter)).map_err(|error| error.to_string())
    }

    fn acknowledge(&mut self, id: NonZeroU16) -> Result<(), String> {
        let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
        publish.pkid = id.get();
        self.client.try_ack(&publish).map_err(|error| error.to_string())
    }

    fn disconnect(&mut self) -> Result<(), String> {
        self.client.try_disconnect().map_err(|error| error.to_string())
    }
}

fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::RefusedProtocolVersion => "the broker does not speak MQTT 3.1.1",
            ConnectReturnCode::BadClientId => "the broker does not take our `client_id`",
            ConnectReturnCode::BadUserNamePassword => {
                "the broker does not know our user name and password"
            }
            ConnectReturnCode::NotAuthorized => "the broker does not let us in: not authorized",
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
                "the broker says that it is unavailable"
            }
        }
        .to_owned(),
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => dial::explain(error),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            "the broker does not answer".to_owned()
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker has closed the connection".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker does not answer any more".to_owned()
        }
        other => other.to_string(),
    }
}
