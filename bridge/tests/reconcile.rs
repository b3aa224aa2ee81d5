//! The reconcile table: Kafka's answer against the local log's knowledge, row by row, and over
//! every small case.

use tributary_bridge::{Halt, Hint, Local, Position, Said, reconcile};
use tributary_core::Offset;

/// The log had three openings: 1 from 0, 2 from 100, 3 (the current) from 200; it ends at 300.
const OLDEST: u32 = 1;
const OLDER: u32 = 2;
const CURRENT: u32 = 3;

fn position(generation: u32, offset: u64) -> Position {
    Position { offset: Offset(offset), generation, account: format!("at {offset}") }
}

fn local(hint: Option<(u32, u64, u64)>) -> Local {
    Local {
        generation: CURRENT,
        generations: vec![(OLDEST, Offset(0)), (OLDER, Offset(100)), (CURRENT, Offset(200))],
        hint: hint.map(|(generation, low, high)| Hint {
            low: position(generation, low),
            high: Offset(high),
        }),
        overruled: None,
        log_is_empty: false,
        oldest: Offset(0),
        end: Offset(300),
    }
}

fn ask(kafka: Option<(u32, u64)>, local: &Local) -> Result<u64, Halt> {
    let metadata = kafka.map(|(generation, offset)| format!("v1,{generation:08x},at {offset}"));
    let kafka = kafka.zip(metadata).map(|((_, offset), text)| Said::Position(Offset(offset), text));
    reconcile(&kafka.unwrap_or_default(), local).map(|position| {
        assert_eq!(position.generation, CURRENT, "stated in terms of the current generation");
        position.offset.0
    })
}

fn in_doubt(kafka: Option<u64>, hint: Option<(u64, u64)>) -> Result<u64, Halt> {
    let hint = hint.map(|(low, high)| (Offset(low), Offset(high)));
    Err(Halt::InDoubt { kafka: kafka.map(Offset), hint })
}

fn ahead(offset: u64, high: u64) -> Result<u64, Halt> {
    Err(Halt::Ahead { offset: Offset(offset), high: Offset(high) })
}

