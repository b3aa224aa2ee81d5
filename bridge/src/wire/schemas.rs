//! The schemas of answers, in the versions that are asked for.

use super::Api;
use super::shape::{Field, Kind};

const fn always(kind: Kind) -> Field {
    Field { kind, versions: (0, i16::MAX) }
}

const fn since(version: i16, kind: Kind) -> Field {
    Field { kind, versions: (version, i16::MAX) }
}

const fn until(version: i16, kind: Kind) -> Field {
    Field { kind, versions: (0, version) }
}

const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const TEXT: Kind = Kind::Text;
/// Milliseconds.
const THROTTLE: Field = always(Kind::Throttle);
/// The end of every structure: no tag that the codec looks into.
const TAGS: Field = always(Kind::Tagged(&[]));

/// A name and two 16-bit numbers.
const FEATURE: &[Field] = &[always(TEXT), always(INT16), always(INT16), TAGS];
/// A partition's index and its error.
const OUTCOME: &[Field] = &[always(INT32), always(INT16), TAGS];
/// A topic's name and the outcome for each of its partitions.
const OUTCOMES: &[Field] = &[always(TEXT), always(Kind::Array(OUTCOME)), TAGS];

const API_VERSIONS: &[Field] = &[
    always(INT16),
    always(Kind::Array(&[always(INT16), always(INT16), always(INT16), TAGS])),
    THROTTLE,
    always(Kind::Tagged(&[
        (0, always(Kind::Array(FEATURE))),
        (1, always(INT64)),
        (2, always(Kind::Array(FEATURE))),
        (3, always(INT8)),
    ])),
];

const METADATA: &[Field] = &[
    THROTTLE,
    always(Kind::Array(&[always(INT32), always(TEXT), always(INT32), always(TEXT), TAGS])),
    always(TEXT),
    always(INT32),
    always(Kind::Array(&[
        always(INT16),
        always(TEXT),
        since(10, UUID),
        always(INT8),
        always(Kind::Array(&[
            always(INT16),
            always(INT32),
            always(INT32),
            always(INT32),
            always(Kind::Integers),
            always(Kind::Integers),
            always(Kind::Integers),
            TAGS,
        ])),
        since(8, INT32),
        TAGS,
    ])),
    Field { kind: INT32, versions: (8, 10) },
    TAGS,
];

const FIND_COORDINATOR: &[Field] = &[
    THROTTLE,
    until(3, INT16),
    until(3, TEXT),
    until(3, INT32),
    until(3, TEXT),
    until(3, INT32),
    since(
        4,
        Kind::Array(&[
            always(TEXT),
            always(INT32),
            always(TEXT),
            always(INT32),
            always(INT16),
            always(TEXT),
            TAGS,
        ]),
    ),
    TAGS,
];

const PRODUCE: &[Field] = &[
    always(Kind::Array(&[
        always(TEXT),
        always(Kind::Array(&[
            always(INT32),
            always(INT16),
            always(INT64),
            always(INT64),
            always(INT64),
            since(8, Kind::Array(&[always(INT32), always(TEXT), TAGS])),
            since(8, TEXT),
            always(Kind::Tagged(&[(
                0,
                since(10, Kind::Struct(&[always(INT32), always(INT32), TAGS])),
            )])),
        ])),
        TAGS,
    ])),
    THROTTLE,
    always(Kind::Tagged(&[(
        0,
        since(10, Kind::Array(&[always(INT32), always(TEXT), always(INT32), always(TEXT), TAGS])),
    )])),
];

const FETCH: &[Field] = &[
    THROTTLE,
    since(7, INT16),
    since(7, INT32),
    always(Kind::Array(&[
        always(TEXT),
        always(Kind::Array(&[
            always(INT32),
            always(INT16),
            always(INT64),
            always(INT64),
            since(5, INT64),
            always(Kind::Array(&[always(INT64), always(INT64), TAGS])),
            since(11, INT32),
            always(Kind::Blob),
            always(Kind::Tagged(&[
                (0, always(Kind::Struct(&[always(INT32), always(INT64), TAGS]))),
                (1, always(Kind::Struct(&[always(INT32), always(INT32), TAGS]))),
                (2, always(Kind::Struct(&[always(INT64), always(INT32), TAGS]))),
            ])),
        ])),
        TAGS,
    ])),
    TAGS,
];

