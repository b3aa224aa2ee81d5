//! The stream of commands: what the centre sent, for devices that stay away for longer than the input
//! reaches back.
//!
//! A command is an event of the input, where it has its one place in the order that all sessions see. A copy
//! under that offset stands in a stream of its own, which telemetry cannot evict from: who finds that offsets
//! are gone from the input looks for commands there ([`Kept`]). So sessions have one cursor and one order.
//!
//! Invariant: below `settled` each command of the input has a durable copy, in the order of the input. Behind
//! it a crash, or a disk that was full, may have kept some from being copied: they are looked for in the input.

use core::ops::Range;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tributary_core::Offset;
use tributary_core::log::{
    Clock, CommitError, ControlKind, End, Frame, Item, Media, ReadMedia, Reader,
};
use tributary_core::record::{Event, Origin};
use tributary_core::time::Age;

use super::clock::Moment;
use super::cursors::CursorRecord;
use super::stream::{CHUNK_BYTES, Extent, OnDemand, Opener, Stream};
use crate::downlink::copy::Copied;
use crate::io::crc::crc32c;
use crate::io::segments::{COMMANDS, SegmentFiles, SegmentReader};
use crate::sync::lock;

/// When the input has moved on by so many events without a command, the stream notes that: so many
/// are read again at a start.
const NOTED_EVERY: u64 = 1 << 16;
/// Of every so many copies it is remembered where they stand.
const MARKED_EVERY: u64 = 1 << 10;

/// Commands that are not in the input any more.
pub trait Kept {
    /// Hands the commands at these offsets of the input to `each`, in order. The offset of the one that
    /// `each` had no room for.
    fn read(
        &self,
        offsets: Range<Offset>,
        each: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset>;
}

/// None are kept.
impl Kept for () {
    fn read(
        &self,
        _: Range<Offset>,
        _: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset> {
        None
    }
}

/// The stream. `O` opens its log.
pub struct Commands<M: Media, R, O> {
    stream: OnDemand<M, R, O>,
    /// The log in whose input they stand.
    log_id: u64,
    /// Below, nothing is missing.
    settled: Offset,
    /// The same as the stream tells it.
    noted: Offset,
    /// Behind the last copy.
    end: Offset,
    /// Offsets of copies in the stream by those in the input.
    marks: BTreeMap<Offset, Offset>,
    /// When it was to be opened last.
    moment: Option<Moment>,
}

/// The stream in files.
pub type FileCommands = Commands<SegmentFiles, SegmentReader, Opener>;

/// What is to be copied.
pub struct Fresh<'a> {
    /// Its offset in the input.
    pub offset: Offset,
    /// What comes to the input's clocks when it came in.
    pub clock: Clock,
    /// The event.
    pub event: Event<'a>,
}

impl FileCommands {
    /// The stream beside the input of a log that may take so many bytes; opened at once if it was
    /// ever used and can be.
    #[must_use]
    pub fn of_files(dir: &Path, size: u64, log_id: u64, moment: Moment) -> Self {
        let mut commands = Self::in_stream(OnDemand::of_files(dir, COMMANDS, size), log_id);
        if commands.stream.was_used() {
            // Why it cannot be used is told.
            drop(commands.opened(moment));
        }
        commands
    }

    /// For reading it, if it was ever used.
    #[must_use]
    pub fn reader(&self) -> Option<SegmentReader> {
        self.stream.get().map(|stream| stream.reader().clone())
    }
}

impl<M: Media, R: ReadMedia> Stream<M, R> {
    /// Behind the last copy of a command of a log.
    fn copied(&self, log_id: u64) -> Offset {
        let Extent { oldest, next } = self.extent();
        let (mut end, mut back) = (Offset(0), 1);
        // What is at the end may be damaged.
        while end == Offset(0) && oldest.0 + back / 2 < next.0 {
            self.read(Offset(next.0.saturating_sub(back)), &mut |item| {
                let Item::Events(frame) = item else { return true };
                let copies = frame.into_iter().filter_map(|(_, event)| {
                    Copied::read(&event).filter(|copied| copied.log_id == log_id)
                });
                end = copies.map(|copied| copied.offset.plus(1)).fold(end, Offset::max);
                true
            });
            back *= 2;
        }
        end
    }

