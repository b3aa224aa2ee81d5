//! Sizes and durations as people write them: `"1 GiB"`, `"50 ms"`.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A number of bytes, written `"512 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub u64);

/// Bytes a second, written as links are sold: `"256 kbit/s"`, `"10 Mbit/s"`, or `"32 kB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rate(pub u64);

/// The slowest link that a budget may ask for, in bytes a second.
const RATE_MIN: u64 = 125;
/// Digits behind the point of a rate: with more it would be finer than a bit.
const DECIMALS_MAX: usize = 9;

/// A span of time, written `"50 ms"`, `"10s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub Duration);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        bytesize::ByteSize::from_str(text)
            .map(|size| Self(size.as_u64()))
            .map_err(|_| format!("`{text}` is not a size; write it as \"512 MiB\" or \"1.5 GiB\""))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = parse_rate(text).filter(|rate| *rate >= RATE_MIN).map(Self);
        rate.ok_or_else(|| {
            format!(
                "`{text}` is not a rate; write it as \"256 kbit/s\" or \"1.5 Mbit/s\", \"1 kbit/s\" at least"
            )
        })
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a duration; write it as \"50 ms\" or \"10s\""))
    }
}

fn parse_rate(text: &str) -> Option<u64> {
    let text = text.trim().strip_suffix("/s")?;
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let bits = match text[number.len()..].trim() {
        "bit" => 1,
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        "B" => 8,
        "kB" => 8_000,
        "MB" => 8_000_000,
        _ => return None,
    };
    times(number.trim(), bits).map(|bits| bits / 8)
}

/// A decimal number times `unit`, what is less than one left out.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > DECIMALS_MAX {
        return None;
    }
    let tenths = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = part.parse::<u64>().ok()?.checked_mul(unit)? / tenths;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer)
    }
}

fn written<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        size: Size,
        span: Span,
        rate: Rate,
    }

    #[test]
    fn reads_what_people_write() {
        let holder: Holder =
            toml::from_str("size = \"1 GiB\"\nspan = \"0 ms\"\nrate = \"256 kbit/s\"")
                .expect("all are valid");
        assert_eq!(holder.size, Size(1 << 30));
        assert_eq!(holder.span.0, Duration::ZERO);
        assert_eq!(holder.rate, Rate(32_000));
        let rates = ["1 Mbit/s", "64kB/s", " 9 bit/s", "1.5 Mbit/s", "0.064 kB/s"];
        let parsed = rates.map(parse_rate);
        assert_eq!(parsed, [Some(125_000), Some(64_000), Some(1), Some(187_500), Some(64)]);
        for wrong in
            ["1 Mb/s", "fast", "256 kbit", "-1 kbit/s", "1. kbit/s", ".5 kbit/s", "1.5.0 bit/s"]
        {
            assert_eq!(parse_rate(wrong), None, "{wrong}");
        }
        assert_eq!("1.5 GiB".parse(), Ok(Size(3 << 29)));
        assert_eq!("1.5h".parse(), Ok(Span(Duration::from_mins(90))));
    }

    #[test]
    fn says_how_to_write_it() {
        let error = toml::from_str::<Holder>("size = \"plenty\"\nspan = \"1s\"").err();
        assert!(error.is_some_and(|e| e.message().contains("write it as \"512 MiB\"")));
    }
}
