//! One pass over a JSON payload that fills the slots of all fields that a set of programs asks for.
//!
//! Strict: what it accepts is what RFC 8259 allows, nested at most `JSON_DEPTH_MAX` deep. Of equal
//! keys in one object the last one counts, with all below it, as in most JSON libraries.

mod lexer;

use lexer::{Lexer, NotJson, Numeral, Quoted};

use crate::limits::FIELDS_MAX;
use crate::set::{Node, View};
use crate::value::{Place, Span, Text, Value};

/// Of each field its value; `None` if the payload does not have it.
pub(crate) type Slots = [Option<Value>; FIELDS_MAX];

/// Fills the slots. Answers whether the payload is JSON; if not, no slot has a value.
pub(crate) fn scan(view: &View<'_>, payload: &[u8], slots: &mut Slots) -> bool {
    let wanted = slots.get_mut(..usize::from(view.slots)).unwrap_or_default();
    wanted.fill(None);
    if !payload.is_ascii() && core::str::from_utf8(payload).is_err() {
        return false;
    }
    let mut walk = Walk { view, payload, lexer: Lexer::new(payload), slots: wanted };
    let done = view.node(0).ok_or(NotJson).and_then(|root| walk.value(&root));
    if done.is_ok() && walk.lexer.end().is_ok() {
        return true;
    }
    wanted.fill(None);
    false
}

/// Goes along the payload and the tree of wanted places together. Recursion is as deep as the tree,
/// at most `PATH_LEVELS_MAX`; what nobody wants is skipped without any. A node's depth is the number
/// of objects and arrays around the place that it stands for.
struct Walk<'w> {
    view: &'w View<'w>,
    payload: &'w [u8],
    lexer: Lexer<'w>,
    slots: &'w mut [Option<Value>],
}

impl Walk<'_> {
    fn value(&mut self, node: &Node) -> Result<(), NotJson> {
        let value = match self.lexer.peek_token()? {
            b'{' if node.key_count > 0 => {
                self.object(node)?;
                Value::Composite
            }
            b'[' if node.index_count > 0 => {
                self.array(node)?;
                Value::Composite
            }
            b'{' | b'[' => {
                self.lexer.skip_value(u32::from(node.depth))?;
                Value::Composite
            }
            _ => self.scalar()?,
        };
        if let Some(slot) = node.slot().and_then(|slot| self.slots.get_mut(slot)) {
            *slot = Some(value);
        }
        Ok(())
    }

    /// The next token begins a value that is neither object nor array.
    fn scalar(&mut self) -> Result<Value, NotJson> {
        Ok(match self.lexer.peek_token()? {
            b'"' => {
                self.lexer.expect(b'"')?;
                let start = self.at();
                let Quoted { text, escaped } = self.lexer.string()?;
                let span = Span::plain(Place::Payload, start, text.len()).ok_or(NotJson)?;
                Value::Text(Span { escaped, ..span })
            }
            b't' => self.lexer.literal(b"true").map(|()| Value::Bool(true))?,
            b'f' => self.lexer.literal(b"false").map(|()| Value::Bool(false))?,
            b'n' => self.lexer.literal(b"null").map(|()| Value::Null)?,
            _ => {
                let start = self.at();
                match self.lexer.number()? {
                    (Numeral::Int(value), _) => Value::Int(value),
                    (Numeral::Float(value), text) => {
                        let span = Span::plain(Place::Payload, start, text.len()).ok_or(NotJson)?;
                        Value::Float { value, start: span.start, len: span.len }
                    }
                }
            }
        })
    }

    /// How far the walk has come in the payload.
    fn at(&self) -> usize {
        self.payload.len() - self.lexer.rest().len()
    }

    fn object(&mut self, node: &Node) -> Result<(), NotJson> {
        let depth = u32::from(node.depth) + 1;
        // A copy, which stays in registers.
        let mut lexer = self.lexer;
        lexer.expect(b'{')?;
        let mut end = lexer.take(b'}')?;
        while !end {
            lexer.expect(b'"')?;
            let Quoted { text, escaped } = lexer.string()?;
            lexer.expect(b':')?;
            match self.view.key_child(node, Text { bytes: text, escaped }) {
                Some(child) => {
                    self.lexer = lexer;
                    self.child(child)?;
                    lexer = self.lexer;
                }
                None => lexer.skip_value(depth)?,
            }
            end = match lexer.token()? {
                b',' => false,
                b'}' => true,
                _ => return Err(NotJson),
            };
        }
        self.lexer = lexer;
        Ok(())
    }

    fn array(&mut self, node: &Node) -> Result<(), NotJson> {
        let depth = u32::from(node.depth) + 1;
        self.lexer.expect(b'[')?;
        if self.lexer.take(b']')? {
            return Ok(());
        }
        for index in 0.. {
            match self.view.index_child(node, index) {
                Some(child) => self.child(child)?,
                None => self.lexer.skip_value(depth)?,
            }
            match self.lexer.token()? {
                b',' => {}
                b']' => break,
                _ => return Err(NotJson),
            }
        }
        Ok(())
    }

    fn child(&mut self, child: u16) -> Result<(), NotJson> {
        let node = self.view.node(child).ok_or(NotJson)?;
        if node.key_count > 0 || node.index_count > 0 {
            // An equal key may have been here before, with more below it.
            self.slots.get_mut(node.slots()).unwrap_or_default().fill(None);
        }
        self.value(&node)
    }
}
