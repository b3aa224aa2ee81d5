//! What expressions work on: null, bool, i64, f64 and text, and how two of them compare.
//!
//! Values hold no references: text is a span of one of five places, so slots and registers outlive
//! an event and no value is ever moved.

mod number;
mod sink;
mod text;

pub(crate) use number::{NoResult, Number, integer};
pub(crate) use sink::{Full, Sink};
pub(crate) use text::{Text, unit};

/// Where the bytes of a text are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The event's payload.
    Payload,
    /// The event's topic.
    Topic,
    /// The publisher's client id.
    Client,
    /// The texts of the set.
    Set,
    /// What this evaluation has made.
    Made,
}

/// A piece of text; `escaped` if it is still as JSON writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) place: Place,
    pub(crate) escaped: bool,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    /// A span of unescaped text; `None` if it lies beyond what 32 bits reach, which no limit allows.
    pub(crate) fn plain(place: Place, start: usize, len: usize) -> Option<Self> {
        let (start, len) = (u32::try_from(start).ok()?, u32::try_from(len).ok()?);
        Some(Self { place, escaped: false, start, len })
    }
}

/// A value of an expression.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Always finite. `start` and `len` say where the payload has it, so that it can be copied as the
    /// device wrote it; `len` is 0 for what was computed.
    Float {
        value: f64,
        start: u32,
        len: u32,
    },
    Text(Span),
    /// An object or an array: not null, and of no type that an operator takes.
    Composite,
}

/// The five places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) topic: &'a [u8],
    pub(crate) client: &'a [u8],
    pub(crate) set: &'a [u8],
    pub(crate) made: &'a [u8],
}

impl<'a> Places<'a> {
    /// The text of a span.
    pub(crate) fn text(&self, span: Span) -> Text<'a> {
        let place = match span.place {
            Place::Payload => self.payload,
            Place::Topic => self.topic,
            Place::Client => self.client,
            Place::Set => self.set,
            Place::Made => self.made,
        };
        let (start, len) = (span.start as usize, span.len as usize);
        Text { bytes: slice(place, start, len), escaped: span.escaped }
    }

    /// Writes a value as text: numbers of the payload as the device wrote them.
    /// `Ok(false)` if the value has no text form.
    pub(crate) fn write(&self, value: Value, sink: &mut Sink<'_>) -> Result<bool, Full> {
        match value {
            Value::Null | Value::Composite => return Ok(false),
            Value::Bool(value) => sink.push(if value { b"true" } else { b"false" })?,
            Value::Int(value) => sink.push_int(value)?,
            Value::Float { value, len: 0, .. } => sink.push_float(value)?,
            Value::Float { start, len, .. } => {
                sink.push(slice(self.payload, start as usize, len as usize))?;
            }
            Value::Text(span) => sink.push_text(self.text(span))?,
        }
        Ok(true)
    }
}

/// `len` bytes from `start`; empty if there are none, which only a set that was not verified asks for.
fn slice(bytes: &[u8], start: usize, len: usize) -> &[u8] {
    bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}
