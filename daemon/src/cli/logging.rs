//! How the daemon's own log lines look.

use clap::ValueEnum;
use tracing::Level;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which log lines are written: those of a kind, and all that weigh more.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogLevel {
    /// What is lost, or does not work
    Error,
    /// What needs a look
    Warn,
    /// What a daemon does once in a while, and who is not let in
    #[default]
    Info,
    /// Who comes and goes, and what clients may not do
    Debug,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

/// Writes log lines to standard error from now on.
pub(super) fn start(format: LogFormat, level: LogLevel) {
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    // A line that nobody can take (the disk under it is full, its reader has gone) is lost, and nothing else.
    let lines = lines.with_max_level(Level::from(level)).log_internal_errors(false);
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            lines.with_ansi(std::io::stderr().is_terminal()).compact().init();
        }
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
