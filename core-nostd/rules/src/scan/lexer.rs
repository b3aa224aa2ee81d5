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

/// Reads tokens from the front of what is left. What is called often is inlined, and what is not
/// takes and returns the rest as a value: so the rest stays in registers.
#[derive(Clone, Copy, Debug)]
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
            Some(byte) if *byte > b' ' => return Ok(*byte),
            _ => self.rest = skip_space(self.rest),
        }
        self.rest.first().copied().ok_or(NotJson)
    }

    /// The next byte that is not white space, which is taken.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<u8, NotJson> {
        if let [byte, rest @ ..] = self.rest
            && *byte > b' '
        {
            self.rest = rest;
            return Ok(*byte);
        }
        let (byte, rest) = skip_space(self.rest).split_first().ok_or(NotJson)?;
        self.rest = rest;
        Ok(*byte)
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
    pub(crate) fn end(self) -> Result<(), NotJson> {
        if skip_space(self.rest).is_empty() { Ok(()) } else { Err(NotJson) }
    }

    /// One byte further.
    #[inline]
    fn advance(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// All of `true`, `false` or `null`.
    #[inline]
    pub(crate) fn literal(&mut self, literal: &[u8]) -> Result<(), NotJson> {
        self.rest = self.rest.strip_prefix(literal).ok_or(NotJson)?;
        Ok(())
    }

    /// A string whose opening quote is taken already.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, NotJson> {
        let (start, mut at, mut escaped) = (self.rest, 0, false);
        loop {
            at = skip_plain(start, at);
            match start.get(at).ok_or(NotJson)? {
                b'"' => {
                    self.rest = start.get(at + 1..).unwrap_or_default();
                    return Ok(Quoted { text: start.get(..at).unwrap_or_default(), escaped });
                }
                b'\\' => {
                    escaped = true;
                    let rest = skip_escape(start.get(at + 1..).unwrap_or_default())?;
                    at = start.len() - rest.len();
                }
                byte if *byte < b' ' => return Err(NotJson),
                _ => at += 1,
            }
        }
    }

    /// A number, with its text.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<(Numeral, &'a [u8]), NotJson> {
        let start = self.rest;
        let (numeral, rest) = match short_number(start) {
            Some(found) => found,
            None => any_number(start)?,
        };
        self.rest = rest;
        Ok((numeral, start.get(..start.len() - rest.len()).unwrap_or_default()))
    }

    /// Skips a value below `depth` containers, and checks it.
    #[inline]
    pub(crate) fn skip_value(&mut self, depth: u32) -> Result<(), NotJson> {
        match self.peek_token()? {
            b'{' | b'[' => self.rest = skip_container(self.rest, depth)?,
            _ => self.rest = skip_scalar(self.rest)?,
        }
        Ok(())
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
}

#[cold]
fn skip_space(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b' ' | b'\t' | b'\n' | b'\r', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

/// What follows a backslash.
#[cold]
fn skip_escape(text: &[u8]) -> Result<&[u8], NotJson> {
    match text {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => Ok(rest),
        [b'u', rest @ ..] => {
            let (first, rest) = skip_unit(rest)?;
            match first {
                0xDC00..0xE000 => Err(NotJson),
                0xD800..0xDC00 => {
                    let (second, rest) = skip_unit(rest.strip_prefix(br"\u").ok_or(NotJson)?)?;
                    if (0xDC00..0xE000).contains(&second) { Ok(rest) } else { Err(NotJson) }
                }
                _ => Ok(rest),
            }
        }
        _ => Err(NotJson),
    }
}

fn skip_unit(text: &[u8]) -> Result<(u32, &[u8]), NotJson> {
    let (digits, rest) = text.split_first_chunk().ok_or(NotJson)?;
    Ok((unit(*digits).ok_or(NotJson)?, rest))
}

/// The next token begins a value that is neither object nor array.
#[inline(never)]
fn skip_scalar(text: &[u8]) -> Result<&[u8], NotJson> {
    let mut lexer = Lexer { rest: text };
    match text {
        [b'"', rest @ ..] => {
            lexer.rest = rest;
            lexer.string()?;
        }
        [b't', ..] => lexer.literal(b"true")?,
        [b'f', ..] => lexer.literal(b"false")?,
        [b'n', ..] => lexer.literal(b"null")?,
        _ => return skip_number(text),
    }
    Ok(lexer.rest)
}

/// Checks a number and that it is in the range of an f64.
#[inline]
fn skip_number(text: &[u8]) -> Result<&[u8], NotJson> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match unsigned {
        [b'0', rest @ ..] => rest,
        _ => skip_digits(unsigned)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = skip_digits(fraction)?;
    }
    let long = text.len() - rest.len() > DIGITS_IN_RANGE;
    if long || matches!(rest, [b'e' | b'E', ..]) { skip_exponent(text, rest) } else { Ok(rest) }
}

