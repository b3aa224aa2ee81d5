//! The crate as its users see it: what expressions mean, what people are told, what hostile input
//! does, and how it compares with other code that does the same.

mod allocation;
mod common;
mod diagnostics;
mod expressions;
mod hostile;
mod json;
mod language;
