//! Filters and expressions over events: SQL text, compiled once to verified programs, evaluated
//! without an allocator on a gateway or a microcontroller.
//!
//! ```
//! # #[cfg(feature = "compile")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tributary_rules::{Set, Source, compile};
//!
//! let bytes = compile(&[Source { where_: Some("temperature > 70"), key: Some("topic(2)") }])?;
//! let set = Set::verify(bytes)?;
//! assert_eq!(set.len(), 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "compile"))]
//! # fn main() {}
//! ```
#![no_std]

#[cfg(feature = "compile")]
extern crate alloc;

pub mod limits;

#[cfg(feature = "compile")]
mod lang;
mod set;
mod truth;

#[cfg(feature = "compile")]
pub use lang::{Diagnostic, Error, Part, Source, check_key, check_predicate, compile};
pub use set::{Evaluation, Scratch, Set, VerifyError};
pub use truth::{Truth, Why};
