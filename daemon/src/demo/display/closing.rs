//! The account in words, and what to try next.

use std::env;
use std::path::Path;

use console::style;
use indicatif::HumanCount;
use serde_json::{Value, json};
use tributary_mqtt::Version;

use super::count;
use crate::demo::account::Account;
use crate::demo::reading::CONDITION;
use crate::demo::scenario::Outcome;

/// The account, for people.
pub(super) fn account(outcome: &Outcome) -> Vec<String> {
    let account = &outcome.account;
    let second = match account.repeated_in_cluster {
        0 => "records".to_owned(),
        second => format!("records, of them {}", count(second, "second event", "second events")),
    };
    let rows = [
        ("published and acknowledged", account.acknowledged, published(outcome)),
        ("durable in the gateway's log", account.gateway.durable, "events".to_owned()),
        ("selected by the filter", account.selected, format!("readings: {CONDITION}")),
        ("in the cluster", account.records(), second),
    ];
    let row = |(label, number, what): (&str, u64, String)| {
        let number = HumanCount(number).to_string();
        format!("  {label:<30}{:>9}  {}", style(number).bold(), style(what).dim())
    };
    let mut lines = vec![String::new()];
    lines.extend(rows.map(row));
    lines.push(String::new());
    lines.extend(verdict(account));
    lines.extend(second_events(account));
    lines
}

fn published(outcome: &Outcome) -> String {
    let speaks = |version| outcome.journals.iter().any(|journal| journal.version == version);
    let versions = match (speaks(Version::V311), speaks(Version::V5)) {
        (true, true) => "3.1.1 and 5",
        (true, false) => "3.1.1",
        (false, _) => "5",
    };
    format!("readings, MQTT {versions}, QoS 1")
}

fn verdict(account: &Account) -> Vec<String> {
    let mut rows = vec![
        ("lost", account.lost),
        ("doubled", account.doubled),
        ("out of order", account.out_of_order),
    ];
    // Not promises of their own, but they would make the others void.
    let void = [("unexpected", account.unexpected), ("sums that differ", account.disagreements)];
    rows.extend(void.into_iter().filter(|(_, number)| *number > 0));
    let row = |(label, number): (&str, u64)| {
        let shown = style(HumanCount(number).to_string()).bold();
        let shown = if number == 0 { shown.green() } else { shown.red() };
        format!("  {label:<30}{shown:>9}")
    };
    let mut lines: Vec<String> = rows.into_iter().map(row).collect();
    let evidence = account.evidence.iter();
    lines.extend(evidence.map(|line| format!("    {} {line}", style("!").red())));
    lines
}

/// What became of the publishes that were sent again.
fn second_events(account: &Account) -> Vec<String> {
    if account.resent == 0 {
        return Vec::new();
    }
    let resent = count(account.resent, "publish", "publishes");
    let durable = account.repeated_in_log;
    let selected = account.repeated_in_cluster;
    let became = match durable {
        0 => "None was durable before: each is one event.".to_owned(),
        1 => format!("1 was durable before: a second event, {selected} selected."),
        _ => format!("{durable} were durable before: second events, {selected} of them selected."),
    };
    let mut text = format!(
        "\n  The kill left {resent} without a PUBACK, and the devices sent them again:\n  \
         that is QoS 1. {became}"
    );
    if account.is_clean() {
        text.push_str(
            "\n  Every event is in the log once, and once in the cluster if it is selected.",
        );
    }
    text.lines().map(|line| style(line).dim().to_string()).collect()
}

/// How to go on with devices of one's own.
pub(super) fn next_steps() -> Vec<String> {
    let program = program();
    let title = "  Now with your own devices, MQTT on 127.0.0.1:1883:";
    vec![
        String::new(),
        style(title).bold().to_string(),
        format!("    {program} run"),
        "    mosquitto_pub -q 1 -t plant/1/telemetry -m '{\"temperature\": 71.5}'".to_owned(),
        format!("    {program} tail --from 0"),
        format!("    {program} status"),
        String::new(),
    ]
}

/// How this program is called from here.
fn program() -> String {
    let Ok(program) = env::current_exe() else { return "tributary".to_owned() };
    let on_path = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| program.parent() == Some(&dir)));
    let below = env::current_dir()
        .ok()
        .and_then(|dir| program.strip_prefix(dir).ok().map(|path| path.display().to_string()));
    match below {
        _ if on_path => "tributary".to_owned(),
        Some(relative) => relative,
        None => program.display().to_string(),
    }
}

/// The account, for programs.
pub(super) fn as_json(outcome: &Outcome, kept: Option<&Path>) -> Value {
    let Outcome { account, journals, took } = outcome;
    json!({
        "ok": account.is_clean(),
        "seconds": took.as_secs_f64(),
        "devices": journals.len(),
        "account": account,
        "directory": kept,
    })
}

/// Why there is no account, for programs.
pub(super) fn failure_as_json(why: &str, kept: Option<&Path>) -> Value {
    json!({ "ok": false, "failure": why, "directory": kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn told(account: Account) -> String {
        let outcome = Outcome { account, journals: Vec::new(), took: Duration::ZERO };
        super::account(&outcome).join("\n")
    }

    #[test]
    fn what_is_wrong_is_told_and_nothing_is_claimed_beside_it() {
        let claim = "Every event is in the log once";
        let good = Account { resent: 3, repeated_in_log: 2, ..Account::default() };
        let text = told(good.clone());
        assert!(text.contains(claim) && text.contains("2 were durable before"), "{text}");
        let evidence = vec!["lost: press-01 seq 7".to_owned()];
        let text = told(Account { lost: 1, evidence, ..good });
        assert!(text.contains("! lost: press-01 seq 7") && !text.contains(claim), "{text}");
    }
}
