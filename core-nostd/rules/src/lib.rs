//! Filters and expressions over events: SQL text, compiled once to verified programs, which run
//! without an allocator on a gateway or a microcontroller.
//!
//! ```
//! # #[cfg(feature = "compile")]
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # use tributary_core::{properties::Properties, record::{Event, Origin, Qos}, time::Timestamp};
//! use tributary_rules::{Scratch, Set, Source, compile};
//!
//! let hot = Source { where_: Some("motor.temp > 70 AND status = 'ok'"), key: Some("topic(2)") };
//! let set = Set::verify(compile(&[hot])?)?;
//!
//! let event = Event {
//!     topic: "plant/p1/telemetry",
//!     payload: br#"{"motor":{"temp":71.5},"status":"ok"}"#,
//!     # client: "c", time: Timestamp(0), qos: Qos::AtLeastOnce, retain: false,
//!     # origin: Origin::Device, packet_id: None, properties: Properties::default(),
//!     // ...
//! };
//! let (mut scratch, mut key) = (Scratch::new(), [0; 64]);
//! let mut evaluation = set.evaluate(&event, &mut scratch);
//! assert!(evaluation.test(0).passes());
//! assert_eq!(evaluation.key(0, &mut key), Ok("p1".as_bytes()));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "compile"))]
//! # fn main() {}
//! ```
//!
//! # The language
//!
//! - Values: `NULL`, `TRUE`, `FALSE`, integers (i64), floats (f64), text in single quotes (`'it''s'`).
//!   A number without point and exponent that fits is an integer, in a payload as in an expression.
//! - Fields of a JSON payload: `temperature`, `motor.temp`, `readings[0].v`, `"odd name"`. Their
//!   names are case-sensitive; keywords and functions are not. Of equal keys the last one counts.
//! - `OR`, `AND`, `NOT` · `=` `<>` `!=` `<` `<=` `>` `>=`, `IS [NOT] NULL`, `[NOT] IN (…)`,
//!   `[NOT] BETWEEN … AND …` · `||` · `+` `-` · `*` `/` `%` · unary `-`. Comments begin with `--`.
//! - `topic()`, `topic(n)` (a level, from 1), `client()`, `qos()`, `retained()`, `payload()` (as text),
//!   `abs`, `floor`, `ceil`, `round` (half away from zero), `lower`, `upper` (ASCII), `length` (in
//!   characters), `starts_with`, `ends_with`, `contains`, `coalesce`.
//!
//! NULL is SQL's: a comparison or calculation with it is NULL, `AND` and `OR` follow three-valued
//! logic, and a filter selects only what is TRUE. A field that is missing is NULL, and so is every
//! field of a payload that is not JSON. What has no value is NULL with a reason, and never an error:
//! see [`Why`]. Integers divide to integers, cut towards zero; with a float the result is a float.
//! An integer and a float compare exactly. Text compares by its bytes.
//!
//! The same event gives the same answer on every machine, today and when a log is read again: no
//! clock, no chance, no locale, IEEE arithmetic rounded once per operation.
//!
//! # Features
//!
//! `compile` adds the compiler, which needs an allocator. Without it the crate verifies and runs.
#![no_std]

#[cfg(feature = "compile")]
extern crate alloc;

pub mod limits;

#[cfg(feature = "compile")]
mod lang;
mod scan;
mod set;
mod truth;
mod value;
mod vm;

#[cfg(feature = "compile")]
pub use lang::{Diagnostic, Error, Listing, Part, Source, check_key, check_predicate, compile};
pub use set::{Fault, Set, VerifyError};
pub use truth::{Truth, Why};
pub use vm::{Evaluation, Scratch};
