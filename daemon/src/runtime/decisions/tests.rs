//! Where lanes go on, and what is said of it.

use super::*;

const ACCOUNT: &str = "1.5.0.0;";

fn known() -> Known {
    let low = Position { offset: Offset(40), generation: 8, account: ACCOUNT.to_owned() };
    let hint = Hint { low: low.clone(), high: Offset(60) };
    let hint = LaneHint { hint, ..LaneHint::beginning("normal", low) };
    Known { hint: Some(hint), generation: 9, oldest: Offset(3), end: Offset(100) }
}

fn decide(skip: bool, at: Option<u64>) -> Decide {
    Decide { lane: None, skip, at, read: false, confirmed: false }
}

/// Where a lane goes on, and its account there.
fn outcome(halt: &Halt, said: Said, decide: &Decide) -> Result<(u64, String), String> {
    let plan = plan("normal", (halt, said.clone()), &known(), decide)?;
    let hint = plan.hint.expect("one is made");
    let overruled = match said {
        Said::Position(offset, text) => Overruled::Position(offset.0, text),
        _ => Overruled::Nothing,
    };
    assert_eq!(hint.overruled, Some(overruled));
    assert_eq!((hint.hint.high, hint.hint.low.generation), (hint.hint.low.offset, 9));
    Ok((hint.hint.low.offset.0, hint.hint.low.account))
}

#[test]
fn of_what_is_in_doubt_nothing_is_lost_or_nothing_is_doubled() {
    let hint = Some((Offset(40), Offset(60)));
    let forgotten = Halt::InDoubt { kafka: None, hint };
    let twice = outcome(&forgotten, Said::Nothing, &decide(false, None));
    assert_eq!(twice, Ok((40, ACCOUNT.to_owned())));
    let skipped = outcome(&forgotten, Said::Nothing, &decide(true, None));
    assert_eq!(skipped, Ok((60, "1.5.0.0.0.14;".to_owned())));
    let between = outcome(&forgotten, Said::Nothing, &decide(false, Some(50)));
    assert_eq!(between, Ok((50, "1.5.0.0.0.a;".to_owned())));
    for at in [39, 61] {
        let refused = outcome(&forgotten, Said::Nothing, &decide(true, Some(at)));
        assert!(refused.is_err_and(|why| why.contains("from 40 to 60")), "{at}");
    }
    let said = Said::Position(Offset(30), "v1,00000008,1.2.0.0;".to_owned());
    let back = Halt::InDoubt { kafka: Some(Offset(30)), hint };
    let twice = outcome(&back, said.clone(), &decide(false, None));
    assert_eq!(twice, Ok((30, "1.2.0.0;".to_owned())));
    assert_eq!(outcome(&back, said, &decide(true, None)), Ok((40, "1.2.0.0.0.a;".to_owned())));
}

#[test]
fn who_passes_on_does_not_go_on_reading_back_there() {
    let mut known = known();
    let hint = known.hint.as_mut().expect("there is one");
    hint.hint.low.account = format!("b=7;{ACCOUNT}");
    let halt = Halt::InDoubt { kafka: None, hint: Some((Offset(40), Offset(60))) };
    let account = |skip| {
        let plan = plan("normal", (&halt, Said::Nothing), &known, &decide(skip, None));
        plan.map(|plan| plan.hint.expect("one is made").hint.low.account)
    };
    assert_eq!(account(false), Ok(format!("b=7;{ACCOUNT}")));
    assert_eq!(account(true), Ok("1.5.0.0.0.14;".to_owned()));
}

#[test]
fn where_topics_show_how_far_was_read_back_that_goes_on() {
    let known = known();
    let low = known.hint.as_ref().expect("there is one").hint.low.clone();
    let halt = Halt::InDoubt { kafka: None, hint: Some((Offset(40), Offset(60))) };
    let delivered = [(1, 2), (2, 4), (3, 0)].into();
    let verdict = Verdict { at: 40, backfill: Some(Offset(9)), delivered, ..Verdict::default() };
    let plan = proven("normal", (&halt, Said::Nothing), (&known, low), &verdict);
    let low = plan.hint.expect("one is made").hint.low;
    assert_eq!((low.offset, low.account.as_str()), (Offset(40), "b=9;1.7.0.0;2.4.0.0;3.0.0.0;"));
    assert!(plan.words.contains("at offset 40, and reads back from 9 first: of what"));
}

#[test]
fn what_kafka_was_told_to_be_gone_counts_as_lost() {
    let known = known();
    let low = known.hint.as_ref().expect("there is one").hint.low.clone();
    let halt = Halt::InDoubt { kafka: None, hint: Some((Offset(40), Offset(60))) };
    let (delivered, lost) = ([(1, 2)].into(), [(1, 10), (2, 12)].into());
    let verdict = Verdict { at: 55, delivered, lost, ..Verdict::default() };
    let plan = proven("normal", (&halt, Said::Nothing), (&known, low), &verdict);
    let low = plan.hint.expect("one is made").hint.low;
    assert_eq!((low.offset, low.account.as_str()), (Offset(55), "1.7.a.0;2.0.c.0;"));
}

#[test]
fn another_identity_is_overruled_within_what_the_log_has() {
    let said = Said::Position(Offset(500), "v1,0000000f,".to_owned());
    let halt = Halt::Identity { offset: Offset(500), metadata: "v1,0000000f,".to_owned() };
    assert_eq!(outcome(&halt, said.clone(), &decide(false, None)).map(|it| it.0), Ok(40));
    assert_eq!(outcome(&halt, said, &decide(true, None)).map(|it| it.0), Ok(100));
    let hanging = Halt::HangingTransaction;
    assert!(outcome(&hanging, Said::Nothing, &decide(true, None)).is_err());
}

#[test]
fn a_transaction_is_to_be_aborted_only_where_none_of_it_can_be_read() {
    let brokers = [("a".to_owned(), 9092), ("b".to_owned(), 9093)];
    let from = [(("all".to_owned(), 2), 42)].into();
    let held = HeldBack { from, shown_elsewhere: false };
    let command = "kafka-transactions.sh --bootstrap-server a:9092,b:9093 abort --topic all \
                   --partition 2 --start-offset 42";
    let told = advice(&Halt::HangingTransaction, &held, &brokers);
    assert!(told.contains("holds back all-2 from 42 on") && told.ends_with(command), "{told}");
    let committed = HeldBack { shown_elsewhere: true, ..held.clone() };
    let told = advice(&Halt::HangingTransaction, &committed, &brokers);
    assert!(told.contains("would lose the rest") && !told.contains("abort --topic"), "{told}");
    let told = advice(&Halt::InDoubt { kafka: None, hint: None }, &held, &brokers);
    assert!(told.contains("describe-producers"), "{told}");
}
