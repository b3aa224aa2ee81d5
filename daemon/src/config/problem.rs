//! What is wrong with a configuration, where, and what to do about it.

use core::ops::Range;
use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use toml::Spanned;

use super::FILE_DEFAULT;
use super::schema::{self, Key};

/// One mistake, with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Bytes of the file that are at fault, where it has a place.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a place of the file.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong with one configuration file.
#[derive(Debug)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// Its text, for showing the lines at fault; empty if it could not be read.
    pub source: String,
    /// In the order of the file; at least one.
    pub list: Vec<Problem>,
}

impl Problems {
    /// A file that cannot be read at all.
    #[must_use]
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let shown = path.display();
        let help = match error.kind() {
            ErrorKind::NotFound => Some("`tributary init` writes one to begin with".to_owned()),
            ErrorKind::IsADirectory => Some(format!("name the file: {shown}/{FILE_DEFAULT}, say")),
            ErrorKind::InvalidData => Some("a configuration is a text in UTF-8".to_owned()),
            _ => None,
        };
        let message = format!("cannot read the configuration {shown}: {error}");
        let problem = Problem { span: None, message, help };
        Self { path: path.to_owned(), source: String::new(), list: vec![problem] }
    }

    /// The problems as text for a terminal, with the lines at fault.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let path = self.path.display().to_string();
        let mut text = String::new();
        for problem in &self.list {
            let title = Level::ERROR.primary_title(problem.message.as_str());
            let mut group = Group::with_title(title);
            if let Some(span) = problem.span.clone() {
                let place = AnnotationKind::Primary.span(span);
                group = group.element(
                    Snippet::source(self.source.as_str()).path(path.as_str()).annotation(place),
                );
            }
            if let Some(help) = &problem.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            text.push_str(&renderer.render(&[group]));
            text.push_str("\n\n");
        }
        text
    }
}

impl core::fmt::Display for Problems {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl core::error::Error for Problems {}

/// Turns the TOML reader's complaint into a problem.
#[must_use]
pub fn from_toml(error: &toml::de::Error) -> Problem {
    Problem { span: error.span(), message: error.message().to_owned(), help: None }
}

/// A key that is not known where it stands, with what it may have been meant to be. `owner`: whose section it
/// is in.
pub(super) fn unknown(name: &Spanned<Cow<'_, str>>, keys: &[Key], owner: Option<&Key>) -> Problem {
    let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
    let (text, span) = (name.get_ref(), name.span());
    let is_of_file = schema::FILE.iter().any(|key| key.name == text);
    if let Some(owner) = owner.filter(|_| is_of_file) {
        let what = format!("`{text}` is no key of `{}`", owner.title());
        return Problem::at(span, what)
            .help("it stands above the first section, at the head of the file");
    }
    let help = match nearest(text, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    Problem::at(span, format!("unknown key `{text}`")).help(help)
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`".
#[cfg(test)]
pub(super) fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// The candidate that `word` was most likely meant to be, if any is close.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
