//! A device that publishes in bursts: all of one burst is written at once, then every PUBACK waited for.

use core::net::SocketAddrV4;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

/// Packet identifiers of a burst are its places, from 1.
pub(super) const BURST: usize = 1_000;
const ANSWER_MAX: Duration = Duration::from_secs(30);
const PUBACK_BYTES: usize = 4;
/// Bytes of a reading.
const READING_BYTES: usize = 128;

/// The device.
pub(super) struct Publisher {
    stream: TcpStream,
}

impl Publisher {
    /// Connects by MQTT 3.1.1 with a clean session and no keep-alive.
    pub(super) fn connect(address: SocketAddrV4, name: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 0];
        push_text(&mut body, name)?;
        let mut packet = vec![0x10];
        push_packet(&mut packet, &body)?;
        stream.write_all(&packet)?;
        let mut welcome = [0; 4];
        stream.read_exact(&mut welcome)?;
        ensure!(welcome == [0x20, 2, 0, 0], "CONNACK: {welcome:?}");
        Ok(Self { stream })
    }

    /// Publishes with `QoS` 1; when it returns all of them are durable.
    pub(super) fn burst(&mut self, topic: &str, payloads: &[String]) -> Result<()> {
        ensure!(payloads.len() <= BURST, "a burst is limited");
        let mut packets = Vec::new();
        for (id, payload) in (1_u16..).zip(payloads) {
            let mut body = Vec::new();
            push_text(&mut body, topic)?;
            body.extend(id.to_be_bytes());
            body.extend(payload.as_bytes());
            packets.push(0x32);
            push_packet(&mut packets, &body)?;
        }
        self.stream.write_all(&packets)?;
        let mut acks = vec![0; payloads.len() * PUBACK_BYTES];
        self.stream.read_exact(&mut acks).context("every PUBACK")?;
        ensure!(acks.chunks(PUBACK_BYTES).all(|ack| ack[0] == 0x40), "only PUBACKs come");
        Ok(())
    }
}

/// What a machine of a plant might say: JSON of 128 bytes whose numbers differ from one to the next.
pub(super) fn reading(serial: u64, random: &mut fastrand::Rng) -> String {
    let near = |middle: f64, spread: f64, random: &mut fastrand::Rng| {
        middle + spread * (random.f64() - 0.5)
    };
    let temperature = near(62.0, 9.0, random);
    let (pressure, current) = (near(5.1, 0.4, random), near(11.0, 2.5, random));
    let vibration = near(0.031, 0.02, random);
    let speed = random.u32(1_440..1_500);
    let mut text = format!(
        r#"{{"seq":{serial},"temperature":{temperature:.2},"pressure":{pressure:.3},"current":{current:.2},"vibration":{vibration:.4},"rpm":{speed},"state":"run""#
    );
    while text.len() + 1 < READING_BYTES {
        text.push(' ');
    }
    text.push('}');
    text
}

fn push_text(into: &mut Vec<u8>, text: &str) -> Result<()> {
    into.extend(u16::try_from(text.len())?.to_be_bytes());
    into.extend(text.as_bytes());
    Ok(())
}

/// Length and body of a packet (MQTT 3.1.1, section 2.2.3).
fn push_packet(into: &mut Vec<u8>, body: &[u8]) -> Result<()> {
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128)?;
        rest /= 128;
        into.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    into.extend_from_slice(body);
    Ok(())
}
