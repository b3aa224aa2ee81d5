//! What people are told about a broker that does not do what is needed.

use super::{LinkState, Links};
use crate::failure::Failure;
use crate::output::ConnId;
use crate::status::Refusal;
use crate::wire::{Api, Dialect};

impl Links {
    /// What a broker may have meant that hung up; empty if nothing is likely.
    pub(super) fn hint(&self, state: &LinkState, has_answered: bool) -> &'static str {
        match state {
            LinkState::Greeting if !self.encrypted => {
                "; a listener with TLS does so when spoken to without"
            }
            LinkState::Ready { .. } if !self.authenticate && !has_answered => {
                "; a listener with SASL does so with whom it does not know"
            }
            _ => "",
        }
    }

    /// Why what is wanted is not possible with this broker.
    pub(crate) fn lacks(&self, conn: ConnId, api: Api, dialect: Dialect) -> Failure {
        let at = self.all.get(&conn).map_or_else(String::new, |link| link.address.to_string());
        let what = match api {
            Api::Fetch | Api::ListOffsets => "reading",
            _ => "an exactly-once session",
        };
        Failure::Refused(Refusal {
            subject: format!("{what} at {at}"),
            topic: None,
            partition: None,
            offsets: None,
            error: format!(
                "the broker lacks {api:?} {}, {}",
                api.versions(dialect).0,
                api.needed_for()
            ),
        })
    }
}
