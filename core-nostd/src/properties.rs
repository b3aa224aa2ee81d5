//! The MQTT 5 properties that travel with an event, in MQTT's own encoding (MQTT 5.0, 2.2.2).
//!
//! Kept as the bytes of the PUBLISH, so that taking an event into the log is one copy. The codec
//! has validated them; reading here is total all the same: a malformed byte ends the iteration.

/// One property of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0x01: the payload is UTF-8 text.
    PayloadFormatText(bool),
    /// 0x02: seconds after which the event is of no use any more.
    MessageExpiry(u32),
    /// 0x03: MIME type of the payload.
    ContentType(&'a str),
    /// 0x08: where an answer is expected.
    ResponseTopic(&'a str),
    /// 0x09: what an answer must carry.
    CorrelationData(&'a [u8]),
    /// 0x26: a name and value of the application's own; may repeat.
    User(&'a str, &'a str),
}

/// A sequence of encoded properties, without the length in front.
/// Topic alias and subscription identifiers belong to a connection and are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a>(pub &'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const NONE: Self = Self(&[]);

    /// The properties in the order in which they were sent.
    #[must_use]
    pub const fn iter(self) -> Iter<'a> {
        Iter { rest: self.0 }
    }

    /// Seconds after which the event is of no use any more, if it ends.
    #[must_use]
    pub fn expiry_s(self) -> Option<u32> {
        self.iter().find_map(|property| match property {
            Property::MessageExpiry(seconds) => Some(seconds),
            _ => None,
        })
    }

    /// The same in milliseconds. What is younger than a second is never over.
    #[must_use]
    pub fn life_ms(self) -> Option<u64> {
        self.expiry_s().map(|seconds| u64::from(seconds.max(1)) * 1_000)
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over [`Properties`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let found = self.advance();
        if found.is_none() {
            self.rest = &[];
        }
        found
    }
}

impl<'a> Iter<'a> {
    fn advance(&mut self) -> Option<Property<'a>> {
        loop {
            return Some(match self.byte()? {
                0x01 => Property::PayloadFormatText(self.byte()? == 1),
                0x02 => Property::MessageExpiry(u32::from_be_bytes(self.array()?)),
                0x03 => Property::ContentType(self.text()?),
                0x08 => Property::ResponseTopic(self.text()?),
                0x09 => Property::CorrelationData(self.binary()?),
                0x26 => Property::User(self.text()?, self.text()?),
                0x0B => {
                    while self.byte()? >= 0x80 {}
                    continue;
                }
                0x23 => {
                    self.array::<2>()?;
                    continue;
                }
                _ => return None,
            });
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn binary(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.binary()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_publish_carries_and_passes_over_what_belongs_to_the_connection() {
        let bytes =
            [0x01, 1, 0x23, 0, 7, 0x02, 0, 0, 0, 9, 0x0B, 0x80, 0x01, 0x26, 0, 1, b'a', 0, 1, b'b'];
        let mut found = Properties(&bytes).iter();
        assert_eq!(found.next(), Some(Property::PayloadFormatText(true)));
        assert_eq!(found.next(), Some(Property::MessageExpiry(9)));
        assert_eq!(found.next(), Some(Property::User("a", "b")));
        assert_eq!(found.next(), None);
    }

    #[test]
    fn a_malformed_byte_ends_the_iteration() {
        assert_eq!(Properties(&[0x03, 0, 9, b'x']).iter().next(), None);
        assert_eq!(Properties(&[0xFF]).iter().next(), None);
    }
}
