//! What the devices measure: a pure function of device and sequence number, so that whoever has a
//! record can tell what it must say. Whole numbers only: the checker's own filter shares no
//! arithmetic with the gateway's.

use serde::Deserialize;

/// The condition of the demo's route; [`Reading::is_selected`] is the same, worked out anew.
pub(super) const CONDITION: &str = "temperature > 70";
/// Where the route takes its events from.
pub(super) const TOPIC_FILTER: &str = "plant/+/telemetry";

const SELECTED_ABOVE_TENTHS: u64 = 700;
/// The coldest reading, in tenths of a degree.
const COLDEST_TENTHS: u64 = 500;
/// How far the slow wave rises above it, and how far readings scatter around the wave.
const WAVE_TENTHS: u64 = 280;
const SCATTER_TENTHS: u64 = 40;
/// Readings from one crest of the wave to the next.
const PERIOD: u64 = 1_120;

/// One measurement of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Reading {
    /// The device's number, from 0.
    pub(super) device: usize,
    /// Counts its readings, from 0.
    pub(super) seq: usize,
}

/// What a payload says that it is.
#[derive(Deserialize)]
struct Claim {
    device: String,
    seq: usize,
}

impl Reading {
    /// Tenths of a degree.
    fn temperature_tenths(self) -> u64 {
        let (device, seq) = (self.device as u64, self.seq as u64);
        let phase = (seq + device * 97) % PERIOD;
        let height = phase.min(PERIOD - phase) * 2 * WAVE_TENTHS / PERIOD;
        COLDEST_TENTHS + height + scatter(device, seq) % SCATTER_TENTHS
    }

    /// Whether the condition is true of it.
    pub(super) fn is_selected(self) -> bool {
        self.temperature_tenths() > SELECTED_ABOVE_TENTHS
    }

    /// What is published.
    pub(super) fn payload(self) -> String {
        let Self { device, seq } = self;
        let tenths = self.temperature_tenths();
        let (whole, tenth) = (tenths / 10, tenths % 10);
        let vibration = scatter(seq as u64, device as u64) % 100;
        format!(
            r#"{{"device":"{}","seq":{seq},"temperature":{whole}.{tenth},"vibration":0.{vibration:02}}}"#,
            name(device)
        )
    }

    /// The reading that a record holds, if every byte of it is as the device sent it.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let claim: Claim = serde_json::from_slice(payload).ok()?;
        let number: usize = claim.device.strip_prefix(NAME)?.parse().ok()?;
        let reading = Self { device: number.checked_sub(1)?, seq: claim.seq };
        (reading.payload().as_bytes() == payload).then_some(reading)
    }
}

const NAME: &str = "press-";

/// A device's name, which is also its MQTT client identifier.
pub(super) fn name(device: usize) -> String {
    format!("{NAME}{:02}", device + 1)
}

/// Where a device publishes.
pub(super) fn topic(device: usize) -> String {
    format!("plant/{}/telemetry", name(device))
}

/// `SplitMix64` of two small numbers.
fn scatter(a: u64, b: u64) -> u64 {
    let mut z = (a << 32 | b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_which_reading_it_is_and_any_other_byte_is_noticed() {
        let reading = Reading { device: 6, seq: 1_234 };
        let payload = reading.payload();
        assert!(payload.starts_with(r#"{"device":"press-07","seq":1234,"temperature":"#));
        assert_eq!(Reading::parse(payload.as_bytes()), Some(reading));
        for changed in [payload.replace("1234", "1235"), payload.replace(':', ": "), "{}".into()] {
            assert_eq!(Reading::parse(changed.as_bytes()), None, "{changed}");
        }
    }

    #[test]
    fn the_condition_divides_the_readings_and_meets_its_own_boundary() {
        let all = (0..20).flat_map(|device| (0..3_000).map(move |seq| Reading { device, seq }));
        let selected = all.clone().filter(|reading| reading.is_selected()).count();
        assert!((12_000..30_000).contains(&selected), "{selected} of 60,000");
        let exactly = all.filter(|reading| reading.temperature_tenths() == SELECTED_ABOVE_TENTHS);
        assert!(exactly.count() > 10, "70.0 itself occurs, and is not above 70");
    }
}
