//! Reads the data types of MQTT (MQTT 5.0, 1.5) from bytes that are all there.

use core::num::NonZeroU16;

use super::malformed::Malformed;
use super::reason::Reason;

/// The rest of a packet. Every method takes what it reads from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// The remaining length and the fields do not agree.
const LENGTH: Malformed = Malformed::packet("2.1.4");

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(super) const fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(LENGTH) }
    }

    /// Everything that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(LENGTH)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(LENGTH)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(LENGTH)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn two_bytes(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn four_bytes(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A packet identifier, which is never 0 (MQTT-2.2.1-3).
    pub(super) fn packet_id(&mut self) -> Result<NonZeroU16, Malformed> {
        NonZeroU16::new(self.two_bytes()?).ok_or(Malformed::protocol("MQTT-2.2.1-3"))
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.two_bytes()?;
        self.take(usize::from(length))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        text(self.binary()?)
    }

    /// A topic name, which may be empty here.
    pub(super) fn topic(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.binary()?;
        // One look for all that is rare, then a closer one.
        if has(bytes, |byte| byte == 0 || byte == b'+' || byte == b'#') {
            text(bytes)?;
            return Err(Malformed::new(Reason::TopicNameInvalid, "MQTT-3.3.2-2"));
        }
        utf8(bytes)
    }

    /// A variable byte integer: at most four bytes and no more than needed (MQTT-1.5.5-1).
    pub(super) fn variable(&mut self) -> Result<u32, Malformed> {
        match variable(self.rest)? {
            Some((value, used)) => {
                self.take(used)?;
                Ok(value)
            }
            None => Err(LENGTH),
        }
    }
}

/// Well-formed UTF-8 without U+0000 (MQTT-1.5.4-1, MQTT-1.5.4-2).
fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = utf8(bytes)?;
    if has(bytes, |byte| byte == 0) {
        return Err(Malformed::packet("MQTT-1.5.4-2"));
    }
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    core::str::from_utf8(bytes).map_err(|_| Malformed::packet("MQTT-1.5.4-1"))
}

/// Whether a byte is what is looked for. Looks at all of them on purpose: a loop without an early
/// exit is made wide by the compiler.
fn has(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(0, |found, &byte| found | u8::from(is(byte))) != 0
}

/// A variable byte integer at the front of `bytes`, and its length; `None` while it is not all
/// there.
pub(super) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            if byte == 0 && index > 0 {
                return Err(Malformed::packet("MQTT-1.5.5-1"));
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed::packet("1.5.5")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_are_minimal_and_at_most_four_bytes() {
        for (bytes, expected) in [
            (&[0x00][..], Ok(Some((0, 1)))),
            (&[0x7F], Ok(Some((127, 1)))),
            (&[0x80, 0x01], Ok(Some((128, 2)))),
            (&[0xFF, 0xFF, 0xFF, 0x7F], Ok(Some((268_435_455, 4)))),
            (&[], Ok(None)),
            (&[0xFF, 0xFF, 0xFF], Ok(None)),
            (&[0x80, 0x00], Err(Malformed::packet("MQTT-1.5.5-1"))),
            (&[0xFF, 0x80, 0x80, 0x00], Err(Malformed::packet("MQTT-1.5.5-1"))),
            (&[0xFF, 0xFF, 0xFF, 0x80], Err(Malformed::packet("1.5.5"))),
        ] {
            assert_eq!(variable(bytes), expected, "{bytes:02X?}");
        }
    }

    #[test]
    fn text_is_utf_8_without_nul() {
        assert_eq!(Reader::new(&[0, 3, 0xC3, 0xA9, b'/', b'x']).text(), Ok("é/"));
        assert_eq!(Reader::new("\0\u{3}\u{FEFF}".as_bytes()).text(), Ok("\u{FEFF}"));
        for (bytes, statement) in [
            (&[0xC3][..], "MQTT-1.5.4-1"),
            (&[0xC0, 0x80], "MQTT-1.5.4-1"),
            (&[0xED, 0xA0, 0x80], "MQTT-1.5.4-1"),
            (&[0xF4, 0x90, 0x80, 0x80], "MQTT-1.5.4-1"),
            (&[b'a', 0, b'b'], "MQTT-1.5.4-2"),
        ] {
            assert_eq!(text(bytes), Err(Malformed::packet(statement)), "{bytes:02X?}");
        }
    }
}
