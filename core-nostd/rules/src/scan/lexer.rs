//! JSON's tokens (RFC 8259), strictly: whatever a strict parser refuses is refused, also in the
//! parts of a payload that nobody asks for. The text is known to be UTF-8.

use crate::limits::JSON_DEPTH_MAX;
use crate::value::{integer, unit};

/// The payload is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A string without its quotes, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quoted<'a> {
    pub(crate) text: &'a [u8],
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

/// Reads tokens from the front of what is left.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte that is not white space, which stays.
    #[inline]
    pub(crate) fn peek_token(&mut self) -> Result<u8, NotJson> {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => Ok(*byte),
            _ => self.skip_space(),
        }
    }

    #[cold]
    fn skip_space(&mut self) -> Result<u8, NotJson> {
        while let [byte, rest @ ..] = self.rest {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(*byte);
            }
            self.rest = rest;
        }
        Err(NotJson)
    }

    /// The next byte that is not white space, which is taken.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<u8, NotJson> {
        let byte = self.peek_token()?;
        self.advance();
        Ok(byte)
    }

    /// Takes the next token if it is `byte`.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> Result<bool, NotJson> {
        let found = self.peek_token()? == byte;
        if found {
            self.advance();
        }
        Ok(found)
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.token()? == byte { Ok(()) } else { Err(NotJson) }
    }

    /// Nothing but white space is left.
    pub(crate) fn end(mut self) -> Result<(), NotJson> {
        if self.peek_token().is_err() { Ok(()) } else { Err(NotJson) }
    }

    /// One byte further.
    #[inline]
    fn advance(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// All of `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, literal: &[u8]) -> Result<(), NotJson> {
        self.rest = self.rest.strip_prefix(literal).ok_or(NotJson)?;
        Ok(())
    }

    /// A string whose opening quote is taken already.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, NotJson> {
        let (start, mut escaped) = (self.rest, false);
        loop {
            let rest = skip_plain(self.rest);
            let (byte, behind) = rest.split_first().ok_or(NotJson)?;
            self.rest = behind;
            match byte {
                b'"' => {
                    let text = start.get(..start.len() - rest.len()).unwrap_or_default();
                    return Ok(Quoted { text, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                byte if *byte < b' ' => return Err(NotJson),
                _ => {}
            }
        }
    }

    /// What follows a backslash.
    #[cold]
    fn escape(&mut self) -> Result<(), NotJson> {
        let (byte, rest) = self.rest.split_first().ok_or(NotJson)?;
        self.rest = rest;
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
        let (digits, rest) = self.rest.split_first_chunk().ok_or(NotJson)?;
        self.rest = rest;
        unit(*digits).ok_or(NotJson)
    }

    /// Checks a number; answers its text and whether it has neither point nor exponent.
    #[inline]
    fn skip_number(&mut self) -> Result<(&'a [u8], bool), NotJson> {
        let start = self.rest;
        let unsigned = start.strip_prefix(b"-").unwrap_or(start);
        let mut rest = match unsigned {
            [b'0', rest @ ..] => rest,
            _ => skip_digits(unsigned)?,
        };
        let mut whole = true;
        if let [b'.', fraction @ ..] = rest {
            rest = skip_digits(fraction)?;
            whole = false;
        }
        let exponent = matches!(rest, [b'e' | b'E', ..]);
        if let [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] = rest {
            rest = skip_digits(digits)?;
        }
        self.rest = rest;
        let text = start.get(..start.len() - rest.len()).unwrap_or_default();
        if exponent || text.len() > DIGITS_IN_RANGE {
            float(text)?;
        }
        Ok((text, whole && !exponent))
    }

    /// A number, with its text.
    pub(crate) fn number(&mut self) -> Result<(Numeral, &'a [u8]), NotJson> {
        let (text, whole) = self.skip_number()?;
        let numeral = match whole.then(|| integer(text)).flatten() {
            Some(value) => Numeral::Int(value),
            None => Numeral::Float(float(text)?),
        };
        Ok((numeral, text))
    }

    /// Skips a value below `depth` containers, and checks it.
    #[inline]
    pub(crate) fn skip_value(&mut self, depth: u32) -> Result<(), NotJson> {
        match self.peek_token()? {
            b'{' | b'[' => self.skip_container(depth),
            _ => self.skip_scalar(),
        }
    }

    /// Needs no stack: one bit for each level.
    #[inline(never)]
    fn skip_container(&mut self, depth: u32) -> Result<(), NotJson> {
        // Of each container that is open, the innermost lowest: whether it is an object.
        let (mut objects, mut open) = (0_u64, 0);
        loop {
            match self.peek_token()? {
                bracket @ (b'{' | b'[') => {
                    self.advance();
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

    /// The next token begins a value that is neither object nor array.
    #[inline]
    fn skip_scalar(&mut self) -> Result<(), NotJson> {
        match self.rest.first() {
            Some(b'"') => {
                self.advance();
                self.string().map(|_| ())
            }
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.skip_number().map(|_| ()),
        }
    }
}

/// At least one digit.
#[inline]
fn skip_digits(text: &[u8]) -> Result<&[u8], NotJson> {
    let mut rest = text;
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    if rest.len() < text.len() { Ok(rest) } else { Err(NotJson) }
}

/// What is left behind bytes that mean themselves, eight at a time: at its end up to seven may be.
#[inline]
fn skip_plain(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((bytes, behind)) = rest.split_first_chunk() {
        let special = special_bytes(u64::from_le_bytes(*bytes));
        if special != 0 {
            return rest.get(special.trailing_zeros() as usize / 8..).unwrap_or_default();
        }
        rest = behind;
    }
    rest
}

/// Sets the highest bit of each byte that ends a run of plain text: quote, backslash or control
/// character. Exact for the lowest such byte, which is the one that counts.
#[inline]
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
