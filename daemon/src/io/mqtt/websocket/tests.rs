//! Good clients in every cut, and hostile ones.

use super::*;

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: gw\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\r\n";
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;

/// A client's frame.
fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | u8::try_from(length).expect("short")),
        length => {
            frame.push(0x80 | 0x7E);
            frame.extend(u16::try_from(length).expect("short").to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What comes of `bytes`, handed in by `cut` at a time: MQTT, answers, and how it ended.
fn run(bytes: &[u8], cut: usize) -> (Vec<u8>, Vec<u8>, Result<(), End>) {
    run_for(Origins::SameHost, bytes, cut)
}

/// The same where pages of these origins may connect.
fn run_for(origins: Origins, bytes: &[u8], cut: usize) -> (Vec<u8>, Vec<u8>, Result<(), End>) {
    let mut websocket = WebSocket::new(origins);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    for part in bytes.chunks(cut) {
        if let Err(end) = websocket.handle(part, &mut plain, &mut out) {
            return (plain, out, Err(end));
        }
    }
    (plain, out, Ok(()))
}

#[test]
fn messages_come_through_however_they_are_cut() {
    let long = vec![7; 300];
    let bytes = [
        REQUEST.as_bytes(),
        &sent(FINAL | BINARY, b"one"),
        &sent(BINARY, b"t"),
        &sent(FINAL | PING, b"are you there"),
        &sent(0, b""),
        &sent(0, b"w"),
        &sent(FINAL, b"o"),
        &sent(FINAL | PONG, b"unasked"),
        &sent(FINAL | BINARY, b""),
        &sent(FINAL | BINARY, &long),
        &sent(FINAL | CLOSE, &[0x03, 0xE8, b'!']),
        b"behind the end",
    ]
    .concat();
    for cut in [1, 2, 3, 7, 64, bytes.len()] {
        let (plain, out, ended) = run(&bytes, cut);
        assert_eq!(plain, [b"onetwo".as_slice(), &long].concat(), "cut by {cut}");
        assert_eq!(ended, Err(End::Closed));
        let text = String::from_utf8_lossy(&out);
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        // RFC 6455, 1.3, has this key's answer.
        assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
        assert!(text.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{text}");
        let tail = [&[0x8A, 13][..], b"are you there", &[0x88, 2, 0x03, 0xE8]].concat();
        assert!(out.ends_with(&tail), "{out:?}");
    }
}

#[test]
fn a_request_that_is_none_is_answered_and_refused() {
    let changes = [
        ("GET ", "POST "),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Version: 13", "Version: 8"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        ("mqttv3.1, mqtt", "chat"),
        ("Sec-WebSocket-Protocol", "X"),
        ("Host: gw", "H\0st"),
    ];
    for (good, bad) in changes {
        let (plain, out, ended) = run(REQUEST.replace(good, bad).as_bytes(), 5);
        let is_broken = matches!(ended, Err(End::Broken(_)));
        assert!(
            plain.is_empty() && is_broken && out.starts_with(b"HTTP/1.1 400 "),
            "{bad}: {ended:?}"
        );
    }
    let (_, out, ended) = run(&vec![b'x'; 2 * REQUEST_BYTES_MAX], 1_000);
    assert!(matches!(ended, Err(End::Broken(_))) && out.starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn pages_of_others_are_not_let_in() {
    let these = || Origins::These(["https://dashboard.example".into()].into());
    let cases = [
        (Origins::SameHost, "http://gw:3000", true),
        (Origins::SameHost, "http://evil.example", false),
        (Origins::SameHost, "null", false),
        (these(), "https://dashboard.example", true),
        (these(), "http://gw", false),
        (these(), "https://dashboard.example\r\nOrigin: http://evil.example", false),
        (Origins::Any, "http://evil.example", true),
    ];
    for (origins, origin, is_allowed) in cases {
        let request = REQUEST.replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
        let (_, out, ended) = run_for(origins, request.as_bytes(), 7);
        let status = if is_allowed { "HTTP/1.1 101 " } else { "HTTP/1.1 403 Forbidden\r\n" };
        assert!(out.starts_with(status.as_bytes()), "{origin}: {}", String::from_utf8_lossy(&out));
        assert_eq!(ended.is_ok(), is_allowed);
    }
    let (_, out, _) = run_for(these(), REQUEST.as_bytes(), 7);
    assert!(out.starts_with(b"HTTP/1.1 101 "), "who is no page tells no origin");
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_and_closed() {
    let unmasked = vec![FINAL | BINARY, 1, b'x'];
    let too_large = [&[FINAL | BINARY, 0xFF][..], &[0xFF; 8], &MASK].concat();
    let cases = [
        (unmasked, 1002),
        (sent(FINAL | 1, b"text"), 1003),
        (sent(FINAL | 0x40 | BINARY, b"x"), 1002),
        (sent(FINAL, b"goes on"), 1002),
        ([sent(BINARY, b"a"), sent(FINAL | BINARY, b"b")].concat(), 1002),
        (sent(PING, b"in parts"), 1002),
        (sent(FINAL | PING, &[0; 126]), 1002),
        (sent(FINAL | 3, b"reserved"), 1002),
        (sent(FINAL | 0xB, b"reserved"), 1002),
        (too_large, 1002),
    ];
    for (frames, code) in cases {
        for cut in [1, 1_000] {
            let (_, out, ended) = run(&[REQUEST.as_bytes(), &frames].concat(), cut);
            assert!(matches!(ended, Err(End::Broken(_))), "{frames:?}: {ended:?}");
            let [high, low] = u16::to_be_bytes(code);
            assert!(out.ends_with(&[0x88, 2, high, low]), "{frames:?}: {out:?}");
        }
    }
}

#[test]
fn a_frame_costs_no_memory_for_the_length_it_claims() {
    let head = [&[FINAL | BINARY, 0xFF][..], &(1_u64 << 40).to_be_bytes(), &MASK].concat();
    let (plain, _, ended) = run(&[REQUEST.as_bytes(), &head, &[0; 1_000]].concat(), 100);
    assert_eq!((plain.len(), ended), (1_000, Ok(())), "what came is handed on");
}

#[test]
fn says_good_bye_once() {
    let mut websocket = WebSocket::new(Origins::Any);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    websocket.handle(REQUEST.as_bytes(), &mut plain, &mut out).expect("it is good");
    out.clear();
    websocket.close(&mut out);
    websocket.close(&mut out);
    assert_eq!(out, [0x88, 2, 0x03, 0xE8]);
    let mut unopened = Vec::new();
    WebSocket::new(Origins::Any).close(&mut unopened);
    assert!(unopened.is_empty());
}
