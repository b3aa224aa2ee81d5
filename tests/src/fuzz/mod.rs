//! What is fed with bytes that nobody wrote in good faith, and good bytes to begin from.
//!
//! A target is a function of bytes that must come back: without a panic, without hanging, and
//! without more memory than [`MEMORY_BYTES_MAX`]. `cargo test` feeds each some thousands of changed
//! good bytes and all of the stored corpus; `tests/fuzz/run` feeds them by coverage.

mod door;
mod kafka;
mod log;
mod mqtt;
mod rules;

use std::path::PathBuf;
use std::{fs, io};

/// What any input may take in memory at once.
pub const MEMORY_BYTES_MAX: u64 = 1 << 20;
/// The longest input.
pub const INPUT_BYTES_MAX: usize = 4_096;

/// What is fed, and good bytes to begin from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, for the command line and the corpus.
    pub name: &'static str,
    /// Takes any bytes.
    pub feed: fn(&[u8]),
    /// Bytes that are well-formed.
    pub good: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 12] = [
    rules::EXPRESSIONS,
    rules::PAYLOADS,
    rules::PROGRAMS,
    rules::CONFIGURATIONS,
    mqtt::PACKETS,
    door::ACCESS_LISTS,
    door::PASSWORDS,
    door::LAYERS,
    log::RECORDS,
    log::CONTROLS,
    log::QUESTIONS,
    kafka::ANSWERS,
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

impl Target {
    /// Where its corpus is stored: an input per line, in hexadecimal digits.
    #[must_use]
    pub fn corpus_path(&self) -> PathBuf {
        crate::tidy::root().join("tests/fuzz/corpus").join(self.name).with_extension("hex")
    }

    /// The stored corpus.
    ///
    /// # Errors
    /// If it cannot be read, or a line is not what it should be.
    pub fn corpus(&self) -> io::Result<Vec<Vec<u8>>> {
        fs::read_to_string(self.corpus_path())?.lines().map(from_hex).collect()
    }

    /// Stores a corpus, the same inputs always in the same order.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn store(&self, mut inputs: Vec<Vec<u8>>) -> io::Result<()> {
        inputs.sort_by_key(|bytes| (bytes.len(), bytes.clone()));
        inputs.dedup();
        let lines: String = inputs.iter().map(|bytes| to_hex(bytes) + "\n").collect();
        fs::write(self.corpus_path(), lines)
    }
}

/// As hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

/// What [`to_hex`] wrote.
///
/// # Errors
/// If it is something else.
pub fn from_hex(line: &str) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("no input: {line}"));
    let byte = |pair: &[u8]| {
        let digits = core::str::from_utf8(pair).map_err(|_| bad())?;
        u8::from_str_radix(digits, 16).map_err(|_| bad())
    };
    if line.len() % 2 == 1 {
        return Err(bad());
    }
    line.as_bytes().chunks(2).map(byte).collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn event(payload: &[u8]) -> tributary_core::record::Event<'_> {
    use tributary_core::record::{Event, Origin, Qos};
    Event {
        topic: "plant/7/telemetry",
        payload,
        client: "c",
        time: tributary_core::time::Timestamp(1_800_000_000_000),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: tributary_core::properties::Properties::NONE,
    }
}
