//! What compression costs on this processor, for `compression = "auto"`.

use tributary_bridge::{Codec, Costs};

use crate::io::clock::nanoseconds_of;

/// Enough for a codec to get into its stride; a few milliseconds in all.
const SAMPLE_BYTES: usize = 32 << 10;
/// The least of so many tries counts: others were interrupted.
const TRIES: usize = 3;

/// Measures every codec on telemetry as devices send it.
#[must_use]
pub fn measure() -> Costs {
    let sample = sample();
    let mut out = Vec::with_capacity(2 * SAMPLE_BYTES);
    let mut cost = |codec: Codec| {
        let mut try_once = || {
            out.clear();
            nanoseconds_of(|| codec.compress(&sample, &mut out))
        };
        let least = (0..TRIES).map(|_| try_once()).min().unwrap_or(0);
        u32::try_from(least * 1_024 / sample.len() as u64).unwrap_or(u32::MAX)
    };
    Costs(Codec::ALL.map(&mut cost))
}

fn sample() -> Vec<u8> {
    let record = |n: usize| {
        let (device, value) = (n % 13, n * n % 997);
        format!(
            "plant/press-{device}/telemetry tributary.offset {n} time 2026-01-01T00:{:02}:{:02}.{:03}Z \
             {{\"temperature\":{}.{},\"pressure\":{value},\"status\":\"ok\"}}",
            n / 60 % 60,
            n % 60,
            value,
            20 + value / 20,
            value % 10
        )
    };
    (0..).flat_map(|n| record(n).into_bytes()).take(SAMPLE_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_takes_its_time() {
        let Costs(costs) = measure();
        assert!(costs[1..].iter().all(|cost| *cost > 0), "{costs:?}");
        assert!(costs[0] < costs[1], "a copy is cheaper than gzip: {costs:?}");
    }
}
