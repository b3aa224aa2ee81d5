//! The suites against real servers: Kafka from Maven, the released binary, and outside clients.
//!
//! Nothing in here decides what is right: the readings come from a public package, and
//! `tests/real/check.py` compares what stands in Kafka with them. `tests/run` installs what this
//! needs; each test gets a broker, a gateway and a directory of its own.

#![expect(clippy::print_stdout, reason = "accounts belong in the output of a test run")]

pub mod binary;
pub mod cache;
pub mod expect;
pub mod fleet;
pub mod gateway;
pub mod kafka;
pub mod mosquitto;
pub mod namespace;
pub mod proxy;
pub mod readers;
pub mod readings;
pub mod security;
pub mod world;

pub use crate::{ports, process, scratch, wait};

/// Makes a test on 3.9.2 and on 4.1.2, each as it comes, of functions that take a [`kafka::Setup`].
#[macro_export]
macro_rules! on_both_releases {
    ($($test:ident)*) => {
        $(mod $test {
            use $crate::real::kafka::Setup;

            #[test]
            fn on_3_9_2() -> anyhow::Result<()> {
                super::$test(Setup::V392Tv0)
            }

            #[test]
            fn on_4_1_2() -> anyhow::Result<()> {
                super::$test(Setup::V412Tv2)
            }
        })*
    };
}

/// Makes a test on each cluster of functions that take a [`kafka::Setup`].
#[macro_export]
macro_rules! on_each_cluster {
    ($($test:ident)*) => {
        $(mod $test {
            use $crate::real::kafka::Setup;

            #[test]
            fn on_3_9_2_tv0() -> anyhow::Result<()> {
                super::$test(Setup::V392Tv0)
            }

            #[test]
            fn on_4_1_2_tv2() -> anyhow::Result<()> {
                super::$test(Setup::V412Tv2)
            }

            #[test]
            fn on_4_1_2_tv1() -> anyhow::Result<()> {
                super::$test(Setup::V412Tv1)
            }
        })*
    };
}
