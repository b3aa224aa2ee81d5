//! What was measured, and the bars that it is held against, as text.

/// One part of the measurement.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// A table, with a line before it that says what it is of.
    pub text: String,
    /// Its bars.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    what: String,
    asked: String,
    measured: String,
    met: bool,
}

impl Bar {
    /// At least so much is asked.
    pub(super) fn least(what: &str, (measured, asked): (f64, f64), unit: &str) -> Self {
        Self {
            what: what.to_owned(),
            asked: format!("at least {asked}{unit}"),
            measured: format!("{measured:.2}{unit}"),
            met: measured >= asked,
        }
    }

    /// At most so much is asked.
    pub(super) fn most(what: &str, (measured, asked): (f64, f64), unit: &str) -> Self {
        Self {
            what: what.to_owned(),
            asked: format!("at most {asked}{unit}"),
            measured: format!("{measured:.2}{unit}"),
            met: measured <= asked,
        }
    }

    /// Whether it is reached.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.met
    }

    /// A line of the table.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { what, asked, measured, met } = self;
        let word = if *met { "met" } else { "**missed**" };
        format!("| {what} | {asked} | {measured} | {word} |\n")
    }
}

/// The middle one; of an even number the upper of the two.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number that is small enough to be exact.
#[expect(clippy::cast_precision_loss, reason = "counts of records and bytes, far below 2^52")]
pub(super) const fn real(count: u64) -> f64 {
    count as f64
}
