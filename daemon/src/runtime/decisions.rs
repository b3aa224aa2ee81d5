//! Where a lane goes on that has halted: as Kafka's topics show, or as an operator decides.
//!
//! Between two offsets positions do not tell what stands in Kafka. Its topics do, if all of them can be
//! read ([`Daemon::settle_doubts`]). Else an operator decides: going on at the lower offset loses nothing
//! and may double; at the higher one doubles nothing and may lose. Invariant: what is decided stands
//! in the log before the lane hears of it, and holds only as long as Kafka says what it said then.

use core::ops::{Range, RangeInclusive};

use serde::Serialize;
use tributary_bridge::{Halt, Hint, Position, Said};
use tributary_core::Offset;
use tributary_core::log::ControlKind;

use super::answers::{Daemon, LaneAnswers};
use super::hint::{LaneHint, Overruled};
use super::search::Search;
use crate::io::control::Decide;
use crate::replicate::account::Account;
use crate::replicate::evidence::{Ground, Verdict};
use crate::replicate::table::Table;
use crate::sync::lock;

/// What is read to settle a doubt before an operator is asked: a link may be slow, and paid for by the byte.
const UNASKED_BYTES_MAX: u64 = 64 << 20;

/// What a decision comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Plan {
    lane: String,
    /// Why the lane has halted.
    halt: String,
    /// It may go on between these.
    from: u64,
    to: u64,
    /// It goes on here.
    at: u64,
    /// What that means, for people.
    words: String,
    /// Whether it was done.
    done: bool,
    #[serde(skip)]
    hint: Option<LaneHint>,
}

/// What the log knows.
struct Known {
    hint: Option<LaneHint>,
    generation: u32,
    oldest: Offset,
    end: Offset,
}

impl Daemon {
    /// Tells what a decision comes to, and does it if it is confirmed.
    pub(super) async fn decide(&self, decide: &Decide) -> Result<Plan, String> {
        let lane = self.halted(decide.lane.as_deref())?;
        if decide.read {
            return self.settle(&lane, u64::MAX).await;
        }
        let (halt, said) = why(&lane)?;
        let mut plan = plan(lane.lane.name(), (&halt, said), &self.known(&lane), decide)?;
        if decide.confirmed {
            self.put(&lane, &mut plan).await?;
            tracing::warn!(lane = plan.lane, at = plan.at, "an operator decided: {}", plan.words);
        }
        Ok(plan)
    }

    /// Has lanes that are in doubt go on where Kafka's topics show that they have come to, as far as these can
    /// be read at no great cost.
    pub(super) async fn settle_doubts(&self) {
        let lanes = lock(&self.upstream).clone().map(|upstream| upstream.lanes);
        for lane in lanes.into_iter().flatten() {
            let is_in_doubt = matches!(why(&lane), Ok((Halt::InDoubt { .. }, _)));
            if is_in_doubt && let Err(why) = self.settle(&lane, UNASKED_BYTES_MAX).await {
                let lane = lane.lane.name();
                tracing::warn!(
                    lane,
                    why,
                    "what stands in Kafka cannot be told; `tributary upstream repair`, `adopt` or `skip` decides"
                );
            }
        }
    }

    /// Has a lane go on where Kafka's topics show that it has come to.
    async fn settle(&self, lane: &LaneAnswers, bytes_max: u64) -> Result<Plan, String> {
        let (halt, said) = why(lane)?;
        let known = self.known(lane);
        let (base, between) = doubt(&halt, &said, &known)?;
        let doubt = in_doubt(&halt, &base, &between)?;
        let account = Account::parse(&base.account).unwrap_or_default();
        if account.backfill.is_some() {
            return Err("a route was reading back when the doubt began".to_owned());
        }
        let log = self.log.clone();
        let read = {
            let (lane, doubt) = (lane.lane, doubt.clone());
            move || Ground::read((&log, log.end()), lane, &doubt)
        };
        let ground =
            tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??;
        let upstream = lock(&self.upstream).clone().ok_or("there is no upstream")?;
        let search = Search {
            upstream: &upstream.config,
            gateway: &self.constants.gateway,
            log_id: lock(&self.facts).id.0,
            start: doubt.start,
            bytes_max,
        };
        let verdict = search.run(ground).await?;
        if why(lane)? != (halt.clone(), said.clone()) {
            return Err("the lane has gone on meanwhile".to_owned());
        }
        let table = lock(&self.table).clone();
        let mut plan = proven(lane.lane.name(), (&halt, said), (&known, base), (&table, &verdict));
        (plan.from, plan.to) = (doubt.start, doubt.end);
        self.put(lane, &mut plan).await?;
        tracing::warn!(lane = plan.lane, at = plan.at, "read in Kafka: {}", plan.words);
        Ok(plan)
    }

