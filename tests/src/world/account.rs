//! What can be seen of a gateway from outside: reports, the account, what stands in its log.

use std::collections::BTreeMap;

use core::ops::AddAssign;
use core::sync::atomic::Ordering;

use tributary::config::Lane as Name;
use tributary::replicate::report::Report;
use tributary::runtime::clock::Moment;
use tributary::runtime::hint::LaneHint;
use tributary::runtime::status::routes;
use tributary_bridge::Settings;
use tributary_core::Offset;
use tributary_core::crc::crc32c;
use tributary_core::log::{Item, Reader};

use super::World;
use super::gateway::NAME;
use super::process::{Process, Track, lock};

/// Read from the log at once when wills are looked for: more than any commit.
const WILLS_BYTES: usize = 64 << 10;

/// What became of the records of routes, as gateways count them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// They stand in Kafka.
    pub(super) delivered: u64,
    /// A topic does not take them: they are kept as dead letters.
    pub(super) dead_lettered: u64,
    /// Their events left a full log before they were shipped.
    pub(super) lost: u64,
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.lost += other.lost;
    }
}

impl World {
    /// Topics that lanes went on without, and that came back, with those of a process.
    pub(super) fn detours_with(&self, process: &Process) -> [u64; 2] {
        let [left, returned] = self.detours;
        [left + process.detoured[0], returned + process.detoured[1]]
    }
}

impl Process {
    /// Who the gateway is to Kafka: one for each lane at work.
    pub(super) fn identities(&self) -> Vec<String> {
        let identity = |lane: &Name| {
            let lane = lane.name().to_owned();
            Settings { lane, ..Settings::new(NAME, self.log_id, Vec::new()) }.identity()
        };
        self.lanes.keys().map(identity).collect()
    }

    /// How the lanes stand that are at work.
    pub(super) fn reports(&self, moment: Moment) -> BTreeMap<Name, Report> {
        let report = |track: &Track| {
            let mut report = Report::default();
            track.lane.tell(moment.now, &mut report);
            report
        };
        self.lanes.iter().map(|(name, track)| (*name, report(track))).collect()
    }

    /// The oldest offset that the log keeps.
    pub(super) fn oldest(&self) -> u64 {
        self.reader.end().1.0
    }

    /// What became of the records of the routes in force, as the gateway counts them.
    pub(super) fn account(&self, moment: Moment) -> Account {
        let mut reports = self.reports(moment);
        for name in Name::ALL {
            if let Some(hint) = self.hint(name) {
                reports.entry(name).or_insert_with(|| Report::noted(&hint));
            }
        }
        let table = lock(&self.table).clone();
        let durable = self.shared.ingest.durable().0;
        let mut account = Account::default();
        for route in routes(&table, &reports, durable) {
            account.delivered += route.delivered;
            account.dead_lettered += route.dead_lettered;
            account.lost += route.lost;
        }
        account
    }

    /// A lane's hint as it stands in the log.
    pub(super) fn hint(&self, lane: Name) -> Option<LaneHint> {
        lock(&self.hints[lane.index()]).clone()
    }

    /// Events that left the log before their sessions had read them.
    pub(super) fn missed(&self) -> u64 {
        self.shared.hub.counters.missed.load(Ordering::Relaxed)
    }

    /// Wills that stand in the log from `from` on, with their offsets.
    pub(super) fn read_wills(&self, from: &mut Offset) -> Vec<(u64, String)> {
        let end = self.reader.end().0;
        let mut wills = Vec::new();
        if *from >= end.offset {
            return wills;
        }
        let mut reader = Reader::new(*from, crc32c);
        let mut buffer = vec![0; WILLS_BYTES];
        while let Some(chunk) =
            reader.read(&self.reader, end, &mut buffer).unwrap_or_else(|why| panic!("{why}"))
        {
            for item in chunk {
                let Item::Events(frame) = item else { continue };
                for (offset, event) in frame.filter(|(_, event)| event.topic.starts_with("wills/"))
                {
                    wills.push((offset.0, String::from_utf8_lossy(event.payload).into_owned()));
                }
            }
        }
        *from = end.offset;
        wills
    }
}
