//! What clients may expect of a broker, against the daemon as it is served: the cases of the Eclipse
//! Paho interoperability suite, in our words, and statements of the specifications that only a whole
//! broker can keep. `tests/mqtt/` says which statement is tested where.

mod entering;
mod publishing;
mod retained;
mod sharing;
mod staying;
mod subscribing;
mod wills;

const TRIBUTARY: &str = env!("CARGO_BIN_EXE_tributary-under-test");
