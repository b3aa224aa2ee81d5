//! The machine: runs verified programs over one event, with memory of fixed size.
//!
//! NULL takes the place of every failure, with a reason in [`Why`]; nothing stops the stream.

mod operations;

use tributary_core::record::Event;

use crate::limits::{FIELDS_MAX, REGISTERS_MAX, TEXT_BYTES_MAX};
use crate::scan::{Slots, scan};
use crate::set::{Attribute, Instruction, Op, Operand, Program, View};
use crate::truth::{Truth, Why};
use crate::value::{Place, Places, Sink, Span, Value};

/// The memory of the machine, about 4 KiB: one per thread, used for one event after the other.
#[derive(Debug)]
pub struct Scratch {
    slots: Slots,
    registers: [Value; REGISTERS_MAX],
    made: [u8; TEXT_BYTES_MAX],
}

impl Scratch {
    /// Memory for one thread.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: [None; FIELDS_MAX],
            registers: [Value::Null; REGISTERS_MAX],
            made: [0; TEXT_BYTES_MAX],
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    NotRead,
    Json,
    NotJson,
}

/// How a program ends.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// With a truth value; `None` is NULL.
    Truth(Option<bool>),
    /// With what an operand holds.
    Operand(u16),
}

/// One event before all routes of a set.
#[derive(Debug)]
pub struct Evaluation<'s> {
    view: View<'s>,
    event: &'s Event<'s>,
    scratch: &'s mut Scratch,
    payload: Payload,
    /// Bytes of `scratch.made` that this program has written.
    made: usize,
    /// What this program has met.
    why: Why,
}

impl<'s> Evaluation<'s> {
    pub(crate) fn new(view: View<'s>, event: &'s Event<'s>, scratch: &'s mut Scratch) -> Self {
        Self { view, event, scratch, payload: Payload::NotRead, made: 0, why: Why::NONE }
    }

    /// Whether the route selects the event. A route without `where` selects all.
    ///
    /// # Panics
    /// If there is no such route.
    pub fn test(&mut self, route: usize) -> Truth {
        let program = self.view.route(route).expect("the set has this route").where_;
        if program.len == 0 {
            return Truth::True;
        }
        let truth = match self.run(program) {
            Outcome::Truth(truth) => truth,
            Outcome::Operand(operand) => self.truth(operand),
        };
        match truth {
            Some(true) => Truth::True,
            Some(false) => Truth::False,
            None => Truth::Null(self.why),
        }
    }

