//! Certificates for tests: an authority, and what it vouches for.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// An authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// Its key, in PKCS #8.
    pub key: String,
}

/// When a certificate holds: first and last year.
pub type Years = (i32, i32);

/// Holds today, and for long.
pub const VALID: Years = (2020, 2090);
/// Held once.
pub const EXPIRED: Years = (2020, 2021);
/// Will hold: what a machine sees whose clock is behind.
pub const NOT_YET_VALID: Years = (2089, 2090);

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate of a server with these names.
    ///
    /// # Errors
    /// A name cannot be in a certificate.
    pub fn server(&self, names: &[&str], years: Years) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, "server", years)
    }

    /// A certificate of a client.
    ///
    /// # Errors
    /// No key can be made.
    pub fn client(&self, name: &str, years: Years) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, name, years)
    }

    fn sign(&self, mut params: CertificateParams, name: &str, years: Years) -> Result<Identity> {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { cert, key: key.serialize_pem() })
    }
}

/// Writes a text into a directory; where it is.
///
/// # Errors
/// It cannot be written.
pub fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
