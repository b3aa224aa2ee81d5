//! Shared parts of the test suites.

pub mod authority;
#[cfg(feature = "real")]
pub mod bench;
pub mod certificates;
pub mod daemon;
pub mod delivery;
pub mod device;
pub mod disk;
pub mod front;
pub mod fuzz;
pub mod golden;
pub mod history;
pub mod mutants;
#[cfg(feature = "real")]
pub mod pi;
pub mod ports;
pub mod power;
pub mod process;
#[cfg(feature = "real")]
pub mod real;
pub mod refused;
pub mod scratch;
pub mod tidy;
pub mod wait;
pub mod wire;
pub mod world;
