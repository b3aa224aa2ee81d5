//! JSON's tokens (RFC 8259), strictly: whatever a strict parser refuses is refused, also in the
//! parts of a payload that nobody asks for. The text is known to be UTF-8.

use crate::limits::JSON_DEPTH_MAX;
use crate::value::{integer, unit};

/// The payload is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A string without its quotes, as a range of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// A number: an i64 if it has neither point nor exponent and fits, else the nearest f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Numeral {
    Int(i64),
    Float(f64),
}

/// The digits that an f64 holds whatever they are: fewer cannot be out of its range.
const DIGITS_IN_RANGE: usize = 308;

/// Reads tokens from the front.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn text(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is not white space, which stays.
    pub(crate) fn peek_token(&mut self) -> Result<u8, NotJson> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(byte),
                None => return Err(NotJson),
            }
        }
    }

    /// The next byte that is not white space, which is taken.
    pub(crate) fn token(&mut self) -> Result<u8, NotJson> {
        let byte = self.peek_token()?;
        self.at += 1;
        Ok(byte)
    }

    /// Takes the next token if it is `byte`.
    pub(crate) fn take(&mut self, byte: u8) -> Result<bool, NotJson> {
        let found = self.peek_token()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.token()? == byte { Ok(()) } else { Err(NotJson) }
    }

    /// Nothing but white space is left.
    pub(crate) fn end(mut self) -> Result<(), NotJson> {
        if self.peek_token().is_err() { Ok(()) } else { Err(NotJson) }
    }

    /// The rest of `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, literal: &[u8]) -> Result<(), NotJson> {
        let end = self.at + literal.len();
        if self.text.get(self.at..end) != Some(literal) {
            return Err(NotJson);
        }
        self.at = end;
        Ok(())
    }

    /// A string whose opening quote is taken already.
    pub(crate) fn string(&mut self) -> Result<Quoted, NotJson> {
        let (start, mut escaped) = (self.at, false);
        loop {
            self.skip_plain();
            match self.peek().ok_or(NotJson)? {
                b'"' => {
                    self.at += 1;
                    return Ok(Quoted { start, end: self.at - 1, escaped });
                }
                b'\\' => {
                    self.at += 1;
                    escaped = true;
                    self.escape()?;
                }
                byte if byte < b' ' => return Err(NotJson),
                _ => self.at += 1,
            }
        }
    }

    /// Skips bytes that mean themselves, eight at a time.
    fn skip_plain(&mut self) {
        while let Some(bytes) = self.text.get(self.at..).and_then(<[u8]>::first_chunk) {
            let special = special_bytes(u64::from_le_bytes(*bytes));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), NotJson> {
        let byte = self.peek().ok_or(NotJson)?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.unit()? {
                0xDC00..0xE000 => Err(NotJson),
                0xD800..0xDC00 => {
                    self.literal(br"\u")?;
                    if (0xDC00..0xE000).contains(&self.unit()?) { Ok(()) } else { Err(NotJson) }
                }
                _ => Ok(()),
            },
            _ => Err(NotJson),
        }
    }

    fn unit(&mut self) -> Result<u32, NotJson> {
        let digits = self.text.get(self.at..).and_then(<[u8]>::first_chunk).ok_or(NotJson)?;
        self.at += digits.len();
        unit(*digits).ok_or(NotJson)
    }

    /// Checks a number; answers whether it has neither point nor exponent.
    fn skip_number(&mut self) -> Result<bool, NotJson> {
        let (start, mut whole) = (self.at, true);
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            whole = false;
            self.digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if exponent || self.at - start > DIGITS_IN_RANGE {
            float(self.text(start, self.at))?;
        }
        Ok(whole && !exponent)
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    /// A number.
    pub(crate) fn number(&mut self) -> Result<Numeral, NotJson> {
        let start = self.at;
        let whole = self.skip_number()?;
        let text = self.text(start, self.at);
        match whole.then(|| integer(text)).flatten() {
            Some(value) => Ok(Numeral::Int(value)),
            None => float(text).map(Numeral::Float),
        }
    }

    /// Skips a value below `depth` containers, and checks it. Needs no stack: one bit for each level.
    pub(crate) fn skip_value(&mut self, depth: u32) -> Result<(), NotJson> {
        // Of each container that is open, the innermost lowest: whether it is an object.
        let (mut objects, mut open) = (0_u64, 0);
        loop {
            match self.peek_token()? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    open += 1;
                    if depth + open > JSON_DEPTH_MAX {
                        return Err(NotJson);
                    }
                    let object = bracket == b'{';
                    objects = objects << 1 | u64::from(object);
                    if self.take(if object { b'}' } else { b']' })? {
                        objects >>= 1;
                        open -= 1;
                    } else {
                        self.skip_key(object)?;
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            loop {
                if open == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                match (self.token()?, object) {
                    (b',', _) => {
                        self.skip_key(object)?;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        objects >>= 1;
                        open -= 1;
                    }
                    _ => return Err(NotJson),
                }
            }
        }
    }

    /// A key and its colon, in an object.
    fn skip_key(&mut self, object: bool) -> Result<(), NotJson> {
        if object {
            self.expect(b'"')?;
            self.string()?;
            self.expect(b':')?;
        }
        Ok(())
    }

    fn skip_scalar(&mut self) -> Result<(), NotJson> {
        match self.peek().ok_or(NotJson)? {
            b'"' => {
                self.at += 1;
                self.string().map(|_| ())
            }
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.skip_number().map(|_| ()),
        }
    }
}

/// Sets the highest bit of each byte that ends a run of plain text: quote, backslash or control
/// character. Exact for the lowest such byte, which is the one that counts.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero_in(word ^ u64::from_le_bytes([b'"'; 8]));
    let backslash = zero_in(word ^ u64::from_le_bytes([b'\\'; 8]));
    let control = word.wrapping_sub(u64::from_le_bytes([b' '; 8])) & !word;
    (quote | backslash | control) & HIGH
}

/// The nearest float to what digits spell, unless it is infinite.
fn float(digits: &[u8]) -> Result<f64, NotJson> {
    let digits = core::str::from_utf8(digits).map_err(|_| NotJson)?;
    digits.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(NotJson)
}
