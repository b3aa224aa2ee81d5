//! Certificates for tests: an authority in a directory, and what it issues.

use core::sync::atomic::{AtomicU32, Ordering};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

static SERIAL: AtomicU32 = AtomicU32::new(1);

/// An authority.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, that nobody knows yet.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By its name a client looks for the authority of a certificate.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("Authority {serial}"));
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { dir, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A server's certificate for `host`, as `name.pem` and `name.key`; one of the same name is
    /// replaced.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn server(&self, name: &str, host: &str) -> Result<Pair> {
        let mut params = CertificateParams::new([host.to_owned(), "127.0.0.1".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, &params)
    }

    /// A client's certificate for the user `common_name`; `expired`: its time was over long ago.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn client(&self, common_name: &str, expired: bool) -> Result<Pair> {
        let mut params = CertificateParams::new([format!("{common_name}.plant.example")])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        self.issue(common_name, &params)
    }

    /// A server's certificate whose time was over long ago.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn expired_server(&self, name: &str, host: &str) -> Result<Pair> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.not_after = date_time_ymd(2020, 1, 1);
        self.issue(name, &params)
    }

    fn issue(&self, name: &str, params: &CertificateParams) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let pair = Pair {
            cert: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        fs::write(&pair.cert, certificate.pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}

impl Pair {
    /// As `tls` of a listener, with `more` keys.
    #[must_use]
    pub fn section(&self, more: &str) -> String {
        let Self { cert, key } = self;
        format!("tls = {{ cert = \"{}\", key = \"{}\"{more} }}\n", cert.display(), key.display())
    }
}
