//! The records of a batch, decompressed: of ours for making others of them, of others' for reading.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

use super::Codec;

/// What snappy-java puts in front of its blocks: a magic, and two version numbers.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_HEADER_BYTES: usize = 16;
/// What RFC 8878 wants a decoder of zstd to be able to look back. It keeps as much before it gives any
/// out, so that a few bytes which claim more would take more than `most`.
const ZSTD_WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What cannot be decompressed, or comes to more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable;

impl Codec {
    /// The codec of a batch, by its attributes; `None` for one that nobody knows.
    pub(crate) fn of_attributes(attributes: i16) -> Option<Self> {
        const MASK: i16 = 0b111;
        Self::ALL.into_iter().find(|codec| codec.attribute() == attributes & MASK)
    }

    /// Appends the records that a producer has compressed, `most` bytes at most.
    pub(crate) fn decompress(
        self,
        bytes: &[u8],
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        match self {
            Self::None if bytes.len() <= most => out.extend_from_slice(bytes),
            Self::None => return Err(Undecodable),
            Self::Gzip => read(flate2::read::GzDecoder::new(bytes), most, out)?,
            Self::Lz4 => read(lz4_flex::frame::FrameDecoder::new(bytes), most, out)?,
            Self::Snappy => unsnap(bytes, most, out)?,
            Self::Zstd => {
                let window = most.max(ZSTD_WINDOW_BYTES_MAX) as u64;
                let decoder = StreamingDecoder::new_with_max_window_size(bytes, window);
                read(decoder.map_err(|_| Undecodable)?, most, out)?;
            }
        }
        Ok(())
    }
}

fn read(from: impl Read, most: usize, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let read = from.take(most as u64 + 1).read_to_end(out).map_err(|_| Undecodable)?;
    if read > most { Err(Undecodable) } else { Ok(()) }
}

/// Blocks as snappy-java frames them, or one block alone, as librdkafka writes it.
fn unsnap(bytes: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let end = out.len() + most;
    let mut block = |block: &[u8]| {
        let length = snap::raw::decompress_len(block).map_err(|_| Undecodable)?;
        let at = out.len();
        if length > end - at {
            return Err(Undecodable);
        }
        out.resize(at + length, 0);
        let decoded = snap::raw::Decoder::new().decompress(block, &mut out[at..]);
        decoded.map(drop).map_err(|_| Undecodable)
    };
    if !bytes.starts_with(SNAPPY_MAGIC) {
        return block(bytes);
    }
    let mut rest = bytes.get(SNAPPY_HEADER_BYTES..).ok_or(Undecodable)?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Undecodable)?;
        let (framed, after) = after.split_at_checked(length).ok_or(Undecodable)?;
        block(framed)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_took_and_no_more_than_asked() {
        let records: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for codec in Codec::ALL {
            let (mut small, mut again) = (Vec::new(), Vec::new());
            codec.compress(&records, &mut small);
            assert_eq!(codec.decompress(&small, records.len(), &mut again), Ok(()), "{codec:?}");
            assert!(again == records, "{codec:?}");
            let less = codec.decompress(&small, records.len() - 1, &mut Vec::new());
            assert_eq!(less, Err(Undecodable), "{codec:?}");
            if codec != Codec::None {
                let cut = codec.decompress(&small[..small.len() / 2], 1 << 20, &mut Vec::new());
                assert_eq!(cut, Err(Undecodable), "{codec:?}");
            }
        }
    }

    /// Text that repeats itself, the same with noise between, one byte over and over, and noise.
    fn kinds(bytes: usize) -> [Vec<u8>; 4] {
        let mut state = 3_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let noise: Vec<u8> = (0..bytes).map(|_| noise()).collect();
        let text = b"plant/press-7/telemetry{\"rpm\":14".iter().copied().cycle().take(bytes);
        let mixed = text.clone().zip(&noise).enumerate();
        let mixed = mixed.map(|(at, (text, noise))| if at / 97 % 3 == 0 { *noise } else { text });
        [text.collect(), mixed.collect(), vec![0; bytes], noise]
    }

    /// Where blocks, windows and tables of codecs begin to differ.
    const LENGTHS: [usize; 12] =
        [0, 1, 2, 7, 255, 1_024, 16_385, 65_537, 131_071, 131_073, 300_000, 1 << 20];

    #[test]
    fn records_of_every_kind_and_length_come_back() {
        for (codec, length) in Codec::ALL.into_iter().flat_map(|c| LENGTHS.map(|l| (c, l))) {
            for records in kinds(length) {
                let (mut small, mut again) = (Vec::new(), Vec::new());
                codec.compress(&records, &mut small);
                let read = codec.decompress(&small, length, &mut again);
                assert_eq!((read, again == records), (Ok(()), true), "{codec:?}, {length} bytes");
            }
        }
    }

    #[test]
    fn who_claims_a_large_window_does_not_get_it() {
        // Magic, no flags, a window of 2^(10 + n) bytes; then one block, the last: ten times the letter a.
        let frame = |n: u8| [0x28, 0xB5, 0x2F, 0xFD, 0, n << 3, 1 | 1 << 1 | 10 << 3, 0, 0, b'a'];
        let mut out = Vec::new();
        assert_eq!(Codec::Zstd.decompress(&frame(13), 10, &mut out), Ok(()));
        assert_eq!(out, [b'a'; 10]);
        assert_eq!(Codec::Zstd.decompress(&frame(14), 10, &mut out), Err(Undecodable));
    }

    #[test]
    fn a_block_of_snappy_without_a_frame_is_read() {
        let block = snap::raw::Encoder::new().compress_vec(b"records").expect("it compresses");
        let mut out = b"in front ".to_vec();
        assert_eq!(Codec::Snappy.decompress(&block, 7, &mut out), Ok(()));
        assert_eq!(out, b"in front records");
    }
}
