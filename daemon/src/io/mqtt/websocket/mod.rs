//! MQTT over WebSocket (RFC 6455; MQTT 5.0, 6), the server's side, as a value: bytes of the socket in,
//! bytes of MQTT and answers out.
//!
//! MQTT is a stream in binary messages: packets and frames need not begin together. A message is
//! handed on as it comes, so its length costs no memory; what is kept is one head of a frame, or the
//! request that opened it all.

use std::io::Cursor;

use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use crate::config::Origins;

/// The largest request that opens a connection, in bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// The largest payload of a ping, pong or close (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// The longest head of a frame (RFC 6455, 5.2).
const HEAD_BYTES_MAX: usize = 14;
/// What a client offers, and what is taken first (MQTT-6.0.0-3, MQTT-6.0.0-4). The second is what
/// browsers' libraries for MQTT 3.1 offer.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// The answer to a page that may not connect.
const FORBIDDEN: &str = "403 Forbidden";

/// The server's side of one WebSocket.
pub(super) struct WebSocket {
    stage: Stage,
    origins: Origins,
}

/// How far it has come.
enum Stage {
    /// The request, as far as it has come.
    Opening(Vec<u8>),
    /// A frame's head, as far as it has come. `is_message`: within a message of several frames.
    Head { bytes: Vec<u8>, is_message: bool },
    /// What a frame carries.
    Body { frame: Frame, is_message: bool },
    /// Nothing more is read.
    Closed,
}

struct Frame {
    kind: Kind,
    mask: [u8; 4],
    /// Bytes that were taken, for the place in the mask.
    taken: u64,
    left: u64,
}

enum Kind {
    Data,
    Ping(Vec<u8>),
    Pong,
    Close(Vec<u8>),
}

/// Why it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has said good-bye.
    Closed,
    /// The client breaks the protocol; it was told.
    Broken(String),
}

impl WebSocket {
    pub(super) const fn new(origins: Origins) -> Self {
        Self { stage: Stage::Opening(Vec::new()), origins }
    }

    /// Takes what the socket brought: MQTT is appended to `plain`, answers to `out`.
    pub(super) fn handle(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        loop {
            let step = match &mut self.stage {
                Stage::Opening(request) => open(request, &self.origins, &mut bytes, out),
                Stage::Head { bytes: head, is_message } => take_head(head, *is_message, &mut bytes),
                Stage::Body { frame, is_message } => {
                    frame.take(*is_message, &mut bytes, (plain, out))
                }
                Stage::Closed => return Err(End::Closed),
            };
            match step {
                Ok(Some(stage)) => self.stage = stage,
                Ok(None) => return Ok(()),
                Err(Refusal { code, end }) => {
                    if let Some(code) = code {
                        close(code, out);
                    }
                    self.stage = Stage::Closed;
                    return Err(end);
                }
            }
        }
    }

    /// Puts MQTT into a frame.
    pub(super) fn wrap(plain: &[u8], out: &mut Vec<u8>) {
        frame(OpCode::Data(Data::Binary), plain, out);
    }

    /// Says good-bye, if the client was not told yet.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if matches!(self.stage, Stage::Head { .. } | Stage::Body { .. }) {
            close(CloseCode::Normal, out);
        }
        self.stage = Stage::Closed;
    }

    /// Whether MQTT may be sent.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Head { .. } | Stage::Body { .. })
    }
}

/// How the client is told, and what ends it.
struct Refusal {
    code: Option<CloseCode>,
    end: End,
}

impl Refusal {
    fn new(code: CloseCode, why: impl Into<String>) -> Self {
        Self { code: Some(code), end: End::Broken(why.into()) }
    }
}

/// The next stage; `None`: more bytes are needed.
type Step = Result<Option<Stage>, Refusal>;

const fn head(is_message: bool) -> Stage {
    Stage::Head { bytes: Vec::new(), is_message }
}

fn open(request: &mut Vec<u8>, origins: &Origins, bytes: &mut &[u8], out: &mut Vec<u8>) -> Step {
    let before = request.len();
    let room = REQUEST_BYTES_MAX - before;
    request.extend_from_slice(&bytes[..bytes.len().min(room)]);
    let from = before.saturating_sub(3);
    let Some(end) = find_end(&request[from..]).map(|at| from + at) else {
        if request.len() < REQUEST_BYTES_MAX {
            *bytes = &[];
            return Ok(None);
        }
        return Err(refuse("the request is longer than 8 KiB", out));
    };
    *bytes = &bytes[end - before..];
    let parsed = match Request::try_parse(&request[..end]) {
        Ok(Some((_, parsed))) => parsed,
        Ok(None) => return Err(refuse("the request is cut", out)),
        Err(error) => return Err(refuse(&format!("no request of HTTP: {error}"), out)),
    };
    if !is_allowed(origins, &parsed) {
        return Err(refuse_as(FORBIDDEN, "pages of this origin are not let in", out));
    }
    let Some(protocol) = offered(&parsed) else {
        return Err(refuse("the client does not offer the sub-protocol `mqtt`", out));
    };
    let mut response = match create_response(&parsed) {
        Ok(response) => response,
        Err(error) => return Err(refuse(&error.to_string(), out)),
    };
    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    match write_response(&mut *out, &response) {
        Ok(()) => Ok(Some(head(false))),
        Err(error) => Err(refuse(&error.to_string(), out)),
    }
}

