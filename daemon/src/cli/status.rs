//! `tributary status`.

use core::fmt::Write;
use core::time::Duration;
use std::process::ExitCode;

use bytesize::ByteSize;

use super::output::print;
use super::{FAILED, PlaceArgs, block_on, unreachable_daemon};
use crate::io::control::{Request, ask};
use crate::runtime::cursors::CursorStatus;
use crate::runtime::hub::Tally;
use crate::runtime::retention::Gone;
use crate::runtime::status::{
    DownlinkStatus, LogStatus, MqttStatus, Refused, RouteStatus, SourceStatus, Status,
    UpstreamStatus,
};

/// A figure for a day needs some time to be one, in seconds.
const WEAR_AFTER_S: u64 = 60;
const DAY_S: u64 = 86_400;
/// How often the flash of a cheap card can be rewritten as a whole: the low end of what is said of
/// such flash. What a card makes of its writes inside is not in it.
const REWRITES: u64 = 500;
/// Longer is not worth telling.
const YEARS_MAX: u64 = 100;

/// Asks, and prints the answer.
pub(super) fn run(place: &PlaceArgs, json: bool) -> Result<(), ExitCode> {
    let answer = answer(place)?;
    if json { print(&answer) } else { print(&render(&parse(&answer)?)) }
}

/// The same of replication alone.
pub(super) fn of_upstream(place: &PlaceArgs, json: bool) -> Result<(), ExitCode> {
    let status: Status = parse(&answer(place)?)?;
    if json {
        let upstream = serde_json::to_string(&status.upstream);
        return print(&upstream.unwrap_or_else(|_| unreachable!("plain values")));
    }
    print(&replication(&status))
}

/// What the daemon says of itself.
fn answer(place: &PlaceArgs) -> Result<String, ExitCode> {
    let dir = place.dir()?;
    let mut answer = String::new();
    let asked = ask(&dir, &Request::Status, |line| {
        line.clone_into(&mut answer);
        false
    });
    block_on(asked)?.map_err(|error| unreachable_daemon(&dir, &error))?;
    Ok(answer)
}

fn parse(answer: &str) -> Result<Status, ExitCode> {
    serde_json::from_str(answer).map_err(|error| {
        eprintln!("error: the daemon's answer is not understood: {error}");
        eprintln!("help: the running daemon may be of another version; try `status --json`");
        ExitCode::from(FAILED)
    })
}

fn render(status: &Status) -> String {
    let mut text = String::new();
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_s));
    line(&mut text, "gateway", &format!("{}, up {uptime}", status.gateway));
    mqtt(&mut text, &status.mqtt);
    log(&mut text, &status.log, status.uptime_s);
    sources(&mut text, &status.sources);
    downlinks(&mut text, &status.downlinks);
    text + &replication(status)
}

fn replication(status: &Status) -> String {
    let mut text = String::new();
    match &status.upstream {
        None => line(&mut text, "upstream", "none configured: events stay here"),
        Some(upstream) => self::upstream(&mut text, upstream),
    }
    routes(&mut text, &status.routes);
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    text.extend([&format!("{label:<10}"), value, "\n"]);
}

fn mqtt(text: &mut String, mqtt: &MqttStatus) {
    let mut clients = format!("{} connected", mqtt.connections);
    let Tally { dropped, missed, unretained, displaced, .. } = mqtt.counts;
    if dropped > 0 {
        clients = format!("{clients}, {dropped} messages dropped for slow subscribers");
    }
    line(text, "mqtt", &format!("{}; {clients}", mqtt.listeners.join(", ")));
    if missed > 0 {
        line(text, "", &format!("{missed} events were gone before sessions had read them"));
    }
    if unretained > 0 {
        let why = "retained messages take all the room that they may";
        line(text, "", &format!("{unretained} messages not retained: {why}"));
    }
    if displaced > 0 {
        line(text, "", &format!("{displaced} sessions ended to make room for new ones"));
    }
    let Refused { logins, over_limit, publishes, deliveries } = mqtt.refused;
    if logins + over_limit + publishes + deliveries > 0 {
        let words = format!(
            "refused: {logins} logins, {over_limit} connections, {publishes} publishes, \
             {deliveries} deliveries"
        );
        line(text, "", &words);
    }
}

