//! Whether a world is at rest, and what it came to in the end.

use anyhow::{Context, Result, bail, ensure};
use tributary::replicate::report::Report;
use tributary::runtime::hint::LaneHint;
use tributary_core::time::Instant;

use super::account::Account;
use super::device::Device;
use super::ledger::{Completeness, Tally};
use super::process::GAPS;
use super::{MARKERS_MS, Outcome, World, letters};

impl World {
    /// Everything is acknowledged and shipped, or stands still for a reason that may be.
    pub(super) fn is_at_rest(&self) -> bool {
        let quiet = self.gateways.iter().all(|gateway| {
            let Some(process) = gateway.process.as_ref().filter(|process| !process.is_putting())
            else {
                return false;
            };
            let reports = process.reports(gateway.moment(self.now));
            let durable = process.shared.ingest.durable().0;
            let halted = |report: &Report| matches!(report.state, "in doubt" | "identity");
            // Others may wait for a lane that stands still.
            let waits = reports.values().any(halted);
            reports.values().all(|report| {
                halted(report) || (report.state == "live" && (waits || report.settled == durable))
            })
        });
        quiet && self.devices.iter().all(Device::is_done) && self.unserved().is_none()
    }

    pub(super) fn judge(&mut self) -> Result<Outcome> {
        ensure!(self.healed, "the world ended early");
        if let Some(missing) = self.wills.missing(self.now) {
            bail!(missing);
        }
        // Decided transactions get their markers; open ones stay open.
        self.cluster.handle_timeout(Instant(self.now + MARKERS_MS));
        let (mut states, mut account, mut evicted) = (Vec::new(), Account::default(), 0);
        let mut detours = self.detours;
        for gateway in &self.gateways {
            let moment = gateway.moment(self.now);
            let process = gateway.process.as_ref().context("a gateway is down at the end")?;
            for (lane, report) in process.reports(moment) {
                let allowed = self.may_stand(report.state, || process.hint(lane));
                let (state, why) = (report.state, &report.reason);
                ensure!(allowed, "lane {} stands in {state}: {why:?}", lane.name());
                states.push(report.state);
            }
            account += process.account(moment);
            evicted += process.oldest();
            detours = self.detours_with(process);
        }
        let stands = states.iter().any(|state| *state != "live");
        let completeness = match self.completeness {
            // Nothing tells a copy that Kafka once knew more.
            Completeness::Some if self.may_doubt && self.gateways.len() > 1 => Completeness::Least,
            Completeness::Some if self.may_doubt => Completeness::Little,
            Completeness::All if stands => Completeness::Some,
            Completeness::All if self.is_small => Completeness::Counted,
            completeness => completeness,
        };
        let letters = self.gateways.iter().flat_map(|gateway| letters::read(&gateway.letters));
        let letters: Vec<_> = letters.collect();
        let Tally { records, missing } =
            self.ledger.check(&self.cluster, &letters, completeness)?;
        if completeness.is_exact() && !self.misfortunes.contains(&"reconfigure") {
            let Account { delivered, dead_lettered, lost } = account;
            ensure!(delivered == records, "accounted for {delivered} of {records} records");
            let kept = letters.len() as u64;
            // One whose transaction came to nothing may be kept, and its event gone before the next.
            let known = dead_lettered..=dead_lettered + lost;
            ensure!(known.contains(&kept), "accounted for {dead_lettered} of {kept} dead letters");
            self.check_gaps(account)?;
            ensure!(missing <= lost, "{missing} records are missing, {lost} counted as lost");
        }
        let (readings, acked) = self.ledger.counts();
        let ill = states.iter().find(|state| **state != "live");
        let Some(&state) = ill.or(states.first()) else { bail!("no lane at all") };
        let misfortunes = self.misfortunes.clone();
        let (digest, ms) = (self.digest, self.now);
        let (heard, wills) = (self.audience.heard(), self.wills.published());
        Ok(Outcome {
            digest,
            readings,
            acked,
            records,
            lost: account.lost,
            evicted,
            heard,
            wills,
            detours,
            ms,
            state,
            misfortunes,
        })
    }

    /// What gateways count as lost is told of.
    fn check_gaps(&self, Account { lost, dead_lettered, .. }: Account) -> Result<()> {
        let told = self.told_gaps()?;
        // An event may be gone between its refusal and its burial.
        let is_told = told == lost || (told < lost && dead_lettered > 0);
        ensure!(is_told, "{told} of {lost} lost records are told of");
        Ok(())
    }

    /// How many records can never come, as the topic of gaps tells: none of them is told twice.
    fn told_gaps(&self) -> Result<u64> {
        let mut ranges: Vec<(String, u64, u64)> = Vec::new();
        for record in self.cluster.read_committed(GAPS, 0) {
            let value = record.value.context("a value")?;
            let gap: serde_json::Value = serde_json::from_slice(&value)?;
            for route in gap["routes"].as_array().context("routes")? {
                let name = route["route"].as_str().context("a name")?.to_owned();
                let (first, end) = (route["first"].as_u64(), route["end"].as_u64());
                ranges.push((name, first.context("first")?, end.context("end")?));
            }
        }
        ranges.sort();
        for pair in ranges.windows(2) {
            let is_apart = pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1;
            ensure!(is_apart, "told twice: {pair:?}");
        }
        Ok(ranges.iter().map(|(_, first, end)| end - first).sum())
    }

    /// Whether a lane may be in this state at the end.
    fn may_stand(&self, state: &str, hint: impl FnOnce() -> Option<LaneHint>) -> bool {
        let in_doubt = |hint: LaneHint| hint.hint.high > hint.hint.low.offset;
        match state {
            "live" => true,
            "in doubt" => self.may_be_another || self.may_doubt && hint().is_none_or(in_doubt),
            "identity" => self.may_be_another,
            _ => false,
        }
    }

    /// The promises of the machine itself are broken: what sessions know is not judged.
    pub(super) fn give_up(&mut self, completeness: Completeness) {
        self.completeness = self.completeness.max(completeness);
        self.may_be_another = true;
        (self.audience.is_unsure, self.wills.is_unsure) = (true, true);
    }

    pub(super) fn complaint(&self) -> String {
        let gateway = &self.gateways[0];
        let moment = gateway.moment(self.now);
        let reports = gateway.process.as_ref().map(|process| process.reports(moment));
        let (made, acked) = self.ledger.counts();
        let unserved = self.unserved();
        format!(
            "not at rest: {acked} of {made} readings acknowledged; the lanes: {reports:?}; {unserved:?}"
        )
    }
}