/// Behind the empty line that ends a request.
fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn offered(request: &Request) -> Option<&'static str> {
    let offers = |wanted: &&&str| {
        let headers = request.headers().get_all("Sec-WebSocket-Protocol").into_iter();
        let lists = headers.filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|offer| offer.trim() == **wanted)
    };
    PROTOCOLS.iter().find(offers).copied()
}

/// Whether the page may connect that a browser asks for, if a browser asks.
fn is_allowed(origins: &Origins, request: &Request) -> bool {
    let host = request.headers().get("Host").and_then(|host| host.to_str().ok());
    let mut told = request.headers().get_all("Origin").into_iter();
    told.all(|origin| origin.to_str().is_ok_and(|origin| origins.allow(origin, host)))
}

fn refuse(why: &str, out: &mut Vec<u8>) -> Refusal {
    refuse_as("400 Bad Request", why, out)
}

fn refuse_as(status: &str, why: &str, out: &mut Vec<u8>) -> Refusal {
    let body = format!("MQTT over WebSocket: {why}\n");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Sec-WebSocket-Version: 13\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    out.extend_from_slice(answer.as_bytes());
    Refusal { code: None, end: End::Broken(why.to_owned()) }
}

fn take_head(head: &mut Vec<u8>, is_message: bool, bytes: &mut &[u8]) -> Step {
    let before = head.len();
    head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX - before)]);
    let mut cursor = Cursor::new(head.as_slice());
    let parsed = FrameHeader::parse(&mut cursor)
        .map_err(|error| Refusal::new(CloseCode::Protocol, error.to_string()))?;
    let used = usize::try_from(cursor.position()).unwrap_or(HEAD_BYTES_MAX);
    let Some((header, length)) = parsed else {
        *bytes = &[];
        return Ok(None);
    };
    *bytes = &bytes[used - before..];
    begin(&header, length, is_message).map(Some)
}

/// What a frame's head announces, if it may come now.
fn begin(header: &FrameHeader, length: u64, is_message: bool) -> Result<Stage, Refusal> {
    let broken = |why: &str| Err(Refusal::new(CloseCode::Protocol, why));
    let Some(mask) = header.mask else {
        return broken("a client's frames are masked (RFC 6455, 5.1)");
    };
    if header.rsv1 || header.rsv2 || header.rsv3 || length > i64::MAX as u64 {
        return broken("a reserved bit is set");
    }
    let (kind, is_message) = match header.opcode {
        OpCode::Data(Data::Binary) if is_message => {
            return broken("a message begins within another");
        }
        OpCode::Data(Data::Continue) if !is_message => {
            return broken("a message goes on that has not begun");
        }
        OpCode::Data(Data::Binary | Data::Continue) => (Kind::Data, !header.is_final),
        OpCode::Data(Data::Text | Data::Reserved(_)) => {
            // MQTT-6.0.0-1.
            return Err(Refusal::new(CloseCode::Unsupported, "MQTT comes in binary frames"));
        }
        OpCode::Control(control) => {
            if length > CONTROL_BYTES_MAX as u64 || !header.is_final {
                return broken("a control frame is too long, or in parts");
            }
            let kind = match control {
                Control::Ping => Kind::Ping(Vec::new()),
                Control::Pong => Kind::Pong,
                Control::Close => Kind::Close(Vec::new()),
                Control::Reserved(_) => return broken("an unknown control frame"),
            };
            (kind, is_message)
        }
    };
    Ok(Stage::Body { frame: Frame { kind, mask, taken: 0, left: length }, is_message })
}

impl Frame {
    fn take(
        &mut self,
        is_message: bool,
        bytes: &mut &[u8],
        (plain, out): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Step {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(count);
        *bytes = later;
        let phase = usize::try_from(self.taken % 4).unwrap_or(0);
        let mask = self.mask.iter().cycle().skip(phase);
        let unmasked = now.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
        match &mut self.kind {
            Kind::Data => plain.extend(unmasked),
            Kind::Ping(payload) | Kind::Close(payload) => payload.extend(unmasked),
            Kind::Pong => {}
        }
        self.taken += count as u64;
        self.left -= count as u64;
        if self.left > 0 {
            return Ok(None);
        }
        match &self.kind {
            Kind::Data | Kind::Pong => {}
            Kind::Ping(payload) => frame(OpCode::Control(Control::Pong), payload, out),
            Kind::Close(payload) => {
                // The code comes back (RFC 6455, 5.5.1).
                frame(OpCode::Control(Control::Close), &payload[..payload.len().min(2)], out);
                return Err(Refusal { code: None, end: End::Closed });
            }
        }
        Ok(Some(head(is_message)))
    }
}

fn close(code: CloseCode, out: &mut Vec<u8>) {
    frame(OpCode::Control(Control::Close), &u16::from(code).to_be_bytes(), out);
}

fn frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    header
        .format(payload.len() as u64, out)
        .unwrap_or_else(|error| unreachable!("a vector takes every head: {error}"));
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;
