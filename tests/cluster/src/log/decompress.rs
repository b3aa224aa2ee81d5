//! The records of a compressed batch. What they may come to is bounded before it is allocated.

use std::io::Read;

use bytes::{Buf, Bytes};

use crate::limits::BATCH_RECORDS_BYTES_MAX;

/// What snappy-java puts before its blocks, versions aside.
const SNAPPY_JAVA: &[u8] = b"\x82SNAPPY\0";

/// The records, decompressed by the codec of this number; `None` if they are not its work, or are
/// more than a batch may hold.
pub(super) fn decompress(codec: i16, bytes: &Bytes) -> Option<Bytes> {
    match codec {
        0 => Some(bytes.clone()),
        1 => read_all(flate2::read::GzDecoder::new(&**bytes)),
        2 => snappy(bytes.clone()),
        3 => read_all(lz4_flex::frame::FrameDecoder::new(&**bytes)),
        4 => {
            let mut decoder = ruzstd::decoding::FrameDecoder::new();
            decoder.set_max_window_size(BATCH_RECORDS_BYTES_MAX as u64);
            let decoder =
                ruzstd::decoding::StreamingDecoder::new_with_decoder(&**bytes, decoder).ok()?;
            read_all(decoder)
        }
        _ => None,
    }
}

fn read_all(source: impl Read) -> Option<Bytes> {
    let mut records = Vec::new();
    source.take(BATCH_RECORDS_BYTES_MAX as u64 + 1).read_to_end(&mut records).ok()?;
    (records.len() <= BATCH_RECORDS_BYTES_MAX).then(|| Bytes::from(records))
}

/// One raw block, or a number of them as snappy-java frames them.
fn snappy(mut bytes: Bytes) -> Option<Bytes> {
    let mut records = Vec::new();
    if !bytes.starts_with(SNAPPY_JAVA) {
        append_block(&bytes, &mut records)?;
        return Some(Bytes::from(records));
    }
    if bytes.len() < 16 {
        return None;
    }
    bytes.advance(16);
    while !bytes.is_empty() {
        let length = bytes.try_get_u32().ok()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
        append_block(&bytes.split_to(length), &mut records)?;
    }
    Some(Bytes::from(records))
}

fn append_block(block: &[u8], records: &mut Vec<u8>) -> Option<()> {
    let begin = records.len();
    let end = begin + snap::raw::decompress_len(block).ok()?;
    if end > BATCH_RECORDS_BYTES_MAX {
        return None;
    }
    records.resize(end, 0);
    snap::raw::Decoder::new().decompress(block, &mut records[begin..]).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// All zero, as gzip, snappy in one block, and LZ4.
    fn bombs(bytes: usize) -> [(i16, Bytes); 3] {
        let zeros = vec![0; bytes];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&zeros).expect("memory takes it");
        let snappy = snap::raw::Encoder::new().compress_vec(&zeros).expect("it is short enough");
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&zeros).expect("memory takes it");
        let (gzip, lz4) = (gzip.finish().expect("it ends"), lz4.finish().expect("it ends"));
        [(1, gzip.into()), (2, snappy.into()), (3, lz4.into())]
    }

    #[test]
    fn records_are_bounded() {
        for (codec, bytes) in bombs(BATCH_RECORDS_BYTES_MAX) {
            let records = decompress(codec, &bytes).expect("just fits");
            assert_eq!(records.len(), BATCH_RECORDS_BYTES_MAX, "codec {codec}");
        }
        for (codec, bytes) in bombs(BATCH_RECORDS_BYTES_MAX + 1) {
            assert_eq!(decompress(codec, &bytes), None, "codec {codec}");
        }
    }

    #[test]
    fn what_no_codec_has_made_is_refused() {
        for codec in 1..=5 {
            assert_eq!(decompress(codec, &Bytes::from_static(b"\x82SNAPPY\0 and no more")), None);
            assert_eq!(decompress(codec, &Bytes::from_static(b"no codec has made this")), None);
        }
    }
}