fn log(text: &mut String, log: &LogStatus, uptime_s: u64) {
    let held = log.durable - log.oldest;
    line(
        text,
        "log",
        &format!(
            "{held} events ({} to {}), at most {}, in {} ({})",
            log.oldest,
            log.durable,
            ByteSize(log.bytes_max),
            log.dir,
            log.file_system
        ),
    );
    if let Some(why) = &log.vanished {
        line(text, "", why);
    }
    if let Some(why) = &log.smaller {
        line(text, "", &format!("it stays smaller: {why}"));
    }
    if let Some(why) = &log.larger {
        line(text, "", why);
    }
    let page = ByteSize(u64::from(log.page_bytes));
    line(text, "", &format!("mounted {}; a commit protects pages of {page}", log.mount_options));
    line(
        text,
        "",
        &format!(
            "written {} in {} commits, {} flushes",
            ByteSize(log.bytes_written),
            log.commits,
            log.flushes
        ),
    );
    wear(text, log, uptime_s);
    gone(text, log);
    for (first, end) in &log.gaps {
        line(text, "", &format!("gap: offsets {first} to {} are lost", end - 1));
    }
    if log.gaps_more > 0 {
        line(text, "", &format!("and {} gaps more, see `tributary log verify`", log.gaps_more));
    }
    if let Some((oldest, next)) = log.dead_letters {
        let (kept, gone) = (next - oldest, oldest);
        let gone = if gone > 0 { format!(", {gone} older ones made room") } else { String::new() };
        let how = "tributary log export --stream dead-letter";
        line(text, "", &format!("{kept} dead letters{gone}: `{how}` shows them"));
    }
    if let Some((oldest, next)) = log.commands.filter(|(oldest, next)| oldest < next) {
        let kept = next - oldest;
        line(text, "", &format!("{kept} commands are kept beside it for devices that are away"));
    }
    for (stream, why) in &log.unusable {
        line(text, "", &format!("STREAM {stream} CANNOT BE USED: {why}"));
    }
    if let Some(why) = &log.unfolded {
        line(text, "", &format!("SESSIONS ARE NOT FOLDED, the next start reads more: {why}"));
    }
    for cursor in &log.cursors {
        line(text, "", &self::cursor(cursor));
    }
    if !log.clock_trusted {
        line(text, "", "the wall clock is not set: times are marked with ~");
    }
    if let Some(why) = &log.refusing {
        line(text, "", &format!("EVENTS ARE REFUSED: {why}"));
    }
}

/// A named reader.
fn cursor(cursor: &CursorStatus) -> String {
    let CursorStatus { name, position, behind, lost, reading } = cursor;
    let reading = if *reading { ", reading now" } else { "" };
    let lost = if *lost > 0 { format!(", {lost} gone before") } else { String::new() };
    format!("cursor {name}: at {position}, {behind} behind{lost}{reading}")
}

/// What the log writes in a day, and how long a device lasts that is rewritten as a whole
/// [`REWRITES`] times.
fn wear(text: &mut String, log: &LogStatus, uptime_s: u64) {
    if uptime_s < WEAR_AFTER_S {
        return;
    }
    let a_day = log.bytes_written.saturating_mul(DAY_S) / uptime_s;
    let days = log.file_system_bytes.saturating_mul(REWRITES).checked_div(a_day);
    let years = days.map_or(YEARS_MAX, |days| days / 365).min(YEARS_MAX);
    let size = ByteSize(log.file_system_bytes);
    line(
        text,
        "",
        &format!(
            "that is {} a day: a device of {size} that bears {REWRITES} rewrites bears it {}",
            ByteSize(a_day),
            match years {
                0 => "less than a year".to_owned(),
                YEARS_MAX => format!("{YEARS_MAX} years or more"),
                years => format!("{years} years"),
            }
        ),
    );
}

fn gone(text: &mut String, log: &LogStatus) {
    let Gone { evicted, expired, unshipped } = &log.gone;
    if *evicted > 0 {
        line(text, "", &format!("{evicted} events evicted: the log was full"));
    }
    if *expired > 0 {
        line(text, "", &format!("{expired} events went: they were older than `max_age`"));
    }
    for (lane, count) in unshipped {
        line(text, "", &format!("{count} of them were not shipped by lane {lane}"));
    }
    if log.refused > 0 {
        line(text, "", &format!("{} events refused", log.refused));
    }
}

fn downlinks(text: &mut String, downlinks: &[DownlinkStatus]) {
    for downlink in downlinks {
        let DownlinkStatus { topic, received, others, expired, refused, lost, .. } = downlink;
        let state = match &downlink.waits_for {
            Some(what) => format!("waits for {what}"),
            None if downlink.live => "reading".to_owned(),
            None => "waiting".to_owned(),
        };
        line(text, "downlink", &format!("{topic}, {state}; {received} commands"));
        if others + expired + lost > 0 {
            let words =
                format!("passed over: {others} for others, {expired} too old, {lost} deleted");
            line(text, "", &words);
        }
        if *refused > 0 {
            let why = downlink.refusal.as_deref().unwrap_or_default();
            line(text, "", &format!("{refused} records not taken, the last: {why}"));
        }
        if let Some(why) = &downlink.last_error {
            let when = if downlink.live { "last error: " } else { "" };
            line(text, "", &format!("{when}{why}"));
        }
    }
}

