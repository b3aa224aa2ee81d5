//! Shared parts of the test suites.

pub mod disk;
pub mod history;
pub mod power;
#[cfg(feature = "real")]
pub mod real;
pub mod tidy;
