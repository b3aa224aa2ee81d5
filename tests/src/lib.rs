//! Shared parts of the test suites.

pub mod disk;
pub mod history;
#[cfg(feature = "real")]
pub mod real;
pub mod tidy;
