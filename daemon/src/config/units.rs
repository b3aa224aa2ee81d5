//! Sizes and durations as people write them: `"1 GiB"`, `"50 ms"`.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A number of bytes, written `"512 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub u64);

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
    }

    #[test]
    fn reads_what_people_write() {
        let holder: Holder =
            toml::from_str("size = \"1 GiB\"\nspan = \"0 ms\"").expect("both are valid");
        assert_eq!(holder.size, Size(1 << 30));
        assert_eq!(holder.span.0, Duration::ZERO);
    }

    #[test]
    fn says_how_to_write_it() {
        let error = toml::from_str::<Holder>("size = \"plenty\"\nspan = \"1s\"").err();
        assert!(error.is_some_and(|e| e.message().contains("write it as \"512 MiB\"")));
    }
}
