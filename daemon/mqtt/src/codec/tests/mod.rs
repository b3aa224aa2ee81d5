//! The codec against the specification, against itself, and against arbitrary bytes.

mod arbitrary;
mod malformed;
pub(crate) mod round_trip;
