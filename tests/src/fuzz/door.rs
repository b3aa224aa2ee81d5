//! What stands at the door: access lists, password files, and the layers between a socket and MQTT.

use tributary::door::acl::{Access, Acl, Who};
use tributary::door::credential::Hash;
use tributary::door::users::{Users, edited};
use tributary::io::mqtt::layers::{Layers, Wrapping};
use tributary_core::topic::matches;

use super::{Target, texts};

pub(super) const ACCESS_LISTS: Target =
    Target { name: "access_lists", feed: feed_access_list, good: || texts(&LISTS) };
pub(super) const PASSWORDS: Target =
    Target { name: "passwords", feed: feed_passwords, good: || texts(&FILES) };
pub(super) const LAYERS: Target = Target { name: "layers", feed: feed_layers, good: layers };

const LISTS: [&str; 3] = [
    "# all\ntopic read public/#\nuser ann\ntopic readwrite plant/+/x\ntopic deny plant/vault/#\n",
    "pattern write plant/%u/#\npattern read commands/%u/%c\nuser a b\ntopic #\n",
    "topic write $share\nuser é\ntopic read +/+/#\npattern %c\n",
];

const FILES: [&str; 3] = [
    "ann:$7$101$zL8xSD1g4Zld5gjD$y28tY5fDolxwQD1pBmBJwWIAcHi7OnXwogF7ID4ELj4uBn0rNsb6W2ZsM2RMIBsh39nyPVlFr/JqqaZ6i7Ur9A==\n",
    "# people\nbob:$argon2id$v=19$m=7168,t=5,p=1$c29tZXNhbHQ$WfXR3bxXQzmyiwqPxGCVnJmV5wyVzRB6Y4c/v1xUCWY\n",
    "eve:$6$JUHDHvjCdTzTQdqr$lFv8C1C6dCzRjEMUSkbT0zWZS4oT9c7X1vxqT9yqU2v1v1xgDHbvhnlk0z6p9ZpJ9u8m7tHf2gG2qB4uK9XW3A==\nx\n",
];

/// What is denied without a name is not allowed by the same list with more to say: only that it comes
/// back, and that a granted subscription selects something that may be read.
fn feed_access_list(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    match Acl::parse(text) {
        Err(mistakes) => {
            let lines = text.lines().count();
            assert!(!mistakes.is_empty());
            assert!(mistakes.iter().all(|mistake| (1..=lines).contains(&mistake.line)));
        }
        Ok(acl) => {
            for user in [None, Some("ann"), Some("é")] {
                let who = Who { user, client: "c" };
                for topic in ["plant/1/x", "plant/vault/1", "commands/ann/c", "$SYS/x", "a"] {
                    let reads = acl.allows(who, Access::Read, topic);
                    let selects = matches("#", topic);
                    assert!(!(reads && selects) || acl.allows_subscription(who, "#"), "{topic}");
                    core::hint::black_box(acl.allows(who, Access::Write, topic));
                }
            }
        }
    }
}

/// A file that is read stays readable when an entry is written into it, and has that entry.
fn feed_passwords(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let hash = FILES[0].trim_end().split_once(':').map(|(_, hash)| hash).unwrap_or_default();
    match Users::parse(text) {
        Err(mistakes) => assert!(!mistakes.is_empty()),
        Ok(before) => {
            let text = edited(text, "zoe", Some(hash));
            let after = Users::parse(&text).expect("it was readable, and one good line more");
            assert_eq!(after.hash("zoe").map(|hash| &**hash), Some(hash));
            assert_eq!(after.len(), before.len() + usize::from(before.hash("zoe").is_none()));
            let without = edited(&text, "zoe", None);
            assert!(Users::parse(&without).is_ok_and(|users| users.hash("zoe").is_none()));
        }
    }
    for word in text.split([':', '\n']) {
        if let Ok(hash) = Hash::parse(word) {
            drop(hash);
        }
    }
}

fn layers() -> Vec<Vec<u8>> {
    let proxy = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x30\x39\x07\x5b";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    // Masked with zeros: binary, in two pieces, a ping between them, and a good-bye.
    let frames =
        b"\x02\x82\0\0\0\0\xc0\0\x89\x81\0\0\0\0p\x80\x81\0\0\0\0\0\x88\x82\0\0\0\0\x03\xe8";
    let both = [&[0x13][..], proxy, upgrade, frames].concat();
    let first = |flags: u8, bytes: &[&[u8]]| [&[flags][..], &bytes.concat()].concat();
    vec![
        first(0x31, &[proxy, b"\xc0\0"]),
        first(0x21, &[local]),
        first(0x52, &[upgrade, frames]),
        both,
    ]
}

/// The first byte says which layers there are, and in pieces of what size the rest comes: what MQTT
/// gets does not depend on that.
fn feed_layers(bytes: &[u8]) {
    let Some((&flags, bytes)) = bytes.split_first() else { return };
    let (proxy, websocket) = (flags & 1 != 0, flags & 2 != 0);
    let wrapping = Wrapping { proxy, websocket, ..Wrapping::default() };
    let piece = usize::from(flags >> 4) + 1;
    let (whole, in_pieces) =
        (unwrap(&wrapping, bytes, bytes.len().max(1)), unwrap(&wrapping, bytes, piece));
    assert_eq!(whole, in_pieces);
}

/// What MQTT gets, what is answered, and whether the connection goes on.
fn unwrap(wrapping: &Wrapping, bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let Ok(Some(mut layers)) = Layers::new(wrapping) else { return (plain, out, false) };
    for piece in bytes.chunks(piece) {
        if layers.handle(piece, &mut plain, &mut out).is_err() {
            return (plain, out, false);
        }
    }
    (plain, out, true)
}