    /// What the log knows of a lane.
    fn known(&self, lane: &LaneAnswers) -> Known {
        Known {
            hint: lock(&self.hints[lane.lane.index()]).clone(),
            generation: lock(&self.facts).generation,
            oldest: self.log.oldest(),
            end: self.log.end().offset,
        }
    }

    /// Puts a plan into force.
    async fn put(&self, lane: &LaneAnswers, plan: &mut Plan) -> Result<(), String> {
        let hint = plan.hint.take().unwrap_or_else(|| unreachable!("a plan is put once"));
        let body = hint.encode(self.log.end().offset);
        let written = self.ingest.write_control(ControlKind::Hint, move |_, _| body);
        written.await.map_err(|_| "the log cannot be written")?;
        *lock(&self.hints[lane.lane.index()]) = Some(hint);
        lane.decided.notify_one();
        plan.done = true;
        Ok(())
    }

    /// The lane of this name; without a name the only one that has halted.
    fn halted(&self, name: Option<&str>) -> Result<LaneAnswers, String> {
        let upstream = lock(&self.upstream).clone().ok_or("there is no upstream")?;
        let is_halted = |lane: &LaneAnswers| lock(&lane.report).halted.is_some();
        let mut lanes = upstream.lanes.into_iter();
        if let Some(name) = name {
            let found = lanes.find(|lane| lane.lane.name() == name);
            return found.ok_or_else(|| format!("no lane {name} is at work"));
        }
        let mut halted = lanes.filter(is_halted);
        match (halted.next(), halted.next()) {
            (Some(lane), None) => Ok(lane),
            (None, _) => Err("no lane has halted".to_owned()),
            (Some(_), Some(_)) => Err("more than one lane has halted: name one".to_owned()),
        }
    }
}

/// Why a lane has halted, and what Kafka had said.
fn why(lane: &LaneAnswers) -> Result<(Halt, Said), String> {
    let halted = lock(&lane.report).halted.clone();
    halted.ok_or_else(|| format!("lane {} has not halted", lane.lane.name()))
}

/// The offsets of which Kafka's topics can tell whether they are there.
fn in_doubt(
    halt: &Halt,
    base: &Position,
    between: &RangeInclusive<Offset>,
) -> Result<Range<u64>, String> {
    match halt {
        Halt::InDoubt { hint, .. } => {
            let high = hint.map_or(*between.end(), |(_, high)| high.max(*between.end()));
            Ok(base.offset.0..high.0)
        }
        Halt::Identity { .. } | Halt::Ahead { .. } | Halt::HangingTransaction { .. } => Err(
            "another log has written under this identity: which of its records are whose cannot be told; \
             `adopt` or `skip` decides"
                .to_owned(),
        ),
    }
}

/// Where a lane goes on because Kafka's topics show how far it has come.
fn proven(
    lane: &str,
    (halt, said): (&Halt, Said),
    (known, base): (&Known, Position),
    (table, verdict): (&Table, &Verdict),
) -> Plan {
    let mut account = Account::parse(&base.account).unwrap_or_default();
    for entry in &table.routes {
        if let Some(count) = verdict.delivered.get(&entry.rule.name) {
            account.deliver(entry.id, *count);
        }
    }
    let records: u64 = verdict.delivered.values().sum();
    let at = verdict.at;
    let words = format!(
        "lane {lane} goes on at offset {at}: of what was in doubt {records} records are in Kafka, none \
         behind. Nothing is lost, nothing comes twice."
    );
    Plan {
        lane: lane.to_owned(),
        halt: halt.to_string(),
        from: at,
        to: at,
        at,
        words,
        done: false,
        hint: Some(hint_at(lane, (known, said), (at, &account))),
    }
}

/// The hint by which a lane goes on somewhere, as long as Kafka says the same.
fn hint_at(lane: &str, (known, said): (&Known, Said), (at, account): (u64, &Account)) -> LaneHint {
    let low =
        Position { offset: Offset(at), generation: known.generation, account: account.to_string() };
    let hint = Hint { high: low.offset, low };
    let overruled = Overruled { kafka: said.0.map(|(offset, text)| (offset.0, text)) };
    let spent = known.hint.as_ref().map(|hint| hint.spent).unwrap_or_default();
    LaneHint { lane: lane.to_owned(), hint, reached: None, spent, overruled: Some(overruled) }
}

/// What a decision comes to.
fn plan(
    lane: &str,
    (halt, said): (&Halt, Said),
    known: &Known,
    decide: &Decide,
) -> Result<Plan, String> {
    let (base, between) = doubt(halt, &said, known)?;
    let (from, to) = (between.start().0, between.end().0);
    let at = decide.at.unwrap_or(if decide.skip { to } else { from });
    if !(from..=to).contains(&at) {
        return Err(format!("lane {lane} can go on from {from} to {to}, not at {at}"));
    }
    let mut account = Account::parse(&base.account).unwrap_or_default();
    account.skip(at.saturating_sub(base.offset.0));
    let hint = hint_at(lane, (known, said), (at, &account));
    let words = words(lane, at, from..=to);
    let (lane, halt) = (lane.to_owned(), halt.to_string());
    Ok(Plan { lane, halt, from, to, at, words, done: false, hint: Some(hint) })
}

