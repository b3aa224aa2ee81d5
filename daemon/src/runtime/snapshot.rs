//! The control records that hold at the end of the log, repeated at the start of each segment.
//!
//! So any segment alone tells which routing table, hints and anchor were in force, and nothing is
//! forgotten when the oldest segment goes.

use std::collections::BTreeMap;

use tributary_core::Offset;
use tributary_core::log::{Control, ControlKind};

use super::cursors::CursorRecord;
use crate::downlink::place::{Place, Places, TopicPlaces};

/// The latest of each kind; hints by lane, cursors by name; and how far Kafka topics were read, which
/// events tell, too.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    routes: Option<Vec<u8>>,
    anchor: Option<Vec<u8>>,
    hints: BTreeMap<String, Vec<u8>>,
    cursors: BTreeMap<String, Vec<u8>>,
    replayed: Option<Vec<u8>>,
    places: Places,
}

impl Snapshot {
    /// Takes note of a control record that was read or written.
    pub fn note(&mut self, kind: ControlKind, body: &[u8]) {
        match kind {
            ControlKind::Routes => self.routes = Some(body.to_vec()),
            ControlKind::Anchor => self.anchor = Some(body.to_vec()),
            ControlKind::Replayed => self.replayed = Some(body.to_vec()),
            ControlKind::Hint => {
                if let Some(hint) = super::hint::LaneHint::decode(body) {
                    self.hints.insert(hint.lane, body.to_vec());
                }
            }
            ControlKind::Cursor => match CursorRecord::decode(body) {
                Some(CursorRecord { name, forgotten: true, .. }) => {
                    self.cursors.remove(&name);
                }
                Some(CursorRecord { name, .. }) => {
                    self.cursors.insert(name, body.to_vec());
                }
                None => {}
            },
            ControlKind::Downlink => {
                if let Some(places) = TopicPlaces::decode(body) {
                    self.places.note(places);
                }
            }
            // The log keeps the others itself.
            _ => {}
        }
    }

    /// The same for a record as the log hands it out.
    pub fn note_control(&mut self, control: &Control<'_>) {
        self.note(control.kind, control.body);
    }

    /// An event moves places on.
    pub fn follow(&mut self, place: &Place) {
        self.places.follow(place);
    }

    /// All events below `at` are taken into account: what a new segment begins with tells that.
    pub fn settle(&mut self, at: Offset) {
        self.places.settle(at);
    }

    /// How far Kafka topics were read.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// What a new segment begins with.
    #[must_use]
    pub fn records(&self) -> Vec<(ControlKind, &[u8])> {
        let mut records: Vec<(ControlKind, &[u8])> = Vec::new();
        records.extend(self.routes.as_deref().map(|body| (ControlKind::Routes, body)));
        records.extend(self.anchor.as_deref().map(|body| (ControlKind::Anchor, body)));
        records.extend(self.hints.values().map(|body| (ControlKind::Hint, body.as_slice())));
        records.extend(self.cursors.values().map(|body| (ControlKind::Cursor, body.as_slice())));
        records.extend(self.replayed.as_deref().map(|body| (ControlKind::Replayed, body)));
        records.extend(self.places.bodies().map(|body| (ControlKind::Downlink, body)));
        records
    }

    /// The body of the routing table in force.
    #[must_use]
    pub fn routes(&self) -> Option<&[u8]> {
        self.routes.as_deref()
    }

    /// The body of the last moment on both clocks.
    #[must_use]
    pub fn anchor(&self) -> Option<&[u8]> {
        self.anchor.as_deref()
    }

    /// The body of the last mark of a replay.
    #[must_use]
    pub fn replayed(&self) -> Option<&[u8]> {
        self.replayed.as_deref()
    }

    /// All hints, in the order of their lanes.
    pub fn hints(&self) -> impl Iterator<Item = super::hint::LaneHint> {
        self.hints.values().filter_map(|body| super::hint::LaneHint::decode(body))
    }

    /// All cursors, by name.
    pub fn cursors(&self) -> impl Iterator<Item = CursorRecord> {
        self.cursors.values().filter_map(|body| CursorRecord::decode(body))
    }

    /// The hint of a lane.
    #[must_use]
    pub fn hint(&self, lane: &str) -> Option<super::hint::LaneHint> {
        self.hints.get(lane).and_then(|body| super::hint::LaneHint::decode(body))
    }
}
