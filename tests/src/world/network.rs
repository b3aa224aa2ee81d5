//! What lies between lanes and brokers: connections with delays, that break, hang and are refused.

use std::collections::BTreeMap;

use tributary::config::Lane;
use tributary::replicate::{self, lane::Effect};
use tributary_bridge::ConnId;
use tributary_cluster::{BrokerId, Output};
use tributary_core::time::Instant;

use super::{Happening, World};
use crate::disk::DiskReader;

/// How long an attempt to connect to nobody lasts.
const CONNECT_MS: u64 = 3_000;

/// A connection between a lane and a broker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line(u64);

/// How the way to the cluster is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    #[default]
    Open,
    /// Everything is refused.
    Closed,
    /// Everything vanishes.
    BlackHole,
}

#[derive(Debug)]
struct Ends {
    gateway: usize,
    /// `None`: the lane has gone.
    lane: Option<(Lane, ConnId)>,
    broker: Option<tributary_cluster::ConnId>,
    target: Option<BrokerId>,
    arrivals: [u64; 2],
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Network {
    lines: BTreeMap<Line, Ends>,
    next: u64,
    pub(super) way: Way,
    /// The way is bad until then.
    pub(super) until: u64,
    /// Virtual time that was skipped by sleeping machines.
    pub(super) slept_ms: u64,
}

impl Network {
    pub(super) fn heal(&mut self) {
        self.way = Way::Open;
    }

    fn line_of(&self, gateway: usize, conn: (Lane, ConnId)) -> Option<Line> {
        let of = |ends: &Ends| ends.gateway == gateway && ends.lane == Some(conn);
        self.lines.iter().find(|(_, ends)| of(ends)).map(|(line, _)| *line)
    }

    fn line_at(&self, conn: tributary_cluster::ConnId) -> Option<Line> {
        self.lines.iter().find(|(_, ends)| ends.broker == Some(conn)).map(|(line, _)| *line)
    }
}

impl World {
    /// Lets the lanes do what they can, and carries out what they want.
    pub(super) fn turn_lanes(&mut self, gateway: usize) {
        let moment = self.gateways[gateway].moment(self.now);
        let Some(process) = &mut self.gateways[gateway].process else { return };
        let effects = process.turn_lanes(moment);
        for (lane, effect) in effects {
            match effect {
                Effect::Connect { conn, host, .. } => self.open(gateway, (lane, conn), &host),
                Effect::Send { conn, bytes } => {
                    if let Some(line) = self.network.line_of(gateway, (lane, conn)) {
                        let at = self.arrival_on(line, 0);
                        self.at(at, Happening::ToBroker(line, bytes.to_vec()));
                    }
                }
                Effect::Disconnect { conn } => {
                    if let Some(line) = self.network.line_of(gateway, (lane, conn)) {
                        self.drop_line(line);
                    }
                }
                Effect::Authenticate { .. } => unreachable!("the cluster asks for no login"),
                Effect::WriteHint(_) | Effect::Bury(_) | Effect::Detour(_) => {
                    unreachable!("it was dealt with")
                }
            }
        }
        self.commit_soon(gateway);
        let Some(process) = &self.gateways[gateway].process else { return };
        let Some(deadline) = process.poll_lanes(moment.now) else { return };
        let at = self.gateways[gateway].world_time(deadline).max(self.now + 1);
        if process.lane_at <= self.now || at < process.lane_at {
            self.at(at, Happening::WakeLane(gateway));
            if let Some(process) = &mut self.gateways[gateway].process {
                process.lane_at = at;
            }
        }
    }

    pub(super) fn wake_lanes(&mut self, gateway: usize) {
        let due = |process: &super::process::Process| process.lane_at == self.now;
        if self.gateways[gateway].process.as_ref().is_some_and(due) {
            self.turn_lanes(gateway);
        }
    }

    fn open(&mut self, gateway: usize, conn: (Lane, ConnId), host: &str) {
        let id = host.strip_prefix("broker-").and_then(|id| id.parse().ok());
        self.network.next += 1;
        let line = Line(self.network.next);
        let target = id.map(BrokerId);
        let ends = Ends { gateway, lane: Some(conn), broker: None, target, arrivals: [0, 0] };
        self.network.lines.insert(line, ends);
        let patience = if self.network.way == Way::BlackHole { CONNECT_MS } else { 0 };
        let later = patience + self.rng.u64(..30);
        self.soon(later, Happening::Opened(line));
    }

    pub(super) fn opened(&mut self, line: Line) {
        let Some(ends) = self.network.lines.get_mut(&line) else { return };
        let broker = ends.target.filter(|_| self.network.way == Way::Open);
        ends.broker = broker.and_then(|broker| self.cluster.connect(broker));
        let (gateway, name, is_open) = (ends.gateway, ends.lane, ends.broker.is_some());
        let now = self.gateways[gateway].instant(self.now);
        if let Some((lane, conn)) = name
            && let Some(lane) = self.lane(gateway, lane)
        {
            if is_open {
                lane.talk().handle_connected(now, conn);
            } else {
                lane.talk().handle_closed(now, conn, "connection refused");
                self.network.lines.remove(&line);
            }
            self.turn_lanes(gateway);
        }
    }

