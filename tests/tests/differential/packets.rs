//! Packets as the specifications describe them, and with mistakes: made of bytes, without our codec.

use fastrand::Rng;

/// A property: its identifier, what it holds, and the packets that may carry it by their types; 0 is the
/// will in a CONNECT (MQTT 5.0, table 2-4).
type Row = (u8, Holds, &'static [u8]);

#[derive(Clone, Copy)]
enum Holds {
    Flag,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Topic,
    Binary,
    Pair,
}

const ACKS: &[u8] = &[2, 4, 5, 6, 7, 9, 11, 14, 15];
const EVERY: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15];

#[rustfmt::skip]
const PROPERTIES: [Row; 27] = [
    (0x01, Holds::Flag, &[0, 3]),
    (0x02, Holds::FourBytes, &[0, 3]),
    (0x03, Holds::Text, &[0, 3]),
    (0x08, Holds::Topic, &[0, 3]),
    (0x09, Holds::Binary, &[0, 3]),
    (0x0B, Holds::Variable, &[3, 8]),
    (0x11, Holds::FourBytes, &[1, 2, 14]),
    (0x12, Holds::Text, &[2]),
    (0x13, Holds::TwoBytes, &[2]),
    (0x15, Holds::Text, &[1, 2, 15]),
    (0x16, Holds::Binary, &[1, 2, 15]),
    (0x17, Holds::Flag, &[1]),
    (0x18, Holds::FourBytes, &[0]),
    (0x19, Holds::Flag, &[1]),
    (0x1A, Holds::Text, &[2]),
    (0x1C, Holds::Text, &[2, 14]),
    (0x1F, Holds::Text, ACKS),
    (0x21, Holds::TwoBytes, &[1, 2]),
    (0x22, Holds::TwoBytes, &[1, 2]),
    (0x23, Holds::TwoBytes, &[3]),
    (0x24, Holds::Flag, &[2]),
    (0x25, Holds::Flag, &[2]),
    (0x26, Holds::Pair, EVERY),
    (0x27, Holds::FourBytes, &[1, 2]),
    (0x28, Holds::Flag, &[2]),
    (0x29, Holds::Flag, &[2]),
    (0x2A, Holds::Flag, &[2]),
];

/// A packet on its way to be made.
struct Draft {
    rng: Rng,
    is_v5: bool,
    body: Vec<u8>,
}

/// The packet with this number: the same again whenever it is asked for.
pub(crate) fn packet(seed: u64, is_v5: bool) -> Vec<u8> {
    let mut draft = Draft { rng: Rng::with_seed(seed), is_v5, body: Vec::new() };
    let first = draft.fill();
    draft.spoil(first)
}

