//! The commands. Libraries do not print; this does.
#![expect(clippy::print_stderr, reason = "this is the command line; `output` prints the rest")]

mod check;
mod init;
mod log;
mod logging;
mod output;
mod passwd;
mod progress;
mod replay;
mod status;
mod tail;
mod upstream;
mod when;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::problem::Problems;
use crate::config::{Config, FILE_DEFAULT};
use crate::io::control::group;
use crate::runtime::{self, Failure};
use logging::{LogFormat, LogLevel};

/// Exit codes, as the help states them.
const FAILED: u8 = 1;
const BAD_CONFIG: u8 = 2;
const BAD_DIRECTORY: u8 = 3;

/// MQTT devices into a durable log, and from there exactly once into Apache Kafka.
///
/// Without a configuration file `run` listens for MQTT on 127.0.0.1:1883, keeps its log in
/// ./tributary-data and replicates nowhere. `tributary init` writes a file to begin with.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Exit codes:
  0  done, or ended on SIGTERM or SIGINT
  1  failed while running; for `demo`: events were lost, doubled or out of order
  2  the command line or the configuration is wrong
  3  the data directory cannot be used: locked, unwritable, in RAM, or of a newer version

Signals: SIGHUP reloads routes, downlinks, sources, upstream, who is let in, and what goes from the log
when; SIGTERM and SIGINT end in order."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run {
        #[command(flatten)]
        file: FileArg,
        /// How its own log lines look
        #[arg(long, value_enum, default_value_t)]
        log_format: LogFormat,
        /// Which of them are written
        #[arg(long, value_enum, default_value_t)]
        log_level: LogLevel,
    },
    /// Say what is wrong with a configuration, and change nothing
    Check {
        #[command(flatten)]
        file: FileArg,
    },
    /// Write a configuration to begin with, every key explained
    Init {
        /// The file to write; one that exists is left alone
        #[arg(default_value = FILE_DEFAULT)]
        path: PathBuf,
        /// Carry over listeners, passwords, access list and bridges of a Mosquitto; its files stay
        /// as they are, and what has no counterpart is listed
        #[arg(long, value_name = "DIR")]
        from_mosquitto: Option<PathBuf>,
    },
    /// Add, change, delete or check a user of a password file
    #[command(subcommand)]
    Passwd(passwd::PasswdCommand),
    /// Show how the running daemon stands
    Status {
        #[command(flatten)]
        place: PlaceArgs,
        /// Print everything as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Show events as they become durable
    ///
    /// Examples:
    ///   tributary tail                       all events from now on
    ///   tributary tail 'plant/+/telemetry'   those of one topic filter
    ///   tributary tail --from 0 --end        everything that the log still holds
    ///   tributary tail --cursor archive      from where the reader named archive was, and remember
    #[command(verbatim_doc_comment)]
    Tail(tail::TailArgs),
    /// Look at the log's files, of a running daemon or of none: what is in them, and what is lost
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Send once more what Kafka did not take
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// Look at the Kafka cluster, make what is missing in it, see how replication stands
    #[command(subcommand)]
    Upstream(upstream::UpstreamCommand),
    /// Show a bad day: a fleet, an outage, a kill, and the account of it
    ///
    /// Starts a gateway, a Kafka stand-in and simulated devices on this machine; needs nothing
    /// else. Takes less than a minute. Exit code 1 if anything was lost, doubled or out of order.
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Measure a broker, or the disk or card under the log
    #[cfg(feature = "bench")]
    #[command(subcommand)]
    Bench(crate::bench::BenchCommand),
}

/// Which configuration.
#[derive(Debug, Args)]
struct FileArg {
    /// Configuration file [default: ./tributary.toml if there is one]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which daemon.
#[derive(Debug, Args)]
struct PlaceArgs {
    #[command(flatten)]
    file: FileArg,
    /// Data directory of the daemon [default: as the configuration says]
    #[arg(short, long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
}

impl FileArg {
    /// The file to read, if any.
    fn path(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.exists());
        self.config.clone().or_else(default)
    }

    fn load(&self) -> Result<Config, ExitCode> {
        let Some(path) = self.path() else { return Ok(Config::empty()) };
        Config::load(&path).map_err(|problems| bad_config(&problems))
    }

