//! Compression of record batches, as Kafka frames it, and the choice of a codec by what it saves.
//!
//! Pure Rust but for zstd, which libzstd makes: a well-tried encoder in Rust makes half as many bytes
//! again of telemetry. What others have made is read by Rust alone. `auto` weighs bytes against
//! processor time: what a codec costs is measured by the daemon and given as [`Costs`], what it saves
//! is tried on the records themselves, and what a byte costs follows from the measured link.

use core::fmt;
use std::io::Write;

use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// A codec of record batches, with Kafka's number for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i16)]
pub enum Codec {
    /// No compression.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Blocks of raw snappy in the frame of snappy-java.
    Snappy = 2,
    /// The LZ4 frame format, blocks independent of each other: Java reads no others.
    Lz4 = 3,
    /// RFC 8878. Needs `Produce` 7 and later (Kafka 2.1).
    Zstd = 4,
}

/// What to compress with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Always the same.
    Fixed(Codec),
    /// Whatever takes the least time on this link with this processor.
    Auto(Costs),
}

/// Nanoseconds of processor time that each of [`Codec::ALL`] takes for a KiB of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs(pub [u32; 5]);

/// Records of snappy-java's blocks, in bytes.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
/// Magic, version 1, compatible with version 1.
const SNAPPY_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The lowest: telemetry gets no smaller by the default (3), which needs twice the memory. At this one
/// libzstd has but one way of finding matches, whatever it was built with.
const ZSTD_LEVEL: i32 = 1;
/// How much of a batch is tried with every codec.
const SAMPLE_BYTES_MAX: usize = 64 * 1024;
/// After so many transactions codecs are tried again: records may have changed.
const TRIAL_EVERY: u32 = 256;
/// Or when there is so many times more to try.
const TRIAL_GROWTH: usize = 8;
/// The link's rate before it was measured, in bytes a second: where bytes are dear.
const RATE_UNKNOWN: u64 = 125_000;

impl Codec {
    /// Every codec, by its number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The bits of a batch's attributes.
    pub(super) const fn attribute(self) -> i16 {
        self as i16
    }

    /// Appends the records, compressed, to `out`.
    ///
    /// # Panics
    /// Where there is no memory to be had, as everything does.
    pub fn compress(self, records: &[u8], out: &mut Vec<u8>) {
        const HOLDS: &str = "a vector takes all that is written to it";
        match self {
            Self::None => out.extend_from_slice(records),
            Self::Gzip => {
                // Who is slower, and smaller, is chosen for slow links: there a byte costs more.
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(records).expect(HOLDS);
                encoder.finish().expect(HOLDS);
            }
            Self::Snappy => {
                out.extend_from_slice(&SNAPPY_HEADER);
                let mut encoder = snap::raw::Encoder::new();
                for block in records.chunks(SNAPPY_BLOCK_BYTES) {
                    let block = encoder.compress_vec(block).expect("a block is far below 4 GiB");
                    let length = u32::try_from(block.len()).expect("a block is far below 4 GiB");
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(&block);
                }
            }
            Self::Lz4 => {
                let info = FrameInfo::new()
                    .block_size(BlockSize::Max64KB)
                    .block_mode(BlockMode::Independent);
                let mut encoder = FrameEncoder::with_frame_info(info, out);
                encoder.write_all(records).expect(HOLDS);
                encoder.finish().expect(HOLDS);
            }
            Self::Zstd => {
                // Room for the worst case costs nothing as long as it is not written to.
                let mut frame = Vec::with_capacity(zstd_safe::compress_bound(records.len()));
                zstd_safe::compress(&mut frame, records, ZSTD_LEVEL).expect(HOLDS);
                out.extend_from_slice(&frame);
            }
        }
    }
}

/// Which codec the next transaction is compressed with.
#[derive(Debug)]
pub(crate) struct Chooser {
    compression: Compression,
    codec: Codec,
    /// Transactions until codecs are tried again.
    countdown: u32,
    /// Bytes that were tried last.
    tried: usize,
}

impl Chooser {
    pub(crate) fn new(compression: Compression) -> Self {
        let codec = match compression {
            Compression::Fixed(codec) => codec,
            Compression::Auto(_) => Codec::Lz4,
        };
        Self { compression, codec, countdown: 0, tried: 0 }
    }

