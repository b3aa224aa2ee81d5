//! What becomes of a CONNECT: welcome, turned away, or a password has to be verified first.

use core::net::IpAddr;
use core::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tributary_core::time::Instant;
use tributary_mqtt::codec::connect::Connect;
use tributary_mqtt::{Reason, Settings};

use super::verifier::Job;
use super::{Door, Guest, Rules, Tag};
use crate::config::{CertificateName, ClientIds};
use crate::lines::shown;
use crate::sync::lock;

/// A connection that stands at a door.
pub struct Visit {
    door: Option<Arc<Door>>,
    address: IpAddr,
    /// The name in its certificate, where the listener takes that for the user's.
    certificate: Option<Arc<str>>,
}

/// What is decided about a client.
pub enum Admission {
    /// It is let in.
    Welcome(Guest),
    /// It is not.
    Turned(Reason),
    /// The ticket will know, and wakes.
    Waiting(Arc<Ticket>),
}

/// Where the outcome of a verification waits. What is to be verified goes with who waits for it.
pub struct Ticket {
    outcome: Mutex<Option<Outcome>>,
    wake: Arc<Notify>,
    pub(super) user: Arc<str>,
    pub(super) password: Box<[u8]>,
    pub(super) tag: Tag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    Bad,
    /// Others have failed meanwhile.
    TooOften,
    Busy,
}

impl Ticket {
    pub(super) fn new((user, password): (&str, &[u8]), tag: Tag, wake: &Arc<Notify>) -> Arc<Self> {
        let (user, password, wake) = (user.into(), password.into(), Arc::clone(wake));
        Arc::new(Self { outcome: Mutex::new(None), wake, user, password, tag })
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        lock(&self.outcome).take()
    }

    pub(super) fn settle(&self, outcome: Outcome) {
        *lock(&self.outcome) = Some(outcome);
        self.wake.notify_one();
    }
}

impl Visit {
    /// A connection from `address` at a door.
    #[must_use]
    pub const fn new(door: Arc<Door>, address: IpAddr) -> Self {
        Self { door: Some(door), address, certificate: None }
    }

    /// Where there is no door, as in the simulated world.
    #[must_use]
    pub const fn unchecked() -> Self {
        let address = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);
        Self { door: None, address, certificate: None }
    }

    /// What holds for its session: the door's time to introduce itself, and the longest keep-alive.
    #[must_use]
    pub fn settings(&self, common: &Settings) -> Settings {
        let Some(door) = &self.door else { return *common };
        let rules = door.rules();
        let timeout = rules.listener.connect_timeout.as_millis();
        let connect_timeout_ms = u64::try_from(timeout).unwrap_or(u64::MAX);
        let keep_alive_max_s = rules.listener.keep_alive_max_s;
        Settings { connect_timeout_ms, keep_alive_max_s, ..*common }
    }

    /// A proxy says where it really comes from.
    pub fn comes_from(&mut self, address: IpAddr) {
        self.address = address;
    }

    /// The client has shown a certificate with this name.
    pub fn show(&mut self, name: &str) {
        self.certificate = Some(name.into());
    }

    /// Decides about a client, or has its password verified; then `wake` is told.
    pub fn admit(&self, now: Instant, connect: &Connect<'_>, wake: &Arc<Notify>) -> Admission {
        let Some(door) = &self.door else { return judge_will(Guest::unchecked(), connect) };
        let rules = door.rules();
        let answer = match self.identify(door, &rules, (now, connect), wake) {
            Admission::Welcome(guest) => admit_as(guest, &rules, connect),
            other => other,
        };
        self.tell(now, answer, connect)
    }

    /// What became of the verification that [`Admission::Waiting`] was about, if it is done.
    pub fn poll(&self, now: Instant, ticket: &Ticket, connect: &Connect<'_>) -> Option<Admission> {
        let outcome = ticket.outcome()?;
        let door = self.door.as_ref()?;
        let answer = match outcome {
            Outcome::Good => {
                let guest = Guest::new(door, Some(Arc::clone(&ticket.user)), Some(ticket.tag));
                admit_as(guest, &door.rules(), connect)
            }
            Outcome::Bad => Admission::Turned(Reason::BadUserNameOrPassword),
            Outcome::TooOften => Admission::Turned(Reason::ConnectionRateExceeded),
            Outcome::Busy => Admission::Turned(Reason::ServerBusy),
        };
        Some(self.tell(now, answer, connect))
    }

    fn identify(
        &self,
        door: &Arc<Door>,
        rules: &Rules,
        (now, connect): (Instant, &Connect<'_>),
        wake: &Arc<Notify>,
    ) -> Admission {
        let listener = &rules.listener;
        let named = listener.tls.as_ref().is_some_and(|tls| {
            tls.files.client_ca.is_some() && tls.user_from != CertificateName::None
        });
        if named {
            let name = self.certificate.clone().filter(|name| !name.is_empty());
            return match name {
                Some(name) => Admission::Welcome(Guest::new(door, Some(name), None)),
                None => Admission::Turned(Reason::NotAuthorized),
            };
        }
        let (Some(users), Some(user)) = (&rules.users, connect.user_name) else {
            // A name that nobody verifies is no name.
            return if listener.anonymous {
                Admission::Welcome(Guest::new(door, None, None))
            } else {
                Admission::Turned(Reason::NotAuthorized)
            };
        };
        let password = connect.password.unwrap_or_default();
        let tag = door.tag(user, password);
        if door.is_known(user, &tag) {
            return Admission::Welcome(Guest::new(door, Some(user.into()), Some(tag)));
        }
        if !door.may_try(now, self.address, user) {
            return Admission::Turned(Reason::ConnectionRateExceeded);
        }
        let ticket = Ticket::new((user, password), tag, wake);
        let job = Job {
            ticket: Arc::downgrade(&ticket),
            door: Arc::clone(door),
            address: self.address,
            hash: lock(users).hash(user).cloned(),
            since: now,
        };
        if door.verifier.take(job) {
            Admission::Waiting(ticket)
        } else {
            Admission::Turned(Reason::ServerBusy)
        }
    }

    /// Counts what is refused, and logs what was decided.
    fn tell(&self, now: Instant, answer: Admission, connect: &Connect<'_>) -> Admission {
        if let Admission::Welcome(guest) = &answer {
            let (address, client) = (self.address, shown(connect.client_id));
            tracing::debug!(%address, client, user = guest.user().map(shown), "a client is let in");
        }
        if let (Admission::Turned(reason), Some(door)) = (&answer, &self.door) {
            door.counters.refused.fetch_add(1, Ordering::Relaxed);
            if let Some(left_out) = lock(&door.refusals).admit(now) {
                let user = shown(connect.user_name.unwrap_or_default());
                let (address, client) = (self.address, shown(connect.client_id));
                tracing::info!(%address, client, user, ?reason, left_out, "a client is not let in");
            }
        }
        answer
    }
}

/// The identity holds; what it asks for may still not be allowed.
fn admit_as(guest: Guest, rules: &Rules, connect: &Connect<'_>) -> Admission {
    if rules.listener.client_ids == ClientIds::User && guest.user() != Some(connect.client_id) {
        return Admission::Turned(Reason::ClientIdNotValid);
    }
    judge_will(guest, connect)
}

/// What could not be published cannot be left behind.
fn judge_will(mut guest: Guest, connect: &Connect<'_>) -> Admission {
    if let Some(will) = &connect.will
        && !guest.may_publish(connect.client_id, will.topic)
    {
        return Admission::Turned(Reason::NotAuthorized);
    }
    Admission::Welcome(guest)
}
