//! What a connection to another broker is, whatever client library and version of MQTT it is made by.

use core::num::NonZeroU16;
use core::time::Duration;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use secrecy::ExposeSecret;
use tributary_core::limits::RECORD_BYTES_MAX;

use crate::config::Source;
use crate::io::dial::Client;
use crate::io::secrets;
use crate::source::Message;

/// The largest packet that a broker is asked to send: all that can be an event.
pub(super) const PACKET_BYTES_MAX: u32 = 640 * 1024;
/// The largest packet that is read where a broker cannot be asked: one that it sends and we cannot read
/// would end each connection anew.
pub(super) const FOREIGN_PACKET_BYTES_MAX: usize = 16 << 20;
/// A broker that is silent for longer is asked whether it is there.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// From the first packet to the broker's answer, in seconds.
pub(super) const CONNECT_TIMEOUT_S: u64 = 10;
/// Requests to the client that it has not looked at: an acknowledgement for every packet identifier.
pub(super) const REQUESTS_MAX: usize = u16::MAX as usize + 8;

const _: () = assert!(PACKET_BYTES_MAX as usize > RECORD_BYTES_MAX);

/// What happened on a connection.
pub(super) enum Heard {
    /// A message.
    Message(Message),
    /// The broker has refused something; why, for people.
    Refused(String),
    /// Nothing that matters.
    Other,
}

/// A subscriber's connection to a broker. Errors are for people, and end it.
pub(super) trait Link: Sized {
    /// Resolves when the broker has let us in; tells whether it knows our session.
    fn connect(&mut self) -> impl Future<Output = Result<bool, String>> + Send;

    /// Resolves when something has happened. May be dropped at any time; nothing is lost by that.
    fn next(&mut self) -> impl Future<Output = Result<Heard, String>> + Send;

    /// Asks for messages.
    fn subscribe(&mut self, topics: &[String], qos: u8) -> Result<(), String>;

    /// Sends a PUBACK, with the next call of [`Link::next`].
    fn acknowledge(&mut self, id: NonZeroU16) -> Result<(), String>;

    /// Sends a DISCONNECT, with the next call of [`Link::next`].
    fn disconnect(&mut self) -> Result<(), String>;
}

/// What is needed for a connection.
pub(super) struct Way<'a> {
    pub(super) source: &'a Source,
    pub(super) client_id: &'a str,
    pub(super) tls: Option<&'a Client>,
}

impl Way<'_> {
    /// TCP, or TLS with the certificates as they are now.
    pub(super) fn transport(&self) -> Result<Transport, String> {
        let Some(tls) = self.tls else { return Ok(Transport::Tcp) };
        let config = tls.config().map_err(|error| error.to_string())?;
        Ok(Transport::Tls(TlsConfiguration::Rustls(Arc::clone(&config))))
    }

    /// The login, with the password as it is now.
    pub(super) fn login(&self) -> Result<Option<(String, String)>, String> {
        let Some((user, password)) = &self.source.login else { return Ok(None) };
        let password = match password {
            Some(password) => secrets::read(password)?.expose_secret().to_owned(),
            None => String::new(),
        };
        Ok(Some((user.clone(), password)))
    }

    /// The host as a name for connections: the client puts the port behind it.
    pub(super) fn host(&self) -> String {
        let host = &self.source.host;
        let is_plain = self.tls.is_none();
        if is_plain && host.contains(':') { format!("[{host}]") } else { host.clone() }
    }
}

/// A subscription that the broker did not take as it was meant.
pub(super) fn short_of(filter: &str, granted: Option<u8>, wanted: u8) -> Option<String> {
    match granted {
        None => Some(format!("the broker does not let us subscribe to `{filter}`")),
        Some(qos) if qos < wanted => Some(format!(
            "the broker grants `{filter}` at QoS {qos} only: what it sends while we are away is lost"
        )),
        Some(_) => None,
    }
}