fn words(lane: &str, at: u64, between: RangeInclusive<u64>) -> String {
    let (from, to) = between.into_inner();
    let passed = (at > from).then(|| {
        format!(
            " The events from {from} to {} are passed over: what of them is not in Kafka will be \
             missing there.",
            at - 1
        )
    });
    let sent = (at < to).then(|| {
        format!(
            " The events from {at} to {} are sent: what of them is in Kafka already will be there \
             twice.",
            to - 1
        )
    });
    let (passed, sent) = (passed.unwrap_or_default(), sent.unwrap_or_default());
    format!("lane {lane} goes on at offset {at}.{passed}{sent}")
}

/// Between which offsets nobody knows, and the account of the lower one.
fn doubt(
    halt: &Halt,
    said: &Said,
    known: &Known,
) -> Result<(Position, RangeInclusive<Offset>), String> {
    let Known { oldest, end, .. } = *known;
    let low = known.hint.as_ref().map(|lane| lane.hint.low.clone());
    let low = low.unwrap_or(Position { offset: oldest, ..Position::default() });
    let bounded = |offset: Offset| offset.min(end);
    let (base, high) = match halt {
        Halt::HangingTransaction { .. } => {
            return Err("Kafka has lost a transaction marker: only Kafka can be repaired, with \
                 `kafka-transactions.sh find-hanging` and `abort`; look first whether the records \
                 are there (header tributary.batch): if so, the position is what must be kept"
                .to_owned());
        }
        Halt::InDoubt { kafka: Some(offset), hint: Some((low, _)) } => {
            let text = said.0.as_ref().and_then(|(_, text)| text.splitn(3, ',').nth(2));
            let account = text.unwrap_or_default().to_owned();
            (Position { offset: *offset, account, ..Position::default() }, *low)
        }
        Halt::InDoubt { hint: Some((_, high)), .. } => (low, *high),
        Halt::InDoubt { .. } | Halt::Identity { .. } | Halt::Ahead { .. } => (low, end),
    };
    let base = Position { offset: bounded(base.offset), ..base };
    let between = base.offset..=bounded(high).max(base.offset);
    Ok((base, between))
}

#[cfg(test)]
mod tests {
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
        let kafka = said.0.map(|(offset, text)| (offset.0, text));
        assert_eq!(hint.overruled, Some(Overruled { kafka }));
        assert_eq!((hint.hint.high, hint.hint.low.generation), (hint.hint.low.offset, 9));
        Ok((hint.hint.low.offset.0, hint.hint.low.account))
    }

    #[test]
    fn of_what_is_in_doubt_nothing_is_lost_or_nothing_is_doubled() {
        let hint = Some((Offset(40), Offset(60)));
        let forgotten = Halt::InDoubt { kafka: None, hint };
        let twice = outcome(&forgotten, Said(None), &decide(false, None));
        assert_eq!(twice, Ok((40, ACCOUNT.to_owned())));
        let skipped = outcome(&forgotten, Said(None), &decide(true, None));
        assert_eq!(skipped, Ok((60, "1.5.0.0.0.14;".to_owned())));
        let between = outcome(&forgotten, Said(None), &decide(false, Some(50)));
        assert_eq!(between, Ok((50, "1.5.0.0.0.a;".to_owned())));
        for at in [39, 61] {
            let refused = outcome(&forgotten, Said(None), &decide(true, Some(at)));
            assert!(refused.is_err_and(|why| why.contains("from 40 to 60")), "{at}");
        }
        let said = Said(Some((Offset(30), "v1,00000008,1.2.0.0;".to_owned())));
        let back = Halt::InDoubt { kafka: Some(Offset(30)), hint };
        let twice = outcome(&back, said.clone(), &decide(false, None));
        assert_eq!(twice, Ok((30, "1.2.0.0;".to_owned())));
        assert_eq!(outcome(&back, said, &decide(true, None)), Ok((40, "1.2.0.0.0.a;".to_owned())));
    }

    #[test]
    fn another_identity_is_overruled_within_what_the_log_has() {
        let said = Said(Some((Offset(500), "v1,0000000f,".to_owned())));
        let halt = Halt::Identity { offset: Offset(500), metadata: "v1,0000000f,".to_owned() };
        assert_eq!(outcome(&halt, said.clone(), &decide(false, None)).map(|it| it.0), Ok(40));
        assert_eq!(outcome(&halt, said, &decide(true, None)).map(|it| it.0), Ok(100));
        let hanging = Halt::HangingTransaction { waited_ms: 45_000 };
        assert!(outcome(&hanging, Said(None), &decide(true, None)).is_err());
    }
}
