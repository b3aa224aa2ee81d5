//! Shared parts of the test suites.

#[cfg(feature = "real")]
pub mod real;
pub mod tidy;
