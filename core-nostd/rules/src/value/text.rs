//! Text, compared by bytes after JSON's escapes are undone, without copying it.

use core::cmp::Ordering;

/// A text; `escaped` if it is still as JSON writes it (the scan has checked the escapes).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) escaped: bool,
}

impl<'a> Text<'a> {
    /// The bytes that are meant.
    pub(crate) fn unescaped(self) -> Unescaped<'a> {
        Unescaped { rest: self.bytes, escaped: self.escaped, pending: 0, pending_len: 0 }
    }

    /// Order of the bytes, which for UTF-8 is that of the code points.
    pub(crate) fn order(self, other: Self) -> Ordering {
        if self.escaped || other.escaped {
            self.unescaped().cmp(other.unescaped())
        } else {
            self.bytes.cmp(other.bytes)
        }
    }

    /// The number of characters (code points).
    pub(crate) fn chars(self) -> usize {
        self.unescaped().filter(|byte| byte & 0xC0 != 0x80).count()
    }

    /// Whether it begins with `start`.
    pub(crate) fn starts_with(self, start: Self) -> bool {
        let mut bytes = self.unescaped();
        start.unescaped().all(|wanted| bytes.next() == Some(wanted))
    }

    /// Whether it ends with `end`.
    pub(crate) fn ends_with(self, end: Self) -> bool {
        let (len, end_len) = (self.unescaped().count(), end.unescaped().count());
        end_len <= len && self.unescaped().skip(len - end_len).eq(end.unescaped())
    }
}

/// The bytes of a text, escapes undone.
#[derive(Clone, Debug)]
pub(crate) struct Unescaped<'a> {
    rest: &'a [u8],
    escaped: bool,
    /// The rest of a character that one escape stands for: its next byte lowest.
    pending: u32,
    pending_len: u8,
}

impl Unescaped<'_> {
    fn take(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn escape(&mut self) -> Option<u8> {
        Some(match self.take()? {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.code_point(),
            byte => byte,
        })
    }

    fn code_point(&mut self) -> Option<u8> {
        let mut code = self.unit()?;
        if (0xD800..0xDC00).contains(&code) {
            // Skips the `\u` of the second half.
            self.rest = self.rest.get(2..)?;
            code = 0x1_0000 + ((code - 0xD800) << 10) + self.unit()?.checked_sub(0xDC00)?;
        }
        let mut buffer = [0; 4];
        self.pending_len =
            u8::try_from(char::from_u32(code)?.encode_utf8(&mut buffer).len()).ok()?;
        self.pending = u32::from_le_bytes(buffer);
        self.next()
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        unit(*digits)
    }
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.pending_len > 0 {
            let [byte, ..] = self.pending.to_le_bytes();
            self.pending >>= 8;
            self.pending_len -= 1;
            return Some(byte);
        }
        match self.take()? {
            b'\\' if self.escaped => self.escape(),
            byte => Some(byte),
        }
    }
}

/// The number that four hexadecimal digits spell.
pub(crate) fn unit(digits: [u8; 4]) -> Option<u32> {
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> Text<'_> {
        Text { bytes, escaped: true }
    }

    fn plain(text: &str) -> Text<'_> {
        Text { bytes: text.as_bytes(), escaped: false }
    }

    #[test]
    fn escaped_text_is_the_text_that_it_means() {
        for (written, meant) in [
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"a\u0062c", "abc"),
            (r"\u00e9\u20AC\ud83d\ude00!", "é€😀!"),
            ("é\\u0000", "é\0"),
        ] {
            assert!(escaped(written.as_bytes()).unescaped().eq(meant.bytes()), "{written}");
            assert_eq!(escaped(written.as_bytes()).order(plain(meant)), Ordering::Equal);
        }
    }

    #[test]
    fn text_is_searched_by_what_it_means() {
        let text = escaped(br"caf\u00e9");
        assert_eq!(text.chars(), 4);
        assert!(text.starts_with(plain("caf")));
        assert!(!text.starts_with(plain("cafés")));
        assert!(text.ends_with(plain("fé")));
        assert!(!text.ends_with(plain("a café")));
        assert_eq!(text.order(plain("cafe")), Ordering::Greater);
    }

    #[test]
    fn an_unescaped_backslash_is_a_backslash() {
        assert!(plain(r"\n").unescaped().eq(*br"\n"));
    }
}
