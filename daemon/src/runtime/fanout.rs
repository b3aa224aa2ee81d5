//! Hands durable events to those who subscribed to their topics.
//!
//! A reader of the log like any other, so a slow moment costs no memory and loses nothing. A client
//! that is slower than its mailbox is large, or that comes back, is served by a second reader from
//! where it stands until it has caught up; what is gone from the log may be kept among the commands. While
//! nobody listens nothing is read.

use std::sync::Arc;

use core::ops::Range;

use tokio::sync::watch;
use tributary_core::Offset;
use tributary_core::log::{Chunk, End, Item, ReadMedia, Reader};
use tributary_core::record::{Event, Origin};

use super::commands::Kept;
use super::hub::{Hub, Next, Work};
use crate::io::crc::crc32c;
use crate::io::segments::SegmentReader;

/// Bytes read from the log at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Both readers.
pub struct Fanout<K> {
    hub: Arc<Hub>,
    commands: K,
    live: Reader,
    behind: Reader,
    buffer: Vec<u8>,
}

impl<K: Kept> Fanout<K> {
    /// Nothing was read yet. What is gone from the log may be among `commands`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, commands: K) -> Self {
        let reader = || Reader::new(Offset(0), crc32c);
        Self { hub, commands, live: reader(), behind: reader(), buffer: Vec::new() }
    }

    /// Hands out what is durable, and serves one of those who lag behind. Whether there is more to
    /// do at once.
    pub fn turn<M: ReadMedia>(&mut self, media: &M, end: End) -> bool {
        if let Some(anew) = self.hub.listened_from() {
            if let Some(from) = anew {
                self.live.seek(from);
            }
            self.read_live(media, end);
        }
        let work = match self.hub.next_work(end.offset) {
            Next::Read(work) => work,
            Next::Search => return true,
            Next::Wait => {
                self.buffer = Vec::new();
                return false;
            }
        };
        self.make_room();
        match work.again {
            Some(_) => self.read_again(media, end, &work),
            None => self.read_behind(media, end, &work),
        }
        true
    }

    /// Memory that the system gives out as zeros: only what is read into costs any.
    fn make_room(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; CHUNK_BYTES];
        }
    }

    fn read_live<M: ReadMedia>(&mut self, media: &M, end: End) {
        self.make_room();
        loop {
            match self.live.read(media, end, &mut self.buffer) {
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    for item in chunk {
                        match item {
                            Item::Events(frame) => {
                                let age = frame.clock().age;
                                for (offset, event) in frame.filter(is_for_subscribers) {
                                    self.hub.distribute(offset, &event, age);
                                }
                            }
                            Item::Gap { range, .. } => {
                                pass_live((&self.hub, &self.commands), range);
                            }
                            Item::Control(_) => {}
                        }
                    }
                }
                Err(error) => {
                    let at = self.live.next_offset();
                    tracing::error!(%at, %error, "subscribers miss events that cannot be read");
                    pass_live((&self.hub, &self.commands), at..end.offset);
                    self.live.seek(end.offset);
                    break;
                }
            }
        }
        self.hub.set_position(self.live.next_offset().max(end.offset));
    }

    /// Finds one message again.
    fn read_again<M: ReadMedia>(&mut self, media: &M, end: End, work: &Work) {
        self.behind.seek(work.from);
        // What comes first may be control records: those at the end of the segment before.
        while self.behind.next_offset() <= work.from
            && let Ok(Some(chunk)) = self.behind.read(media, end, &mut self.buffer)
        {
            for item in chunk {
                let Item::Events(mut frame) = item else { continue };
                let age = frame.clock().age;
                if let Some((offset, event)) = frame.next()
                    && offset == work.from
                {
                    return self.hub.send_again(work, Some((&event, age)));
                }
            }
        }
        let mut is_kept = false;
        self.commands.read(work.from..work.from.plus(1), &mut |_, event, age| {
            is_kept = true;
            self.hub.send_again(work, Some((event, age)));
            true
        });
        if !is_kept {
            self.hub.send_again(work, None);
        }
    }

    /// Reads on for somebody who lags behind.
    fn read_behind<M: ReadMedia>(&mut self, media: &M, end: End, work: &Work) {
        self.behind.seek(work.from);
        // What comes first may tell of no event: control records, or damage that has cost none.
        let next = loop {
            let next = match self.behind.read(media, end, &mut self.buffer) {
                Ok(None) => Some(work.from.max(end.offset)),
                Ok(Some(chunk)) => serve((&self.hub, &self.commands), work, chunk),
                Err(error) => {
                    let at = self.behind.next_offset();
                    tracing::error!(%at, %error, "a session misses events that cannot be read");
                    Some(pass_gap((&self.hub, &self.commands), work, at..end.offset))
                }
            };
            if let Some(next) = next {
                break next;
            }
        };
        self.hub.caught_up(work, next, end.offset);
    }
}

