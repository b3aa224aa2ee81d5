//! What each operation does with its operands.

use core::cmp::Ordering;

use super::{Evaluation, Payload, is_null, logical};
use crate::set::{Instruction, Op, Operand};
use crate::truth::Why;
use crate::value::{Full, NoResult, Number, Place, Places, Sink, Span, Text, Value};

impl Evaluation<'_> {
    /// Compares, and combines with what the register holds; `None` is NULL.
    #[inline]
    pub(super) fn comparison(&mut self, instruction: Instruction) -> Option<bool> {
        let Instruction { op, register, flags, a, b, .. } = instruction;
        let truth = match self.order_numbers(a, b) {
            Some(order) => Some(compare(op, order)),
            None => self.compare_any(op, a, b),
        };
        if flags & Instruction::COMBINE == 0 {
            return truth;
        }
        let before = self.truth(u16::from(register));
        if flags & Instruction::OR == 0 { and(before, truth) } else { or(before, truth) }
    }

    /// The most frequent comparison, without copying values: a field that is a number with a
    /// constant that is one. `None` if it is another.
    #[inline]
    fn order_numbers(&self, a: u16, b: u16) -> Option<Ordering> {
        let usual = Operand::kind(a) == Operand::FIELD && Operand::kind(b) == Operand::CONSTANT;
        if !usual || self.payload != Payload::Json {
            return None;
        }
        let field = Number::of(self.scratch.slots.get(Operand::index(a))?.as_ref()?)?;
        Some(field.order(self.view.number(Operand::index(b))?))
    }

    #[inline(never)]
    fn compare_any(&mut self, op: Op, a: u16, b: u16) -> Option<bool> {
        let (a, b) = (self.operand(a), self.operand(b));
        if is_null(a) || is_null(b) {
            return None;
        }
        let order = match (Number::of(&a), Number::of(&b)) {
            (Some(a), Some(b)) => Some(a.order(b)),
            _ => self.order(a, b),
        };
        if order.is_none() {
            self.why |= Why::TYPE;
        }
        order.map(|order| compare(op, order))
    }

    /// How two values that are not numbers compare; `None` if their types do not.
    #[inline]
    fn order(&self, a: Value, b: Value) -> Option<Ordering> {
        match (a, b) {
            (Value::Text(a), Value::Text(b)) => {
                let places = self.places();
                Some(places.text(a).order(places.text(b)))
            }
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
            _ => None,
        }
    }

    /// The result of any other operation. Not inlined into the loop of every program.
    #[inline(never)]
    pub(super) fn compute(&mut self, instruction: Instruction) -> Value {
        let Instruction { op, a, b, .. } = instruction;
        match op {
            Op::Not => return logical(self.truth(a).map(|a| !a)),
            Op::And => {
                let (a, b) = (self.truth(a), self.truth(b));
                return logical(and(a, b));
            }
            Op::Or => {
                let (a, b) = (self.truth(a), self.truth(b));
                return logical(or(a, b));
            }
            _ => {}
        }
        let a = self.operand(a);
        match op {
            Op::IsNull => Value::Bool(is_null(a)),
            Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder => {
                let b = self.operand(b);
                self.calculate(op, a, b)
            }
            Op::Negate | Op::Absolute | Op::Floor | Op::Ceiling | Op::Round => self.number(op, a),
            Op::Concatenate => {
                let b = self.operand(b);
                self.concatenate(a, b)
            }
            Op::Lower => self.change_case(a, u8::to_ascii_lowercase),
            Op::Upper => self.change_case(a, u8::to_ascii_uppercase),
            Op::Length => self.length(a),
            Op::StartsWith | Op::EndsWith | Op::Contains => {
                let b = self.operand(b);
                self.search(op, a, b)
            }
            _ => a,
        }
    }

    fn calculate(&mut self, op: Op, a: Value, b: Value) -> Value {
        if is_null(a) || is_null(b) {
            return Value::Null;
        }
        let (Some(a), Some(b)) = (Number::of(&a), Number::of(&b)) else {
            return self.null(Why::TYPE);
        };
        self.computed(match op {
            Op::Add => a.add(b),
            Op::Subtract => a.subtract(b),
            Op::Multiply => a.multiply(b),
            Op::Divide => a.divide(b),
            _ => a.remainder(b),
        })
    }

    fn number(&mut self, op: Op, a: Value) -> Value {
        if is_null(a) {
            return Value::Null;
        }
        let Some(a) = Number::of(&a) else {
            return self.null(Why::TYPE);
        };
        self.computed(match op {
            Op::Negate => a.negate(),
            Op::Absolute => a.absolute(),
            Op::Floor => Ok(a.whole(libm::floor)),
            Op::Ceiling => Ok(a.whole(libm::ceil)),
            _ => Ok(a.whole(libm::round)),
        })
    }

    fn computed(&mut self, result: Result<Number, NoResult>) -> Value {
        match result {
            Ok(number) => number.value(),
            Err(NoResult) => self.null(Why::ARITHMETIC),
        }
    }

    fn text(&mut self, value: Value) -> Option<Span> {
        match value {
            Value::Text(span) => Some(span),
            Value::Null => None,
            _ => {
                self.why |= Why::TYPE;
                None
            }
        }
    }

    fn length(&mut self, a: Value) -> Value {
        let Some(span) = self.text(a) else {
            return Value::Null;
        };
        i64::try_from(self.places().text(span).chars()).map_or(Value::Null, Value::Int)
    }

    fn search(&mut self, op: Op, a: Value, b: Value) -> Value {
        let (Some(a), Some(b)) = (self.text(a), self.text(b)) else {
            return Value::Null;
        };
        if op == Op::Contains {
            return self.contains(a, b);
        }
        let (text, part) = (self.places().text(a), self.places().text(b));
        let start = op == Op::StartsWith;
        Value::Bool(if start { text.starts_with(part) } else { text.ends_with(part) })
    }

    /// Undoes escapes first, in the memory for text, because only contiguous text can be searched in
    /// linear time whatever it holds.
    fn contains(&mut self, text: Span, part: Span) -> Value {
        let made = self.made;
        let (Ok(text), Ok(part)) = (self.contiguous(text), self.contiguous(part)) else {
            self.made = made;
            return self.null(Why::TOO_LONG);
        };
        let found = contains(self.places().text(text), self.places().text(part));
        self.made = made;
        found.map_or(Value::Null, Value::Bool)
    }

    fn contiguous(&mut self, span: Span) -> Result<Span, Full> {
        if !span.escaped {
            return Ok(span);
        }
        let start = self.made;
        self.append(Value::Text(span))?;
        self.made_from(start)
    }

    /// Joins the text forms of two values.
    fn concatenate(&mut self, a: Value, b: Value) -> Value {
        if is_null(a) || is_null(b) {
            return Value::Null;
        }
        if matches!(a, Value::Composite) || matches!(b, Value::Composite) {
            return self.null(Why::TYPE);
        }
        let made = self.made;
        // The left side of a chain was made last: the rest goes behind it.
        let start = match a {
            Value::Text(span) if span.place == Place::Made && end(span) == made => {
                Ok(span.start as usize)
            }
            _ => self.append(a).map(|()| made),
        };
        let joined = start.and_then(|start| {
            self.append(b)?;
            self.made_from(start)
        });
        if let Ok(span) = joined {
            return Value::Text(span);
        }
        self.made = made;
        self.null(Why::TOO_LONG)
    }

    /// ASCII only: what other letters become depends on the version of Unicode, and a log read again
    /// must give the same result.
    fn change_case(&mut self, a: Value, change: fn(&u8) -> u8) -> Value {
        let Some(span) = self.text(a) else {
            return Value::Null;
        };
        let start = self.made;
        if let Ok(span) = self.append(Value::Text(span)).and_then(|()| self.made_from(start)) {
            let text = self.scratch.made.get_mut(start..self.made).unwrap_or_default();
            for byte in text {
                *byte = change(byte);
            }
            return Value::Text(span);
        }
        self.made = start;
        self.null(Why::TOO_LONG)
    }

    /// Writes the text form of a value behind the text that is made already.
    fn append(&mut self, value: Value) -> Result<(), Full> {
        // Not `self.places()`: what is made is written here, and repeated by the sink itself.
        let places = Places {
            payload: self.event.payload,
            topic: self.event.topic.as_bytes(),
            client: self.event.client.as_bytes(),
            set: self.view.text,
            made: &[],
        };
        let mut sink = Sink::new(&mut self.scratch.made, self.made);
        match value {
            Value::Text(span) if span.place == Place::Made => {
                sink.repeat(span.start as usize, span.len as usize)?;
            }
            value => {
                places.write(value, &mut sink)?;
            }
        }
        self.made = sink.used();
        Ok(())
    }

    fn made_from(&self, start: usize) -> Result<Span, Full> {
        Span::plain(Place::Made, start, self.made - start).ok_or(Full)
    }
}

fn end(span: Span) -> usize {
    span.start as usize + span.len as usize
}

fn compare(op: Op, order: Ordering) -> bool {
    let (less, equal, greater) = (1 << 0, 1 << 1, 1 << 2);
    let accepted: u8 = match op {
        Op::Equal => equal,
        Op::NotEqual => less | greater,
        Op::Less => less,
        Op::LessOrEqual => less | equal,
        Op::Greater => greater,
        _ => greater | equal,
    };
    accepted >> (order as i8 + 1) & 1 == 1
}

/// FALSE decides, whatever the other is.
fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// TRUE decides, whatever the other is.
fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// Linear in both lengths; `None` if one is not UTF-8, which no checked payload is.
fn contains(text: Text<'_>, part: Text<'_>) -> Option<bool> {
    let text = core::str::from_utf8(text.bytes).ok()?;
    Some(text.contains(core::str::from_utf8(part.bytes).ok()?))
}