    /// Where the log is: nothing else of the file matters.
    fn log_dir(&self) -> Result<PathBuf, ExitCode> {
        let Some(path) = self.path() else { return Ok(Config::empty().log.dir) };
        Config::log_dir(&path).map_err(|problems| bad_config(&problems))
    }
}

fn bad_config(problems: &Problems) -> ExitCode {
    eprint!("{}", problems.render(std::io::stderr().is_terminal()));
    ExitCode::from(BAD_CONFIG)
}

impl PlaceArgs {
    fn dir(&self) -> Result<PathBuf, ExitCode> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => self.file.log_dir(),
        }
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run { file, log_format, log_level } => run(&file, log_format, log_level),
        Command::Check { file } => check::run(&file),
        Command::Init { path, from_mosquitto: None } => init::run(&path),
        Command::Init { path, from_mosquitto: Some(dir) } => init::import(&dir, &path),
        Command::Passwd(command) => passwd::run(&command),
        Command::Status { place, json } => status::run(&place, json),
        Command::Tail(args) => tail::run(&args),
        Command::Replay(command) => replay::run(&command),
        Command::Upstream(command) => upstream::run(&command),
        Command::Log(command) => log::run(&command),
        #[cfg(feature = "demo")]
        Command::Demo(args) => return crate::demo::run(&args),
        #[cfg(feature = "bench")]
        Command::Bench(command) => bench(&command),
    };
    ended.map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

#[cfg(feature = "bench")]
fn bench(command: &crate::bench::BenchCommand) -> Result<(), ExitCode> {
    match crate::bench::run(command) {
        Ok((text, is_good)) => {
            if !text.is_empty() {
                output::print(&text)?;
            }
            if is_good { Ok(()) } else { Err(ExitCode::from(FAILED)) }
        }
        Err(error) => {
            eprintln!("error: {error}");
            Err(ExitCode::from(FAILED))
        }
    }
}

fn run(file: &FileArg, format: LogFormat, level: LogLevel) -> Result<(), ExitCode> {
    let config = file.load()?;
    logging::start(format, level);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    runtime::run(&config, file.path()).map_err(|failure| {
        let (code, why) = match failure {
            Failure::Directory(why) => (BAD_DIRECTORY, why),
            Failure::Other(why) => (FAILED, why),
        };
        tracing::error!("{why}");
        ExitCode::from(code)
    })
}

/// Says that no daemon answered in a directory.
fn unreachable_daemon(dir: &Path, error: &std::io::Error) -> ExitCode {
    let (what, help) = unreachable_because(dir, error);
    eprintln!("error: {what}: {error}");
    eprintln!("help: {help}");
    ExitCode::from(FAILED)
}

/// What is wrong, and what to do.
fn unreachable_because(dir: &Path, error: &std::io::Error) -> (String, String) {
    let shown = dir.display();
    let no_answer = format!("no daemon answers in {shown}");
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            let help = match group(dir).as_deref() {
                None | Some("root") => "use sudo".to_owned(),
                Some(group) => format!(
                    "the group `{group}` may: use sudo, or become a member \
                     (`sudo usermod -aG {group} YOU`, then log in again)"
                ),
            };
            (format!("this user may not ask the daemon in {shown}"), help)
        }
        std::io::ErrorKind::TimedOut => {
            let help = "it is there, and hangs or is overloaded: its messages tell more";
            (no_answer, help.to_owned())
        }
        _ => {
            let help = "start one with `tributary run`, or name its data directory with --dir";
            (no_answer, help.to_owned())
        }
    }
}

/// A small runtime for asking the daemon.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => Ok(runtime.block_on(future)),
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            Err(ExitCode::from(FAILED))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn who_may_not_ask_is_not_told_to_start_a_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let (what, help) = unreachable_because(dir.path(), &ErrorKind::PermissionDenied.into());
        assert!(what.starts_with("this user may not ask the daemon in "), "{what}");
        assert!(help.contains("use sudo") && !help.contains("start"), "{help}");
        let (what, help) = unreachable_because(dir.path(), &ErrorKind::NotFound.into());
        assert!(what.starts_with("no daemon answers in ") && help.starts_with("start one"));
    }
}
