//! For how long a message has waited, as far as the gateway can know.
//!
//! While its clock is not confirmed a gateway does not know how long it was off. Once it is, it knows of all
//! messages from before; what came in meanwhile may be older than it believes, as often as it was off again.

/// The gateway was not there for a while, as it believes: since it wrote something for the last time.
struct Off {
    /// When it was there again, and what it missed at most.
    until: u64,
    ms: u64,
    /// Since when the clock was not confirmed.
    since: u64,
    is_known: bool,
}

/// When it is, and what the gateway may not know of that.
#[derive(Default)]
pub(super) struct Time {
    pub(super) now: u64,
    /// The log has something from then.
    written: u64,
    offs: Vec<Off>,
}

impl Time {
    /// Something was written.
    pub(super) fn write(&mut self) {
        self.written = self.now;
    }

    /// The gateway is there again; whether it knows what time it is.
    pub(super) fn restart(&mut self, now: u64, is_known: bool) {
        let stretch = self.offs.last().filter(|off| !off.is_known).map(|off| off.since);
        let (ms, since) = (now - self.written, stretch.unwrap_or(self.written));
        self.offs.push(Off { until: now, ms, since, is_known: false });
        (self.now, self.written) = (now, now);
        if is_known {
            self.confirm();
        }
    }

    /// The gateway knows what time it is.
    pub(super) fn confirm(&mut self) {
        self.offs.iter_mut().for_each(|off| off.is_known = true);
    }

    /// For how long something from then has waited, in milliseconds: at least and at most.
    pub(super) fn waited(&self, from: u64) -> (u64, u64) {
        let most = self.now - from;
        let is_unknown = |off: &&Off| off.until > from && (!off.is_known || from >= off.since);
        let unknown: u64 = self.offs.iter().filter(is_unknown).map(|off| off.ms).sum();
        (most.saturating_sub(unknown), most)
    }
}