    /// The codec in use.
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes note of records that are to be sent on a link of so many bytes a second.
    pub(crate) fn learn(&mut self, sample: &[u8], rate: Option<u64>) {
        let Compression::Auto(Costs(costs)) = self.compression else {
            return;
        };
        let sample = &sample[..sample.len().min(SAMPLE_BYTES_MAX)];
        self.countdown = self.countdown.saturating_sub(1);
        let grown = sample.len() / TRIAL_GROWTH >= self.tried.max(1);
        if sample.is_empty() || (self.countdown > 0 && !grown) {
            return;
        }
        (self.countdown, self.tried) = (TRIAL_EVERY, sample.len());
        let rate = rate.unwrap_or(RATE_UNKNOWN).max(1);
        let mut out = Vec::with_capacity(sample.len());
        let time_ns = |(codec, cost): &(Codec, u32)| {
            out.clear();
            codec.compress(sample, &mut out);
            let work = sample.len() as u64 * u64::from(*cost) / 1024;
            work + out.len() as u64 * 1_000_000_000 / rate
        };
        let best = Codec::ALL.into_iter().zip(costs).min_by_key(time_ns);
        self.codec = best.map_or(Codec::None, |(codec, _)| codec);
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use tributary_core::Offset;
    use tributary_core::time::Timestamp;

    use super::*;
    use crate::batch::encode::OpenBatch;
    use crate::batch::{Header, Partitioner, Record};

    /// Such that each has a link that it is best for, in nanoseconds for a KiB.
    const COSTS: Costs = Costs([0, 20_000, 3_000, 2_500, 8_000]);

    fn telemetry(records: usize) -> Vec<u8> {
        let line = |n: usize| format!("plant/press-{}/telemetry{{\"temperature\":{}}}", n % 7, n);
        (0..records).flat_map(|n| line(n * n % 977).into_bytes()).collect()
    }

    fn sizes(records: &[u8]) -> Vec<usize> {
        let size = |codec: Codec| {
            let mut out = Vec::new();
            codec.compress(records, &mut out);
            out.len()
        };
        Codec::ALL.into_iter().map(size).collect()
    }

    #[test]
    fn every_codec_makes_telemetry_much_smaller() {
        let records = telemetry(2_000);
        let sizes = sizes(&records);
        assert_eq!(sizes[0], records.len());
        assert!(sizes[1..].iter().all(|size| size * 3 < sizes[0]), "{sizes:?}");
    }

    /// The records of a thousand readings, as a gateway makes them of JSON of 128 bytes.
    fn burst() -> Vec<u8> {
        let mut state = 1_u64;
        let mut near = |least: u64, spread: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            least + (state >> 33) % spread
        };
        let mut open: Option<OpenBatch> = None;
        for n in 0..1_000 {
            let (hot, high, strong) = (near(5_750, 900), near(4_900, 400), near(975, 250));
            let text = format!(
                "{{\"seq\":{n},\"temperature\":{}.{:02},\"pressure\":{}.{:03},\"current\":{}.{:02},\
                 \"vibration\":0.{:04},\"rpm\":{},\"state\":\"run\"",
                hot / 100,
                hot % 100,
                high / 1_000,
                high % 1_000,
                strong / 100,
                strong % 100,
                near(210, 200),
                near(1_440, 60),
            );
            let (value, ms) = (format!("{text:127}}}"), n / 20);
            let (offset, time) = (n.to_string(), format!("2026-01-01T00:00:01.{ms:03}Z"));
            let record = Record {
                topic: "telemetry",
                partition: Partitioner::Gateway,
                offset: Offset(n),
                route: 1,
                timestamp: Timestamp(1_767_225_601_000 + i64::try_from(ms).expect("small")),
                key: Some(b"plant/press-7/telemetry"),
                value: value.as_bytes(),
                headers: &[
                    Header::new("tributary.gateway", b"press-line-3"),
                    Header::new("tributary.offset", offset.as_bytes()),
                    Header::new("tributary.route", b"telemetry"),
                    Header::new("mqtt.topic", b"plant/press-7/telemetry"),
                    Header::new("time", time.as_bytes()),
                    Header::new("content-type", b"application/json"),
                ],
            };
            let batch = open.get_or_insert_with(|| OpenBatch::new(&record, Vec::new()));
            let size = batch.size_of(&record, None);
            batch.put(&record, None, size);
        }
        open.expect("there are records").records().to_vec()
    }

    #[test]
    fn zstd_makes_a_burst_as_small_as_other_producers_do() {
        // `zstd -3` of Debian 12 (1.5.4) on the same bytes: the level that librdkafka and Java use.
        const THEIRS: usize = 25_053;
        let ours = sizes(&burst())[Codec::Zstd as usize];
        assert!(ours * 10 <= THEIRS * 11, "{ours} bytes where others need {THEIRS}");
    }

    fn chosen(compression: Compression, sample: &[u8], rate: u64) -> Codec {
        let mut chooser = Chooser::new(compression);
        chooser.learn(sample, Some(rate));
        chooser.codec()
    }

    #[test]
    fn a_slow_link_gets_the_smallest_and_a_fast_one_the_quickest() {
        let records = telemetry(2_000);
        let sizes = sizes(&records[..SAMPLE_BYTES_MAX]);
        let chosen = |rate| chosen(Compression::Auto(COSTS), &records, rate);
        let slow = chosen(8_000);
        assert_eq!(Some(&sizes[slow as usize]), sizes.iter().min(), "{slow} of {sizes:?}");
        assert_eq!(chosen(10_000_000_000), Codec::None);
        assert_eq!(chosen(60_000_000), Codec::Lz4);
    }

    #[test]
    fn what_cannot_be_compressed_is_sent_as_it_is() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let noise: Vec<u8> = (0..20_000).map(|_| random()).collect();
        assert_eq!(chosen(Compression::Auto(COSTS), &noise, 1_000_000), Codec::None);
    }

    #[test]
    fn a_codec_by_name_is_never_changed() {
        let fixed = Compression::Fixed(Codec::Snappy);
        assert_eq!(chosen(fixed, &telemetry(500), 1), Codec::Snappy);
    }
}
