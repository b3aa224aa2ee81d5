//! How long a filter takes per event: ours beside `serde_json` (a tree of values, and a struct that
//! is known when compiling), in one run on the same payloads, one thread, the best of several rounds.
//!
//! `cargo run --release -p tributary-rules --features compile --example filter_speed`
#![expect(clippy::print_stdout, reason = "the output is its purpose")]
#![expect(clippy::std_instead_of_core, reason = "it measures time")]

use std::hint::black_box;
use std::time::Instant;

use serde::Deserialize;
use tributary_core::properties::Properties;
use tributary_core::record::{Event, Origin, Qos};
use tributary_core::time::Timestamp;
use tributary_rules::{Scratch, Set, Source, compile};

const FILTER: &str = "temperature > 70 AND status = 'ok' AND battery < 3.7";
const EVENTS: usize = 2048;
const ROUNDS: usize = 200;
const ROUTES: usize = 100;

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let payloads: Vec<String> = (0..EVENTS).map(payload).collect();
    let mean = payloads.iter().map(String::len).sum::<usize>() / EVENTS;
    let expected = payloads.iter().filter(|payload| tree(payload.as_bytes())).count();
    println!("{EVENTS} payloads of {mean} bytes, 12 keys; the filter selects {expected}: {FILTER}");

    let one = compile(&[Source { where_: Some(FILTER), key: None }])?;
    let ours = measure(&payloads, expected, rules(&one)?);
    println!("ours, 1 route                {}", line(ours, 1));

    let texts: Vec<String> = (0..ROUTES).map(|limit| filter(70 + limit % 30)).collect();
    let sources: Vec<Source<'_>> =
        texts.iter().map(|text| Source { where_: Some(text), key: None }).collect();
    let hundred = compile(&sources)?;
    let all = measure(&payloads, selected_by_all(&payloads)?, rules(&hundred)?);
    println!("ours, {ROUTES} routes             {}", line(all, ROUTES));

    println!("serde_json, a struct         {}", line(measure(&payloads, expected, typed), 1));
    let tree = measure(&payloads, expected, |payload| usize::from(tree(payload)));
    println!("serde_json, a tree of values {}", line(tree, 1));
    Ok(())
}

fn filter(limit: usize) -> String {
    format!("temperature > {limit} AND status = 'ok' AND battery < 3.7")
}

/// Nanoseconds per event of the fastest round. Panics if a round selects another number of events.
fn measure(payloads: &[String], expected: usize, mut select: impl FnMut(&[u8]) -> usize) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let selected: usize =
            payloads.iter().map(|payload| select(black_box(payload.as_bytes()))).sum();
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9;
        assert_eq!(selected, expected, "all ways select the same events");
        best = best.min(nanoseconds);
    }
    best / f64::from(u32::try_from(EVENTS).expect("a small constant"))
}

fn line(nanoseconds: f64, routes: usize) -> String {
    let evaluations =
        f64::from(u32::try_from(routes).expect("a small constant")) * 1e3 / nanoseconds;
    format!("{nanoseconds:7.0} ns/event {evaluations:7.1} M evaluations/s")
}

fn event(payload: &[u8]) -> Event<'_> {
    Event {
        topic: "plant/p1/telemetry",
        payload,
        client: "p1",
        time: Timestamp(0),
        qos: Qos::AtLeastOnce,
        retain: false,
        origin: Origin::Device,
        packet_id: None,
        properties: Properties::default(),
    }
}

/// Verifies once, then answers how many routes select a payload.
fn rules(bytes: &[u8]) -> Result<impl FnMut(&[u8]) -> usize, Box<dyn core::error::Error>> {
    let (set, mut scratch) = (Set::verify(bytes)?, Scratch::new());
    Ok(move |payload: &[u8]| {
        let event = event(payload);
        let mut evaluation = set.evaluate(&event, &mut scratch);
        (0..set.len()).filter(|route| evaluation.test(*route).passes()).count()
    })
}

/// What the routes select, counted without our code.
fn selected_by_all(payloads: &[String]) -> Result<usize, Box<dyn core::error::Error>> {
    let mut selected = 0;
    for payload in payloads {
        let reading: Reading<'_> = serde_json::from_str(payload)?;
        let rest = reading.status == "ok" && reading.battery < 3.7;
        selected += (0..ROUTES)
            .filter(|limit| {
                let limit = f64::from(u32::try_from(70 + limit % 30).expect("a small number"));
                reading.temperature > limit && rest
            })
            .count();
    }
    Ok(selected)
}

#[derive(Deserialize)]
struct Reading<'a> {
    temperature: f64,
    status: &'a str,
    battery: f64,
}

fn typed(payload: &[u8]) -> usize {
    serde_json::from_slice::<Reading<'_>>(payload).map_or(0, |reading| {
        let selected =
            reading.temperature > 70.0 && reading.status == "ok" && reading.battery < 3.7;
        usize::from(selected)
    })
}

fn tree(payload: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(payload) else {
        return false;
    };
    let float = |name: &str| value.get(name).and_then(serde_json::Value::as_f64);
    float("temperature").is_some_and(|temperature| temperature > 70.0)
        && value.get("status").and_then(serde_json::Value::as_str) == Some("ok")
        && float("battery").is_some_and(|battery| battery < 3.7)
}

/// A reading as a device on a press would send it; the same every time for the same number.
fn payload(number: usize) -> String {
    let mix = number.wrapping_mul(2_654_435_761) >> 7;
    format!(
        concat!(
            r#"{{"device":"press-{:04}","ts":{},"seq":{},"temperature":{}.{:02},"humidity":{}.{},"#,
            r#""pressure":1{:03}.{},"battery":{}.{:02},"status":"{}","site":"hall-{}","#,
            r#""firmware":"2.14.{}","rssi":-{},"vibration":0.{:04}}}"#
        ),
        number % 1000,
        1_764_000_000_000_u64 + number as u64 * 250,
        number,
        40 + mix % 60,
        mix % 100,
        30 + mix % 50,
        mix % 10,
        mix % 100,
        mix % 10,
        3 + mix / 61 % 2,
        mix / 7 % 100,
        if mix.is_multiple_of(5) { "fault" } else { "ok" },
        mix % 9,
        mix % 30,
        40 + mix % 50,
        mix % 10_000,
    )
}
