//! Reading the log on flash from an offset on: a frame at a time, events borrowed from the buffer.

use core::borrow::BorrowMut;

use super::super::super::chunk::Chunk;
use super::super::super::frame::Kind;
use super::super::super::walk::Walk;
use super::super::super::{GapCause, OFFSET_MAX};
use super::super::{NorError, NorReader, Place};
use super::log::NorLog;
use super::places::Places;
use super::sector::{Sector, pass, start};
use super::{NorFlash, each_way};
use crate::Offset;

/// What one turn of a reader came to.
enum Turn {
    Again,
    Nothing,
    Gap(Offset, GapCause),
    /// Bytes of a frame at the start of the buffer, and where the wanted offsets end.
    Frame(usize, Offset),
}

#[each_way]
impl<F: NorFlash, B: BorrowMut<[u8]>> NorLog<F, B> {
    /// Finds the segment that holds the reader's next offset: a binary search over the headers.
    /// [`NorLog::read`] does it by itself.
    ///
    /// # Errors
    /// If the flash fails.
    pub async fn seek(&mut self, reader: &mut NorReader) -> Result<(), NorError<F::Error>> {
        let head = self.placed();
        let (geometry, crc) = (self.geometry, self.crc);
        let mut ring = Places { flash: &mut self.flash, geometry, crc, reads: 0 };
        let placed = ring.holding(&head, reader.next).await?;
        let after =
            if placed.index == head.index { None } else { ring.after(&head, &placed).await? };
        reader.place = Some(Place { placed, walk: start(&placed.header), after });
        Ok(())
    }

    /// The next frame or gap; `None`: there is nothing more. `buffer` takes the largest frame.
    ///
    /// # Errors
    /// If the flash fails; [`NorError::TooLarge`] if a frame is larger than the buffer.
    pub async fn read<'b>(
        &mut self,
        reader: &mut NorReader,
        buffer: &'b mut [u8],
    ) -> Result<Option<Chunk<'b>>, NorError<F::Error>> {
        loop {
            let from = reader.next;
            match self.turn(reader, buffer).await? {
                Turn::Again => {}
                Turn::Nothing => return Ok(None),
                Turn::Gap(to, _) if to <= from => {}
                Turn::Gap(to, cause) => {
                    reader.next = to;
                    return Ok(Some(Chunk::of_gap(from..to, cause)));
                }
                Turn::Frame(bytes, until) => {
                    return Ok(Some(Chunk::of_frames(&buffer[..bytes], from..until)));
                }
            }
        }
    }

    async fn turn(
        &mut self,
        reader: &mut NorReader,
        buffer: &mut [u8],
    ) -> Result<Turn, NorError<F::Error>> {
        let from = reader.next;
        let Some(mut place) = reader.place else {
            self.seek(reader).await?;
            let base = reader.place.map_or(from, |place| place.placed.header.base);
            return Ok(Turn::Gap(base.max(self.oldest), GapCause::Evicted));
        };
        let sequence = place.placed.header.sequence;
        if sequence + u64::from(self.geometry.segments) <= self.sequence {
            // Erased meanwhile.
            reader.place = None;
            return Ok(Turn::Again);
        }
        let in_head = sequence == self.sequence;
        if !in_head && place.after.is_none() {
            let head = self.placed();
            let (geometry, crc) = (self.geometry, self.crc);
            let mut places = Places { flash: &mut self.flash, geometry, crc, reads: 0 };
            place.after = places.after(&head, &place.placed).await?;
        }
        let until = place.after.map_or(OFFSET_MAX, |after| after.header.takes_over_at());
        let limit = if in_head { self.at } else { self.geometry.segment_bytes };
        let (index, word) = (place.placed.index, place.placed.header.page_bytes);
        let seal = place.placed.header.seal(self.crc);
        let mut sector = Sector::new(&mut self.flash, buffer, self.geometry, index, seal);
        sector.limit = limit;
        let found = sector.step(&place.walk).await.map_err(NorError::Flash)?;
        let found = match found {
            Some(frame) => Some((place.walk.at, frame)),
            None if place.walk.next < until || in_head => {
                sector.behind(&place.walk, word).await.map_err(NorError::Flash)?
            }
            None => None,
        };
        match found {
            Some((at, frame))
                if frame.base < until || frame.kind != Kind::Events && frame.base == until =>
            {
                if at > place.walk.at || frame.base > place.walk.next {
                    // Behind what cannot be read: the next turn begins there.
                    let Walk { age, .. } = place.walk;
                    let (next, generation) = (frame.base, frame.generation);
                    place.walk = Walk { at, next, generation, age };
                    reader.place = Some(place);
                    return Ok(Turn::Gap(frame.base, GapCause::Damaged));
                }
                let bytes = frame.frame_bytes() as usize;
                if bytes > sector.held() {
                    return Err(NorError::TooLarge(bytes));
                }
                pass(&mut place.walk, &frame, word);
                reader.place = Some(place);
                reader.next = from.max(frame.end().min(until));
                Ok(Turn::Frame(bytes, until))
            }
            _ if in_head => {
                let next = self.next;
                Ok(if from < next { Turn::Gap(next, GapCause::Damaged) } else { Turn::Nothing })
            }
            _ => {
                let Some(after) = place.after else { return Ok(Turn::Nothing) };
                let walk = start(&after.header);
                reader.place = Some(Place { placed: after, walk, after: None });
                Ok(Turn::Gap(after.header.base, GapCause::Damaged))
            }
        }
    }
}
