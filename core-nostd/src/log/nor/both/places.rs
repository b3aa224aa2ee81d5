//! Which segment is which, by binary search over the headers: segments are begun in the order of
//! their indices, each with a sequence one higher.
//!
//! A cut may leave one segment without a header, right behind the newest. Damage may leave others:
//! a few in a row are looked past; where nothing fits, all headers are read.

use super::super::super::ring::Placed;
use super::super::super::segment::{Found, SegmentHeader};
use super::super::{NorError, NorGeometry};
use super::sector::read_header;
use super::{ReadNorFlash, each_way};
use crate::Offset;
use crate::crc::Crc32c;

/// Segments without a header in a row that a search looks past.
const LOOK_PAST: u32 = 3;

/// The headers on a flash.
pub(super) struct Places<'f, F> {
    pub(super) flash: &'f mut F,
    pub(super) geometry: NorGeometry,
    pub(super) crc: Crc32c,
    pub(super) reads: u32,
}

/// What a look at one segment of the log comes to.
enum Look {
    Header(SegmentHeader),
    Blank,
    Garbage,
}

#[each_way]
impl<F: ReadNorFlash> Places<'_, F> {
    async fn look(&mut self, index: u32) -> Result<Look, NorError<F::Error>> {
        self.reads += 1;
        match read_header(self.flash, self.geometry, index, self.crc).await {
            Ok(Found::Header(header)) => Ok(Look::Header(header)),
            Ok(Found::Blank) => Ok(Look::Blank),
            Ok(Found::Newer) => Err(NorError::Newer),
            Ok(Found::Garbage) => Ok(Look::Garbage),
            Err(error) => Err(NorError::Flash(error)),
        }
    }

    /// The header at an index, if it has one.
    pub(super) async fn header(
        &mut self,
        index: u32,
    ) -> Result<Option<SegmentHeader>, NorError<F::Error>> {
        Ok(match self.look(index).await? {
            Look::Header(header) => Some(header),
            Look::Blank | Look::Garbage => None,
        })
    }

    /// The newest segment; `None`: there is no log.
    pub(super) async fn head(&mut self) -> Result<Option<Placed>, NorError<F::Error>> {
        if let Some(head) = self.search_head().await? {
            return Ok(Some(head));
        }
        let mut newest: Option<Placed> = None;
        for index in 0..self.geometry.segments {
            if let Some(header) = self.header(index).await?
                && newest.is_none_or(|newest| newest.header.sequence < header.sequence)
            {
                newest = Some(Placed { index, header });
            }
        }
        Ok(newest)
    }

    async fn search_head(&mut self) -> Result<Option<Placed>, NorError<F::Error>> {
        let Some(first) = self.header(0).await? else { return self.head_at_the_end().await };
        let (mut head, mut low, mut high) = (first, 0, self.geometry.segments);
        'search: while high - low > 1 {
            let middle = low + (high - low) / 2;
            for index in middle..high.min(middle + LOOK_PAST) {
                match self.look(index).await? {
                    Look::Garbage => {}
                    Look::Header(header)
                        if header.log_id == first.log_id
                            && header.sequence == first.sequence + u64::from(index) =>
                    {
                        (head, low) = (header, index);
                        continue 'search;
                    }
                    Look::Header(header)
                        if header.log_id == first.log_id && header.sequence >= first.sequence =>
                    {
                        return Ok(None);
                    }
                    Look::Header(_) | Look::Blank => break,
                }
            }
            high = middle;
        }
        // A header that damage has taken would hide newer ones.
        for step in 1..=LOOK_PAST.min(self.geometry.segments - 1) {
            if let Some(header) = self.header((low + step) % self.geometry.segments).await?
                && header.sequence > head.sequence
            {
                return Ok(None);
            }
        }
        Ok(Some(Placed { index: low, header: head }))
    }

    /// The last segment, if the first one is just being begun anew: the one behind that is the oldest.
    async fn head_at_the_end(&mut self) -> Result<Option<Placed>, NorError<F::Error>> {
        let index = self.geometry.segments - 1;
        let Some(header) = self.header(index).await? else { return Ok(None) };
        let head = Placed { index, header };
        let oldest = self.begun(&head, 1.min(index - 1)).await?;
        Ok(oldest.filter(|oldest| oldest.index != 0).map(|_| head))
    }

    /// The segment that is `nth` in order of age behind `head`. Its sequence follows from its place:
    /// another one is left from an earlier round, because its successor could not be written.
    async fn nth(&mut self, head: &Placed, nth: u32) -> Result<Look, NorError<F::Error>> {
        let index = self.wrap(u64::from(head.index) + 1 + u64::from(nth));
        let younger = u64::from(self.geometry.segments - 1 - nth);
        Ok(match self.look(index).await? {
            Look::Header(header)
                if header.log_id != head.header.log_id
                    || header.sequence + younger != head.header.sequence =>
            {
                Look::Garbage
            }
            look => look,
        })
    }

    /// The same where only a header is of use.
    async fn begun(
        &mut self,
        head: &Placed,
        nth: u32,
    ) -> Result<Option<Placed>, NorError<F::Error>> {
        let index = self.wrap(u64::from(head.index) + 1 + u64::from(nth));
        Ok(match self.nth(head, nth).await? {
            Look::Header(header) => Some(Placed { index, header }),
            Look::Blank | Look::Garbage => None,
        })
    }

    fn wrap(&self, index: u64) -> u32 {
        u32::try_from(index % u64::from(self.geometry.segments)).expect("below a u32")
    }

    /// The oldest segment but the one at index `without`.
    pub(super) async fn oldest(
        &mut self,
        head: &Placed,
        without: Option<u32>,
    ) -> Result<Placed, NorError<F::Error>> {
        let others = self.geometry.segments - 1;
        for nth in 0..others.min(LOOK_PAST + 1) {
            if let Some(placed) = self.begun(head, nth).await?
                && Some(placed.index) != without
            {
                return Ok(placed);
            }
        }
        // The ring was never filled: then the first segment is the oldest.
        if without != Some(0)
            && let Some(header) = self.header(0).await?
            && header.sequence + u64::from(head.index) == head.header.sequence
        {
            return Ok(Placed { index: 0, header });
        }
        for nth in 0..others {
            if let Some(placed) = self.begun(head, nth).await?
                && Some(placed.index) != without
            {
                return Ok(placed);
            }
        }
        Ok(*head)
    }

    /// The newest segment that begins at or below `from`; if there is none, the oldest.
    pub(super) async fn holding(
        &mut self,
        head: &Placed,
        from: Offset,
    ) -> Result<Placed, NorError<F::Error>> {
        if head.header.base <= from {
            return Ok(*head);
        }
        let (mut low, mut high, mut best) = (0, self.geometry.segments - 1, None);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut found = None;
            for nth in (low..=middle).rev().take(LOOK_PAST as usize) {
                let index = self.wrap(u64::from(head.index) + 1 + u64::from(nth));
                match self.nth(head, nth).await? {
                    Look::Header(header) => found = Some((nth, Placed { index, header })),
                    Look::Garbage => continue,
                    // Not yet used: all that is older is not, either.
                    Look::Blank => {}
                }
                break;
            }
            match found {
                Some((nth, placed)) if placed.header.base > from => high = nth,
                Some((_, placed)) => (best, low) = (Some(placed), middle + 1),
                None => low = middle + 1,
            }
        }
        match best {
            Some(best) => Ok(best),
            None => self.oldest(head, None).await,
        }
    }

    /// The next segment that was begun after `placed`.
    pub(super) async fn after(
        &mut self,
        head: &Placed,
        placed: &Placed,
    ) -> Result<Option<Placed>, NorError<F::Error>> {
        for step in 1..self.geometry.segments {
            let index = self.wrap(u64::from(placed.index) + u64::from(step));
            if index == head.index {
                return Ok(Some(*head));
            }
            let later = |header: &SegmentHeader| {
                header.log_id == head.header.log_id && header.sequence > placed.header.sequence
            };
            if let Some(header) = self.header(index).await?.filter(later) {
                return Ok(Some(Placed { index, header }));
            }
        }
        Ok(None)
    }
}
