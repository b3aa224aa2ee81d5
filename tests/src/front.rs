//! What may stand between the daemon and a cluster: TLS, a proxy, an identity provider; on loopback.

use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Identity;

/// How it serves.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Takes TLS off and passes on to this port.
    Tls(u16),
    /// SOCKS 5 with this login. Every name is this machine.
    Socks5(String, String),
    /// HTTP `CONNECT` with this value of `Proxy-Authorization`. Every name is this machine.
    Http(String),
    /// An identity provider: the value of `Authorization` that it knows, and the answer to it.
    Provider(String, String),
}

/// It serves until it is dropped.
#[derive(Debug)]
pub struct Front {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    kind: Kind,
    served: AtomicU64,
    identity: Mutex<Option<Arc<ServerConfig>>>,
}

impl Front {
    /// Listens on a free port; with TLS if there is an identity.
    ///
    /// # Errors
    /// The identity does not serve.
    pub fn start(kind: Kind, identity: Option<&Identity>) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let identity = Mutex::new(identity.map(server).transpose()?);
        let shared = Arc::new(Shared { kind, served: AtomicU64::new(0), identity });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, runtime: Some(runtime) })
    }

    /// Shows another certificate from now on.
    ///
    /// # Errors
    /// It does not serve.
    pub fn show(&self, identity: &Identity) -> Result<()> {
        let config = server(identity)?;
        *self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that it served to their purpose.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn server(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A client that leaves early, or is not let in, is what tests are about.
        tokio::spawn(async move { welcome(stream, &shared).await.unwrap_or_default() });
    }
}

async fn welcome(stream: TcpStream, shared: &Shared) -> Result<()> {
    let identity = shared.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match identity {
        None => serve(stream, shared).await,
        Some(config) => serve(TlsAcceptor::from(config).accept(stream).await?, shared).await,
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: &Shared) -> Result<()> {
    let port = match &shared.kind {
        Kind::Tls(port) => *port,
        Kind::Socks5(name, password) => socks5(&mut stream, name, password).await?,
        Kind::Http(login) => http(&mut stream, login).await?,
        Kind::Provider(login, answer) => {
            shared.served.fetch_add(1, Ordering::Relaxed);
            return provide(&mut stream, login, answer).await;
        }
    };
    shared.served.fetch_add(1, Ordering::Relaxed);
    let mut backend = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut backend).await?;
    Ok(())
}

async fn socks5<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    name: &str,
    password: &str,
) -> Result<u16> {
    let mut hello = [0; 2];
    stream.read_exact(&mut hello).await?;
    let mut methods = vec![0; usize::from(hello[1])];
    stream.read_exact(&mut methods).await?;
    ensure!(hello[0] == 5 && methods.contains(&2), "{hello:?} {methods:?}");
    stream.write_all(&[5, 2]).await?;
    let version = stream.read_u8().await?;
    let login = (short(stream).await?, short(stream).await?);
    let good = version == 1 && login == (name.into(), password.into());
    stream.write_all(&[1, u8::from(!good)]).await?;
    ensure!(good, "not let in");
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    ensure!(head == [5, 1, 0, 3], "a name is what is asked for: {head:?}");
    short(stream).await?;
    let port = stream.read_u16().await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(port)
}

async fn short<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, login: &str) -> Result<u16> {
    let head = head(stream).await?;
    if !head.contains(&format!("\r\nProxy-Authorization: {login}\r\n")) {
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await?;
        bail!("not let in");
    }
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let port = target.and_then(|target| target.rsplit(':').next()).context("a port")?.parse()?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    Ok(port)
}

async fn provide<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    login: &str,
    answer: &str,
) -> Result<()> {
    let head = head(stream).await?;
    let known = head.contains(&format!("\r\nAuthorization: {login}\r\n"));
    let (status, body) =
        if known { ("200 OK", answer) } else { ("401 no", r#"{"error":"invalid_client"}"#) };
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