impl Draft {
    /// Once in a while.
    fn seldom(&mut self, of: u32) -> bool {
        self.rng.u32(..of) == 0
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.usize(..choices.len())]
    }

    /// Makes the body of a packet of any type; answers with the first byte.
    fn fill(&mut self) -> u8 {
        let kind = self.rng.u8(..18);
        match kind {
            0 | 1 | 16 => self.connect(),
            2 => self.connack(),
            3 | 17 => return self.publish(),
            4..=7 => self.ack(kind),
            8 | 10 => self.filters(kind),
            9 | 11 => self.reasons(kind),
            14 | 15 if self.is_v5 => self.leave(kind),
            _ => {}
        }
        let kind = if matches!(kind, 0 | 16) { 1 } else { kind };
        kind << 4 | if matches!(kind, 6 | 8 | 10) { 0b0010 } else { 0 }
    }

    fn connect(&mut self) {
        let name = self.one_of(&["MQTT", "MQTT", "MQTT", "MQTT", "MQIsdp", "MQTX"]);
        self.binary(name.as_bytes());
        let level = if self.is_v5 { 5 } else { 4 };
        let level = if name == "MQIsdp" { 3 } else { level };
        let level = if self.seldom(30) { self.rng.u8(..) } else { level };
        self.body.push(level);
        let (will, user, password) = (self.rng.bool(), self.rng.bool(), self.rng.bool());
        let mut flags = self.rng.u8(..2) << 1;
        if will {
            flags |= 0b100 | self.rng.u8(..3) << 3 | self.rng.u8(..2) << 5;
        }
        let password = password && (user || self.is_v5 || self.seldom(10));
        flags |= u8::from(password) << 6 | u8::from(user) << 7;
        if self.seldom(10) {
            flags ^= 1 << self.rng.u8(..8);
        }
        self.body.push(flags);
        self.two_bytes();
        self.properties(1);
        self.text();
        if will {
            self.properties(0);
            self.topic();
            self.data();
        }
        if user {
            self.text();
        }
        if password {
            self.data();
        }
    }

    fn connack(&mut self) {
        let refused = self.rng.bool();
        let codes: &[u8] = match (refused, self.is_v5) {
            (false, _) => &[0],
            (true, false) => &[1, 2, 3, 4, 5, 6, 0x80],
            (true, true) => {
                &[0x80, 0x81, 0x84, 0x86, 0x87, 0x8A, 0x90, 0x95, 0x99, 0x9D, 0x9F, 0x8D, 1]
            }
        };
        let present = u8::from(!refused && self.rng.bool());
        let present = if self.seldom(15) { self.rng.u8(..) } else { present };
        let code = self.one_of(codes);
        self.body.extend_from_slice(&[present, code]);
        self.properties(2);
    }

    fn publish(&mut self) -> u8 {
        let qos = self.rng.u8(..3);
        let qos = if self.seldom(20) { 3 } else { qos };
        let dup = u8::from((qos > 0 || self.seldom(10)) && self.rng.bool());
        if self.is_v5 && self.seldom(6) {
            self.binary(b"");
        } else {
            self.topic();
        }
        if qos > 0 {
            self.packet_id();
        }
        self.properties(3);
        let payload = self.one_of(&["", "1", "{\"v\":1}", "\u{FF}", "payload"]);
        self.body.extend_from_slice(payload.as_bytes());
        0x30 | dup << 3 | qos << 1 | self.rng.u8(..2)
    }

    fn ack(&mut self, kind: u8) {
        self.packet_id();
        if self.is_v5 && self.rng.bool() {
            let failed: &[u8] =
                if kind < 6 { &[0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] } else { &[0x92] };
            let code = if self.rng.bool() { 0 } else { self.one_of(failed) };
            let code = if self.seldom(20) { self.rng.u8(..) } else { code };
            self.body.push(code);
            if self.rng.bool() {
                self.properties(kind);
            }
        }
    }

    fn filters(&mut self, kind: u8) {
        self.packet_id();
        self.properties(kind);
        let count = if self.seldom(20) { 0 } else { self.rng.usize(1..4) };
        for _ in 0..count {
            let good =
                ["#", "+", "a", "/", "a/+/b", "+/#", "a/#", "$share/g/a/#", "$SYS/#", "\u{E9}/+"];
            let bad = [
                "",
                "a#",
                "#/a",
                "+a/b",
                "a/b+",
                "$share/g",
                "$share/g/",
                "$share//a",
                "$share/+/a",
                "a\0",
            ];
            let filter = if self.seldom(12) { self.one_of(&bad) } else { self.one_of(&good) };
            self.binary(filter.as_bytes());
            if kind == 8 {
                let qos = self.rng.u8(..3);
                let more = if self.is_v5 { self.rng.u8(..12) << 2 } else { 0 };
                let options = if self.seldom(12) { self.rng.u8(..) } else { qos | more };
                self.body.push(options);
            }
        }
    }

    fn reasons(&mut self, kind: u8) {
        self.packet_id();
        self.properties(kind);
        if kind == 11 && !self.is_v5 {
            return;
        }
        for _ in 0..self.rng.usize(..4) {
            let codes: &[u8] = match (kind, self.is_v5) {
                (9, false) => &[0, 1, 2, 0x80],
                (9, true) => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
                _ => &[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
            };
            let code = if self.seldom(12) { self.rng.u8(..) } else { self.one_of(codes) };
            self.body.push(code);
        }
    }

    /// DISCONNECT and AUTH of MQTT 5.
    fn leave(&mut self, kind: u8) {
        if self.rng.bool() {
            return;
        }
        let codes: &[u8] = match kind {
            14 => &[0, 4, 0x80, 0x81, 0x82, 0x8B, 0x8D, 0x8E, 0x93, 0x95, 0x98, 0x9D, 0xA0, 0xA2],
            _ => &[0, 0x18, 0x19],
        };
        let code = if self.seldom(12) { self.rng.u8(..) } else { self.one_of(codes) };
        self.body.push(code);
        if kind == 15 || self.rng.bool() {
            self.properties(kind);
        }
    }

    fn packet_id(&mut self) {
        let id = if self.seldom(25) { 0 } else { self.rng.u16(1..) };
        self.body.extend_from_slice(&id.to_be_bytes());
    }

    fn two_bytes(&mut self) {
        let value = self.one_of(&[0, 1, 60, 0xFFFF]);
        self.body.extend_from_slice(&u16::to_be_bytes(value));
    }

    fn binary(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).expect("it is short");
        self.body.extend_from_slice(&length.to_be_bytes());
        self.body.extend_from_slice(bytes);
    }

    fn data(&mut self) {
        let data: &[u8] = self.one_of(&[&b""[..], b"\0", b"\xFF\xFE", b"secret", b"off"]);
        self.binary(data);
    }

    fn text(&mut self) {
        let good = ["", "a", "client", "\u{E9}", "\u{FEFF}", "\u{10FFFF}", "\u{1}", "a b"]
            .map(str::as_bytes);
        let bad =
            [b"\0".as_slice(), b"\xED\xA0\x80", b"\xC0\x80", b"\xFF", b"a\0b", b"\xF4\x90\x80\x80"];
        let text = if self.seldom(40) { self.one_of(&bad) } else { self.one_of(&good) };
        self.binary(text);
    }

    fn topic(&mut self) {
        let good = ["a", "/", "plant/1", "\u{E9}/x", "$SYS/x", "a//b", " "].map(str::as_bytes);
        let bad = [&b""[..], b"#", b"a/+", b"a+", b"\0", b"a/\xFF", b"\xED\xA0\x80"];
        let topic = if self.seldom(15) { self.one_of(&bad) } else { self.one_of(&good) };
        self.binary(topic);
    }

    /// Properties as a packet of this type may have them, mostly.
    fn properties(&mut self, kind: u8) {
        if !self.is_v5 {
            return;
        }
        let before = core::mem::take(&mut self.body);
        let mut seen = Vec::new();
        for _ in 0..self.rng.usize(..5) {
            let (id, holds, carriers) = self.one_of(&PROPERTIES);
            let repeats = id == 0x26 || (id == 0x0B && kind == 3);
            let wrong = !carriers.contains(&kind) || (seen.contains(&id) && !repeats);
            if wrong && !self.seldom(40) {
                continue;
            }
            seen.push(id);
            let id = if self.seldom(100) { self.rng.u8(..) } else { id };
            self.body.push(id);
            self.value(holds);
        }
        if kind == 15 && !seen.contains(&0x15) && !self.seldom(10) {
            self.body.extend_from_slice(b"\x15\0\x05PLAIN");
        }
        let properties = core::mem::replace(&mut self.body, before);
        let length = properties.len();
        variable(length, &mut self.body);
        self.body.extend_from_slice(&properties);
    }

    fn value(&mut self, holds: Holds) {
        match holds {
            Holds::Flag => {
                let flag = if self.seldom(15) { self.rng.u8(2..) } else { self.rng.u8(..2) };
                self.body.push(flag);
            }
            Holds::TwoBytes => self.two_bytes(),
            Holds::FourBytes => {
                let value = self.one_of(&[0, 1, 3600, u32::MAX]);
                self.body.extend_from_slice(&value.to_be_bytes());
            }
            Holds::Variable => {
                let value = self.one_of(&[0, 1, 127, 128, 16_384, 268_435_455]);
                variable(value, &mut self.body);
            }
            Holds::Text => self.text(),
            Holds::Topic => self.topic(),
            Holds::Binary => self.data(),
            Holds::Pair => {
                self.text();
                self.text();
            }
        }
    }

    /// The packet whole, with mistakes of the wire in every second.
    fn spoil(mut self, mut first: u8) -> Vec<u8> {
        let mistakes = if self.rng.bool() { 0 } else { self.rng.usize(1..3) };
        for _ in 0..mistakes {
            let at = self.rng.usize(..=self.body.len());
            let inside = at < self.body.len();
            match self.rng.u8(..8) {
                0 => first ^= 1 << self.rng.u8(..4),
                1 => first = self.rng.u8(..),
                2 => self.body.truncate(at),
                3 => {
                    let byte = self.rng.u8(..);
                    self.body.insert(at, byte);
                }
                4 if inside => self.body[at] ^= 1 << self.rng.u8(..8),
                5 if inside => self.body[at] = self.one_of(&[0, 1, 0x7F, 0x80, 0xFF, b'#', b'+']),
                6 if inside => drop(self.body.remove(at)),
                _ => {
                    let end = at + self.rng.usize(..=(self.body.len() - at).min(8));
                    let piece = self.body[at..end].to_vec();
                    self.body.splice(at..at, piece);
                }
            }
        }
        let mut bytes = vec![first];
        variable(self.body.len(), &mut bytes);
        if self.seldom(40) {
            // The same length, spelt longer than it need be.
            *bytes.last_mut().expect("the length") |= 0x80;
            bytes.push(0);
        }
        bytes.append(&mut self.body);
        bytes
    }
}

/// A variable byte integer (MQTT 5.0, 1.5.5).
fn variable(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let digit = u8::try_from(value % 128).expect("below 128");
        value /= 128;
        out.push(digit | if value > 0 { 0x80 } else { 0 });
        if value == 0 {
            return;
        }
    }
}
