//! Writing the properties of events, in MQTT 5's form.

/// Adds a user property (MQTT 5.0, 3.3.2.3.7).
///
/// # Panics
/// If name or value is longer than MQTT's texts are.
pub(crate) fn user(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x26);
    for text in [name, value] {
        let length = u16::try_from(text.len()).expect("a text of MQTT has at most 65,535 bytes");
        out.extend(length.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}
