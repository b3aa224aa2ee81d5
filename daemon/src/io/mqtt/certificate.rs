//! The name that a client's certificate gives it.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::CertificateName;

/// The name of a certificate that was verified; `None` if it has none of this kind.
pub(super) fn name(certificate: &CertificateDer<'_>, wanted: CertificateName) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let body = certificate.tbs_certificate();
    match wanted {
        CertificateName::None => None,
        CertificateName::CommonName => {
            body.subject().common_name().ok()?.map(|name| name.value().into_owned())
        }
        CertificateName::AlternativeName => {
            let (_, names) = body.get_extension::<SubjectAltName>().ok()??;
            names.0.iter().find_map(|name| match name {
                GeneralName::DnsName(text)
                | GeneralName::Rfc822Name(text)
                | GeneralName::UniformResourceIdentifier(text) => Some(text.as_str().to_owned()),
                _ => None,
            })
        }
    }
}
