//! Integers and floats: arithmetic that fails instead of wrapping, comparison that loses nothing.
//!
//! Floats are IEEE 754 double precision, rounded once per operation (no fused multiply-add), so the
//! same log gives the same result on every machine.

use core::cmp::Ordering;

use super::Value;

/// A number. A float is never NaN and never infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

/// The result has no value: division by zero, or too large for its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoResult;

/// 2^63: the first float above every i64.
const I64_END: f64 = 9_223_372_036_854_775_808.0;
/// 2^53: up to here every integer is an f64.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

impl Number {
    /// The number that a value is, if it is one.
    #[inline]
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Int(value) => Some(Self::Int(*value)),
            Value::Float { value, .. } => Some(Self::Float(*value)),
            _ => None,
        }
    }

    /// As a value that was computed.
    pub(crate) fn value(self) -> Value {
        match self {
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float { value, start: 0, len: 0 },
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "mixed arithmetic rounds to f64, as in SQL")]
    fn to_float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn finite(value: f64) -> Result<Self, NoResult> {
        if value.is_finite() { Ok(Self::Float(value)) } else { Err(NoResult) }
    }

    fn combine(
        self,
        other: Self,
        ints: fn(i64, i64) -> Option<i64>,
        floats: fn(f64, f64) -> f64,
    ) -> Result<Self, NoResult> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => ints(a, b).map(Self::Int).ok_or(NoResult),
            (a, b) => Self::finite(floats(a.to_float(), b.to_float())),
        }
    }

    pub(crate) fn add(self, other: Self) -> Result<Self, NoResult> {
        self.combine(other, i64::checked_add, |a, b| a + b)
    }

    pub(crate) fn subtract(self, other: Self) -> Result<Self, NoResult> {
        self.combine(other, i64::checked_sub, |a, b| a - b)
    }

    pub(crate) fn multiply(self, other: Self) -> Result<Self, NoResult> {
        self.combine(other, i64::checked_mul, |a, b| a * b)
    }

    /// Of two integers the quotient is cut towards zero.
    pub(crate) fn divide(self, other: Self) -> Result<Self, NoResult> {
        self.combine(other, i64::checked_div, |a, b| a / b)
    }

    /// Has the sign of the dividend.
    pub(crate) fn remainder(self, other: Self) -> Result<Self, NoResult> {
        // `i64::MIN % -1` is 0, although the quotient has no value.
        let ints = |a: i64, b: i64| (b != 0).then(|| a.wrapping_rem(b));
        self.combine(other, ints, |a, b| a % b)
    }

    pub(crate) fn negate(self) -> Result<Self, NoResult> {
        match self {
            Self::Int(value) => value.checked_neg().map(Self::Int).ok_or(NoResult),
            Self::Float(value) => Ok(Self::Float(-value)),
        }
    }

    pub(crate) fn absolute(self) -> Result<Self, NoResult> {
        match self {
            Self::Int(value) => value.checked_abs().map(Self::Int).ok_or(NoResult),
            Self::Float(value) => Ok(Self::Float(value.abs())),
        }
    }

    /// `floor`, `ceil` or `round`, which leave an integer as it is.
    pub(crate) fn whole(self, function: fn(f64) -> f64) -> Self {
        match self {
            Self::Int(value) => Self::Int(value),
            Self::Float(value) => Self::Float(function(value)),
        }
    }

    #[inline]
    /// Compares exactly, also an i64 with an f64 beyond 2^53.
    pub(crate) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Int(a), Self::Float(b)) => order_int_float(a, b),
            (Self::Float(a), Self::Int(b)) => order_int_float(b, a).reverse(),
            (Self::Float(a), Self::Float(b)) => order_floats(a, b),
        }
    }
}

/// No float is NaN: each was read from digits, or tested to be finite.
fn order_floats(a: f64, b: f64) -> Ordering {
    if a < b {
        Ordering::Less
    } else if a > b {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "exact up to 2^53; and beyond it the whole part of b is in range of i64, and was an f64"
)]
fn order_int_float(a: i64, b: f64) -> Ordering {
    if a.unsigned_abs() <= EXACT {
        return order_floats(a as f64, b);
    }
    if b >= I64_END {
        return Ordering::Less;
    }
    if b < -I64_END {
        return Ordering::Greater;
    }
    let whole = b as i64;
    // Equal whole parts: the fraction of `b`, which has b's sign, decides.
    a.cmp(&whole).then_with(|| order_floats(whole as f64, b))
}

/// The integer that decimal digits with an optional minus spell; `None` if it does not fit.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Counts downwards, because there is one negative number more than there are positive ones.
    let mut value = 0_i64;
    for digit in digits {
        value = value.checked_mul(10)?.checked_sub(i64::from(digit.wrapping_sub(b'0')))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_compare_without_loss() {
        let exact = 9_007_199_254_740_993; // 2^53 + 1, which no f64 is
        for (a, b, expected) in [
            (Number::Int(exact), Number::Float(9_007_199_254_740_992.0), Ordering::Greater),
            (Number::Int(i64::MAX), Number::Float(I64_END), Ordering::Less),
            (Number::Int(i64::MIN), Number::Float(-I64_END), Ordering::Equal),
            (Number::Int(-3), Number::Float(-3.5), Ordering::Greater),
            (Number::Int(3), Number::Float(3.5), Ordering::Less),
            (Number::Int(0), Number::Float(-0.0), Ordering::Equal),
            (Number::Int(7), Number::Float(f64::MAX), Ordering::Less),
            (Number::Int(7), Number::Float(f64::MIN), Ordering::Greater),
        ] {
            assert_eq!(a.order(b), expected, "{a:?} {b:?}");
            assert_eq!(b.order(a), expected.reverse(), "{b:?} {a:?}");
        }
    }

    #[test]
    fn arithmetic_fails_instead_of_wrapping() {
        let (min, zero) = (Number::Int(i64::MIN), Number::Int(0));
        assert_eq!(Number::Int(i64::MAX).add(Number::Int(1)), Err(NoResult));
        assert_eq!(min.negate(), Err(NoResult));
        assert_eq!(min.absolute(), Err(NoResult));
        assert_eq!(min.divide(Number::Int(-1)), Err(NoResult));
        assert_eq!(min.remainder(Number::Int(-1)), Ok(zero));
        assert_eq!(min.divide(zero), Err(NoResult));
        assert_eq!(min.remainder(zero), Err(NoResult));
        assert_eq!(Number::Float(1.0).divide(zero), Err(NoResult));
        assert_eq!(Number::Float(1.0).remainder(zero), Err(NoResult));
        assert_eq!(Number::Float(f64::MAX).multiply(Number::Int(2)), Err(NoResult));
        assert_eq!(Number::Int(-7).divide(Number::Int(2)), Ok(Number::Int(-3)));
        assert_eq!(Number::Int(-7).remainder(Number::Int(2)), Ok(Number::Int(-1)));
    }

    #[test]
    fn integers_are_read_to_their_very_ends() {
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), None);
        assert_eq!(integer(b"-9223372036854775809"), None);
        assert_eq!(integer(b"-0"), Some(0));
    }
}
