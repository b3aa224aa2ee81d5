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
use super::search::{Search, Untold};
use crate::io::control::Decide;
use crate::replicate::account::Account;
use crate::replicate::evidence::{Ground, HeldBack, Verdict};
use crate::sync::lock;

/// What is read to settle a doubt before an operator is asked: a link may be slow, and paid for by the byte.
const UNASKED_BYTES_MAX: u64 = 64 << 20;

/// Mends what positions cannot tell.
const REPAIR: &str = "`tributary upstream repair`";
const REPAIR_TELLS: &str = "`tributary upstream repair` tells when that has changed";
/// What is left to an operator.
const DECIDES: &str = "`tributary upstream repair`, `adopt` or `skip` decides";

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
            let mut plan = self.read(&lane, u64::MAX).await?;
            self.put(&lane, &mut plan).await?;
            return Ok(plan);
        }
        let (halt, said) = why(&lane)?;
        let mut plan = plan(lane.lane.name(), (&halt, said), &self.known(&lane), decide)?;
        if decide.confirmed {
            self.put(&lane, &mut plan).await?;
        }
        Ok(plan)
    }

    /// Has lanes that are in doubt go on where Kafka's topics show that they have come to, as far as these can
    /// be read at no great cost.
    pub(super) async fn settle_doubts(&self) {
        let lanes = self.upstream().map(|upstream| upstream.lanes);
        for lane in lanes.into_iter().flatten() {
            let name = lane.lane.name();
            let Ok((halt @ (Halt::InDoubt { .. } | Halt::HangingTransaction), _)) = why(&lane)
            else {
                continue;
            };
            let settled = async {
                let mut plan = self.read(&lane, UNASKED_BYTES_MAX).await?;
                // Whatever Kafka has lost, an operator is to know of it before anything is changed.
                if halt == Halt::HangingTransaction {
                    tracing::warn!(lane = name, "{REPAIR} is right: {}", plan.words);
                    return Ok(());
                }
                self.put(&lane, &mut plan).await
            };
            if let Err(why) = settled.await {
                let next = if halt == Halt::HangingTransaction { REPAIR_TELLS } else { DECIDES };
                tracing::warn!(lane = name, why, "what stands in Kafka cannot be told; {next}");
            }
        }
    }

    /// How a lane goes on where Kafka's topics show that it has come to.
    async fn read(&self, lane: &LaneAnswers, bytes_max: u64) -> Result<Plan, String> {
        let (halt, said) = why(lane)?;
        let known = self.known(lane);
        let (base, between) = doubt(&halt, &said, &known);
        let doubt = in_doubt(&halt, &base, &between)?;
        let account = Account::parse(&base.account).unwrap_or_default();
        let log = self.log.clone();
        let read = {
            let (lane, doubt) = (lane.lane, doubt.clone());
            move || Ground::read((&log, log.end()), lane, (&doubt, &account))
        };
        let ground =
            tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??;
        let upstream = self.upstream().ok_or("there is no upstream")?;
        let ground = ground.with_gaps(upstream.config.gaps.as_deref(), lane.lane);
        let search = Search {
            upstream: &upstream.config,
            gateway: &self.constants.gateway,
            log_id: lock(&self.facts).id.0,
            start: doubt.start,
            bytes_max,
        };
        let verdict = search.run(ground).await.map_err(|untold| match untold {
            Untold::Why(why) => why,
            Untold::HeldBack(held) => advice(&halt, &held, &upstream.config.brokers),
        })?;
        if why(lane)? != (halt.clone(), said.clone()) {
            return Err("the lane has gone on meanwhile".to_owned());
        }
        let mut plan = proven(lane.lane.name(), (&halt, said), (&known, base), &verdict);
        (plan.from, plan.to) = (doubt.start, doubt.end);
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
        tracing::warn!(lane = plan.lane, at = plan.at, "decided: {}", plan.words);
        Ok(())
    }

    /// The lane of this name; without a name the only one that has halted.
    fn halted(&self, name: Option<&str>) -> Result<LaneAnswers, String> {
        let upstream = self.upstream().ok_or("there is no upstream")?;
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
        Halt::HangingTransaction => Ok(base.offset.0..between.end().0),
        Halt::Identity { .. } | Halt::Ahead { .. } => Err(
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
    verdict: &Verdict,
) -> Plan {
    let mut account = Account::parse(&base.account).unwrap_or_default();
    for (route, count) in &verdict.delivered {
        account.deliver(*route, *count);
    }
    for (route, count) in &verdict.lost {
        account.lose(*route, *count);
    }
    account.backfill = verdict.backfill;
    let records: u64 = verdict.delivered.values().sum();
    let at = verdict.at;
    let back = verdict.backfill.map(|from| format!(", and reads back from {from} first"));
    let back = back.unwrap_or_default();
    let words = format!(
        "lane {lane} goes on at offset {at}{back}: of what was in doubt {records} records are in Kafka, none \
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
    let overruled = match said {
        Said::Nothing => Overruled::Nothing,
        Said::Position(offset, text) => Overruled::Position(offset.0, text),
        Said::Unstable => Overruled::Unstable,
    };
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
    if *halt == Halt::HangingTransaction {
        return Err(format!(
            "whether its transaction was committed only Kafka's topics tell: {REPAIR}"
        ));
    }
    let (base, between) = doubt(halt, &said, known);
    let (from, to) = (between.start().0, between.end().0);
    let at = decide.at.unwrap_or(if decide.skip { to } else { from });
    if !(from..=to).contains(&at) {
        return Err(format!("lane {lane} can go on from {from} to {to}, not at {at}"));
    }
    let mut account = Account::parse(&base.account).unwrap_or_default();
    account.skip(at.saturating_sub(base.offset.0));
    // What it was reading back it does not go on with from elsewhere.
    account.backfill = account.backfill.filter(|_| at == base.offset.0);
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
fn doubt(halt: &Halt, said: &Said, known: &Known) -> (Position, RangeInclusive<Offset>) {
    let Known { oldest, end, .. } = *known;
    let low = known.hint.as_ref().map(|lane| lane.hint.low.clone());
    let low = low.unwrap_or(Position { offset: oldest, ..Position::default() });
    let bounded = |offset: Offset| offset.min(end);
    let (base, high) = match halt {
        Halt::HangingTransaction => {
            let high = known.hint.as_ref().map_or(end, |lane| lane.hint.high);
            (low, high)
        }
        Halt::InDoubt { kafka: Some(offset), hint: Some((low, _)) } => {
            let text = match said {
                Said::Position(_, text) => text.splitn(3, ',').nth(2),
                Said::Nothing | Said::Unstable => None,
            };
            let account = text.unwrap_or_default().to_owned();
            (Position { offset: *offset, account, ..Position::default() }, *low)
        }
        Halt::InDoubt { hint: Some((_, high)), .. } => (low, *high),
        Halt::InDoubt { .. } | Halt::Identity { .. } | Halt::Ahead { .. } => (low, end),
    };
    let base = Position { offset: bounded(base.offset), ..base };
    let between = base.offset..=bounded(high).max(base.offset);
    (base, between)
}

/// What to do about a transaction that stays open in a lane's topics.
fn advice(halt: &Halt, held: &HeldBack, brokers: &[(String, u16)]) -> String {
    let places: Vec<String> = held
        .from
        .iter()
        .map(|((topic, partition), from)| format!("{topic}-{partition} from {from} on"))
        .collect();
    let places = places.join(", ");
    let open = format!("a transaction stays open that holds back {places}");
    if *halt != Halt::HangingTransaction {
        return format!("{open}: see whose it is with `kafka-transactions.sh describe-producers`");
    }
    if held.shown_elsewhere {
        return format!(
            "{open}. Other topics of the lane show records of what is in doubt: if they are of the same \
             transaction, it was committed, and to abort it would lose the rest"
        );
    }
    let servers = brokers.iter().map(|(host, port)| format!("{host}:{port}"));
    let servers = servers.collect::<Vec<_>>().join(",");
    let abort = held.from.iter().map(|((topic, partition), from)| {
        format!(
            "\n  kafka-transactions.sh --bootstrap-server {servers} abort --topic {topic} \
             --partition {partition} --start-offset {from}"
        )
    });
    format!(
        "{open}, and nobody can read any of its records. If it is this lane's, abort it and repair again, and \
         its records are sent anew:{}",
        abort.collect::<String>()
    )
}

#[cfg(test)]
mod tests;
