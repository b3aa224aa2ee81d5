//! The records of a batch, read one by one. Lengths are checked before they are used.

use bytes::Bytes;
use tributary_core::time::Timestamp;

use super::batch::Header;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The bytes are not what the batch's header promises: nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Iterates over the records that the header counts, then checks that nothing follows.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    reader: Reader,
    header: Header,
    next: i32,
}

impl Records {
    /// `None`: the bytes could not be decompressed.
    pub(crate) fn new(bytes: Option<Bytes>, header: Header) -> Self {
        Self { reader: Reader(bytes.unwrap_or_default()), header, next: 0 }
    }

    fn record(&mut self) -> Option<Record> {
        let length = self.reader.length()?;
        let mut body = Reader(self.reader.take(length)?);
        let _attributes = body.take(1)?;
        let time_delta = body.varint()?;
        let offset_delta = body.varint()?;
        if offset_delta != i64::from(self.next) {
            return None;
        }
        let key = body.nullable()?;
        let value = body.nullable()?;
        let count = body.length()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let length = body.length()?;
            headers.push((body.take(length)?, body.nullable()?));
        }
        let timestamp = if self.header.is_stamped_by_broker() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp.checked_add(time_delta)?
        };
        body.0.is_empty().then(|| Record {
            offset: self.header.base_offset.saturating_add(offset_delta),
            timestamp: Timestamp(timestamp),
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.header.record_count {
            let rest = !self.reader.0.is_empty();
            self.reader.0.clear();
            return rest.then_some(Err(Malformed));
        }
        let record = self.record();
        self.next += 1;
        if record.is_none() {
            self.next = self.header.record_count;
            self.reader.0.clear();
        }
        Some(record.ok_or(Malformed))
    }
}

/// Takes bytes from the front; `None` when they are not there.
#[derive(Clone, Debug)]
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    /// A zigzag variable-length integer of at most 64 bits.
    fn varint(&mut self) -> Option<i64> {
        let mut raw: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            raw |= bits << shift;
            if byte & 0x80 == 0 {
                return Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// A length and as many bytes; a length of -1 is `Some(None)`.
    #[expect(clippy::option_option, reason = "the outer one is the reader's, the inner Kafka's")]
    fn nullable(&mut self) -> Option<Option<Bytes>> {
        match self.varint()? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }
}
