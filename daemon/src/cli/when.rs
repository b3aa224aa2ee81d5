//! Times on the command line, the same for all commands: a moment, or how long ago.

use tributary_core::time::Timestamp;

use crate::io::clock::moment;
use crate::log_tools::parse_time;

/// Reads a time in UTC, or how long ago it was.
pub(super) fn parse_when(text: &str) -> Result<Timestamp, String> {
    let Ok(ago) = humantime::parse_duration(text) else {
        return parse_time(text).map_err(|why| format!("{why}, or so long ago as 10m"));
    };
    let past_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Ok(Timestamp(moment().wall.0.saturating_sub(past_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_how_long_ago() {
        assert_eq!(parse_when("2026-03-01T12:00:00Z"), Ok(Timestamp(1_772_366_400_000)));
        let (early, ago) = (moment().wall.0, parse_when("10m").expect("a time").0 + 600_000);
        assert!((early..=moment().wall.0).contains(&ago));
        assert!(parse_when("yesterday").is_err_and(|why| why.ends_with("or so long ago as 10m")));
    }
}
