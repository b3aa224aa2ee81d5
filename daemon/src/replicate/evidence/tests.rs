//! What records prove, and what they do not.

use super::*;
use crate::config::Lane;
use tributary_bridge::Bytes;
use tributary_core::time::Timestamp;

fn record(batch: u64, offset: u64, headers: &[(&str, String)]) -> ReadRecord {
    let header = |(name, value): &(&str, String)| {
        ((*name).to_owned(), Some(Bytes::from(value.clone().into_bytes())))
    };
    ReadRecord {
        offset,
        batch,
        timestamp: Timestamp(0),
        key: None,
        value: None,
        headers: headers.iter().map(header).collect(),
    }
}

/// A batch of a log with events of these offsets for a route.
pub(super) fn batch(log: u64, base: u64, route: &str, offsets: &[u64]) -> Vec<ReadRecord> {
    let one = |(at, offset): (u64, &u64)| {
        let mut headers = vec![(OFFSET, offset.to_string()), (ROUTE, route.to_owned())];
        if at == 0 {
            headers.insert(0, (BATCH, format!("{log:016x},00000001,{offset}")));
        }
        record(base, base + at, &headers)
    };
    (0..).zip(offsets).map(one).collect()
}

pub(super) fn records(topic: &str, records: Vec<ReadRecord>) -> Found {
    let topic = topic.to_owned();
    Found::Records { topic, partition: 0, records, unreadable: Vec::new(), next: 0 }
}

pub(super) fn began(topic: &str, why: Began) -> Found {
    let topic = topic.to_owned();
    Found::Began { topic, id: None, partition: 0, partitions: 1, next: 0, why }
}

fn at_end(topic: &str) -> Found {
    Found::AtEnd { topic: topic.to_owned(), partition: 0 }
}

/// Two routes, with their numbers.
const ROUTES: [(&str, u32); 2] = [("hot", 1), ("all", 2)];

fn ground() -> Ground {
    let share = |id, offsets| Share { id, offsets, back_at: None };
    let shares = |id| vec![share(id, 100..150), share(id, 150..200)];
    Ground {
        topics: ROUTES.map(|(name, _)| name.to_owned()).into(),
        routes: ROUTES.map(|(name, id)| (name.to_owned(), shares(id))).into(),
        since: Some(Timestamp(0)),
        ..Ground::default()
    }
}

fn evidence() -> Evidence {
    let mut evidence = Evidence::new(7, 100, ground());
    for topic in ["hot", "all"] {
        evidence.handle_found(&began(topic, Began::First));
    }
    evidence
}

#[test]
fn the_highest_offset_in_any_topic_counts_and_others_records_do_not() {
    let mut evidence = evidence();
    evidence.handle_found(&records("hot", batch(7, 0, "hot", &[98, 99, 110, 120])));
    evidence.handle_found(&records("hot", batch(8, 9, "hot", &[150])));
    evidence.handle_found(&records("all", batch(7, 0, "all", &[119, 120, 121])));
    assert!(!evidence.is_complete());
    evidence.handle_found(&at_end("hot"));
    assert!(!evidence.is_complete());
    evidence.handle_found(&at_end("all"));
    assert!(evidence.is_complete());
    let delivered = [(1, 2), (2, 3)].into();
    let verdict = Verdict { at: 122, delivered, ..Verdict::default() };
    assert_eq!(evidence.verdict(), Ok(verdict));
}

#[test]
fn partitions_that_were_not_heard_of_yet_are_waited_for() {
    let mut evidence = evidence();
    let topic = "hot".to_owned();
    let two =
        Found::Began { topic, id: None, partition: 0, partitions: 2, next: 0, why: Began::First };
    evidence.handle_found(&two);
    evidence.handle_found(&at_end("hot"));
    evidence.handle_found(&at_end("all"));
    assert!(!evidence.is_complete());
}

#[test]
fn where_nothing_stands_the_doubt_begins() {
    let mut evidence = evidence();
    evidence.handle_found(&records("all", batch(7, 0, "all", &[97, 99])));
    assert_eq!(evidence.verdict(), Ok(Verdict { at: 100, ..Verdict::default() }));
}

