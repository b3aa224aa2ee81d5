//! All layers at once, in every cut; clients whose certificate is wanted; hostile bytes.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::io::tls::{ServerFiles, provider};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";
/// From 10.1.2.3.
const PROXIED: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\x0A\x01\x02\x03\x0A\0\0\x01\0\x50\x07\x5B";

/// A server that asks for certificates, and a client that shows one for "press-3".
fn pair(shows: bool) -> (Arc<ServerConfig>, ClientConnection) {
    let dir = tempfile::tempdir().expect("a directory");
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("an authority");
    let issuer = Issuer::new(params, ca_key);
    let issue = |common: &str, alternative: &str| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([alternative.to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        (params.signed_by(&key, &issuer).expect("a certificate"), key)
    };
    let (cert, key) = issue("gateway", "localhost");
    let path = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let files = ServerFiles {
        cert: path("cert", cert.pem()),
        key: path("key", key.serialize_pem()),
        client_ca: Some(path("ca", ca.pem())),
        client_crl: None,
    };
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("an authority");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = if shows {
        let (cert, key) = issue("press-3", "press-3.plant.example");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        builder.with_client_auth_cert(vec![cert.der().clone()], key).expect("a pair")
    } else {
        builder.with_no_client_auth()
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    (Arc::new(files.load().expect("good files")), client)
}

/// Moves bytes between the two until neither has any: MQTT that came out, and how it ended.
fn exchange(
    client: &mut ClientConnection,
    layers: &mut Layers,
    (before, cut): (&[u8], usize),
) -> (Vec<u8>, Result<(), Fault>) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let mut wire = before.to_vec();
    loop {
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a vector takes it");
        }
        if wire.is_empty() {
            return (plain, Ok(()));
        }
        for part in core::mem::take(&mut wire).chunks(cut) {
            if let Err(fault) = layers.handle(part, &mut plain, &mut out) {
                return (plain, Err(fault));
            }
        }
        let mut answer = &out[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("a slice gives it");
            client.process_new_packets().expect("the server is good");
        }
        out.clear();
    }
}

#[test]
fn all_layers_at_once_however_bytes_are_cut() {
    for (names, user) in [
        (CertificateName::CommonName, Some("press-3")),
        (CertificateName::AlternativeName, Some("press-3.plant.example")),
        (CertificateName::None, None),
    ] {
        for cut in [1, 5, 4_000] {
            let (server, mut client) = pair(true);
            let wrapping = Wrapping {
                proxy: true,
                tls: Some((server, names)),
                websocket: true,
                origins: Origins::SameHost,
            };
            let mut layers = Layers::new(&wrapping).expect("a server").expect("layers");
            client.writer().write_all(REQUEST).expect("it is kept");
            let (plain, ended) = exchange(&mut client, &mut layers, (PROXIED, cut));
            assert_eq!((plain.len(), ended), (0, Ok(())));
            assert!(layers.is_open());
            assert_eq!(layers.source(), Some([10, 1, 2, 3].into()));
            assert_eq!(layers.user().as_deref(), user);
            // "hi", masked with zeros.
            client.writer().write_all(&[0x82, 0x82, 0, 0, 0, 0, b'h', b'i']).expect("it is kept");
            let (plain, ended) = exchange(&mut client, &mut layers, (&[], cut));
            assert_eq!((plain.as_slice(), ended), (b"hi".as_slice(), Ok(())));
            let mut out = Vec::new();
            layers.wrap(b"yo", &mut out).expect("it is open");
            layers.close(&mut out);
            let mut got = Vec::new();
            let mut rest = &out[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("a slice gives it");
                client.process_new_packets().expect("the server is good");
            }
            client.reader().read_to_end(&mut got).expect("it was closed in order");
            assert!(got.ends_with(&[0x82, 2, b'y', b'o', 0x88, 2, 0x03, 0xE8]), "{got:?}");
        }
    }
}

/// rustls keeps 64 KiB at most; a message, and what waits behind it, may be longer.
#[test]
fn what_is_longer_than_tls_takes_at_once_arrives_whole() {
    let long: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for websocket in [false, true] {
        let (server, mut client) = pair(true);
        let tls = Some((server, CertificateName::None));
        let wrapping = Wrapping { tls, websocket, ..Wrapping::default() };
        let mut layers = Layers::new(&wrapping).expect("a server").expect("layers");
        client.writer().write_all(if websocket { REQUEST } else { &[] }).expect("it is kept");
        exchange(&mut client, &mut layers, (&[], 4_000)).1.expect("it is opened");
        let mut out = Vec::new();
        layers.wrap(&long, &mut out).expect("it is open");
        layers.close(&mut out);
        let (mut got, mut rest) = (Vec::new(), &out[..]);
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("a slice gives it");
            client.process_new_packets().expect("the server is good");
            client.reader().read_to_end(&mut got).unwrap_or_default();
        }
        assert!(got.windows(long.len()).any(|part| part == long), "{} bytes came", got.len());
    }
}

#[test]
fn a_client_without_a_certificate_is_told_in_words() {
    let (server, mut client) = pair(false);
    let tls = Some((server, CertificateName::CommonName));
    let wrapping = Wrapping { tls, ..Wrapping::default() };
    let mut layers = Layers::new(&wrapping).expect("a server").expect("layers");
    client.writer().write_all(b"mqtt").expect("it is kept");
    let (plain, ended) = exchange(&mut client, &mut layers, (&[], 1_000));
    let Err(Fault::Broken(why)) = ended else { panic!("{ended:?}") };
    assert!(plain.is_empty() && why.contains("showed no certificate"), "{why}");
    assert!(!layers.is_open() && layers.user().is_none());
}

#[test]
fn what_is_not_spoken_here_is_refused_and_not_handed_on() {
    let (server, _) = pair(false);
    let tls = Some((server, CertificateName::CommonName));
    let wrappings = [
        Wrapping { proxy: true, ..Wrapping::default() },
        Wrapping { tls, ..Wrapping::default() },
        Wrapping { websocket: true, ..Wrapping::default() },
    ];
    let connect = b"\x10\x0E\0\x04MQTT\x04\x02\0\x3C\0\x02ab".repeat(1_000);
    for wrapping in &wrappings {
        for cut in [1, 20_000] {
            let mut layers = Layers::new(wrapping).expect("layers begin").expect("layers");
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let mut parts = connect.chunks(cut);
            let ended = parts.find_map(|part| layers.handle(part, &mut plain, &mut out).err());
            assert!(matches!(ended, Some(Fault::Broken(_))), "{ended:?}");
            assert!(plain.is_empty() && !layers.is_open());
            let before = out.len();
            layers.wrap(b"MQTT", &mut out).expect("there is nobody to tell");
            assert_eq!(out.len(), before);
        }
    }
}

#[test]
fn without_layers_there_is_nothing_in_between() {
    assert!(Layers::new(&Wrapping::default()).expect("nothing").is_none());
}
