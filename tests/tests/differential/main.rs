//! Our codec beside two that others wrote: where they disagree, the specification decides, and the
//! case stands in `tests/mqtt/disagreements.toml` with the reason. A disagreement that is not listed
//! is an error; so is a listed one that its example does not show any more.
//!
//! `TRIBUTARY_SECONDS=N` compares for so long, from a seed that differs from run to run.

mod meaning;
mod others;
mod packets;

use core::time::Duration;
use std::collections::BTreeMap;
use std::time::Instant;
use std::{env, fs};

use meaning::{kind, meaning};
use others::{CODECS, Codec, Verdict};
use tributary_mqtt::Version;
use tributary_mqtt::codec::{Decoded, Packet, decode};
use tributary_tests::fuzz::{from_hex, to_hex};
use tributary_tests::tidy::root;

/// Packets of an ordinary run, for each codec.
const PACKETS: u64 = 150_000;
const BYTES_MAX: u32 = 1 << 20;

/// A kind of disagreement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// They take what we refuse by this rule.
    Takes(String),
    /// They refuse what we take: the packet, and their error.
    Refuses(String),
    /// Both take it, but they read something else in a packet of this kind.
    Reads(String),
}

/// One of the list: who, what, a packet that shows it, and who is right by which statement.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    codec: String,
    takes: Option<String>,
    refuses: Option<String>,
    reads: Option<String>,
    example: String,
    why: String,
}

impl Listed {
    fn class(&self) -> Class {
        let Self { takes, refuses, reads, .. } = self;
        let takes = takes.clone().map(Class::Takes);
        let refuses = refuses.clone().map(Class::Refuses);
        let reads = reads.clone().map(Class::Reads);
        takes.or(refuses).or(reads).expect("takes, refuses or reads")
    }
}

#[derive(serde::Deserialize)]
struct List {
    disagreement: Vec<Listed>,
}

fn list() -> Vec<Listed> {
    let text = fs::read_to_string(root().join("tests/mqtt/disagreements.toml")).expect("the list");
    toml::from_str::<List>(&text).expect("the list is valid").disagreement
}

fn ours(bytes: &[u8], version: Version) -> Result<Packet<'_>, &'static str> {
    let expected = (bytes[0] >> 4 != 1).then_some(version);
    match decode(bytes, expected, BYTES_MAX) {
        Ok(Decoded::Packet(packet, used)) if used == bytes.len() => Ok(packet),
        Ok(_) => Err("not one packet"),
        Err(malformed) => Err(malformed.statement),
    }
}

/// How the codec disagrees with ours about a packet, if it does.
fn disagreement(codec: &Codec, bytes: &[u8]) -> Option<Class> {
    let ours = ours(bytes, codec.version);
    if matches!(ours, Ok(Packet::Connect(connect)) if connect.version != codec.version) {
        // They are asked for one version.
        return None;
    }
    match (ours, (codec.read)(bytes)) {
        (Err(_), Verdict::Refused(_)) => None,
        (Err(rule), Verdict::Taken(_)) => Some(Class::Takes(rule.to_owned())),
        (Ok(packet), Verdict::Refused(error)) => {
            Some(Class::Refuses(format!("{} {error}", kind(&packet))))
        }
        (Ok(packet), Verdict::Taken(written)) => {
            let same = self::ours(&written, codec.version)
                .is_ok_and(|theirs| meaning(&theirs) == meaning(&packet));
            (!same).then(|| Class::Reads(kind(&packet).to_owned()))
        }
    }
}

/// The shortest packet for each disagreement that was found.
fn found(codec: &Codec) -> BTreeMap<Class, Vec<u8>> {
    let seconds = env::var("TRIBUTARY_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = seconds.map(Duration::from_secs);
    let (begun, first) = (Instant::now(), time.map_or(0, |_| fastrand::u64(..) >> 16));
    let mut found = BTreeMap::<Class, Vec<u8>>::new();
    for seed in first.. {
        if time.map_or(seed == PACKETS, |time| begun.elapsed() > time) {
            break;
        }
        let bytes = packets::packet(seed, codec.version == Version::V5);
        if let Some(class) = disagreement(codec, &bytes) {
            let shortest = found.entry(class).or_insert_with(|| bytes.clone());
            if bytes.len() < shortest.len() {
                *shortest = bytes;
            }
        }
    }
    found
}

#[test]
fn every_disagreement_is_decided() {
    let list = list();
    let mut unlisted = Vec::new();
    for codec in &CODECS {
        for (class, bytes) in found(codec) {
            let listed =
                list.iter().any(|listed| listed.codec == codec.name && listed.class() == class);
            if !listed {
                unlisted.push(format!("{} {class:?} example = \"{}\"", codec.name, to_hex(&bytes)));
            }
        }
    }
    assert!(unlisted.is_empty(), "{} are not listed:\n{}", unlisted.len(), unlisted.join("\n"));
}

#[test]
fn the_list_is_true() {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for listed in list() {
        let Listed { codec: name, example, why, .. } = &listed;
        let codec = CODECS.iter().find(|codec| codec.name == name).expect("one of ours");
        let class = disagreement(codec, &from_hex(example).expect("hexadecimal digits"));
        if class.as_ref() != Some(&listed.class()) || why.is_empty() {
            wrong.push(format!("{name} {:?}: its example shows {class:?}", listed.class()));
        }
        let key = (name.clone(), listed.class());
        assert!(!seen.contains(&key), "twice: {key:?}");
        seen.push(key);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