#[test]
fn what_is_deleted_or_names_nothing_proves_nothing() {
    let mut gone = evidence();
    gone.handle_found(&began("hot", Began::Gone(3)));
    assert!(gone.verdict().is_err_and(|why| why.contains("hot-0 were deleted")));
    let mut orphan = evidence();
    let headers = [(OFFSET, "110".to_owned()), (ROUTE, "hot".to_owned())];
    orphan.handle_found(&records("hot", vec![record(4, 5, &headers)]));
    assert!(orphan.verdict().is_err_and(|why| why.contains("compacted")));
    let mut undated = evidence();
    undated.ground.since = None;
    let topic = "hot".to_owned();
    let (id, why) = (None, Began::First);
    undated.handle_found(&Found::Began { topic, id, partition: 0, partitions: 1, next: 7, why });
    assert!(undated.verdict().is_err_and(|why| why.contains("were deleted")));
    let mut silent = evidence();
    let headers = [(BATCH, "0000000000000007,00000001,110".to_owned())];
    silent.handle_found(&records("hot", vec![record(0, 0, &headers)]));
    assert!(silent.verdict().is_err_and(|why| why.contains("`headers`")));
}

#[test]
fn a_topic_that_is_not_there_has_nothing() {
    let mut evidence = Evidence::new(7, 100, ground());
    evidence.handle_missing("hot");
    assert!(!evidence.is_complete());
    evidence.handle_found(&began("all", Began::First));
    evidence.handle_found(&records("all", batch(7, 0, "all", &[99, 120])));
    evidence.handle_found(&at_end("all"));
    assert!(evidence.is_complete());
    let delivered = [(2, 1)].into();
    assert_eq!(evidence.verdict(), Ok(Verdict { at: 121, delivered, ..Verdict::default() }));
}

/// A record that tells of gaps, of a log and a lane.
fn gap(base: u64, (log, lane): (u64, &str), routes: &[(&str, u64, u64)]) -> ReadRecord {
    let routes: Vec<_> = routes
        .iter()
        .map(|(route, first, end)| serde_json::json!({"route": route, "first": first, "end": end}))
        .collect();
    let log = format!("{log:016x}");
    let value = serde_json::json!({"gateway": "gw", "lane": lane, "log": log, "routes": routes});
    let value = Some(Bytes::from(value.to_string().into_bytes()));
    ReadRecord { value, ..record(base, base, &[(BATCH, format!("{log},00000001,120"))]) }
}

/// Of a transaction that had nothing else.
#[test]
fn a_gap_that_was_told_was_passed() {
    let gapped = || Ground { has_gaps: true, ..ground() }.with_gaps(Some("gaps"), Lane::Normal);
    let verdict = |told: Vec<ReadRecord>| {
        let mut evidence = Evidence::new(7, 100, gapped());
        for topic in ["hot", "all", "gaps"] {
            evidence.handle_found(&began(topic, Began::First));
        }
        evidence.handle_found(&records("all", batch(7, 0, "all", &[105])));
        evidence.handle_found(&records("gaps", told));
        evidence.verdict().expect("all of it was read")
    };
    let own = (7, "normal");
    let told = [("hot", 110, 130), ("all", 120, 130), ("other", 125, 130)];
    let told = verdict(vec![gap(0, own, &told), gap(1, own, &told)]);
    let (delivered, lost) = ([(2, 1)].into(), [(1, 20), (2, 10)].into());
    assert_eq!(told, Verdict { at: 130, delivered, lost, ..Verdict::default() });
    let before = verdict(vec![gap(0, own, &[("hot", 80, 100)])]);
    assert_eq!((before.at, before.lost.len()), (106, 0), "it was passed before the doubt");
    let others =
        [gap(0, (7, "high"), &[("hot", 110, 130)]), gap(1, (8, "normal"), &[("hot", 110, 130)])];
    let others = verdict(others.into());
    assert_eq!((others.at, others.lost.len()), (106, 0), "another lane's, and another log's");
    assert_eq!(ground().with_gaps(Some("gaps"), Lane::Normal).topics, ground().topics, "not read");
}

#[test]
fn what_an_open_transaction_holds_back_is_named() {
    let mut evidence = evidence();
    evidence.handle_found(&Found::Records {
        topic: "hot".to_owned(),
        partition: 0,
        records: batch(7, 40, "hot", &[110]),
        unreadable: Vec::new(),
        next: 42,
    });
    evidence.handle_found(&at_end("all"));
    let from = [(("hot".to_owned(), 0), 42)].into();
    let held = HeldBack { from, shown_elsewhere: false };
    assert_eq!(evidence.held_back(), Some(held.clone()));
    evidence.handle_found(&records("all", batch(7, 0, "all", &[100, 110])));
    assert_eq!(evidence.held_back(), Some(held.clone()), "of a transaction before");
    evidence.handle_found(&records("all", batch(7, 9, "all", &[111])));
    assert_eq!(evidence.held_back(), Some(HeldBack { shown_elsewhere: true, ..held }));
    evidence.handle_found(&at_end("hot"));
    assert_eq!(evidence.held_back(), None);
}
