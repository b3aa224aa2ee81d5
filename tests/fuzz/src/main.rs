//! Feeds the target that the environment names with what libFuzzer makes up. Started by `tests/fuzz/run`.
#![no_main]

use std::sync::LazyLock;

use tributary_tests::fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TRIBUTARY_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("{name:?} is no target: start it by tests/fuzz/run"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.feed)(bytes));
