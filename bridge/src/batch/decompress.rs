//! The records of a batch that was compressed here, for making others of it.

use std::io::Read;

use super::Codec;

/// Bytes in front of snappy-java's blocks.
const SNAPPY_HEADER_BYTES: usize = 16;

impl Codec {
    /// Appends the records that [`Codec::compress`] made `bytes` of.
    ///
    /// # Panics
    /// If they are not its work.
    pub(super) fn decompress(self, bytes: &[u8], out: &mut Vec<u8>) {
        const OURS: &str = "what was compressed here can be decompressed";
        match self {
            Self::None => out.extend_from_slice(bytes),
            Self::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(out).expect(OURS)),
            Self::Lz4 => {
                let mut decoder = lz4_flex::frame::FrameDecoder::new(bytes);
                decoder.read_to_end(out).expect(OURS);
            }
            Self::Snappy => {
                let mut rest = bytes.get(SNAPPY_HEADER_BYTES..).expect(OURS);
                while let Some((length, after)) = rest.split_first_chunk() {
                    let length = usize::try_from(u32::from_be_bytes(*length)).expect(OURS);
                    let (block, after) = after.split_at(length);
                    out.extend(snap::raw::Decoder::new().decompress_vec(block).expect(OURS));
                    rest = after;
                }
            }
            Self::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
                decoder.expect(OURS).read_to_end(out).expect(OURS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let records: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for codec in Codec::ALL {
            let (mut small, mut again) = (Vec::new(), Vec::new());
            codec.compress(&records, &mut small);
            codec.decompress(&small, &mut again);
            assert!(again == records, "{codec:?}");
        }
    }
}
