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

/// A span of time, written `"50 ms"`, `"10s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        bytesize::ByteSize::from_str(&text).map(|size| Self(size.as_u64())).map_err(|_| {
            de::Error::custom(format!(
                "`{text}` is not a size; write it as \"512 MiB\" or \"1 GiB\""
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rate = parse_rate(&text).filter(|rate| *rate >= RATE_MIN).map(Self);
        rate.ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a rate; write it as \"256 kbit/s\" or \"10 Mbit/s\", \"1 kbit/s\" at least"
            ))
        })
    }
}

fn parse_rate(text: &str) -> Option<u64> {
    let text = text.trim().strip_suffix("/s")?;
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = (number.trim().parse::<u64>().ok()?, text[number.len()..].trim());
    let bits = match unit {
        "bit" => 1,
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        "B" => 8,
        "kB" => 8_000,
        "MB" => 8_000_000,
        _ => return None,
    };
    number.checked_mul(bits).map(|bits| bits / 8)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            de::Error::custom(format!(
                "`{text}` is not a duration; write it as \"50 ms\" or \"10s\""
            ))
        })
    }
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
        let rates = ["1 Mbit/s", "64kB/s", " 9 bit/s", "1 Mb/s", "fast", "256 kbit", "-1 kbit/s"];
        let parsed = rates.map(parse_rate);
        assert_eq!(parsed, [Some(125_000), Some(64_000), Some(1), None, None, None, None]);
    }

    #[test]
    fn says_how_to_write_it() {
        let error = toml::from_str::<Holder>("size = \"plenty\"\nspan = \"1s\"").err();
        assert!(error.is_some_and(|e| e.message().contains("write it as \"512 MiB\"")));
    }
}
