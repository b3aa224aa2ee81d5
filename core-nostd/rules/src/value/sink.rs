//! Bytes written into memory of fixed size.

use core::fmt::{self, Write};

use super::Text;

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Writes text to the end of what is there already.
#[derive(Debug)]
pub(crate) struct Sink<'o> {
    bytes: &'o mut [u8],
    used: usize,
}

/// Floats from here on are written with an exponent.
const LARGE: f64 = 1e21;
/// Floats below this are written with an exponent.
const SMALL: f64 = 1e-6;

impl<'o> Sink<'o> {
    /// Writes behind the first `used` bytes.
    pub(crate) fn new(bytes: &'o mut [u8], used: usize) -> Self {
        Self { bytes, used }
    }

    /// How many bytes are written, those before included.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn push(&mut self, text: &[u8]) -> Result<(), Full> {
        let end = self.used.checked_add(text.len()).ok_or(Full)?;
        self.bytes.get_mut(self.used..end).ok_or(Full)?.copy_from_slice(text);
        self.used = end;
        Ok(())
    }

    pub(crate) fn push_text(&mut self, text: Text<'_>) -> Result<(), Full> {
        if text.escaped { self.push_all(text.unescaped()) } else { self.push(text.bytes) }
    }

    pub(crate) fn push_all(&mut self, bytes: impl Iterator<Item = u8>) -> Result<(), Full> {
        for byte in bytes {
            *self.bytes.get_mut(self.used).ok_or(Full)? = byte;
            self.used += 1;
        }
        Ok(())
    }

    /// Repeats `len` bytes from `start` of what is there already.
    pub(crate) fn repeat(&mut self, start: usize, len: usize) -> Result<(), Full> {
        let end = self.used.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(Full)?;
        let source = start..start.checked_add(len).filter(|end| *end <= self.used).ok_or(Full)?;
        self.bytes.copy_within(source, self.used);
        self.used = end;
        Ok(())
    }

    pub(crate) fn push_int(&mut self, value: i64) -> Result<(), Full> {
        write!(self, "{value}").map_err(|fmt::Error| Full)
    }

    /// The shortest digits that read back as the same float; a whole number without a point, since
    /// it is equal to that integer. With an exponent outside 0.000001 to 1e21.
    pub(crate) fn push_float(&mut self, value: f64) -> Result<(), Full> {
        // 0.0 + -0.0 is 0.0: equal values have one text.
        let value = value + 0.0;
        let written = if value == 0.0 || (SMALL..LARGE).contains(&value.abs()) {
            write!(self, "{value}")
        } else {
            write!(self, "{value:e}")
        };
        written.map_err(|fmt::Error| Full)
    }
}

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|Full| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f64) -> ([u8; 32], usize) {
        let mut bytes = [0; 32];
        let mut sink = Sink::new(&mut bytes, 0);
        sink.push_float(value).expect("every float has at most 24 characters");
        let used = sink.used();
        (bytes, used)
    }

    #[test]
    fn floats_have_one_short_text() {
        for (value, expected) in [
            (5.0, "5"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (21.5, "21.5"),
            (-1e-6, "-0.000001"),
            (1e-7, "1e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e21"),
            (f64::MIN, "-1.7976931348623157e308"),
        ] {
            let (bytes, used) = float(value);
            assert_eq!(bytes.get(..used), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn a_full_sink_keeps_what_it_has() {
        let mut bytes = *b"ab..";
        let mut sink = Sink::new(&mut bytes, 2);
        assert_eq!(sink.push(b"cde"), Err(Full));
        assert_eq!(sink.repeat(0, 3), Err(Full));
        assert_eq!(sink.repeat(1, 2), Err(Full), "only what is there can be repeated");
        assert_eq!(sink.repeat(0, 2), Ok(()));
        assert_eq!(sink.push(b"e"), Err(Full));
        assert_eq!(&bytes, b"abab");
    }
}
