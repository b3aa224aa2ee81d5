//! Clients of 3.1.1 by the thousand, each a task: their packets are so short that they are spelt out.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tributary_mqtt::Version;
use tributary_mqtt::codec::connect::Connect;
use tributary_tests::wire;

/// How long the slowest answer may take: a crowd has to be served, one after the other.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A client that was let in, or was told that it must come again.
pub(crate) enum Entered {
    In(Client),
    Later,
}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
}

/// Where clients connect: one of this machine's addresses after the other, since each has only so many ports.
#[derive(Clone)]
pub(crate) struct Place {
    port: u16,
    tls: Option<TlsConnector>,
}

impl Place {
    pub(crate) fn plain(port: u16) -> Self {
        Self { port, tls: None }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Over TLS, each with a whole handshake.
    pub(crate) fn tls(port: u16, mut config: rustls::ClientConfig) -> Self {
        config.resumption = rustls::client::Resumption::disabled();
        Self { port, tls: Some(TlsConnector::from(Arc::new(config))) }
    }

    /// A connection of the client with this number.
    pub(crate) async fn connect(&self, number: usize) -> Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(number % 50)? + 10;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(connector) => {
                let name = "localhost".try_into()?;
                Ok(Box::new(connector.connect(name, stream).await?))
            }
        }
    }
}

impl Client {
    /// Connects, and says who it is.
    pub(crate) async fn enter(
        place: &Place,
        number: usize,
        asked: &Connect<'_>,
    ) -> Result<Entered> {
        let mut stream = place.connect(number).await?;
        let mut bytes = Vec::new();
        asked.encode(&mut bytes);
        stream.write_all(&bytes).await?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await?;
        match connack {
            [0x20, 2, _, 0] => Ok(Entered::In(Self { stream })),
            [0x20, 2, 0, 3] => Ok(Entered::Later),
            other => bail!("turned away: {other:?}"),
        }
    }

    /// Publishes once at QoS 1 and waits for the PUBACK.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        self.end(&publish(topic, payload)).await
    }

    /// Sends the end of a PUBLISH of [`publish`] and waits for the PUBACK.
    pub(crate) async fn end(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        let mut puback = [0; 4];
        self.stream.read_exact(&mut puback).await?;
        ensure!(puback == [0x40, 2, 0, 1], "{puback:?}");
        Ok(())
    }

    /// Waits for the daemon to close the connection, without a word to it.
    pub(crate) async fn closed(mut self) -> Result<()> {
        let mut rest = Vec::new();
        // Closed or reset.
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await?.ok();
        Ok(())
    }

    /// Sends bytes, whatever they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }
}

/// A PUBLISH at QoS 1.
pub(crate) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    use tributary_mqtt::codec::Packet;
    use tributary_mqtt::codec::property::Properties;
    use tributary_mqtt::codec::publish::{Delivery, Publish};
    let delivery = Delivery::AtLeastOnce { packet_id: wire::id(1), dup: false };
    let properties = Properties::NONE;
    let mut bytes = Vec::new();
    Packet::Publish(Publish { delivery, retain: false, topic, properties, payload })
        .encode(Version::V311, &mut bytes);
    bytes
}

/// What drives the clients, with room for so many sockets, for the daemon too. Root may have more
/// than it was given.
pub(crate) fn runtime(sockets: u64) -> Result<Runtime> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let maximum = maximum.map(|maximum| maximum.max(sockets + 400));
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .with_context(|| format!("{sockets} sockets are needed: `ulimit -Hn` allows fewer"))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("a runtime")
}
