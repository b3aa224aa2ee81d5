//! How far long work has come: one line on standard error, while that is a terminal.

use core::ops::Range;
use std::io::{IsTerminal, Write};

use tributary_core::Offset;
use tributary_core::time::Instant;

use crate::io::clock::now;

/// The line is written anew so often.
const EVERY_MS: u64 = 250;

/// A line that tells how far it is.
pub(super) struct Progress {
    what: &'static str,
    range: Range<Offset>,
    begun: Instant,
    next: Instant,
    shown: bool,
    visible: bool,
}

impl Progress {
    /// For work on these offsets.
    pub(super) fn new(what: &'static str, range: Range<Offset>) -> Self {
        let (begun, visible) = (now(), std::io::stderr().is_terminal());
        Self { what, range, begun, next: begun.plus_ms(EVERY_MS), shown: false, visible }
    }

    /// The work is at `offset` now.
    pub(super) fn at(&mut self, offset: Offset) {
        let moment = now();
        if !self.visible || moment < self.next {
            return;
        }
        self.next = moment.plus_ms(EVERY_MS);
        let Range { start, end } = self.range;
        let (all, done) = (end.0.saturating_sub(start.0), offset.0.saturating_sub(start.0));
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100).min(100);
        let rate = done.saturating_mul(1000) / moment.ms_since(self.begun).max(1);
        eprint!("\r\x1b[K{}: {percent} %, offset {}, {rate} events/s", self.what, offset.0);
        self.flush();
        self.shown = true;
    }

    /// The work is over: the line goes away.
    pub(super) fn end(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
            self.flush();
            self.shown = false;
        }
    }

    fn flush(&mut self) {
        // Without a terminal there is nobody to tell.
        self.visible = std::io::stderr().flush().is_ok();
    }
}
