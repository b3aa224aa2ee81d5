//! Certificates, keys and trusted authorities from PEM files, for listeners and for connections
//! that we open: one implementation of TLS (rustls with ring, versions 1.2 and 1.3).
//!
//! Everything that can be wrong with the files is told by name of the file and with what to do; what
//! goes wrong between two machines, [`explain`] says in words for people.

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore,
    ServerConfig,
};

use super::files::read_text;

/// Where systems keep the authorities that they trust, the first that exists is taken: Debian, Alpine
/// and Arch; Fedora and its like; SUSE.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// A file that does not serve, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Unusable {
    fn new(path: &Path, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into(), help: help.into() }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}; {}", self.path.display(), self.what, self.help)
    }
}

impl core::error::Error for Unusable {}

/// What a listener needs for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Its certificate, and behind it those in between up to the authority.
    pub cert: PathBuf,
    /// The private key that belongs to the certificate.
    pub key: PathBuf,
    /// Authorities of client certificates; with them a client without a certificate is not let in.
    pub client_ca: Option<PathBuf>,
    /// Client certificates that these authorities have revoked.
    pub client_crl: Option<PathBuf>,
}

/// What a connection that we open needs for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities that are trusted; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ServerFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that does not serve.
    pub fn load(&self) -> Result<ServerConfig, Unusable> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Unusable::new(&self.cert, error.to_string(), "tell the developers"))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let lists = self.client_crl.as_deref().map_or(Ok(Vec::new()), revocations)?;
                let roots = Arc::new(roots(path)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .with_crls(lists)
                        .allow_unknown_revocation_status()
                        .build()
                        .map_err(|error| {
                            let path = self.client_crl.as_deref().unwrap_or(path);
                            Unusable::new(path, format!("does not serve: {error}"), AS_PEM)
                        })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let identity = identity(&self.cert, &self.key, &provider)?;
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(identity));
        let mut config = builder.with_cert_resolver(resolver);
        // What a client needs to resume is kept by the client: no memory here, and other keys with
        // each reload, so that who was let in by an authority that is gone is asked again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        config.ticketer = Ticketer::new()
            .map_err(|error| Unusable::new(&self.key, error.to_string(), "tell the developers"))?;
        Ok(config)
    }

    /// All files that are read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let more = self.client_ca.iter().chain(&self.client_crl).map(PathBuf::as_path);
        [self.cert.as_path(), &self.key].into_iter().chain(more)
    }
}

impl ClientFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that does not serve.
    pub fn load(&self) -> Result<ClientConfig, Unusable> {
        let provider = provider();
        let roots = match &self.ca {
            Some(path) => roots(path)?,
            None => system_roots()?,
        };
        let path = self.ca.as_deref().unwrap_or(Path::new(SYSTEM_ROOTS[0]));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Unusable::new(path, error.to_string(), "tell the developers"))?
            .with_root_certificates(roots);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((cert, key)) => {
                let identity = identity(cert, key, &provider)?;
                let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(identity));
                Ok(builder.with_client_cert_resolver(resolver))
            }
        }
    }
}

const AS_PEM: &str = "it must hold them in PEM, between \"-----BEGIN …\" and \"-----END …\"";

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM file, in its order.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found = sections::<CertificateDer<'static>>(path)?;
    if found.is_empty() {
        return Err(Unusable::new(path, "holds no certificate", AS_PEM));
    }
    Ok(found)
}

/// Trusted authorities from a PEM file.
///
/// # Errors
/// If the file cannot be read, holds none, or one that cannot be understood.
pub fn roots(path: &Path) -> Result<RootCertStore, Unusable> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(path)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            let what = format!("has as certificate {} one of no authority", index + 1);
            Unusable::new(path, what, explain(&error))
        })?;
    }
    Ok(store)
}

/// The authorities that this machine trusts. Single ones that cannot be understood are left out.
///
/// # Errors
/// If it has none.
pub fn system_roots() -> Result<RootCertStore, Unusable> {
    let path = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
    let path = path.ok_or_else(|| {
        let help = "install the package ca-certificates, or name your authority with `ca`";
        Unusable::new(Path::new(SYSTEM_ROOTS[0]), "does not exist", help)
    })?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(path)?);
    Ok(store)
}

/// A certificate with its chain, and the key that belongs to it.
///
/// # Errors
/// If one of the files does not serve, or the two do not belong together.
pub fn identity(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Unusable> {
    let chain = certificates(cert)?;
    let private = private_key(key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let what = format!("is not the key of the certificate in `{}`", cert.display());
            Unusable::new(key, what, "name the key that the certificate was requested with")
        }
        Error::InvalidCertificate(_) => {
            Unusable::new(cert, "holds a certificate that cannot be understood", explain(&error))
        }
        other => Unusable::new(
            key,
            format!("holds a key that cannot be used: {other}"),
            "use an ECDSA key on P-256 or P-384, Ed25519, or RSA of 2048 bits or more",
        ),
    })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let mut found = sections::<PrivateKeyDer<'static>>(path)?;
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    let encrypted = read_text(path).is_ok_and(|text| text.contains("ENCRYPTED"));
    Err(if encrypted {
        let help = "take the passphrase off with `openssl pkey`, and let only the daemon read it";
        Unusable::new(path, "holds a key behind a passphrase", help)
    } else {
        Unusable::new(path, format!("holds {} private keys", found.len()), "it must hold one")
    })
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    let found = sections(path)?;
    if found.is_empty() {
        return Err(Unusable::new(path, "holds no revocation list", AS_PEM));
    }
    Ok(found)
}

/// All sections of one kind in a file.
fn sections<T: PemObject>(path: &Path) -> Result<Vec<T>, Unusable> {
    let text = read_text(path).map_err(|error| {
        Unusable::new(path, format!("cannot be read: {error}"), "the daemon's user must see it")
    })?;
    T::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|error| {
        let what = match error {
            pem::Error::MissingSectionEnd { .. } => "ends within a section".to_owned(),
            pem::Error::Base64Decode(_) => "is damaged: a section is not base64".to_owned(),
            other => format!("is damaged: {other}"),
        };
        Unusable::new(path, what, AS_PEM)
    })
}

/// Why TLS with another machine did not come about, for people: what it is and who can mend it.
#[must_use]
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => explain_certificate(why),
        Error::NoCertificatesPresented => {
            "the other side showed no certificate, and one is asked for".to_owned()
        }
        Error::AlertReceived(alert) => explain_alert(*alert),
        Error::InvalidMessage(_) => "what came is not TLS".to_owned(),
        Error::PeerIncompatible(why) => {
            format!("the two have no version or cipher in common: {why:?}")
        }
        other => other.to_string(),
    }
}

fn explain_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired (or this machine's clock is wrong)"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet (or this machine's clock is wrong)"
        }
        CertificateError::Revoked => "the certificate was revoked",
        // Another authority may bear the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate is of no authority that is trusted here"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another host name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for this purpose (server or client)"
        }
        CertificateError::BadEncoding => "the certificate cannot be understood",
        other => return format!("the certificate is not accepted: {other}"),
    }
    .to_owned()
}

fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "the other side does not know our certificate's authority",
        AlertDescription::CertificateExpired => "the other side says that our certificate expired",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "the other side does not accept our certificate"
        }
        AlertDescription::CertificateRequired => "the other side asks for a certificate of ours",
        AlertDescription::ProtocolVersion => "the other side wants another version of TLS",
        other => return format!("the other side has ended it: {other:?}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
