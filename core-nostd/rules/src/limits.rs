//! Limits of the rules, each with its unit. Whatever meets a limit names it.

use tributary_core::limits::PAYLOAD_BYTES_MAX;

/// The routes of one set.
pub const ROUTES_MAX: usize = 1024;
/// The different payload fields that the expressions of one set may name: each has a slot.
pub const FIELDS_MAX: usize = 64;
/// The levels of one field's path, as in `line.motor[0].temp` (four).
pub const PATH_LEVELS_MAX: usize = 8;
/// The largest `n` in `topic(n)`.
pub const TOPIC_LEVEL_MAX: usize = 128;
/// The largest `n` in `field[n]`.
pub const ARRAY_INDEX_MAX: usize = 65_535;
/// How deep objects and arrays may be nested in a payload.
pub const JSON_DEPTH_MAX: u32 = 64;
/// All text that one evaluation makes: the results of `||`, `lower` and `upper`, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// The registers of the machine.
pub const REGISTERS_MAX: usize = 32;
/// The instructions of one expression.
pub const INSTRUCTIONS_MAX: usize = 4096;
/// A set of programs, encoded: it is a record of the log.
pub const SET_BYTES_MAX: usize = 256 * 1024;
/// The text of one expression, in bytes.
pub const SOURCE_BYTES_MAX: usize = 8 * 1024;
/// How deep parentheses, calls and prefix operators may be nested in an expression.
pub const NESTING_MAX: usize = 32;

const _: () =
    assert!(PAYLOAD_BYTES_MAX <= u32::MAX as usize, "spans of a payload are 32 bits wide");
const _: () =
    assert!(PATH_LEVELS_MAX < JSON_DEPTH_MAX as usize, "what a path leads to is not too deep");
const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS, "one bit says of each level what it is");
const _: () =
    assert!(REGISTERS_MAX <= u32::BITS as usize, "one bit says of each register whether it is set");
const _: () = assert!(SET_BYTES_MAX <= PAYLOAD_BYTES_MAX, "a set fits a record of the log");
