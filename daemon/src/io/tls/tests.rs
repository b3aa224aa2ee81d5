//! Each file that does not serve is named, with what to do.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;

/// An authority, a certificate of it for `localhost`, and its key, as files.
fn files() -> (TempDir, ServerFiles) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("an authority");
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().expect("a key");
    let names = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let cert = names.signed_by(&own, &issuer).expect("a certificate");
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let files = ServerFiles {
        cert: write("cert.pem", cert.pem()),
        key: write("key.pem", own.serialize_pem()),
        client_ca: Some(write("ca.pem", authority.pem())),
        client_crl: None,
    };
    (dir, files)
}

/// What is said of the files when `path` holds `text` instead.
fn complaint(files: &ServerFiles, path: &Path, text: &str) -> String {
    let sound = fs::read(path).expect("it is there");
    fs::write(path, text).expect("written");
    let told = files.load().map(drop).expect_err("it does not serve").to_string();
    fs::write(path, sound).expect("written");
    assert!(told.contains(&path.display().to_string()), "{told}");
    told
}

#[test]
fn good_files_serve_both_sides() {
    let (_dir, files) = files();
    files.load().expect("a server");
    let identity = Some((files.cert.clone(), files.key.clone()));
    ClientFiles { ca: files.client_ca, identity }.load().expect("a client");
}

#[test]
fn a_file_that_does_not_serve_is_named() {
    let (_dir, files) = files();
    let other = KeyPair::generate().expect("a key").serialize_pem();
    let ca = files.client_ca.clone().expect("an authority");
    let sound = fs::read_to_string(&files.cert).expect("a certificate");
    let cut = &sound[..sound.len() / 2];
    let cases = [
        (&files.key, other.as_str(), "is not the key of the certificate in"),
        (&files.key, "", "holds 0 private keys"),
        (
            &files.key,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "passphrase",
        ),
        (&files.cert, "", "holds no certificate"),
        (&files.cert, cut, "ends within a section"),
        (&files.cert, "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n", "base64"),
        (
            &files.cert,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be understood",
        ),
        (&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "of no authority"),
    ];
    for (path, text, told) in cases {
        let complaint = complaint(&files, path, text);
        assert!(complaint.contains(told), "{complaint}");
    }
    let missing = ServerFiles { cert: "/nowhere/cert.pem".into(), ..files };
    let told = missing.load().map(drop).expect_err("there is none").to_string();
    assert!(told.contains("/nowhere/cert.pem") && told.contains("cannot be read"), "{told}");
}