    /// Below which offset of a log's input all commands have copies, as the stream tells it.
    fn noted(&self, log_id: u64) -> Offset {
        let name = name_of(log_id);
        let noted = self.snapshot().cursors().find(|cursor| cursor.name == name);
        noted.map_or(Offset(0), |cursor| Offset(cursor.position))
    }
}

fn name_of(log_id: u64) -> String {
    format!("{log_id:016x}")
}

impl<M, R, O> Commands<M, R, O>
where
    M: Media,
    R: ReadMedia,
    O: FnMut(Moment) -> Result<Stream<M, R>, String>,
{
    /// A stream that `open` opens when it is needed, and again after it has failed; for the commands in
    /// the input of this log.
    #[must_use]
    pub const fn new(open: O, log_id: u64) -> Self {
        Self::in_stream(OnDemand::new(COMMANDS, open), log_id)
    }

    const fn in_stream(stream: OnDemand<M, R, O>, log_id: u64) -> Self {
        let (settled, noted, end) = (Offset(0), Offset(0), Offset(0));
        Self { stream, log_id, settled, noted, end, marks: BTreeMap::new(), moment: None }
    }

    /// How the stream stands; `None`: it was never used.
    #[must_use]
    pub fn extent(&self) -> Option<Extent> {
        self.stream.get().map(Stream::extent)
    }

    /// Why the stream cannot be used, if that is so.
    #[must_use]
    pub fn unusable(&self) -> Option<String> {
        self.stream.unusable()
    }

    /// Copies what has come into the input and has no copy yet; `from`: below it there are no commands.
    ///
    /// # Errors
    /// Why that cannot be done, for people; what is missing is copied the next time.
    pub fn settle(
        &mut self,
        moment: Moment,
        (input, end): (&impl ReadMedia, End),
        from: Offset,
    ) -> Result<(), String> {
        self.opened(moment)?;
        let mut reader = Reader::new(self.settled.max(from), crc32c);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let chunk = match reader.read(input, end, &mut buffer) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Err(format!("the input cannot be read: {error}")),
            };
            for item in chunk {
                let Item::Events(frame) = item else { continue };
                let clock = frame.clock();
                let commands = frame.filter(|(_, event)| event.origin == Origin::Downlink);
                for (offset, event) in commands {
                    self.copy(&Fresh { offset, clock, event })?;
                }
            }
        }
        self.commit(moment)?;
        self.settled = self.settled.max(end.offset);
        self.pass(moment, self.settled)
    }

    /// Copies commands that have just become durable in the input. Nothing is missing of what came before.
    ///
    /// # Errors
    /// Why that cannot be done, for people; [`Self::settle`] copies them.
    pub fn keep(&mut self, moment: Moment, fresh: &[Fresh<'_>]) -> Result<(), String> {
        self.opened(moment)?;
        fresh.iter().try_for_each(|fresh| self.copy(fresh))?;
        self.commit(moment)?;
        self.settled = self.settled.max(self.end);
        Ok(())
    }

    /// Nothing is missing of what came before `settled`: the stream notes that now and then.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn pass(&mut self, moment: Moment, settled: Offset) -> Result<(), String> {
        self.settled = self.settled.max(settled);
        if self.settled.0 < self.noted.0 + NOTED_EVERY {
            return Ok(());
        }
        let (name, position) = (name_of(self.log_id), self.settled.0);
        let record = CursorRecord { name, position, lost: 0, forgotten: false };
        self.write(|stream| {
            let clock = stream.now(moment);
            stream.append_control(ControlKind::Cursor, &record.encode(), clock)?;
            stream.commit(clock)
        })?;
        self.noted = self.settled;
        Ok(())
    }

    /// Opens the stream, unless it is open.
    fn opened(&mut self, moment: Moment) -> Result<(), String> {
        self.moment = Some(moment);
        if self.stream.get().is_some() {
            return Ok(());
        }
        let stream = self.stream.opened(moment).map_err(|why| unkept(&why))?;
        (self.noted, self.end) = (stream.noted(self.log_id), stream.copied(self.log_id));
        self.settled = self.noted.max(self.end);
        Ok(())
    }

    fn copy(&mut self, fresh: &Fresh<'_>) -> Result<(), String> {
        let Fresh { offset, clock, event } = *fresh;
        let body = Copied { log_id: self.log_id, offset, event }.encode(clock.wall);
        self.write(|stream| stream.append(&Frame { count: 1, clock, body: &body }))?;
        self.end = offset.plus(1);
        Ok(())
    }

    fn commit(&mut self, moment: Moment) -> Result<(), String> {
        self.write(|stream| stream.commit(stream.now(moment)))
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Stream<M, R>) -> Result<(), CommitError>,
    ) -> Result<(), String> {
        let Some(stream) = self.stream.get_mut() else { return Ok(()) };
        let written = write(stream);
        if written.is_err() {
            self.stream.close();
        }
        written.map_err(|error| unkept(&error.to_string()))
    }

    fn read(
        &mut self,
        offsets: &Range<Offset>,
        each: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset> {
        // A write that failed has closed it, and what it holds is as good as before.
        if self.stream.was_used()
            && let Some(moment) = self.moment
            && let Err(why) = self.opened(moment)
        {
            tracing::debug!(why);
        }
        let Self { stream, marks, log_id, end, .. } = self;
        let stream = stream.get().filter(|_| offsets.start < *end)?;
        let oldest = stream.extent().oldest;
        marks.retain(|_, place| *place >= oldest);
        let nearest = marks.range(..=offsets.start).next_back();
        let from = nearest.map_or(oldest, |(_, place)| *place);
        let mut full = None;
        stream.read(from, &mut |item| {
            let Item::Events(frame) = item else { return true };
            let age = frame.clock().age;
            for (place, event) in frame {
                let Some(copied) = Copied::read(&event).filter(|it| it.log_id == *log_id) else {
                    continue;
                };
                if place.0 % MARKED_EVERY == 0 {
                    marks.insert(copied.offset, place);
                }
                if copied.offset >= offsets.end {
                    return false;
                }
                if copied.offset >= offsets.start && !each(copied.offset, &copied.event, age) {
                    full = Some(copied.offset);
                    return false;
                }
            }
            true
        });
        full
    }
}

impl<K: Kept> Kept for Arc<K> {
    fn read(
        &self,
        offsets: Range<Offset>,
        each: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset> {
        K::read(self, offsets, each)
    }
}

impl<M, R, O> Kept for Mutex<Commands<M, R, O>>
where
    M: Media,
    R: ReadMedia,
    O: FnMut(Moment) -> Result<Stream<M, R>, String>,
{
    fn read(
        &self,
        offsets: Range<Offset>,
        each: &mut dyn FnMut(Offset, &Event<'_>, Age) -> bool,
    ) -> Option<Offset> {
        lock(self).read(&offsets, each)
    }
}

fn unkept(why: &str) -> String {
    format!("commands are kept only for as long as the input reaches back: {why}")
}
