//! What devices say, in MQTT 3.1.1: encoded once, before the load begins.

/// "Is everything before this dealt with?"
pub(super) const PINGREQ: [u8; 2] = [0xC0, 0];
/// Good-bye.
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// SUBSCRIBE to one filter, with packet identifier 1.
pub(super) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    push_text(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// PUBACK, PUBREL and the like: those that only carry an identifier.
pub(super) fn push_ack(into: &mut Vec<u8>, first: u8, id: u16) {
    into.extend([first, 2]);
    into.extend(id.to_be_bytes());
}

/// CONNECT of MQTT 3.1.1 with a clean session and no keep-alive.
pub(super) fn connect(client: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 0];
    push_text(&mut body, client);
    packet(0x10, &body)
}

/// PUBLISH. The payload is JSON.
pub(super) fn publish(
    topic: &str,
    (id, qos): (u16, u8),
    is_hot: bool,
    payload_bytes: u32,
) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    let temperature = if is_hot { "71.5" } else { "20.5" };
    let mut payload = format!(r#"{{"temperature":{temperature},"x":""#).into_bytes();
    payload.resize((payload_bytes as usize).saturating_sub(2), b'x');
    payload.extend(br#""}"#);
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

fn push_text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("a topic is short").to_be_bytes());
    into.extend(text.as_bytes());
}

/// A packet with its length (MQTT 3.1.1, section 2.2.3).
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).expect("below 128");
        rest /= 128;
        packet.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
