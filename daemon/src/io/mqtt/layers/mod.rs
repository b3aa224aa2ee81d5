//! What lies between a socket and MQTT: the PROXY protocol, TLS and WebSocket, each if the listener
//! has it, as one value: bytes of the socket in, bytes of MQTT out, and the other way.
//!
//! All that came in is worked off at once, so nothing waits here unseen; what a layer keeps is at
//! most a record of TLS or a head of a frame that has not all come.

use core::net::IpAddr;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::certificate;
use super::proxy;
use super::websocket::{End, WebSocket};
use crate::config::{CertificateName, Origins};
use crate::io::tls::explain;

/// What TLS is given at once, in bytes: one record's worth (RFC 8446, 5.1). rustls takes no more
/// than 64 KiB before all of that was fetched, so what is longer goes through in parts.
const PART_BYTES: usize = 16 << 10;

/// What a listener has between socket and MQTT.
#[derive(Clone, Default)]
pub struct Wrapping {
    /// The PROXY protocol comes first.
    pub proxy: bool,
    /// TLS, and which name of a client's certificate is the user's.
    pub tls: Option<(Arc<ServerConfig>, CertificateName)>,
    /// WebSocket.
    pub websocket: bool,
    /// Whose web pages may connect over it.
    pub origins: Origins,
}

/// The layers of one connection.
pub struct Layers {
    /// The header of the PROXY protocol, as far as it has come.
    proxy: Option<Vec<u8>>,
    tls: Option<Box<ServerConnection>>,
    names: CertificateName,
    websocket: Option<WebSocket>,
    source: Option<IpAddr>,
    /// Nothing more is read or sent.
    ended: bool,
}

/// Why a connection ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client has said good-bye.
    Closed,
    /// What came is not what the listener speaks, or is not accepted; for people.
    Broken(String),
}

impl Layers {
    /// For a new connection; `None` if there are no layers.
    ///
    /// # Errors
    /// If TLS cannot be begun.
    pub fn new(wrapping: &Wrapping) -> Result<Option<Box<Self>>, Fault> {
        if !wrapping.proxy && wrapping.tls.is_none() && !wrapping.websocket {
            return Ok(None);
        }
        let tls =
            wrapping.tls.as_ref().map(|(config, _)| ServerConnection::new(Arc::clone(config)));
        let tls = tls.transpose().map_err(|error| Fault::Broken(error.to_string()))?;
        Ok(Some(Box::new(Self {
            proxy: wrapping.proxy.then(Vec::new),
            tls: tls.map(Box::new),
            names: wrapping.tls.as_ref().map_or(CertificateName::None, |(_, names)| *names),
            websocket: wrapping.websocket.then(|| WebSocket::new(wrapping.origins.clone())),
            source: None,
            ended: false,
        })))
    }

    /// Takes what the socket brought: MQTT is appended to `plain`, what is to be sent at once to
    /// `out`.
    ///
    /// # Errors
    /// If the connection ends here, once `out` is sent. What was good before it is in `plain`.
    pub fn handle(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let handled = self.unwrap_proxy(bytes).and_then(|rest| match rest {
            None => self.unwrap_tls(bytes, plain, out),
            Some(rest) => self.unwrap_tls(&rest, plain, out),
        });
        self.ended |= handled.is_err();
        handled
    }

    /// `None`: all of it is what comes behind the header.
    fn unwrap_proxy(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let Some(seen) = &mut self.proxy else { return Ok(None) };
        seen.extend_from_slice(bytes);
        match proxy::parse(seen) {
            Err(why) => Err(Fault::Broken(why.to_owned())),
            Ok(None) => Ok(Some(Vec::new())),
            Ok(Some(header)) => {
                self.source = header.source;
                let rest = seen.split_off(header.bytes);
                self.proxy = None;
                Ok(Some(rest))
            }
        }
    }

    fn unwrap_tls(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some(tls) = &mut self.tls else { return self.unwrap_websocket(bytes, plain, out) };
        let mut inner = Vec::new();
        let mut ended = None;
        while !bytes.is_empty() && ended.is_none() {
            tls.read_tls(&mut bytes).map_err(|error| Fault::Broken(error.to_string()))?;
            ended = match tls.process_new_packets() {
                Err(error) => Some(Fault::Broken(explain(&error))),
                Ok(state) if state.peer_has_closed() => Some(Fault::Closed),
                Ok(_) => None,
            };
            match tls.reader().read_to_end(&mut inner) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    ended = ended.or(Some(Fault::Broken(error.to_string())));
                }
                _ => {}
            }
        }
        send_tls(tls, out)?;
        let unwrapped =
            if inner.is_empty() { Ok(()) } else { self.unwrap_websocket(&inner, plain, out) };
        unwrapped.and(ended.map_or(Ok(()), Err))
    }

    fn unwrap_websocket(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some(websocket) = &mut self.websocket else {
            plain.extend_from_slice(bytes);
            return Ok(());
        };
        let mut answers = Vec::new();
        let handled = websocket.handle(bytes, plain, &mut answers);
        self.wrap_tls(&answers, out)?;
        handled.map_err(|end| match end {
            End::Closed => Fault::Closed,
            End::Broken(why) => Fault::Broken(why),
        })
    }

    /// Wraps MQTT for the socket.
    ///
    /// # Errors
    /// If TLS does not take it.
    pub fn wrap(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match &self.websocket {
            _ if self.ended => Ok(()),
            None => self.wrap_tls(plain, out),
            Some(websocket) if websocket.is_open() => {
                let mut frame = Vec::with_capacity(plain.len() + 16);
                WebSocket::wrap(plain, &mut frame);
                self.wrap_tls(&frame, out)
            }
            // It was never opened: there is nobody to tell.
            Some(_) => Ok(()),
        }
    }

    fn wrap_tls(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(tls) = &mut self.tls else {
            out.extend_from_slice(bytes);
            return Ok(());
        };
        for part in bytes.chunks(PART_BYTES) {
            tls.writer().write_all(part).map_err(|error| Fault::Broken(error.to_string()))?;
            send_tls(tls, out)?;
        }
        Ok(())
    }

    /// Says good-bye in each layer.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let mut farewell = Vec::new();
        if let Some(websocket) = &mut self.websocket {
            websocket.close(&mut farewell);
        }
        if let Some(tls) = &mut self.tls {
            let said = tls.writer().write_all(&farewell);
            tls.send_close_notify();
            if let Err(fault) =
                said.map_err(|e| Fault::Broken(e.to_string())).and_then(|()| send_tls(tls, out))
            {
                tracing::debug!(?fault, "no good-bye");
            }
        } else {
            out.append(&mut farewell);
        }
        self.ended = true;
    }

    /// Who connects, if a proxy has told.
    #[must_use]
    pub const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Whether everything in front of MQTT is done: from here on source and name hold.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.proxy.is_none()
            && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
            && self.websocket.as_ref().is_none_or(WebSocket::is_open)
    }

    /// The name in the client's certificate, if it has shown one and the listener wants it.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let chain = self.tls.as_ref()?.peer_certificates()?;
        certificate::name(chain.first()?, self.names)
    }
}

/// Appends what TLS has to say.
fn send_tls(tls: &mut ServerConnection, out: &mut Vec<u8>) -> Result<(), Fault> {
    while tls.wants_write() {
        tls.write_tls(out).map_err(|error| Fault::Broken(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
