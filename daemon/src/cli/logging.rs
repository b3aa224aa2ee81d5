//! How the daemon's own log lines look.

use clap::ValueEnum;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes log lines to standard error from now on.
pub(super) fn start(format: LogFormat) {
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            lines.with_ansi(std::io::stderr().is_terminal()).compact().init();
        }
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
