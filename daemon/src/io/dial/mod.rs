//! Opens a connection to a broker or an identity provider: name, TCP, proxy, TLS, one after the other.
//!
//! Everything is looked up anew for each connection: names, because brokers move; files, because
//! certificates are replaced while the daemon runs.

mod proxy;
mod tcp;
mod tls;

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use crate::config::upstream::{Access, Proxy};
pub use tls::{Client, Facts};

/// A connection that bytes can be sent on.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What an opened connection passed through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What the name means; none behind a proxy, which looks it up itself.
    pub addresses: Vec<SocketAddr>,
    /// Where TCP ended: the broker, or the proxy.
    pub connected: Option<SocketAddr>,
    /// How long TCP took.
    pub tcp: Duration,
    /// The proxy, if there is one.
    pub proxy: Option<String>,
    /// What TLS agreed on, if it is used.
    pub tls: Option<Facts>,
}

/// Where a connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The name means nothing.
    Dns,
    /// Nobody listens, or nothing comes back.
    Tcp,
    /// The proxy does not go on.
    Proxy,
    /// The two do not trust each other.
    Tls,
}

/// Why a connection came to nothing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// Where.
    pub step: Step,
    /// Why, and what to do.
    pub why: String,
}

/// Opens connections of one kind.
#[derive(Debug, Default)]
pub struct Dialer {
    tls: Option<Client>,
    proxy: Option<Proxy>,
}

impl Dialer {
    /// A dialer to the cluster of a configuration.
    #[must_use]
    pub fn new(access: &Access) -> Self {
        Self { tls: access.tls.as_ref().map(Client::new), proxy: access.proxy.clone() }
    }

    /// A dialer to servers with TLS, through the same proxy.
    #[must_use]
    pub fn with_tls(tls: Client, proxy: Option<Proxy>) -> Self {
        Self { tls: Some(tls), proxy }
    }

    /// Opens a connection. `trace` tells how far it came, even if it comes to nothing.
    ///
    /// # Errors
    /// Where it ended, and why.
    pub async fn dial(
        &self,
        host: &str,
        port: u16,
        trace: &mut Trace,
    ) -> Result<Box<dyn Stream>, DialError> {
        let stream = match &self.proxy {
            None => tcp::connect(host, port, trace).await?,
            Some(proxy) => {
                trace.proxy = Some(proxy.to_string());
                let mut stream = tcp::connect(&proxy.host, proxy.port, trace).await?;
                proxy::open(proxy, &mut stream, (host, port)).await?;
                stream
            }
        };
        let Some(client) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let config: Arc<ClientConfig> = client.config().map_err(DialError::tls)?;
        let stream: TlsStream<_> = tls::handshake(client, config, stream, host).await?;
        trace.tls = Some(tls::facts(&stream));
        Ok(Box::new(stream))
    }
}

impl DialError {
    fn tls(why: impl fmt::Display) -> Self {
        Self { step: Step::Tls, why: why.to_string() }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl core::error::Error for DialError {}

/// Why a connection that was open is lost: what TLS has to say about it, in words for people.
#[must_use]
pub fn explain(error: &std::io::Error) -> String {
    tls::explain_io(error).unwrap_or_else(|| error.to_string())
}
