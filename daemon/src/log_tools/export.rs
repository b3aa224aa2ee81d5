//! Events of a log as lines of JSON or as a table.

use core::ops::Range;
use std::io::Write;

use tributary_core::Offset;
use tributary_core::log::{Control, GapCause, Item};
use tributary_core::time::Timestamp;
use tributary_core::topic;

use super::line::{COLUMNS, ControlLine, EventLine, GapLine};
use super::{OpenedLog, ToolError};

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line of JSON for each event; missing offsets are lines, too
    #[default]
    Ndjson,
    /// A table with a head; missing offsets are told on standard error
    Csv,
}

/// Which events.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Their offsets.
    pub offsets: Range<Offset>,
    /// When they arrived, by the clock of that moment.
    pub times: Range<Timestamp>,
    /// MQTT topic filter; none selects all.
    pub filter: Option<String>,
    /// Whether the log's control records are written, too.
    pub controls: bool,
}

/// What an export has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Events that were read.
    pub read: u64,
    /// Events that were written.
    pub written: u64,
    /// Offsets that are damaged.
    pub damaged: u64,
    /// Offsets that were evicted before, or while it was read.
    pub evicted: u64,
}

/// An export under way.
pub struct Export<'l, W: Write> {
    log: &'l OpenedLog,
    selection: Selection,
    out: Sink<W>,
    done: Exported,
    /// A range that is missing, and may go on.
    gap: Option<(Range<Offset>, GapCause)>,
}

enum Sink<W: Write> {
    Ndjson(W),
    Csv(Box<csv::Writer<W>>),
}

impl<'l, W: Write> Export<'l, W> {
    /// Begins with the head of the table, if it is one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(
        log: &'l OpenedLog,
        selection: Selection,
        format: Format,
        out: W,
    ) -> Result<Self, ToolError> {
        let out = match format {
            Format::Ndjson => Sink::Ndjson(out),
            Format::Csv => {
                let mut table = Box::new(csv::Writer::from_writer(out));
                table.write_record(COLUMNS).map_err(of_csv)?;
                Sink::Csv(table)
            }
        };
        Ok(Self { log, selection, out, done: Exported::default(), gap: None })
    }

    /// Writes all that is selected. `progress` is told the first offset that was not read yet;
    /// `missing` each range that is not there, with the reason.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn run(
        mut self,
        progress: &mut dyn FnMut(Offset),
        missing: &mut dyn FnMut(&Range<Offset>, &'static str),
    ) -> Result<Exported, ToolError> {
        let Range { start, end } = self.selection.offsets;
        let mut pages = self.log.pages(start.max(self.log.oldest));
        if start < self.log.oldest {
            self.miss(start..self.log.oldest, GapCause::Evicted, missing)?;
        }
        // At the end there may still be control records.
        while (pages.next_offset() < end || end >= self.log.next)
            && let Some(chunk) = pages.next(self.log)
        {
            for item in chunk {
                match item {
                    Item::Control(control) => {
                        self.tell_gap(missing)?;
                        self.control(&control)?;
                    }
                    Item::Gap { range, cause } => self.miss(range, cause, missing)?,
                    Item::Events(events) => {
                        let (trusted, mut due) = (events.clock().trusted, events.offsets());
                        self.tell_gap(missing)?;
                        for (offset, event) in events {
                            due.start = offset.plus(1);
                            self.event(&EventLine::new(offset, &event, trusted), offset, &event)?;
                        }
                        // Records that cannot be read, in a frame whose checksum is right.
                        self.miss(due, GapCause::Damaged, missing)?;
                    }
                }
            }
            progress(pages.next_offset());
        }
        let read_to = self.log.end.map_or(self.log.next, |end| end.offset);
        if read_to < self.log.next {
            self.miss(read_to..self.log.next, GapCause::Damaged, missing)?;
        }
        self.tell_gap(missing)?;
        match &mut self.out {
            Sink::Ndjson(out) => out.flush(),
            Sink::Csv(table) => table.flush(),
        }
        .map_err(ToolError::Output)?;
        Ok(self.done)
    }

    fn event(
        &mut self,
        line: &EventLine<'_>,
        offset: Offset,
        event: &tributary_core::record::Event<'_>,
    ) -> Result<(), ToolError> {
        let Selection { offsets, times, filter, .. } = &self.selection;
        if !offsets.contains(&offset) {
            return Ok(());
        }
        self.done.read += 1;
        let heard = filter.as_deref().is_none_or(|filter| topic::matches(filter, event.topic));
        if !heard || !times.contains(&event.time) {
            return Ok(());
        }
        self.done.written += 1;
        match &mut self.out {
            Sink::Ndjson(out) => put_json(out, line),
            Sink::Csv(table) => table.write_record(line.row()).map_err(of_csv),
        }
    }

    fn control(&mut self, control: &Control<'_>) -> Result<(), ToolError> {
        let Selection { offsets, controls, .. } = &self.selection;
        match &mut self.out {
            Sink::Ndjson(out) if *controls && control.at >= offsets.start => {
                put_json(out, &ControlLine::new(control))
            }
            _ => Ok(()),
        }
    }

    fn miss(
        &mut self,
        range: Range<Offset>,
        cause: GapCause,
        missing: &mut dyn FnMut(&Range<Offset>, &'static str),
    ) -> Result<(), ToolError> {
        let Range { start, end } = self.selection.offsets;
        let range = range.start.max(start)..range.end.min(end);
        if range.start >= range.end {
            return Ok(());
        }
        if let Some((gap, why)) = &mut self.gap
            && *why == cause
            && gap.end == range.start
        {
            gap.end = range.end;
            return Ok(());
        }
        self.tell_gap(missing)?;
        self.gap = Some((range, cause));
        Ok(())
    }

    /// Tells the range that is missing, now that something follows it.
    fn tell_gap(
        &mut self,
        missing: &mut dyn FnMut(&Range<Offset>, &'static str),
    ) -> Result<(), ToolError> {
        let Some((range, cause)) = self.gap.take() else { return Ok(()) };
        let count = range.end.0 - range.start.0;
        match cause {
            GapCause::Evicted => self.done.evicted += count,
            GapCause::Damaged => self.done.damaged += count,
        }
        missing(&range, cause.name());
        match &mut self.out {
            Sink::Ndjson(out) => put_json(out, &GapLine::new(&range, cause.name())),
            Sink::Csv(_) => Ok(()),
        }
    }
}

fn put_json(out: &mut impl Write, line: &impl serde::Serialize) -> Result<(), ToolError> {
    serde_json::to_writer(&mut *out, line).map_err(|error| ToolError::Output(error.into()))?;
    out.write_all(b"\n").map_err(ToolError::Output)
}

fn of_csv(error: csv::Error) -> ToolError {
    ToolError::Output(match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    })
}