const LIST_OFFSETS: &[Field] = &[
    THROTTLE,
    always(Kind::Array(&[
        always(TEXT),
        always(Kind::Array(&[
            always(INT32),
            always(INT16),
            always(INT64),
            always(INT64),
            since(4, INT32),
            TAGS,
        ])),
        TAGS,
    ])),
    TAGS,
];

/// A partition, its committed offset, leader epoch, metadata and error.
const COMMITTED: &[Field] =
    &[always(INT32), always(INT64), always(INT32), always(TEXT), always(INT16), TAGS];
const COMMITTED_TOPIC: &[Field] = &[always(TEXT), always(Kind::Array(COMMITTED)), TAGS];
const OFFSET_FETCH: &[Field] = &[
    THROTTLE,
    until(7, Kind::Array(COMMITTED_TOPIC)),
    until(7, INT16),
    since(
        8,
        Kind::Array(&[always(TEXT), always(Kind::Array(COMMITTED_TOPIC)), always(INT16), TAGS]),
    ),
    TAGS,
];

const CREATE_TOPICS: &[Field] = &[
    THROTTLE,
    always(Kind::Array(&[
        always(TEXT),
        always(INT16),
        always(TEXT),
        since(5, INT32),
        since(5, INT16),
        since(
            5,
            Kind::Array(&[
                always(TEXT),
                always(TEXT),
                always(INT8),
                always(INT8),
                always(INT8),
                TAGS,
            ]),
        ),
        always(Kind::Tagged(&[(0, always(INT16))])),
    ])),
    TAGS,
];

const DESCRIBE_CONFIGS: &[Field] = &[
    THROTTLE,
    always(Kind::Array(&[
        always(INT16),
        always(TEXT),
        always(INT8),
        always(TEXT),
        always(Kind::Array(&[
            always(TEXT),
            always(TEXT),
            always(INT8),
            always(INT8),
            always(INT8),
            always(Kind::Array(&[always(TEXT), always(TEXT), always(INT8), TAGS])),
            since(3, INT8),
            since(3, TEXT),
            TAGS,
        ])),
        TAGS,
    ])),
    TAGS,
];

/// Throttle time and the outcome for each partition.
const PER_PARTITION: &[Field] = &[THROTTLE, always(Kind::Array(OUTCOMES)), TAGS];
/// Throttle time and an error.
const PLAIN: &[Field] = &[THROTTLE, always(INT16), TAGS];
/// Throttle time, an error and a producer.
const PRODUCER: &[Field] = &[THROTTLE, always(INT16), always(INT64), always(INT16), TAGS];
/// As `PRODUCER`, where older versions have no producer.
const PRODUCER_SINCE_5: &[Field] =
    &[THROTTLE, always(INT16), since(5, INT64), since(5, INT16), TAGS];

const SASL_HANDSHAKE: &[Field] = &[always(INT16), always(Kind::Array(&[always(TEXT)]))];
const SASL_AUTHENTICATE: &[Field] =
    &[always(INT16), always(TEXT), always(Kind::Blob), since(1, INT64), TAGS];

/// The schema of an answer's body, in the versions that [`Api::versions`] allows.
pub(super) const fn schema(api: Api) -> &'static [Field] {
    match api {
        Api::ApiVersions => API_VERSIONS,
        Api::Metadata => METADATA,
        Api::FindCoordinator => FIND_COORDINATOR,
        Api::Produce => PRODUCE,
        Api::Fetch => FETCH,
        Api::ListOffsets => LIST_OFFSETS,
        Api::OffsetFetch => OFFSET_FETCH,
        Api::CreateTopics => CREATE_TOPICS,
        Api::DescribeConfigs => DESCRIBE_CONFIGS,
        Api::AddPartitionsToTxn | Api::TxnOffsetCommit | Api::OffsetCommit => PER_PARTITION,
        Api::AddOffsetsToTxn => PLAIN,
        Api::InitProducerId => PRODUCER,
        Api::EndTxn => PRODUCER_SINCE_5,
        Api::SaslHandshake => SASL_HANDSHAKE,
        Api::SaslAuthenticate => SASL_AUTHENTICATE,
    }
}
