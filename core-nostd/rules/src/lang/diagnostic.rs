//! What is wrong with an expression, as data. Drawing it with a caret is the caller's.

use alloc::string::String;
use core::fmt;
use core::ops::Range;

/// One mistake in one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the kind of mistake, as `R012`.
    pub code: &'static str,
    /// Where, in bytes of the text; on character boundaries, not empty unless the text ends there.
    pub span: Range<usize>,
    /// What is wrong, in the words of somebody who writes SQL.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " (help: {help})")?;
        }
        Ok(())
    }
}

impl core::error::Error for Diagnostic {}

/// Which expression of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `where = "…"`
    Where,
    /// `key = "…"`
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Where => "where",
            Self::Key => "key",
        })
    }
}

/// The operator's mistake in a set of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The route, as its position in the sources.
    pub route: usize,
    /// The expression of that route.
    pub part: Part,
    /// The mistake.
    pub diagnostic: Diagnostic,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}, {}: {}", self.route, self.part, self.diagnostic)
    }
}

impl core::error::Error for Error {}
