//! Bytes that nobody wrote in good faith, made from good ones: each target takes them without a
//! panic, without hanging, and without more memory than it may.
//!
//! A target is a function of bytes. `cargo test` feeds each some thousands; `TRIBUTARY_SECONDS=N`
//! feeds each for so long, from a seed that differs from run to run; `TRIBUTARY_SEED=N` repeats one
//! input, which a failure names.

use std::env;
use std::panic::catch_unwind;
use std::time::Instant;

use core::panic::AssertUnwindSafe;
use core::time::Duration;

use fastrand::Rng;
use tributary::config::Config;
use tributary::config::problem::Problems;
use tributary::replicate::account::Account;
use tributary::replicate::table::{Table, Wanted};
use tributary::runtime::hint::LaneHint;
use tributary_core::Offset;
use tributary_core::log::BODY_BYTES_MAX;
use tributary_core::properties::Properties;
use tributary_core::record::{self, Event, Origin, Qos};
use tributary_core::time::Timestamp;
use tributary_mqtt::Version;
use tributary_mqtt::codec::{Decoded, decode};
use tributary_rules::{Scratch, Set, Source, check_key, check_predicate, compile};

/// Inputs of each target in an ordinary run.
const INPUTS: u64 = 20_000;
const INPUT_BYTES_MAX: usize = 4_096;
/// What any input may take in memory at once.
const MEMORY_BYTES_MAX: u64 = 1 << 20;
const PACKET_BYTES_MAX: u32 = 1 << 16;

/// What is fed, and good bytes to begin from.
struct Target {
    feed: fn(&[u8]),
    good: Vec<Vec<u8>>,
}

/// Feeds a target until it has had enough.
fn run(target: &Target) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TRIBUTARY_SEED") {
        (target.feed)(&input(seed, &target.good));
        return;
    }
    let time = number("TRIBUTARY_SECONDS").map(Duration::from_secs);
    let (begun, first) = (Instant::now(), time.map_or(0, |_| fastrand::u64(..) >> 16));
    for seed in first.. {
        let enough = time.map_or(seed == INPUTS, |time| begun.elapsed() > time);
        if enough {
            return;
        }
        let bytes = input(seed, &target.good);
        let mut memory = 0;
        let fed = catch_unwind(AssertUnwindSafe(|| {
            memory = allocation_counter::measure(|| (target.feed)(&bytes)).bytes_max;
        }));
        let shown = bytes.escape_ascii();
        assert!(fed.is_ok(), "TRIBUTARY_SEED={seed} repeats it: {shown}");
        assert!(memory <= MEMORY_BYTES_MAX, "TRIBUTARY_SEED={seed} takes {memory} bytes: {shown}");
    }
}

/// Good bytes with some changes.
fn input(seed: u64, good: &[Vec<u8>]) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut bytes = good[rng.usize(..good.len())].clone();
    for _ in 0..rng.usize(..6) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            3 if at < bytes.len() => bytes[at] = [0, 0x7F, 0x80, 0xFF, b'"', b'\\'][rng.usize(..6)],
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 => {
                let other = &good[rng.usize(..good.len())];
                let from = rng.usize(..=other.len());
                let to = from + rng.usize(..=(other.len() - from).min(64));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let end = at + rng.usize(..=(bytes.len() - at).min(32));
                let piece = bytes[at..end].to_vec();
                let again = rng.usize(..5);
                bytes.splice(at..at, piece.repeat(again));
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const CONDITIONS: [&str; 6] = [
    "a.b[1] > 70 AND status IN ('ok', s, 'x') OR NOT (t BETWEEN 1 AND 2.5)",
    "abs(t) + -t * 3 / u % 7 - floor(t) <= round(u) AND length(s) = 2 -- why",
    "\"odd name\" IS NOT NULL AND topic(2) <> 'it''s' || lower(s)",
    "contains(payload(), s) AND qos() < 2 AND retained() = TRUE",
    "coalesce(id, topic(2)) || '-' || upper(s || t)",
    "((((((((1 = 1))))))))",
];

fn event(payload: &[u8]) -> Event<'_> {
    Event {
        topic: "plant/7/telemetry",
        payload,
        client: "c",
        time: Timestamp(1_800_000_000_000),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        properties: Properties::NONE,
    }
}

#[test]
fn expressions() {
    let feed = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let told = [check_predicate(&text).err(), check_key(&text).err()];
        for diagnostic in told.into_iter().flatten() {
            assert!(!diagnostic.to_string().is_empty());
        }
        if let Ok(set) = compile(&[Source { where_: Some(&text), key: Some(&text) }]) {
            evaluate(
                &Set::verify(set).expect("what was compiled verifies"),
                PAYLOADS[0].as_bytes(),
            );
        }
    };
    run(&Target { feed, good: texts(&CONDITIONS) });
}

const PAYLOADS: [&str; 5] = [
    r#"{"a":{"b":[1,71]},"status":"ok","s":"ok","t":-2.5,"u":3,"id":12345678901234567890}"#,
    r#"{"a":[[[[]]]],"a":{"b":{}},"s":"\ud83d\ude00","t":1e300,"u":0}"#,
    r#"{"odd name":null,"s":"\"\\\/\b\f\n\r\t\u00e9","t":true}"#,
    "[1,2",
    " \t\n{ \"t\" : 0.1e-7 , \"u\" : -0 } ",
];