    fn lane(
        &mut self,
        gateway: usize,
        lane: Lane,
    ) -> Option<&mut replicate::lane::Lane<DiskReader>> {
        let process = self.gateways[gateway].process.as_mut()?;
        process.lanes.get_mut(&lane).map(|track| &mut track.lane)
    }

    fn arrival_on(&mut self, line: Line, direction: usize) -> u64 {
        let later = self.now + self.rng.u64(..40);
        match self.network.lines.get_mut(&line) {
            Some(Ends { arrivals, .. }) => {
                arrivals[direction] = arrivals[direction].max(later);
                arrivals[direction]
            }
            None => later,
        }
    }

    pub(super) fn reach_broker(&mut self, line: Line, bytes: &[u8]) {
        if self.network.way == Way::BlackHole {
            return;
        }
        if let Some(conn) = self.network.lines.get(&line).and_then(|ends| ends.broker) {
            self.note(3, bytes);
            self.cluster.handle_bytes(Instant(self.now), conn, bytes);
            self.drain_cluster();
        }
    }

    pub(super) fn reach_lane(&mut self, line: Line, bytes: &[u8]) {
        if self.network.way == Way::BlackHole {
            return;
        }
        let Some(ends) = self.network.lines.get(&line) else { return };
        let (gateway, name) = (ends.gateway, ends.lane);
        self.note(4, bytes);
        let now = self.gateways[gateway].instant(self.now);
        if let Some((lane, conn)) = name
            && let Some(lane) = self.lane(gateway, lane)
        {
            lane.talk().handle_bytes(now, conn, bytes);
            self.turn_lanes(gateway);
        }
    }

    /// One side notices that the other is gone.
    pub(super) fn ended(&mut self, line: Line, at_lane: bool) {
        let Some(ends) = self.network.lines.get_mut(&line) else { return };
        if !at_lane {
            if let Some(conn) = ends.broker.take() {
                self.cluster.disconnect(conn);
            }
            self.network.lines.remove(&line);
            return;
        }
        let (gateway, name) = (ends.gateway, ends.lane.take());
        if ends.broker.is_none() {
            self.network.lines.remove(&line);
        }
        let now = self.gateways[gateway].instant(self.now);
        if let Some((lane, conn)) = name
            && let Some(lane) = self.lane(gateway, lane)
        {
            lane.talk().handle_closed(now, conn, "connection lost");
            self.turn_lanes(gateway);
        }
    }

    /// The lane has let go; the broker hears of it behind what was sent.
    fn drop_line(&mut self, line: Line) {
        if let Some(ends) = self.network.lines.get_mut(&line) {
            ends.lane = None;
        }
        let at = self.arrival_on(line, 0);
        self.at(at, Happening::Ended(line, false));
    }

    /// All of a gateway's, because its process is gone.
    pub(super) fn drop_lines(&mut self, gateway: usize) {
        let lines = self.network.lines.iter().filter(|(_, ends)| ends.gateway == gateway);
        let lines: Vec<Line> = lines.map(|(line, _)| *line).collect();
        for line in lines {
            self.drop_line(line);
        }
    }

    /// Breaks every connection, at both ends.
    pub(super) fn break_lines(&mut self) {
        let lines: Vec<Line> = self.network.lines.keys().copied().collect();
        for line in lines {
            let at = self.arrival_on(line, 1);
            self.at(at, Happening::Ended(line, true));
            let at = self.arrival_on(line, 0);
            self.at(at, Happening::Ended(line, false));
        }
    }

    pub(super) fn wake_cluster(&mut self) {
        if self.cluster_at == self.now {
            self.cluster.handle_timeout(Instant(self.now));
            self.drain_cluster();
        }
    }

    /// Sends what the cluster wants to send.
    pub(super) fn drain_cluster(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Bytes { conn, bytes } => {
                    if let Some(line) = self.network.line_at(conn) {
                        let at = self.arrival_on(line, 1);
                        self.at(at, Happening::ToLane(line, bytes.to_vec()));
                    }
                }
                Output::Close { conn } => {
                    if let Some(line) = self.network.line_at(conn) {
                        if let Some(ends) = self.network.lines.get_mut(&line) {
                            ends.broker = None;
                        }
                        let at = self.arrival_on(line, 1);
                        self.at(at, Happening::Ended(line, true));
                    }
                }
            }
        }
        let Some(Instant(at)) = self.cluster.poll_timeout() else { return };
        let at = at.max(self.now + 1);
        if self.cluster_at <= self.now || at < self.cluster_at {
            self.cluster_at = at;
            self.at(at, Happening::WakeCluster);
        }
    }
}