fn sources(text: &mut String, sources: &[SourceStatus]) {
    for source in sources {
        let SourceStatus { name, url, received, duplicates, repeated, refused, .. } = source;
        let state = if source.connected { "connected" } else { "waiting" };
        line(text, "source", &format!("{name} ({url}), {state}; {received} events"));
        if duplicates + repeated > 0 {
            let words = format!("sent again: {duplicates} known and not taken, {repeated} taken");
            line(text, "", &words);
        }
        if *refused > 0 {
            let why = source.refusal.as_deref().unwrap_or_default();
            line(text, "", &format!("{refused} messages not taken, the last: {why}"));
        }
        if let Some(why) = &source.last_error {
            let when = if source.connected { "last error: " } else { "" };
            line(text, "", &format!("{when}{why}"));
        }
    }
}

fn upstream(text: &mut String, upstream: &UpstreamStatus) {
    let version = match upstream.transaction_version {
        _ if upstream.at_least_once => ", at least once".to_owned(),
        None => String::new(),
        Some(version) => format!(", transactions v{version}"),
    };
    line(
        text,
        "upstream",
        &format!("{} ({}{version})", upstream.state, upstream.brokers.join(", ")),
    );
    for why in [&upstream.reason, &upstream.refused].into_iter().flatten() {
        line(text, "", why);
    }
    let backlog = match upstream.oldest_undelivered_ms {
        _ if upstream.backlog == 0 => "no backlog".to_owned(),
        None => format!("backlog {} events", upstream.backlog),
        Some(ms) => {
            let age = humantime::format_duration(Duration::from_secs(ms / 1_000));
            format!("backlog {} events, the oldest {age} old", upstream.backlog)
        }
    };
    let counters = &upstream.counters;
    line(
        text,
        "",
        &format!(
            "{backlog}; {} records in {} transactions since the start",
            counters.records, counters.transactions
        ),
    );
    if let Some(each) = counters.bytes_sent.checked_div(counters.records) {
        let sent = ByteSize(counters.bytes_sent);
        let most = upstream.month.bytes_max;
        let most = most.map_or(String::new(), |most| format!(" of {}", ByteSize(most)));
        let month = ByteSize(upstream.month.bytes);
        let words = format!("sent {sent}, {each} bytes for each record; this month {month}{most}");
        line(text, "", &words);
    }
    for lane in &upstream.lanes {
        let words = format!(
            "lane {}: {}, backlog {}, {} records, compression {}",
            lane.lane, lane.state, lane.backlog, lane.counters.records, lane.compression
        );
        line(text, "", &words);
    }
}

fn routes(text: &mut String, routes: &[RouteStatus]) {
    if routes.is_empty() {
        return;
    }
    let width = routes.iter().map(|route| route.name.len()).max().unwrap_or(0).clamp(5, 24);
    let written = writeln!(
        text,
        "\n{:<width$} {:>11} {:>11} {:>11} {:>10} {:>8} {:>8} {:>11}",
        "route", "ingested", "delivered", "filtered", "undecided", "dead", "lost", "pending"
    );
    debug_assert!(written.is_ok(), "strings grow");
    for route in routes {
        let written = writeln!(
            text,
            "{:<width$} {:>11} {:>11} {:>11} {:>10} {:>8} {:>8} {:>11}",
            route.name,
            route.ingested,
            route.delivered,
            route.filtered,
            route.undecided,
            route.dead_lettered,
            route.lost,
            route.pending
        );
        debug_assert!(written.is_ok(), "strings grow");
    }
    for route in routes {
        if route.skipped > 0 {
            let words = format!("{} events of {}, by an operator", route.skipped, route.name);
            line(text, "passed", &words);
        }
        if let Some(why) = &route.blocked {
            line(text, "blocked", &format!("{}, in lane {}: {why}", route.name, route.lane));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_subscribers_did_not_get_is_told_where_there_is_any() {
        let shown = |counts| {
            let listeners = vec!["127.0.0.1:1883".to_owned()];
            let (refused, clients) = (Refused::default(), Vec::new());
            let mut text = String::new();
            mqtt(&mut text, &MqttStatus { listeners, connections: 3, counts, refused, clients });
            text
        };
        let nothing = Tally { connects: 7, delivered: 8, ..Tally::default() };
        assert_eq!(shown(nothing), "mqtt      127.0.0.1:1883; 3 connected\n");
        let all = Tally { dropped: 1, missed: 2, unretained: 4, displaced: 5, ..nothing };
        assert_eq!(
            shown(all),
            "mqtt      127.0.0.1:1883; 3 connected, 1 messages dropped for slow subscribers\n          \
             2 events were gone before sessions had read them\n          \
             4 messages not retained: retained messages take all the room that they may\n          \
             5 sessions ended to make room for new ones\n"
        );
    }
}
