//! The shape of every request that is answered, walked before a request is decoded.
//!
//! The codec reserves memory for as many elements as an array claims to have: eight bytes can ask
//! for gigabytes. So the claim is compared with what is there first. After [`check`], arrays are
//! as long as they say and have at most [`ELEMENTS_MAX`] elements in all.

use core::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;

/// Elements of all arrays of one request.
const ELEMENTS_MAX: usize = 100_000;

const ALWAYS: RangeInclusive<i16> = 0..=i16::MAX;

/// A request body: its fields, and the first version whose lengths are varints (KIP-482).
#[derive(Debug)]
pub(crate) struct Shape {
    flexible_from: i16,
    fields: &'static [Field],
}

#[derive(Debug)]
struct Field {
    versions: RangeInclusive<i16>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, or null.
    Text,
    /// Bytes, or null.
    Blob,
    /// An array, or null, of values without fields.
    Values(&'static Kind),
    /// An array, or null, of structures.
    Structs(&'static [Field]),
}

const fn fixed(bytes: usize) -> Field {
    Field { versions: ALWAYS, kind: Kind::Fixed(bytes) }
}

const fn text() -> Field {
    Field { versions: ALWAYS, kind: Kind::Text }
}

const fn structs(fields: &'static [Field]) -> Field {
    Field { versions: ALWAYS, kind: Kind::Structs(fields) }
}

impl Field {
    const fn from(mut self, version: i16) -> Self {
        self.versions = version..=*self.versions.end();
        self
    }

    const fn upto(mut self, version: i16) -> Self {
        self.versions = *self.versions.start()..=version;
        self
    }
}

/// The shape of the body of `api`, for the versions that are offered.
pub(crate) fn of(api: ApiKey) -> Option<&'static Shape> {
    SHAPES.iter().find(|(known, _)| *known == api).map(|(_, shape)| shape)
}

/// Whether `bytes` begin with a body of that shape. Answers its length.
pub(crate) fn check(bytes: &[u8], shape: &Shape, version: i16) -> Option<usize> {
    let flexible = version >= shape.flexible_from;
    let mut walk = Walk { bytes, flexible, version, elements: 0 };
    walk.fields(shape.fields)?;
    Some(bytes.len() - walk.bytes.len())
}

/// The length of the tagged fields at the front of `bytes`.
pub(crate) fn tagged_bytes(bytes: &[u8]) -> Option<usize> {
    let mut walk = Walk { bytes, flexible: true, version: 0, elements: 0 };
    walk.tagged()?;
    Some(bytes.len() - walk.bytes.len())
}

struct Walk<'a> {
    bytes: &'a [u8],
    flexible: bool,
    version: i16,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Option<()> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.versions.contains(&version)) {
            self.value(&field.kind)?;
        }
        if self.flexible { self.tagged() } else { Some(()) }
    }

    fn value(&mut self, kind: &'static Kind) -> Option<()> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::Text => {
                let length = if self.flexible { self.compact()? } else { self.short()? };
                self.skip(length)
            }
            Kind::Blob => {
                let length = self.length()?;
                self.skip(length)
            }
            Kind::Values(kind) => self.elements(|walk| walk.value(kind)),
            Kind::Structs(fields) => self.elements(|walk| walk.fields(fields)),
        }
    }

    fn elements(&mut self, mut one: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.length()?;
        self.elements = self.elements.checked_add(count)?;
        if self.elements > ELEMENTS_MAX {
            return None;
        }
        (0..count).try_for_each(|_| one(self))
    }

    fn tagged(&mut self) -> Option<()> {
        let count = self.varint()?;
        for _ in 0..count {
            self.varint()?;
            let length = self.varint()?;
            self.skip(usize::try_from(length).ok()?)?;
        }
        Some(())
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.bytes = self.bytes.get(bytes..)?;
        Some(())
    }

    /// The length of an array or of bytes; null is 0.
    fn length(&mut self) -> Option<usize> {
        if self.flexible {
            return self.compact();
        }
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        self.bytes = rest;
        from_signed(i64::from(i32::from_be_bytes(*length)))
    }

    fn short(&mut self) -> Option<usize> {
        let (length, rest) = self.bytes.split_first_chunk::<2>()?;
        self.bytes = rest;
        from_signed(i64::from(i16::from_be_bytes(*length)))
    }

    /// A length that is stored one higher, so that 0 is null.
    fn compact(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?.saturating_sub(1)).ok()
    }

    /// An unsigned varint of at most 32 bits.
    fn varint(&mut self) -> Option<u32> {
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).ok();
            }
        }
        None
    }
}

/// A signed length: -1 is null, less is nonsense.
fn from_signed(length: i64) -> Option<usize> {
    match length {
        -1 => Some(0),
        length => usize::try_from(length).ok(),
    }
}

/// A field that is an array of 4-byte integers.
const fn integers() -> Field {
    Field { versions: ALWAYS, kind: Kind::Values(&Kind::Fixed(4)) }
}

