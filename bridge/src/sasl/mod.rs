//! Says who we are: one SASL exchange (RFC 4422), as a value.
//!
//! Kafka carries the messages in `SaslHandshake` and `SaslAuthenticate` (KIP-43, KIP-152); this module
//! knows only what is in them. The client always speaks first. No secret is in any `Debug` output
//! or error.

mod oauth;
mod scram;

use core::fmt;

use secrecy::{ExposeSecret, SecretString};

pub use scram::Hash;
use scram::Scram;

/// What a client shows to be let in. Made anew for every exchange: a nonce is used once, and a
/// password or token may have been replaced.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Name and password as they are (RFC 4616): for TLS only.
    Plain {
        /// The user.
        username: String,
        /// Its password.
        password: SecretString,
    },
    /// A proof of the password that does not tell it (RFC 5802, RFC 7677), and that the broker
    /// knows it too.
    Scram {
        /// Which hash function.
        hash: Hash,
        /// The user.
        username: String,
        /// Its password.
        password: SecretString,
        /// Random printable characters without a comma, never used before.
        nonce: String,
    },
    /// A token of somebody whom the broker trusts (RFC 7628, KIP-255).
    OauthBearer {
        /// The token.
        token: SecretString,
        /// What the broker wants to know beside it, as Confluent Cloud's `logicalCluster` (KIP-342).
        extensions: Vec<(String, String)>,
    },
}

/// Why an exchange came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslError {
    /// What is configured cannot be sent.
    Unusable(&'static str),
    /// The broker's message is none of this mechanism.
    Malformed(&'static str),
    /// The broker wants work that we do not do; its number of iterations.
    Iterations(u32),
    /// The broker's error, in its words.
    Refused(String),
    /// The broker does not know the password itself.
    WrongSignature,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this, and hand the answer to [`Exchange::handle`].
    Send(SecretBytes),
    /// It is over, well.
    Done,
}

/// A message that may hold a secret.
pub(crate) struct SecretBytes(pub(crate) Vec<u8>);

/// One exchange under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The answer to the one message decides.
    Single,
    /// As `Single`, but an answer with content is an error (RFC 7628, section 3.2.2).
    Token,
    /// The broker was told that we have seen its error; here are its words.
    Failed(String),
    Scram(Box<Scram>),
}

impl Credentials {
    /// The mechanism's name, as in `SaslHandshake`.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Scram { hash: Hash::Sha256, .. } => "SCRAM-SHA-256",
            Self::Scram { hash: Hash::Sha512, .. } => "SCRAM-SHA-512",
            Self::OauthBearer { .. } => "OAUTHBEARER",
        }
    }

    /// Who is to be let in, for people.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Plain { username, .. } | Self::Scram { username, .. } => {
                format!("user {username} by {}", self.mechanism())
            }
            Self::OauthBearer { .. } => "the token by OAUTHBEARER".to_owned(),
        }
    }
}

impl Exchange {
    /// An exchange, and its first message.
    pub(crate) fn begin(credentials: &Credentials) -> Result<(Self, SecretBytes), SaslError> {
        let (stage, first) = match credentials {
            Credentials::Plain { username, password } => {
                let password = password.expose_secret();
                if username.is_empty() || username.contains('\0') || password.contains('\0') {
                    return Err(SaslError::Unusable("a user name or password with a NUL, or none"));
                }
                (Stage::Single, format!("\0{username}\0{password}").into_bytes())
            }
            Credentials::Scram { hash, username, password, nonce } => {
                let (scram, first) = Scram::begin(*hash, username, password, nonce)?;
                (Stage::Scram(Box::new(scram)), first.into_bytes())
            }
            Credentials::OauthBearer { token, extensions } => {
                (Stage::Token, oauth::first(token.expose_secret(), extensions)?)
            }
        };
        Ok((Self { stage }, SecretBytes(first)))
    }

    /// The broker's answer to the last message.
    pub(crate) fn handle(&mut self, answer: &[u8]) -> Result<Next, SaslError> {
        match &mut self.stage {
            Stage::Single => Ok(Next::Done),
            Stage::Token if answer.is_empty() => Ok(Next::Done),
            Stage::Token => {
                self.stage = Stage::Failed(oauth::error(answer));
                Ok(Next::Send(SecretBytes(vec![1])))
            }
            Stage::Failed(why) => Err(SaslError::Refused(why.clone())),
            Stage::Scram(scram) => scram.handle(answer),
        }
    }

    /// What the broker said before it ended the exchange with an error of its own.
    pub(crate) fn reason(&self) -> Option<&str> {
        match &self.stage {
            Stage::Failed(why) => Some(why),
            Stage::Single | Stage::Token | Stage::Scram(_) => None,
        }
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(what) => write!(f, "cannot be sent: {what}"),
            Self::Malformed(what) => write!(f, "the broker's message is not understood: {what}"),
            Self::Iterations(count) => write!(
                f,
                "the broker wants {count} iterations; {} to {} are accepted",
                scram::ITERATIONS_MIN,
                scram::ITERATIONS_MAX
            ),
            Self::Refused(why) => f.write_str(why),
            Self::WrongSignature => f.write_str(
                "the broker could not prove that it knows the password: it is not the broker that \
                 you mean, or somebody is in between",
            ),
        }
    }
}

impl core::error::Error for SaslError {}

#[cfg(test)]
mod tests;