#[test]
fn the_table() {
    type Row = (&'static str, Option<(u32, u64)>, Option<(u32, u64, u64)>, Result<u64, Halt>);
    let rows: [Row; 20] = [
        ("normal", Some((CURRENT, 250)), Some((CURRENT, 240, 280)), Ok(250)),
        ("P = L", Some((CURRENT, 240)), Some((CURRENT, 240, 280)), Ok(240)),
        ("P = U", Some((CURRENT, 280)), Some((CURRENT, 240, 280)), Ok(280)),
        ("after a restart", Some((OLDER, 200)), Some((OLDER, 190, 264)), Ok(200)),
        (
            "restated, then nothing committed",
            Some((OLDER, 200)),
            Some((CURRENT, 200, 280)),
            Ok(200),
        ),
        ("restated after a lost tail", Some((OLDER, 230)), Some((CURRENT, 200, 280)), Ok(200)),
        ("two restarts ago", Some((OLDEST, 60)), Some((OLDEST, 60, 64)), Ok(60)),
        ("tail lost after shipping", Some((OLDER, 230)), Some((OLDER, 190, 264)), Ok(200)),
        ("its claim lost as well", Some((OLDER, 230)), Some((OLDER, 190, 195)), Ok(200)),
        ("its hint lost as well", Some((OLDER, 230)), None, Ok(200)),
        ("hint lost", Some((CURRENT, 250)), None, Ok(250)),
        (
            "went back behind an acknowledgement",
            Some((CURRENT, 239)),
            Some((CURRENT, 240, 280)),
            in_doubt(Some(239), Some((240, 280))),
        ),
        (
            "went back to an older opening",
            Some((OLDER, 230)),
            Some((CURRENT, 220, 280)),
            in_doubt(Some(200), Some((220, 280))),
        ),
        ("beyond every claim", Some((CURRENT, 281)), Some((CURRENT, 240, 280)), ahead(281, 280)),
        ("beyond the log", Some((CURRENT, 301)), Some((CURRENT, 240, 364)), ahead(301, 300)),
        ("beyond the log, no hint", Some((CURRENT, 301)), None, ahead(301, 300)),
        ("expired, clean", None, Some((CURRENT, 240, 240)), Ok(240)),
        ("expired, clean, tail lost", None, Some((OLDER, 230, 230)), Ok(200)),
        ("expired in doubt", None, Some((CURRENT, 240, 280)), in_doubt(None, Some((240, 280)))),
        ("nobody knows", None, None, in_doubt(None, None)),
    ];
    for (name, kafka, hint, expected) in rows {
        assert_eq!(ask(kafka, &local(hint)), expected, "{name}");
    }
}

#[test]
fn an_unknown_generation_or_foreign_metadata_is_somebody_else() {
    for metadata in [
        "v1,00000009,x",
        "v1,3,x",
        "v1,0000003,x",
        "v1,+0000003,x",
        "v1,00000003",
        "v2,00000003,x",
        "",
        "x",
    ] {
        for hint in [None, Some((CURRENT, 240, 280))] {
            let found = reconcile(&Said::Position(Offset(250), metadata.to_owned()), &local(hint));
            let metadata = metadata.to_owned();
            assert_eq!(found, Err(Halt::Identity { offset: Offset(250), metadata }));
        }
    }
}

#[test]
fn what_stands_in_a_foreign_position_is_shown_shortened() {
    let foreign = format!("\u{1b}[31m{}", "x".repeat(4000));
    let Err(halt) = reconcile(&Said::Position(Offset(5), foreign), &local(None)) else {
        panic!("it is foreign");
    };
    let shown = halt.to_string();
    assert!(shown.len() < 200 && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_log_without_events_begins_where_it_begins() {
    let mut fresh = local(None);
    fresh.log_is_empty = true;
    fresh.oldest = Offset(7);
    assert_eq!(ask(None, &fresh), Ok(7));
}

#[test]
fn a_decision_holds_as_long_as_kafka_says_what_it_said() {
    let mut decided = local(Some((CURRENT, 260, 260)));
    decided.overruled = Some(Said::Nothing);
    assert_eq!(ask(None, &decided), Ok(260));
    // Kafka has the position that was decided, then. What else it says nobody has seen.
    assert_eq!(ask(Some((CURRENT, 260)), &decided), Ok(260));
    assert_eq!(ask(Some((CURRENT, 250)), &decided), in_doubt(Some(250), Some((260, 260))));
    decided.overruled = Some(Said::Position(Offset(250), "another".to_owned()));
    for (offset, expected) in [(250, Some(260)), (251, None)] {
        let found = reconcile(&Said::Position(Offset(offset), "another".to_owned()), &decided);
        assert_eq!(found.ok().map(|position| position.offset.0), expected);
    }
}

#[test]
fn the_account_travels_with_the_position() {
    let found =
        reconcile(&Said::Position(Offset(250), "v1,00000003,a,b;c".to_owned()), &local(None));
    assert_eq!(found.map(|position| position.account), Ok("a,b;c".to_owned()));
    let found = reconcile(&Said::Nothing, &local(Some((CURRENT, 240, 240))));
    assert_eq!(found.map(|position| position.account), Ok("at 240".to_owned()));
}

/// Over every small case, what an answer may be at all: it resumes only where Kafka, or with Kafka
/// silent the hint, says; never beyond what the position's opening left behind; never behind an
/// acknowledgement; and it never takes a claim for a commit.
#[test]
fn every_small_case_keeps_the_promises() {
    let starts = [0, 2, 4];
    let end_of =
        |generation: u32| if generation == CURRENT { 6 } else { starts[generation as usize] };
    let mut resumed = 0;
    for kafka in cases() {
        for hint in cases() {
            for high in 0..=7 {
                let mut local = local(hint.map(|(generation, low)| (generation, low, high)));
                for (at, start) in local.generations.iter_mut().zip(starts) {
                    at.1 = Offset(start);
                }
                local.end = Offset(6);
                let Ok(offset) = ask(kafka, &local) else {
                    continue;
                };
                resumed += 1;
                let (generation, said) = kafka.or(hint).expect("something said so");
                assert_eq!(offset, said.min(end_of(generation)));
                match (kafka, hint) {
                    (Some(kafka), Some(hint)) => {
                        let acknowledged = hint.1.min(end_of(hint.0));
                        assert!(offset >= acknowledged, "not behind an acknowledgement");
                        assert!(kafka.1 <= high || kafka.1 > end_of(kafka.0), "not beyond U");
                    }
                    (None, Some(hint)) => assert!(high <= hint.1, "a claim is no commit"),
                    (Some(_) | None, None) => {}
                }
            }
        }
    }
    assert!(resumed > 300, "{resumed}");
}

/// No position, and every position up to 7 under each opening.
fn cases() -> Vec<Option<(u32, u64)>> {
    let some = [OLDEST, OLDER, CURRENT]
        .into_iter()
        .flat_map(|generation| (0..=7).map(move |offset| Some((generation, offset))));
    core::iter::once(None).chain(some).collect()
}