/// The number that begins `text` may have an exponent at `rest`, and be too large.
#[cold]
fn skip_exponent<'a>(text: &[u8], rest: &'a [u8]) -> Result<&'a [u8], NotJson> {
    let rest = match rest {
        [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] => {
            skip_digits(digits)?
        }
        _ => rest,
    };
    float(text.get(..text.len() - rest.len()).unwrap_or_default())?;
    Ok(rest)
}

/// At least one digit.
#[inline]
fn skip_digits(text: &[u8]) -> Result<&[u8], NotJson> {
    match text.iter().position(|byte| !byte.is_ascii_digit()) {
        Some(0) => Err(NotJson),
        Some(len) => Ok(text.get(len..).unwrap_or_default()),
        None if text.is_empty() => Err(NotJson),
        None => Ok(&[]),
    }
}

fn any_number(text: &[u8]) -> Result<(Numeral, &[u8]), NotJson> {
    let rest = skip_number(text)?;
    let text = text.get(..text.len() - rest.len()).unwrap_or_default();
    let whole = text.iter().all(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    let numeral = match whole.then(|| integer(text)).flatten() {
        Some(value) => Numeral::Int(value),
        None => Numeral::Float(float(text)?),
    };
    Ok((numeral, rest))
}

/// What devices send: at most 15 digits, at most 8 of them behind a point. The digits are a number
/// below 2^53, and one division of two floats that are exact is rounded once, so the result is the
/// nearest float (Clinger 1990). `None` for any other number, and for what is none.
#[expect(clippy::cast_precision_loss, reason = "there is none below 2^53")]
#[inline]
fn short_number(text: &[u8]) -> Option<(Numeral, &[u8])> {
    const POWERS: [f64; 9] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
    const DIGITS_MAX: usize = 15;
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let negative = unsigned.len() < text.len();
    let (whole, mut rest) = read_digits(0, unsigned);
    let mut digits = unsigned.len() - rest.len();
    if digits == 0 || (digits > 1 && unsigned.first() == Some(&b'0')) {
        return None;
    }
    let mut fraction = None;
    if let [b'.', behind @ ..] = rest {
        let (value, end) = read_digits(whole, behind);
        let places = behind.len() - end.len();
        if places == 0 {
            return None;
        }
        fraction = Some((value, *POWERS.get(places)?));
        digits += places;
        rest = end;
    }
    if digits > DIGITS_MAX || matches!(rest, [b'e' | b'E', ..]) {
        return None;
    }
    let numeral = match fraction {
        Some((value, power)) => {
            let value = value as f64 / power;
            Numeral::Float(if negative { -value } else { value })
        }
        None => Numeral::Int(if negative { -whole } else { whole }),
    };
    Some((numeral, rest))
}

/// Appends digits to a number, which is only of use if there are few of them.
#[inline]
fn read_digits(value: i64, text: &[u8]) -> (i64, &[u8]) {
    let (mut value, mut rest) = (value, text);
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        rest = behind;
    }
    (value, rest)
}

/// Skips an object or array below `depth` others, and checks it. Needs no stack: one bit of a word
/// says of each level which of the two it is.
#[inline(never)]
fn skip_container(text: &[u8], depth: u32) -> Result<&[u8], NotJson> {
    let mut lexer = Lexer { rest: text };
    // The innermost is the lowest bit: set for an object.
    let (mut objects, mut open) = (0_u64, 0);
    loop {
        match lexer.peek_token()? {
            bracket @ (b'{' | b'[') => {
                lexer.advance();
                open += 1;
                if depth + open > JSON_DEPTH_MAX {
                    return Err(NotJson);
                }
                let object = bracket == b'{';
                objects = objects << 1 | u64::from(object);
                if !lexer.take(if object { b'}' } else { b']' })? {
                    lexer.skip_key(object)?;
                    continue;
                }
                objects >>= 1;
                open -= 1;
            }
            _ => lexer.rest = skip_scalar(lexer.rest)?,
        }
        loop {
            if open == 0 {
                return Ok(lexer.rest);
            }
            let object = objects & 1 == 1;
            match (lexer.token()?, object) {
                (b',', _) => {
                    lexer.skip_key(object)?;
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

/// Where from `at` on a byte may not mean itself. Looks at eight bytes at a time, so at the end of
/// the text up to seven more may mean themselves.
#[inline]
fn skip_plain(text: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let special = special_bytes(u64::from_le_bytes(*bytes));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
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
