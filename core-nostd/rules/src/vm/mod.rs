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
        match self.run(program) {
            Value::Bool(true) => Truth::True,
            Value::Bool(false) => Truth::False,
            Value::Null => Truth::Null(self.why),
            _ => Truth::Null(self.why | Why::TYPE),
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
        let value = self.run(program);
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

    /// Runs a program to its end: jumps go forward only, so it has one.
    fn run(&mut self, program: Program) -> Value {
        let code = self.view.program(program);
        (self.made, self.why) = (0, Why::NONE);
        let mut at = 0;
        while let Some(instruction) = code.get(at).and_then(|bytes| Instruction::decode(*bytes)) {
            at += 1;
            let a = self.operand(instruction.a);
            let jumps = match instruction.op {
                Op::Return => return a,
                Op::JumpIfFalse => matches!(a, Value::Bool(false)),
                Op::JumpIfTrue => matches!(a, Value::Bool(true)),
                Op::JumpIfPresent => !matches!(a, Value::Null),
                op => {
                    let value = self.apply(op, a, instruction.b);
                    if let Some(register) =
                        self.scratch.registers.get_mut(usize::from(instruction.register))
                    {
                        *register = value;
                    }
                    false
                }
            };
            if jumps {
                at = usize::from(instruction.target);
            }
        }
        Value::Null
    }

    fn operand(&mut self, operand: u16) -> Value {
        match Operand::decode(operand) {
            Some(Operand::Register(index)) => {
                self.scratch.registers.get(usize::from(index)).copied().unwrap_or(Value::Null)
            }
            Some(Operand::Field(index)) => self.field(usize::from(index)),
            Some(Operand::Constant(index)) => self.view.constant(index).unwrap_or(Value::Null),
            Some(Operand::Event(attribute)) => self.attribute(attribute),
            None => Value::Null,
        }
    }

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

    fn attribute(&mut self, attribute: Attribute) -> Value {
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