const SHAPES: [(ApiKey, Shape); 17] = [
    (ApiKey::Produce, Shape { flexible_from: 9, fields: PRODUCE }),
    (ApiKey::Fetch, Shape { flexible_from: 12, fields: FETCH }),
    (ApiKey::ListOffsets, Shape { flexible_from: 6, fields: LIST_OFFSETS }),
    (ApiKey::Metadata, Shape { flexible_from: 9, fields: METADATA }),
    (ApiKey::OffsetCommit, Shape { flexible_from: 8, fields: OFFSET_COMMIT }),
    (ApiKey::OffsetFetch, Shape { flexible_from: 6, fields: OFFSET_FETCH }),
    (ApiKey::FindCoordinator, Shape { flexible_from: 3, fields: FIND_COORDINATOR }),
    (ApiKey::ApiVersions, Shape { flexible_from: 3, fields: API_VERSIONS }),
    (ApiKey::CreateTopics, Shape { flexible_from: 5, fields: CREATE_TOPICS }),
    (ApiKey::InitProducerId, Shape { flexible_from: 2, fields: INIT_PRODUCER_ID }),
    (ApiKey::AddPartitionsToTxn, Shape { flexible_from: 3, fields: ADD_PARTITIONS }),
    (ApiKey::AddOffsetsToTxn, Shape { flexible_from: 3, fields: ADD_OFFSETS }),
    (ApiKey::EndTxn, Shape { flexible_from: 3, fields: END_TXN }),
    (ApiKey::TxnOffsetCommit, Shape { flexible_from: 3, fields: TXN_OFFSET_COMMIT }),
    (ApiKey::DescribeConfigs, Shape { flexible_from: 4, fields: DESCRIBE_CONFIGS }),
    (ApiKey::SaslHandshake, Shape { flexible_from: i16::MAX, fields: &[text()] }),
    (ApiKey::SaslAuthenticate, Shape { flexible_from: 2, fields: SASL_AUTHENTICATE }),
];

/// A topic's name and some of its partitions.
const TOPIC_PARTITIONS: &[Field] = &[text(), integers()];

const PRODUCE: &[Field] = &[
    text().from(3),
    fixed(2),
    fixed(4),
    structs(&[text(), structs(&[fixed(4), Field { versions: ALWAYS, kind: Kind::Blob }])]),
];

const FETCH: &[Field] = &[
    fixed(4),
    fixed(4),
    fixed(4),
    fixed(4),
    fixed(1),
    fixed(4).from(7),
    fixed(4).from(7),
    structs(&[
        text(),
        structs(&[
            fixed(4),
            fixed(4).from(9),
            fixed(8),
            fixed(4).from(12),
            fixed(8).from(5),
            fixed(4),
        ]),
    ]),
    structs(TOPIC_PARTITIONS).from(7),
    text().from(11),
];

const LIST_OFFSETS: &[Field] = &[
    fixed(4),
    fixed(1).from(2),
    structs(&[text(), structs(&[fixed(4), fixed(4).from(4), fixed(8)])]),
];

const METADATA: &[Field] = &[
    structs(&[fixed(16).from(10), text()]),
    fixed(1).from(4),
    fixed(1).from(8).upto(10),
    fixed(1).from(8),
];

const OFFSET_COMMIT: &[Field] = &[
    text(),
    fixed(4),
    text(),
    text().from(7),
    fixed(8).upto(4),
    structs(&[text(), structs(&[fixed(4), fixed(8), fixed(4).from(6), text()])]),
];

const OFFSET_FETCH: &[Field] = &[
    text().upto(7),
    structs(TOPIC_PARTITIONS).upto(7),
    structs(&[text(), text().from(9), fixed(4).from(9), structs(TOPIC_PARTITIONS)]).from(8),
    fixed(1).from(7),
];

const FIND_COORDINATOR: &[Field] = &[
    text().upto(3),
    fixed(1).from(1),
    Field { versions: 4..=i16::MAX, kind: Kind::Values(&Kind::Text) },
];

const API_VERSIONS: &[Field] = &[text().from(3), text().from(3)];

const CREATE_TOPICS: &[Field] = &[
    structs(&[
        text(),
        fixed(4),
        fixed(2),
        structs(&[fixed(4), integers()]),
        structs(&[text(), text()]),
    ]),
    fixed(4),
    fixed(1),
];

const INIT_PRODUCER_ID: &[Field] = &[text(), fixed(4), fixed(8).from(3), fixed(2).from(3)];

const ADD_PARTITIONS: &[Field] = &[
    structs(&[text(), fixed(8), fixed(2), fixed(1), structs(TOPIC_PARTITIONS)]).from(4),
    text().upto(3),
    fixed(8).upto(3),
    fixed(2).upto(3),
    structs(TOPIC_PARTITIONS).upto(3),
];

const ADD_OFFSETS: &[Field] = &[text(), fixed(8), fixed(2), text()];

const END_TXN: &[Field] = &[text(), fixed(8), fixed(2), fixed(1)];

const TXN_OFFSET_COMMIT: &[Field] = &[
    text(),
    text(),
    fixed(8),
    fixed(2),
    fixed(4).from(3),
    text().from(3),
    text().from(3),
    structs(&[text(), structs(&[fixed(4), fixed(8), fixed(4).from(2), text()])]),
];

const SASL_AUTHENTICATE: &[Field] = &[Field { versions: ALWAYS, kind: Kind::Blob }];

const DESCRIBE_CONFIGS: &[Field] = &[
    structs(&[fixed(1), text(), Field { versions: ALWAYS, kind: Kind::Values(&Kind::Text) }]),
    fixed(1),
    fixed(1).from(3),
];
