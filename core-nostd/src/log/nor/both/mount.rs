//! Opening a log on flash after whatever happened: reads first, then [`NorFound::begin`] writes.

use core::borrow::BorrowMut;

use super::super::super::frame::{HEADER_BYTES, Kind};
use super::super::super::ring::Placed;
use super::super::super::{Clock, Control, ControlKind, Entropy, LogId, OFFSET_MAX};
use super::super::{Device, NorError, NorGeometry, NorReport, State};
use super::log::NorLog;
use super::places::Places;
use super::sector::{Sector, pass, start};
use super::writer::Carried;
use super::{NorFlash, each_way};
use crate::Offset;
use crate::crc::Crc32c;
use crate::time::Age;

/// A log that was read, and waits to be written to.
#[derive(Debug)]
pub struct NorFound<F, B> {
    log: NorLog<F, B>,
    report: NorReport,
    /// The last frame, if it holds anything: repeated by [`NorFound::begin`].
    last: Option<Carried>,
}

#[each_way]
impl<F: NorFlash, B: BorrowMut<[u8]>> NorLog<F, B> {
    /// Reads what there is. `buffer` takes the largest frame: whole words, 64 bytes or more.
    /// `visit` gets the control records of the newest segment in order; it begins with those that
    /// were in force.
    ///
    /// # Errors
    /// If the flash fails, or the log is of a newer format.
    ///
    /// # Panics
    /// If geometry and buffer do not fit the flash: whole sectors, six of the largest frames in each.
    pub async fn mount(
        flash: F,
        buffer: B,
        geometry: NorGeometry,
        crc: Crc32c,
        visit: &mut dyn FnMut(Control<'_>),
    ) -> Result<NorFound<F, B>, NorError<F::Error>> {
        let frame_bytes = buffer.borrow().len();
        let device = Device {
            bytes: flash.capacity(),
            sector_bytes: F::ERASE_SIZE,
            word_bytes: F::WRITE_SIZE,
            read_bytes: F::READ_SIZE,
        };
        assert!(geometry.is_sound(&device, frame_bytes), "the log fits the flash: {geometry:?}");
        let mut found = NorFound {
            log: NorLog {
                flash,
                buffer,
                crc,
                geometry,
                index: geometry.segments - 1,
                log_id: 0,
                // The first segment gets the sequence 0.
                sequence: u64::MAX,
                salt: 0,
                base: Offset(0),
                begun_by: 0,
                at: geometry.segment_bytes,
                next: Offset(0),
                oldest: Offset(0),
                age: Age(0),
                generation: 0,
                first: Offset(0),
                entropy: 0,
                state: State::ReadOnly,
            },
            report: NorReport {
                id: None,
                oldest: Offset(0),
                next: Offset(0),
                lost: 0,
                last_clock: None,
                reads: 0,
            },
            last: None,
        };
        let mut places = Places { flash: &mut found.log.flash, geometry, crc, reads: 0 };
        if let Some(head) = places.head().await? {
            let oldest = places.oldest(&head, None).await?.header.base.max(head.header.oldest);
            found.report.reads = places.reads;
            found.report.oldest = oldest;
            found.walk(&head, visit).await.map_err(NorError::Flash)?;
        }
        Ok(found)
    }
}

#[each_way]
impl<F: NorFlash, B: BorrowMut<[u8]>> NorFound<F, B> {
    async fn walk(
        &mut self,
        head: &Placed,
        visit: &mut dyn FnMut(Control<'_>),
    ) -> Result<(), F::Error> {
        let (log, report) = (&mut self.log, &mut self.report);
        let Placed { index, header } = *head;
        let (word, seal) = (header.page_bytes, header.seal(log.crc));
        let frame_bytes = u32::try_from(log.buffer.borrow().len()).unwrap_or(u32::MAX);
        let mut sector =
            Sector::new(&mut log.flash, log.buffer.borrow_mut(), log.geometry, index, seal);
        let (mut walk, mut claimed) = (start(&header), Offset(0));
        loop {
            let at = walk.at;
            let (at, frame) = match sector.step(&walk).await? {
                Some(frame) => (at, frame),
                None => match sector.behind(&walk, word).await? {
                    Some((at, frame)) => {
                        walk.at = at;
                        (at, frame)
                    }
                    None => break,
                },
            };
            report.lost += frame.base.0 - walk.next.0;
            report.last_clock = Some(frame.clock);
            pass(&mut walk, &frame, word);
            let holds = frame.kind != Kind::Control(ControlKind::Opened)
                && frame.frame_bytes() <= frame_bytes;
            self.last = holds.then_some(Carried { index, at, header: frame, seal });
            let Kind::Control(kind) = frame.kind else { continue };
            let body = sector.bytes(at + HEADER_BYTES, frame.body_bytes as usize).await?;
            if body.len() < frame.body_bytes as usize {
                continue;
            }
            let number = body.first_chunk().map(|bytes| Offset(u64::from_le_bytes(*bytes)));
            match (kind, number) {
                (ControlKind::Hint, Some(claim)) => claimed = claimed.max(claim),
                (ControlKind::Trimmed, Some(oldest)) => report.oldest = report.oldest.max(oldest),
                _ => {}
            }
            visit(Control { kind, at: frame.base, body });
        }
        // A hint in reason: what it claims was given out.
        if claimed > walk.next && claimed < OFFSET_MAX {
            report.lost += claimed.0 - walk.next.0;
            walk.next = claimed;
        }
        report.reads += sector.reads;
        (log.index, log.log_id, log.sequence) = (index, header.log_id, header.sequence);
        (log.salt, log.generation, log.age) = (header.salt, walk.generation, walk.age);
        (log.next, log.oldest) = (walk.next, report.oldest);
        (log.base, log.begun_by) = (header.base, header.generation);
        (report.id, report.next) = (Some(LogId(header.log_id)), walk.next);
        Ok(())
    }

    /// What was found.
    #[must_use]
    pub const fn report(&self) -> &NorReport {
        &self.report
    }

    /// Begins a generation in the next segment, with the last frame repeated. `snapshot`: the control
    /// records in force. May be asked again.
    ///
    /// # Errors
    /// If two segments in a row cannot be written.
    pub async fn begin(
        &mut self,
        entropy: Entropy,
        clock: Clock,
        snapshot: &[(ControlKind, &[u8])],
    ) -> Result<(), NorError<F::Error>> {
        let log = &mut self.log;
        // An earlier call may have been given up in the middle.
        log.next = self.report.next;
        (log.generation, log.entropy, log.first) = (entropy.generation, entropy.salt, log.next);
        if self.report.id.is_none() {
            log.log_id = entropy.log_id;
        }
        // Later than all that was found: so old and new can be told apart.
        log.age = Age(log.age.0.saturating_add(1)).max(clock.age);
        log.state = State::Sound;
        let carried = self.last.as_ref();
        match log.roll_with(snapshot, clock, carried).await {
            Err(NorError::Flash(_)) => log.roll_with(snapshot, clock, carried).await.map(drop),
            other => other.map(drop),
        }
    }

    /// The log: it can be written if a generation was begun, else it can only be read.
    #[must_use]
    pub fn into_log(self) -> NorLog<F, B> {
        let mut log = self.log;
        if log.state != State::Sound {
            // Also where beginning it was given up in the middle.
            (log.state, log.next) = (State::ReadOnly, self.report.next);
        }
        log
    }
}