    /// The route's key for this event, as text at the start of `out`. Numbers of the payload are
    /// copied as the device wrote them.
    ///
    /// # Errors
    /// Why the key is NULL; nothing if the route has no expression for it
    /// ([`Set::has_key`](crate::Set::has_key)).
    ///
    /// # Panics
    /// If there is no such route.
    pub fn key<'o>(&mut self, route: usize, out: &'o mut [u8]) -> Result<&'o [u8], Why> {
        let program = self.view.route(route).expect("the set has this route").key;
        if program.len == 0 {
            return Err(Why::NONE);
        }
        let value = match self.run(program) {
            Outcome::Truth(truth) => logical(truth),
            Outcome::Operand(operand) => self.operand(operand),
        };
        let mut sink = Sink::new(out, 0);
        match self.places().write(value, &mut sink) {
            Ok(true) => {}
            Ok(false) if matches!(value, Value::Null) => return Err(self.why),
            Ok(false) => return Err(self.why | Why::TYPE),
            Err(_) => return Err(self.why | Why::TOO_LONG),
        }
        let used = sink.used();
        Ok(out.get(..used).unwrap_or_default())
    }

    /// Runs a program to its end, which it has, because jumps go forward only.
    #[inline]
    fn run(&mut self, program: Program) -> Outcome {
        let code = self.view.program(program);
        (self.made, self.why) = (0, Why::NONE);
        let mut at = 0;
        while let Some(instruction) = code.get(at).and_then(|bytes| Instruction::decode(*bytes)) {
            at += 1;
            let Instruction { op, register, flags, a, target, .. } = instruction;
            let jumps = match op {
                Op::Equal
                | Op::NotEqual
                | Op::Less
                | Op::LessOrEqual
                | Op::Greater
                | Op::GreaterOrEqual => {
                    let truth = self.comparison(instruction);
                    let decides = truth == Some(flags & Instruction::OR != 0);
                    if decides && flags & Instruction::END != 0 {
                        return Outcome::Truth(truth);
                    }
                    self.write(register, logical(truth));
                    decides && target != 0
                }
                Op::Return => return Outcome::Operand(a),
                Op::JumpIfFalse => self.truth(a) == Some(false),
                Op::JumpIfTrue => self.truth(a) == Some(true),
                Op::JumpIfPresent => !is_null(self.operand(a)),
                _ => {
                    let value = self.compute(instruction);
                    self.write(register, value);
                    false
                }
            };
            if jumps {
                at = usize::from(target);
            }
        }
        unreachable!("a verified program ends with a return")
    }

    /// An operand as a truth value; `None` is NULL. Looks at a register where it is: a copy of what
    /// the last instruction has written would have to wait for it.
    #[inline]
    fn truth(&mut self, operand: u16) -> Option<bool> {
        let copy;
        let value = if Operand::kind(operand) == Operand::REGISTER {
            self.scratch.registers.get(Operand::index(operand))
        } else {
            copy = self.operand(operand);
            Some(&copy)
        };
        match value {
            Some(Value::Bool(value)) => Some(*value),
            Some(Value::Null) | None => None,
            Some(_) => {
                self.why |= Why::TYPE;
                None
            }
        }
    }

    #[inline]
    fn write(&mut self, register: u8, value: Value) {
        if let Some(register) = self.scratch.registers.get_mut(usize::from(register)) {
            *register = value;
        }
    }

    #[inline]
    fn operand(&mut self, operand: u16) -> Value {
        let index = Operand::index(operand);
        match Operand::kind(operand) {
            Operand::REGISTER => self.scratch.registers.get(index).copied().unwrap_or(Value::Null),
            Operand::FIELD => {
                if self.payload == Payload::Json
                    && let Some(Some(value)) = self.scratch.slots.get(index)
                {
                    return *value;
                }
                self.field(index)
            }
            Operand::CONSTANT => self.view.constant(index).unwrap_or(Value::Null),
            _ => self.attribute(operand),
        }
    }

    /// A field when it is asked for first, or is not there.
    #[cold]
    fn field(&mut self, slot: usize) -> Value {
        if self.payload == Payload::NotRead {
            let json = scan(&self.view, self.event.payload, &mut self.scratch.slots);
            self.payload = if json { Payload::Json } else { Payload::NotJson };
        }
        if let Some(value) = self.scratch.slots.get(slot).copied().flatten() {
            return value;
        }
        self.null(if self.payload == Payload::Json { Why::MISSING } else { Why::NOT_JSON })
    }

    #[cold]
    fn attribute(&mut self, operand: u16) -> Value {
        let Some(Operand::Event(attribute)) = Operand::decode(operand) else {
            return Value::Null;
        };
        let topic = self.event.topic;
        let span = match attribute {
            Attribute::Topic => Span::plain(Place::Topic, 0, topic.len()),
            Attribute::Client => Span::plain(Place::Client, 0, self.event.client.len()),
            Attribute::Qos => return Value::Int(self.event.qos as i64),
            Attribute::Retained => return Value::Bool(self.event.retain),
            Attribute::Payload => {
                if core::str::from_utf8(self.event.payload).is_err() {
                    return self.null(Why::TYPE);
                }
                Span::plain(Place::Payload, 0, self.event.payload.len())
            }
            Attribute::Level(level) => {
                let Some(text) = topic.split('/').nth(usize::from(level).saturating_sub(1)) else {
                    return self.null(Why::MISSING);
                };
                // The slashes before a level are as many as the levels before it.
                let start: usize =
                    topic.split('/').take(usize::from(level) - 1).map(|text| text.len() + 1).sum();
                Span::plain(Place::Topic, start, text.len())
            }
        };
        span.map_or(Value::Null, Value::Text)
    }

    fn null(&mut self, why: Why) -> Value {
        self.why |= why;
        Value::Null
    }

    #[inline]
    fn places(&self) -> Places<'_> {
        Places {
            payload: self.event.payload,
            topic: self.event.topic.as_bytes(),
            client: self.event.client.as_bytes(),
            set: self.view.text,
            made: &self.scratch.made,
        }
    }
}

fn is_null(value: Value) -> bool {
    matches!(value, Value::Null)
}

fn logical(truth: Option<bool>) -> Value {
    truth.map_or(Value::Null, Value::Bool)
}
