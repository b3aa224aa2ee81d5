//! One segment on the flash, read through a buffer of the caller's.

use super::super::super::frame::{FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, Seal};
use super::super::super::segment::{Found, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::super::super::walk::Walk;
use super::super::NorGeometry;
use super::{ReadNorFlash, each_way};
use crate::crc::Crc32c;

/// What an erased byte reads as.
pub(super) const ERASED: u8 = 0xFF;

/// The header at the start of a segment.
#[each_way]
pub(super) async fn read_header<F: ReadNorFlash>(
    flash: &mut F,
    geometry: NorGeometry,
    index: u32,
    crc: Crc32c,
) -> Result<Found, F::Error> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    flash.read(geometry.start + index * geometry.segment_bytes, &mut bytes).await?;
    if bytes.iter().all(|&byte| byte == ERASED) {
        return Ok(Found::Blank);
    }
    Ok(match SegmentHeader::decode(&bytes, crc) {
        // What a cut leaves of an erase may be anything, zeros too.
        Found::Blank => Found::Garbage,
        // Of a log on files.
        Found::Header(header) if !is_word(header.page_bytes) => Found::Garbage,
        found => found,
    })
}

const fn is_word(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes as usize <= SEGMENT_HEADER_BYTES
}

/// A view of one segment. Invariant: `buffer[..filled]` is what stands from `at` on.
pub(super) struct Sector<'s, F> {
    pub(super) flash: &'s mut F,
    buffer: &'s mut [u8],
    begin: u32,
    pub(super) limit: u32,
    pub(super) seal: Seal,
    at: u32,
    filled: usize,
    pub(super) reads: u32,
}

#[each_way]
impl<'s, F: ReadNorFlash> Sector<'s, F> {
    pub(super) fn new(
        flash: &'s mut F,
        buffer: &'s mut [u8],
        geometry: NorGeometry,
        index: u32,
        seal: Seal,
    ) -> Self {
        let begin = geometry.start + index * geometry.segment_bytes;
        let limit = geometry.segment_bytes;
        Self { flash, buffer, begin, limit, seal, at: 0, filled: 0, reads: 0 }
    }

    /// The bytes from `at` on, up to `count`: fewer at the segment's end or where the buffer is
    /// smaller.
    pub(super) async fn bytes(&mut self, at: u32, count: usize) -> Result<&[u8], F::Error> {
        let count = count.min(self.limit.saturating_sub(at) as usize).min(self.buffer.len());
        let inside = at.checked_sub(self.at).map(|begin| begin as usize);
        let begin = match inside {
            Some(begin) if begin + count <= self.filled => begin,
            _ => {
                let room = self.buffer.len().min(self.limit.saturating_sub(at) as usize);
                self.reads += 1;
                self.filled = 0;
                self.flash.read(self.begin + at, &mut self.buffer[..room]).await?;
                (self.at, self.filled) = (at, room);
                0
            }
        };
        Ok(&self.buffer[begin..begin + count])
    }

    /// Bytes that are in the buffer.
    pub(super) fn held(&self) -> usize {
        self.filled
    }

    /// The valid header at a place, if its frame ends inside of the segment.
    pub(super) async fn header(&mut self, at: u32) -> Result<Option<FrameHeader>, F::Error> {
        let (seal, limit) = (self.seal, self.limit);
        let head = self.bytes(at, FRAME_HEADER_BYTES).await?.first_chunk();
        let header = head.and_then(|head| FrameHeader::decode(head, seal, at));
        Ok(header.filter(|header| header.body_bytes <= limit - at - HEADER_BYTES))
    }

    /// The valid frame at a place.
    pub(super) async fn frame(&mut self, at: u32) -> Result<Option<FrameHeader>, F::Error> {
        let Some(header) = self.header(at).await? else { return Ok(None) };
        let (mut sum, mut from, mut left) = (0, at + HEADER_BYTES, header.body_bytes as usize);
        while left > 0 {
            let seal = self.seal;
            let part = self.bytes(from, left).await?;
            let count = part.len();
            sum = seal.body_crc(sum, part);
            from += u32::try_from(count).expect("inside a segment");
            left -= count;
        }
        Ok((sum == header.body_crc).then_some(header))
    }

    /// The frame that goes on with the log here.
    pub(super) async fn step(&mut self, walk: &Walk) -> Result<Option<FrameHeader>, F::Error> {
        Ok(self.frame(walk.at).await?.filter(|header| walk.accepts(header)))
    }

    /// The first frame behind a place where none goes on. That it stands there proves that what was
    /// before it had been programmed: one program at a time.
    pub(super) async fn behind(
        &mut self,
        walk: &Walk,
        word: u32,
    ) -> Result<Option<(u32, FrameHeader)>, F::Error> {
        let mut at = walk.at + word;
        while at + HEADER_BYTES <= self.limit {
            let first = self.bytes(at, FRAME_HEADER_BYTES).await?.first().copied();
            if first.is_some_and(FrameHeader::may_begin_with)
                && let Some(header) = self.frame(at).await?
                && walk.resumes(&header)
            {
                return Ok(Some((at, header)));
            }
            at += word;
        }
        Ok(None)
    }
}

/// Where the first frame of a segment begins.
pub(super) const fn data_at(word: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "64")]
    let header = SEGMENT_HEADER_BYTES as u32;
    header.next_multiple_of(word)
}

/// Goes behind a frame, to the next whole word.
pub(super) fn pass(walk: &mut Walk, header: &FrameHeader, word: u32) {
    walk.pass(header);
    walk.at = walk.at.next_multiple_of(word);
}

/// The first place of a segment.
pub(super) fn start(header: &SegmentHeader) -> Walk {
    Walk {
        at: data_at(header.page_bytes),
        next: header.base,
        generation: header.generation,
        age: crate::time::Age(0),
    }
}
