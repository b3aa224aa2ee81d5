//! Two codecs that are not ours, asked the same: do you take this packet, and what does it say?

use bytes::BytesMut;
use mqtt_proto::{v3, v5};
use rumqttc::mqttbytes::v4 as rumqttc_v4;
use rumqttc::v5::mqttbytes::v5 as rumqttc_v5;
use tributary_mqtt::Version;

/// What a codec makes of a packet that is all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It takes it, and writes it so.
    Taken(Vec<u8>),
    /// It refuses it, with this kind of error.
    Refused(String),
}

/// One codec for one version.
pub(crate) struct Codec {
    /// Its name in the list.
    pub(crate) name: &'static str,
    /// What it speaks.
    pub(crate) version: Version,
    /// Reads the one packet, and writes it again.
    pub(crate) read: fn(&[u8]) -> Verdict,
}

/// All of them.
pub(crate) const CODECS: [Codec; 4] = [
    Codec { name: "rumqttc 3.1.1", version: Version::V311, read: by_rumqttc_v4 },
    Codec { name: "rumqttc 5", version: Version::V5, read: by_rumqttc_v5 },
    Codec { name: "mqtt-proto 3.1.1", version: Version::V311, read: by_mqtt_proto_v3 },
    Codec { name: "mqtt-proto 5", version: Version::V5, read: by_mqtt_proto_v5 },
];

const BYTES_MAX: usize = 1 << 20;

/// The kind of an error, without what it tells of the packet.
fn kind(error: &impl core::fmt::Debug) -> Verdict {
    let text = format!("{error:?}");
    let text = text.strip_prefix("Common(").unwrap_or(&text);
    Verdict::Refused(text.chars().take_while(char::is_ascii_alphanumeric).collect())
}

fn by_rumqttc_v4(bytes: &[u8]) -> Verdict {
    let packet = match rumqttc_v4::Packet::read(&mut BytesMut::from(bytes), BYTES_MAX) {
        Ok(packet) => packet,
        Err(error) => return kind(&error),
    };
    let mut out = BytesMut::new();
    match packet.write(&mut out, BYTES_MAX) {
        Ok(_) => Verdict::Taken(out.to_vec()),
        Err(error) => kind(&error),
    }
}

fn by_rumqttc_v5(bytes: &[u8]) -> Verdict {
    let packet = match rumqttc_v5::Packet::read(&mut BytesMut::from(bytes), None) {
        Ok(packet) => packet,
        Err(error) => return kind(&error),
    };
    let mut out = BytesMut::new();
    match packet.write(&mut out, None) {
        Ok(_) => Verdict::Taken(out.to_vec()),
        Err(error) => kind(&error),
    }
}

fn by_mqtt_proto_v3(bytes: &[u8]) -> Verdict {
    match v3::Packet::decode(bytes) {
        Ok(Some(packet)) => Verdict::Taken(packet.encode().expect("it was read").as_ref().to_vec()),
        Ok(None) => Verdict::Refused("Incomplete".to_owned()),
        Err(error) => kind(&error),
    }
}

fn by_mqtt_proto_v5(bytes: &[u8]) -> Verdict {
    match v5::Packet::decode(bytes) {
        Ok(Some(packet)) => Verdict::Taken(packet.encode().expect("it was read").as_ref().to_vec()),
        Ok(None) => Verdict::Refused("Incomplete".to_owned()),
        Err(error) => kind(&error),
    }
}
