//! The text of an access list.

use tributary_core::topic;

use super::{Acl, Grant, Rule};
use crate::door::Mistake;

const KNOWN: &str = "lines begin with `user`, `topic`, `pattern` or `#`";

pub(super) fn parse(text: &str) -> Result<Acl, Vec<Mistake>> {
    let mut acl = Acl::default();
    let mut user: Option<Box<str>> = None;
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut mistake = |what: String, help: &str| {
            mistakes.push(Mistake { line: index + 1, what, help: help.to_owned() });
        };
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "user" if rest.is_empty() => mistake("`user` without a name".to_owned(), KNOWN),
            "user" => {
                acl.users.entry(rest.into()).or_default();
                user = Some(rest.into());
            }
            "topic" | "pattern" => match rule(rest, word == "pattern") {
                Err((what, help)) => mistake(what, help),
                Ok(rule) if rule.is_pattern => acl.patterns.push(rule),
                Ok(rule) => match &user {
                    None => acl.anonymous.push(rule),
                    Some(user) => acl.users.entry(user.clone()).or_default().push(rule),
                },
            },
            other => mistake(format!("`{other}` is not known here"), KNOWN),
        }
    }
    if mistakes.is_empty() { Ok(acl) } else { Err(mistakes) }
}

/// `[read|write|readwrite|deny] filter`.
fn rule(text: &str, is_pattern: bool) -> Result<Rule, (String, &'static str)> {
    let (grant, filter) = match text.split_once(char::is_whitespace) {
        Some(("read", rest)) => (Grant::Read, rest),
        Some(("write", rest)) => (Grant::Write, rest),
        Some(("readwrite", rest)) => (Grant::Both, rest),
        Some(("deny", rest)) => (Grant::Deny, rest),
        _ => (Grant::Both, text),
    };
    let filter = filter.trim_start();
    topic::check_filter(filter).map_err(|error| {
        (format!("`{filter}` is not a topic filter: {error}"), "as in `topic read plant/+/state`")
    })?;
    let is_whole = |level: &str| matches!(level, "%u" | "%c");
    let is_mixed = |level: &str| !is_whole(level) && (level.contains("%u") || level.contains("%c"));
    if is_pattern && filter.split('/').any(is_mixed) {
        let what = format!("in `{filter}` a name is only a part of a level");
        return Err((what, "`%u` and `%c` stand for a whole level, as in `devices/%u/state`"));
    }
    if !is_pattern && filter.split('/').any(is_whole) {
        let what = format!("`{filter}` has names in it, and `topic` has none to give");
        return Err((what, "write `pattern` in place of `topic`"));
    }
    Ok(Rule { grant, filter: filter.into(), is_pattern })
}
