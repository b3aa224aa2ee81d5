//! Why the demo could not be shown to its end.

use core::fmt;
use core::time::Duration;
use std::io;
use std::process::ExitStatus;

/// Why there is no account.
#[derive(Debug)]
pub(super) enum Failure {
    /// The machine refuses something.
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The gateway ended though nobody killed it.
    GatewayEnded {
        /// How.
        status: ExitStatus,
        /// The end of what it wrote.
        log: String,
    },
    /// Something did not happen in time.
    Late {
        /// What.
        what: &'static str,
        /// How long it was waited for.
        limit: Duration,
        /// How things stood.
        state: String,
    },
}

impl Failure {
    /// For `map_err`: what was tried.
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { what, source } => write!(f, "cannot {what}: {source}"),
            Self::GatewayEnded { status, log } => {
                write!(f, "the gateway ended by itself ({status}):\n{log}")
            }
            Self::Late { what, limit, state } => {
                write!(f, "{what} did not happen within {} s: {state}", limit.as_secs())
            }
        }
    }
}

impl core::error::Error for Failure {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            Self::GatewayEnded { .. } | Self::Late { .. } => None,
        }
    }
}