/// What is put back on its way to Kafka was handed out when it first came in.
fn is_for_subscribers((_, event): &(Offset, Event<'_>)) -> bool {
    event.origin != Origin::Replay
}

/// Hands what was read to somebody who lags behind. Where to go on; `None`: there was no event.
fn serve((hub, commands): (&Hub, &impl Kept), work: &Work, chunk: Chunk<'_>) -> Option<Offset> {
    let mut next = None;
    for item in chunk {
        match item {
            Item::Events(frame) => {
                let age = frame.clock().age;
                for (offset, event) in frame {
                    if is_for_subscribers(&(offset, event))
                        && !hub.catch_up(work, offset, &event, age)
                    {
                        return Some(offset);
                    }
                    next = Some(offset.plus(1));
                }
            }
            Item::Gap { range, .. } if !range.is_empty() => {
                let end = range.end;
                let passed = pass_gap((hub, commands), work, range);
                next = Some(passed);
                if passed < end {
                    return next;
                }
            }
            Item::Gap { .. } | Item::Control(_) => {}
        }
    }
    next
}

/// Hands out the commands that stood where the log had nothing any more when it was read; all else is missed.
fn pass_live((hub, commands): (&Hub, &impl Kept), gone: Range<Offset>) {
    if gone.is_empty() {
        return;
    }
    let (mut missed, mut from) = (0, gone.start);
    commands.read(gone.clone(), &mut |offset, event, age| {
        missed += hub.note_missed_live(&(from..offset));
        hub.distribute(offset, event, age);
        from = offset.plus(1);
        true
    });
    missed += hub.note_missed_live(&(from..gone.end));
    let (first, end) = (gone.start.0, gone.end.0);
    tracing::warn!(first, end, missed, "events were gone before subscribers had got them");
}

/// Hands the commands to somebody who lags behind that stood where the log has nothing any more. Where to
/// go on: at the end, or where there was no room.
fn pass_gap((hub, commands): (&Hub, &impl Kept), work: &Work, range: Range<Offset>) -> Offset {
    let mut kept = 0;
    let full = commands.read(range.clone(), &mut |offset, event, age| {
        let has_room = hub.catch_up(work, offset, event, age);
        kept += u64::from(has_room);
        has_room
    });
    let passed = full.unwrap_or(range.end);
    hub.note_missed(work, &(range.start..passed), kept);
    passed
}

/// Runs until `durable` has no sender any more. Reading may block: give it a thread of its own.
pub(super) async fn run(
    log: SegmentReader,
    (hub, commands): (Arc<Hub>, impl Kept),
    mut durable: watch::Receiver<Offset>,
) {
    let mut fanout = Fanout::new(Arc::clone(&hub), commands);
    loop {
        durable.mark_unchanged();
        while fanout.turn(&log, log.end()) {}
        let is_awaited = hub.is_awaited(log.end().offset);
        tokio::select! {
            () = hub.work() => {}
            changed = durable.changed(), if is_awaited => if changed.is_err() { return },
        }
    }
}
