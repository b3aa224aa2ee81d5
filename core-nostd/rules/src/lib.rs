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
