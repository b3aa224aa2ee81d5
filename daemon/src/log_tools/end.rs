//! How far a log is durable, as a running daemon tells it to the tools that read its files.

use serde::{Deserialize, Serialize};
use tributary_core::Offset;
use tributary_core::log::End;

/// The answer of a daemon: the durable end of a stream, and the page that is durable in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// Why there is no answer: the daemon does not have the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    offset: u64,
    oldest: u64,
    sequence: u64,
    segment: u32,
    at: u32,
    /// The last page up to `at`, in hexadecimal.
    tail: String,
}

impl LogEnd {
    /// The answer for a stream that is there; `tail`: its last page, up to the end.
    #[must_use]
    pub fn new(end: End, oldest: Offset, tail: &[u8]) -> Self {
        Self {
            error: None,
            offset: end.offset.0,
            oldest: oldest.0,
            sequence: end.sequence,
            segment: end.segment,
            at: end.at,
            tail: hex(tail),
        }
    }

    /// The answer for another one.
    #[must_use]
    pub fn no_such(stream: &str) -> Self {
        let nothing = End { offset: Offset(0), sequence: 0, segment: 0, at: 0, oldest: Offset(0) };
        let error = Some(format!("the daemon has no stream `{stream}`"));
        Self { error, ..Self::new(nothing, Offset(0), &[]) }
    }

    /// What was told, checked.
    ///
    /// # Errors
    /// The daemon's own words, or that its answer is not understood.
    pub(super) fn read(&self) -> Result<Told, String> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let bytes = unhex(&self.tail).filter(|bytes| bytes.len() <= self.at as usize);
        let bytes = bytes.ok_or_else(|| "the daemon's answer is not understood".to_owned())?;
        let page_at = self.at - u32::try_from(bytes.len()).unwrap_or(self.at);
        let (offset, at) = (Offset(self.offset), self.at);
        // What was given up and can still be read is part of what is there.
        let oldest = Offset(0);
        let end = End { offset, sequence: self.sequence, segment: self.segment, at, oldest };
        Ok(Told { end, oldest: Offset(self.oldest), page_at, bytes })
    }
}

/// The durable end, and the last page up to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) end: End,
    pub(super) oldest: Offset,
    pub(super) page_at: u32,
    pub(super) bytes: Vec<u8>,
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_socket() {
        let oldest = Offset(0);
        let end = End { offset: Offset(7), sequence: 3, segment: 1, at: 4103, oldest };
        let text = serde_json::to_string(&LogEnd::new(end, Offset(2), &[0, 0xAB, 0xFF]));
        let answer: LogEnd = serde_json::from_str(&text.expect("plain")).expect("the same type");
        let told = Told { end, oldest: Offset(2), page_at: 4100, bytes: vec![0, 0xAB, 0xFF] };
        assert_eq!(answer.read(), Ok(told));
        assert!(LogEnd::no_such("x").read().is_err_and(|why| why.contains("`x`")));
    }
}
