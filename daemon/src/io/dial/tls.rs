//! TLS to a server: whom to trust and what to show, read anew when the files change, and why it came
//! to nothing, in words.

use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, Error};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{DialError, Step};
use crate::config::upstream::Tls;
use crate::io::tls::{self, ClientFiles};
use crate::sync::lock;

/// How long the two may take to agree.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Dates beyond the year 9999 are not shown.
const SECONDS_SHOWN_MAX: u64 = 253_402_300_799;

/// What TLS agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: String,
}

/// TLS as a client.
#[derive(Debug)]
pub struct Client {
    files: ClientFiles,
    server_name: Option<String>,
    cached: Mutex<Option<Cached>>,
}

/// Kept while the files stay as they are: with it, sessions are resumed.
#[derive(Debug)]
struct Cached {
    stamp: Stamp,
    config: Arc<ClientConfig>,
}

/// Tells whether files were replaced: time of change and size of each.
type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

impl Client {
    /// TLS with these files.
    #[must_use]
    pub fn new(tls: &Tls) -> Self {
        let files = ClientFiles { ca: tls.ca.clone(), identity: tls.client.clone() };
        Self { files, server_name: tls.server_name.clone(), cached: Mutex::default() }
    }

    /// The files as they are now.
    ///
    /// # Errors
    /// The first file that does not serve, with what to do.
    pub fn config(&self) -> Result<Arc<ClientConfig>, tls::Unusable> {
        let stamp = self.stamp();
        let mut cached = lock(&self.cached);
        if let Some(cached) = cached.as_ref().filter(|cached| cached.stamp == stamp) {
            return Ok(Arc::clone(&cached.config));
        }
        let config = Arc::new(self.files.load()?);
        if cached.is_some() {
            tracing::info!("certificates for the way out were read anew");
        }
        *cached = Some(Cached { stamp, config: Arc::clone(&config) });
        Ok(config)
    }

    fn stamp(&self) -> Stamp {
        let ClientFiles { ca, identity } = &self.files;
        let identity = identity.iter().flat_map(|(cert, key)| [cert, key]);
        let stamp = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok();
            let found = found.and_then(|file| Some((file.modified().ok()?, file.len())));
            (path.clone(), found)
        };
        ca.iter().chain(identity).map(stamp).collect()
    }
}

pub(super) async fn handshake(
    client: &Client,
    config: Arc<ClientConfig>,
    stream: TcpStream,
    host: &str,
) -> Result<TlsStream<TcpStream>, DialError> {
    let wanted = client.server_name.as_deref().unwrap_or(host);
    let failed =
        |why: String| DialError { step: Step::Tls, why: format!("TLS with {host}: {why}") };
    let name = ServerName::try_from(wanted.to_owned())
        .map_err(|_| failed(format!("`{wanted}` can be in no certificate")))?;
    let connector = TlsConnector::from(config);
    match timeout(HANDSHAKE_MAX, connector.connect(name, stream)).await {
        Err(_) => Err(failed("the handshake does not end; does it speak TLS there?".to_owned())),
        Ok(Err(error)) => {
            let why = explain_io(&error).unwrap_or_else(|| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                    "it hung up; does it speak TLS there?".to_owned()
                }
                _ => error.to_string(),
            });
            Err(failed(why))
        }
        Ok(Ok(stream)) => Ok(stream),
    }
}

pub(super) fn facts(stream: &TlsStream<TcpStream>) -> Facts {
    let version = stream.get_ref().1.protocol_version();
    Facts { version: version.map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}")) }
}

/// The words for what TLS found wrong, if it was TLS. A clock that is wrong is the likeliest reason for
/// a certificate that is not valid yet, so it is said what it shows.
pub(super) fn explain_io(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let words = tls::explain(error);
    let shown = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let date = |time: &UnixTime| {
        shown(UNIX_EPOCH + Duration::from_secs(time.as_secs().min(SECONDS_SHOWN_MAX)))
    };
    let now = shown(SystemTime::now());
    Some(match error {
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            format!("{words}: the clock says {now}, it is valid from {}", date(not_before))
        }
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            format!("{words}: the clock says {now}, it was valid until {}", date(not_after))
        }
        _ => words,
    })
}
