//! Faults that a test orders one by one, or draws by chance from the cluster's seed.

use kafka_protocol::messages::ApiKey;

use crate::cluster::Random;

/// Rates are shares of so many requests.
const DRAWS: u32 = 10_000;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Never applied, never answered; the connection stays open.
    DropRequest,
    /// Applied, never answered; the connection stays open.
    DropAnswer,
    /// The connection is closed before the request is applied.
    CutBefore,
    /// The request is applied, then the connection is closed without an answer.
    CutAfter,
    /// Applied only after so many milliseconds; later requests of the connection wait behind it.
    DelayRequest(u64),
    /// Applied at once, answered only after so many milliseconds.
    DelayAnswer(u64),
}

/// A fault ordered for particular requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Only requests of this kind; `None`: of any kind.
    pub api: Option<ApiKey>,
    /// How many such requests pass unharmed first.
    pub after: u32,
    /// How many are hit then.
    pub count: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

impl Fault {
    /// Hits the next request of kind `api`, and no other.
    #[must_use]
    pub const fn next(api: ApiKey, kind: FaultKind) -> Self {
        Self { api: Some(api), after: 0, count: 1, kind }
    }
}

/// How often a request is hit by chance, each in requests of 10 000. They are drawn in this order
/// and the first that strikes is taken; together they must not exceed 10 000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`FaultKind::DropRequest`].
    pub drop_request: u16,
    /// [`FaultKind::DropAnswer`].
    pub drop_answer: u16,
    /// [`FaultKind::CutBefore`].
    pub cut_before: u16,
    /// [`FaultKind::CutAfter`].
    pub cut_after: u16,
    /// [`FaultKind::DelayAnswer`] by up to `delay_ms_max`.
    pub delay: u16,
    /// Longest delay, in milliseconds.
    pub delay_ms_max: u16,
}

/// The faults in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    ordered: Vec<Fault>,
    rates: FaultRates,
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.ordered.push(fault);
    }

    /// How many requests will be hit that were ordered to be.
    pub(crate) fn ordered(&self) -> u32 {
        self.ordered.iter().map(|fault| fault.count).sum()
    }

    pub(crate) fn set_rates(&mut self, rates: FaultRates) {
        let FaultRates { drop_request, drop_answer, cut_before, cut_after, delay, .. } = rates;
        let all = [drop_request, drop_answer, cut_before, cut_after, delay];
        assert!(all.map(u32::from).iter().sum::<u32>() <= DRAWS, "rates are shares of one whole");
        self.rates = rates;
    }

    /// What happens to a request of kind `api`; `None`: nothing.
    pub(crate) fn strike(&mut self, api: ApiKey, random: &mut Random) -> Option<FaultKind> {
        for fault in &mut self.ordered {
            if fault.count == 0 || fault.api.is_some_and(|only| only != api) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.count -= 1;
            let kind = fault.kind;
            self.ordered.retain(|fault| fault.count > 0);
            return Some(kind);
        }
        self.draw(random)
    }

    fn draw(&self, random: &mut Random) -> Option<FaultKind> {
        let rates = self.rates;
        if rates == FaultRates::default() {
            return None;
        }
        let delay_ms = random.below(u64::from(rates.delay_ms_max) + 1);
        let kinds = [
            (rates.drop_request, FaultKind::DropRequest),
            (rates.drop_answer, FaultKind::DropAnswer),
            (rates.cut_before, FaultKind::CutBefore),
            (rates.cut_after, FaultKind::CutAfter),
            (rates.delay, FaultKind::DelayAnswer(delay_ms)),
        ];
        let mut drawn = random.below(u64::from(DRAWS));
        for (rate, kind) in kinds {
            match drawn.checked_sub(u64::from(rate)) {
                None => return Some(kind),
                Some(rest) => drawn = rest,
            }
        }
        None
    }
}
