//! Who may publish and read what: an access list in Mosquitto's syntax, as a value.
//!
//! ```text
//! # What anonymous clients may, before the first user:
//! topic read public/#
//! user press-3
//! topic write plant/press-3/#
//! topic deny plant/press-3/secret
//! # For everybody, with their own names in it:
//! pattern readwrite devices/%u/%c/#
//! ```
//!
//! What no line allows is denied. Of a user's own lines, and then of the patterns, one that denies
//! goes before all that allow, as in Mosquitto. A topic that begins with `$` is only selected by a
//! line that does too.

mod parse;
#[cfg(test)]
mod tests;

use core::str::Split;
use std::collections::HashMap;

use super::Mistake;

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Get its messages.
    Read,
    /// Publish to it.
    Write,
}

/// Who wants it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The user's name; `None` for an anonymous client.
    pub user: Option<&'a str>,
    /// The client identifier.
    pub client: &'a str,
}

/// An access list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>>,
    patterns: Vec<Rule>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    grant: Grant,
    filter: Box<str>,
    /// Whether `%u` and `%c` stand for names.
    is_pattern: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    Deny,
    Read,
    Write,
    Both,
}

impl Acl {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Every line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        parse::parse(text)
    }

    /// Whether `who` may do this with a topic.
    #[must_use]
    pub fn allows(&self, who: Who<'_>, access: Access, topic: &str) -> bool {
        self.judge(
            who,
            |rule| rule.selects(who, topic),
            |rule| rule.grant.includes(access) && rule.selects(who, topic),
        )
    }

    /// Whether a subscription may be entered: some topic that `filter` selects may be read. What
    /// it selects beyond that is not delivered.
    #[must_use]
    pub fn allows_subscription(&self, who: Who<'_>, filter: &str) -> bool {
        let filter = shared(filter);
        self.judge(
            who,
            |rule| rule.covers(who, filter),
            |rule| rule.grant.includes(Access::Read) && rule.meets(who, filter),
        )
    }

    fn judge(
        &self,
        who: Who<'_>,
        denies: impl Fn(&Rule) -> bool,
        allows: impl Fn(&Rule) -> bool,
    ) -> bool {
        let own = match who.user {
            None => Some(&self.anonymous),
            Some(user) => self.users.get(user),
        };
        for rules in own.into_iter().chain([&self.patterns]) {
            if rules.iter().any(|rule| rule.grant == Grant::Deny && denies(rule)) {
                return false;
            }
            if rules.iter().any(&allows) {
                return true;
            }
        }
        false
    }
}

impl Grant {
    const fn includes(self, access: Access) -> bool {
        matches!(
            (self, access),
            (Self::Both, _) | (Self::Read, Access::Read) | (Self::Write, Access::Write)
        )
    }
}

impl Rule {
    fn selects(&self, who: Who<'_>, topic: &str) -> bool {
        if topic.starts_with('$') && !self.filter.starts_with('$') {
            return false;
        }
        let mut levels = topic.split('/');
        for own in self.filter.split('/') {
            if own == "#" {
                return true;
            }
            let Some(level) = levels.next() else { return false };
            if own != "+" && self.literal(own, who) != Some(level) {
                return false;
            }
        }
        levels.next().is_none()
    }

    /// Whether there is a topic that both this line and `filter` select.
    fn meets(&self, who: Who<'_>, filter: &str) -> bool {
        self.compare(filter, |own, other| match (own, other) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => Step::Decided(true),
            (Some(own), Some(other))
                if own == "+" || other == "+" || self.literal(own, who) == Some(other) =>
            {
                Step::GoOn
            }
            _ => Step::Decided(false),
        })
    }

    /// Whether this line selects all that `filter` does.
    fn covers(&self, who: Who<'_>, filter: &str) -> bool {
        self.compare(filter, |own, other| match (own, other) {
            (Some("#"), _) | (None, None) => Step::Decided(true),
            (Some(_), Some("#")) => Step::Decided(false),
            (Some("+"), Some(_)) => Step::GoOn,
            (Some(own), Some(other)) if other != "+" && self.literal(own, who) == Some(other) => {
                Step::GoOn
            }
            _ => Step::Decided(false),
        })
    }

    fn compare(&self, filter: &str, decide: impl Fn(Option<&str>, Option<&str>) -> Step) -> bool {
        // A wildcard in the first level stands for no `$` (MQTT-4.7.2-1).
        if self.filter.starts_with('$') != filter.starts_with('$') {
            return false;
        }
        let mut pairs: (Split<'_, char>, Split<'_, char>) =
            (self.filter.split('/'), filter.split('/'));
        loop {
            if let Step::Decided(answer) = decide(pairs.0.next(), pairs.1.next()) {
                return answer;
            }
        }
    }

    /// What a level without wildcard stands for; `None`: nothing, this client has no such name.
    fn literal<'a>(&self, level: &'a str, who: Who<'a>) -> Option<&'a str> {
        let name = match level {
            "%u" if self.is_pattern => who.user,
            "%c" if self.is_pattern => Some(who.client),
            _ => return Some(level),
        };
        // A name that would be more than one level, or a wildcard, is none.
        name.filter(|name| !name.is_empty() && !name.contains(['/', '+', '#']))
    }
}

enum Step {
    GoOn,
    Decided(bool),
}

/// The filter within a shared subscription (MQTT 5.0, 4.8.2), else itself.
fn shared(filter: &str) -> &str {
    let inner = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    inner.map_or(filter, |(_, inner)| inner)
}
