//! Faults that a test orders one by one, or draws by chance from the cluster's seed.

use kafka_protocol::messages::ApiKey;

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
