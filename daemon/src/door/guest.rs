//! A client that was let in: what it may do, by the rules in force.

use core::fmt;
use core::sync::atomic::Ordering;
use std::sync::Arc;

use super::acl::{Access, Acl, Who};
use super::{Door, Rules, Tag};

/// Topics of the daemon's own: nobody else publishes there (MQTT 5.0, 4.7.2).
const OWN_TOPICS: &str = "$SYS/";

/// A client that was let in.
#[derive(Clone, Debug)]
pub struct Guest(Standing);

#[derive(Clone, Debug)]
enum Standing {
    /// Nobody yet: nothing is allowed.
    Nobody,
    /// Where there is no door, as in the simulated world.
    Unchecked,
    /// Let in at a door.
    Inside(Inside),
}

#[derive(Clone)]
struct Inside {
    door: Arc<Door>,
    rules: Arc<Rules>,
    edition: u64,
    /// The edition in which it was still welcome.
    checked: u64,
    user: Option<Arc<str>>,
    /// Of the password that it came in with.
    tag: Option<Tag>,
}

impl Guest {
    /// One that was not let in yet: it may do nothing.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(Standing::Nobody)
    }

    /// One that may do everything, where there is no door.
    pub(crate) const fn unchecked() -> Self {
        Self(Standing::Unchecked)
    }

    pub(super) fn new(door: &Arc<Door>, user: Option<Arc<str>>, tag: Option<Tag>) -> Self {
        // In this order: rules that are too new are looked at once more.
        let (edition, rules) = (door.edition(), door.rules());
        Self(Standing::Inside(Inside {
            door: Arc::clone(door),
            rules,
            edition,
            checked: edition,
            user,
            tag,
        }))
    }

    /// The user's name, if it has one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match &self.0 {
            Standing::Inside(inside) => inside.user.as_deref(),
            Standing::Nobody | Standing::Unchecked => None,
        }
    }

    /// Whether it may still be here, by the rules in force: anonymous clients are let in, or the
    /// password that it came in with is still the user's.
    pub fn is_welcome(&mut self) -> bool {
        let Standing::Inside(inside) = &mut self.0 else { return true };
        let edition = inside.door.edition();
        if edition == inside.checked {
            return true;
        }
        inside.check_rules();
        inside.checked = edition;
        match (&inside.user, &inside.tag) {
            (Some(user), Some(tag)) => inside.door.is_known(user, tag),
            (Some(_), None) => true,
            (None, _) => inside.rules.listener.anonymous,
        }
    }

    /// Whether it may publish to a topic.
    pub fn may_publish(&mut self, client: &str, topic: &str) -> bool {
        self.may(client, Access::Write, topic)
    }

    /// Whether it may get a message of a topic.
    pub fn may_read(&mut self, client: &str, topic: &str) -> bool {
        self.may(client, Access::Read, topic)
    }

    /// Whether it may subscribe: something of what the filter selects may be read.
    pub fn may_subscribe(&mut self, client: &str, filter: &str) -> bool {
        self.ask(|acl, user| acl.allows_subscription(Who { user, client }, filter))
    }

    fn may(&mut self, client: &str, access: Access, topic: &str) -> bool {
        let is_ours = access == Access::Write && topic.starts_with(OWN_TOPICS);
        let allowed =
            !is_ours && self.ask(|acl, user| acl.allows(Who { user, client }, access, topic));
        if let (false, Standing::Inside(inside)) = (allowed, &self.0) {
            let counters = &inside.door.counters;
            let counter = match access {
                Access::Read => &counters.deliveries_denied,
                Access::Write => &counters.publishes_denied,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    /// By the rules in force: one load per message, a lock only after a reload.
    fn ask(&mut self, judge: impl Fn(&Acl, Option<&str>) -> bool) -> bool {
        match &mut self.0 {
            Standing::Nobody => false,
            Standing::Unchecked => true,
            Standing::Inside(inside) => {
                inside.check_rules();
                let acl = inside.rules.acl.as_ref();
                acl.is_none_or(|acl| judge(acl, inside.user.as_deref()))
            }
        }
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Inside {
    fn check_rules(&mut self) {
        let edition = self.door.edition();
        if edition != self.edition {
            self.rules = self.door.rules();
            self.edition = edition;
        }
    }
}