fn evaluate(set: &Set<Vec<u8>>, payload: &[u8]) {
    let (event, mut scratch, mut key) = (event(payload), Scratch::new(), [0; 64]);
    let mut evaluation = set.evaluate(&event, &mut scratch);
    for route in 0..set.len() {
        let first = evaluation.test(route);
        assert_eq!(evaluation.test(route), first);
        // Whether there is room for a key depends on the payload.
        evaluation.key(route, &mut key).map(<[u8]>::len).unwrap_or_default();
    }
}

#[test]
fn payloads() {
    let feed = |bytes: &[u8]| {
        let sources = CONDITIONS.map(|text| Source { where_: Some(text), key: None });
        let set = compile(&sources[..4]).expect("they are conditions");
        evaluate(&Set::verify(set).expect("it verifies"), bytes);
    };
    run(&Target { feed, good: texts(&PAYLOADS) });
}

#[test]
fn programs() {
    let good = CONDITIONS[..4]
        .iter()
        .map(|text| compile(&[Source { where_: Some(text), key: None }]).expect("a condition"))
        .collect();
    let feed = |bytes: &[u8]| {
        if let Ok(set) = Set::verify(bytes.to_vec()) {
            evaluate(&set, PAYLOADS[0].as_bytes());
        }
    };
    run(&Target { feed, good });
}

#[test]
fn configurations() {
    let good = texts(&[
        "gateway = \"gw-1\"\n[log]\ndir = \"d\"\nsize = \"1 GiB\"\ncommit = { delay = \"5 ms\" }\n",
        "[[listener]]\naddress = \"127.0.0.1:1883\"\n[upstream]\nbrokers = [\"127.0.0.1:9092\"]\n",
        "[upstream]\nbrokers = [\"[::1]:9\"]\n[[route]]\nfrom = \"a/+/#\"\ntopic = \"t\"\n\
         where = \"x > 1 AND s = 'é\\u00e9\\\"' OR \\ty\"\nkey = \"\"\"topic(2)\n\"\"\"\nstart = \"oldest\"\n",
        "[[route]]\nfrom = \"a\"\ntopic = \"é\"\nwhere = '''\nx >> 'ü'\n'''\n",
    ]);
    let feed = |bytes: &[u8]| {
        let source = String::from_utf8_lossy(bytes).into_owned();
        if let Err(list) = Config::parse(&source) {
            let problems = Problems { path: "tributary.toml".into(), source, list };
            assert!(problems.render(false).contains("error"));
        }
    };
    run(&Target { feed, good });
}

#[test]
fn packets() {
    let connect = b"\x10\x2c\0\x04MQTT\x05\xce\0\x3c\x05\x11\0\0\0\x0a\0\x01c\0\0\x04will\0\x04gone\0\x04user\0\x06secret";
    let good = vec![
        connect.to_vec(),
        b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c".to_vec(),
        b"\x33\x19\0\x05a/b/c\0\x01\x0b\x26\0\x01k\0\x01v\x23\0\x07{\"v\":1}".to_vec(),
        b"\x32\x0d\0\x05a/b/c\0\x01data".to_vec(),
        b"\x82\x0c\0\x02\0\0\x06plant#\x01".to_vec(),
        b"\xa2\x09\0\x03\0\x05a/b/c".to_vec(),
        b"\x40\x02\0\x01".to_vec(),
        b"\xe0\x02\x04\0".to_vec(),
        b"\xc0\0".to_vec(),
    ];
    let feed = |bytes: &[u8]| {
        for version in [None, Some(Version::V311), Some(Version::V5)] {
            let mut rest = bytes;
            while let Ok(Decoded::Packet(_, length)) = decode(rest, version, PACKET_BYTES_MAX) {
                assert!(length > 0 && length <= rest.len());
                rest = &rest[length..];
            }
        }
    };
    run(&Target { feed, good });
}

#[test]
fn records() {
    let good = PAYLOADS
        .iter()
        .map(|payload| {
            let event = event(payload.as_bytes());
            let mut bytes = vec![0; record::encoded_len(&event, event.time)];
            record::encode(&event, event.time, &mut bytes);
            bytes.repeat(2)
        })
        .collect();
    let feed = |bytes: &[u8]| {
        assert!(bytes.len() < BODY_BYTES_MAX);
        let mut rest = bytes;
        while let Some(event) = record::decode(&mut rest, Timestamp(i64::MAX)) {
            // Properties are read by walking them.
            assert!(event.properties.iter().count() <= bytes.len());
        }
    };
    run(&Target { feed, good });
}

#[test]
fn control_records_and_positions() {
    let config = "[upstream]\nbrokers = [\"127.0.0.1:1\"]\n[[route]]\nfrom = \"a/+\"\ntopic = \"t\"\nwhere = \"v > 1\"\n";
    let config = Config::parse(config).unwrap_or_else(|list| panic!("{list:?}"));
    let wanted = Wanted::compile(&config.routes, true).expect("it compiles");
    let table = Table::none().succeed(&wanted, Offset(7), Offset(0));
    let mut good = texts(&["b=1f;1.2.3.4;a.0.0.ff;", ""]);
    good.push(table.encode());
    let feed = |bytes: &[u8]| {
        if let Ok(table) = Table::decode(bytes) {
            assert!(Table::decode(&table.encode()).is_ok());
        }
        if let Some(hint) = LaneHint::decode(bytes) {
            assert_eq!(LaneHint::decode(&hint.encode(hint.hint.high)), Some(hint));
        }
        let text = String::from_utf8_lossy(bytes);
        if let Some(account) = Account::parse(&text) {
            assert_eq!(Account::parse(&account.to_string()), Some(account));
        }
    };
    run(&Target { feed, good });
}
