//! The control socket: a Unix socket in the data directory on which the command line asks.
//!
//! One line of JSON asks; lines of JSON answer. Who may enter the directory may ask.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// The socket's name in the data directory.
const NAME: &str = "tributary.sock";
/// The longest path that a socket address holds, with room to spare.
const PATH_BYTES_MAX: usize = 100;
/// The longest question.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// How the daemon stands: one line.
    Status,
    /// How far a stream of the log is durable, for reading its files: one line.
    LogEnd {
        /// The stream's name.
        stream: String,
    },
    /// Events, a line each, as they become durable.
    Tail {
        /// MQTT topic filter; none selects all.
        filter: Option<String>,
        /// From this offset on; none: from now on.
        from: Option<u64>,
        /// So many and no more.
        count: Option<u64>,
        /// End when the durable end is reached, instead of waiting for more.
        until_end: bool,
    },
}

/// Answers questions.
pub trait Answers: Send + Sync + 'static {
    /// One line, without its end.
    fn status(&self) -> impl Future<Output = String> + Send;
    /// One line, without its end.
    fn log_end(&self, stream: &str) -> impl Future<Output = String> + Send;
    /// Lines, until `lines` is closed.
    fn tail(&self, request: Request, lines: Lines) -> impl Future<Output = io::Result<()>> + Send;
}

/// Where the lines of an answer go.
pub struct Lines(OwnedWriteHalf);

impl Lines {
    /// Sends lines, each with its end.
    ///
    /// # Errors
    /// If who asked has gone.
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await
    }
}

/// A socket that listens for questions.
pub type Listener = UnixListener;

/// Opens the socket of a data directory, which must be locked by this process.
///
/// # Errors
/// If it cannot be made.
pub fn listen(dir: &Path) -> io::Result<Listener> {
    let path = dir.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_short_path(dir, |path| UnixListener::bind(path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Connects to the daemon that has the directory.
///
/// # Errors
/// If there is none.
pub async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let path = dir.join(NAME);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return UnixStream::connect(path).await;
    }
    let handle = File::open(dir)?;
    UnixStream::connect(through(&handle)).await
}

/// Asks, and hands each line of the answer to `line` until it says that this is enough.
///
/// # Errors
/// If the daemon cannot be reached or goes away.
pub async fn ask(
    dir: &Path,
    request: &Request,
    mut line: impl FnMut(&str) -> bool,
) -> io::Result<()> {
    let mut stream = connect(dir).await?;
    let mut question = serde_json::to_string(request).map_err(io::Error::other)?;
    question.push('\n');
    stream.write_all(question.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(text) = lines.next_line().await? {
        if !line(&text) {
            break;
        }
    }
    Ok(())
}

/// Serves questions until told to stop.
pub async fn serve<A: Answers>(
    listener: UnixListener,
    answers: Arc<A>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let answers = Arc::clone(&answers);
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &*answers).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "cannot accept a control connection"),
        }
    }
}

async fn answer<A: Answers>(stream: UnixStream, answers: &A) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
    reader.read_line(&mut line).await?;
    let mut lines = Lines(write);
    match serde_json::from_str(&line) {
        Ok(Request::Status) => {
            let mut text = answers.status().await;
            text.push('\n');
            lines.send(&text).await
        }
        Ok(Request::LogEnd { stream }) => {
            let mut text = answers.log_end(&stream).await;
            text.push('\n');
            lines.send(&text).await
        }
        Ok(request @ Request::Tail { .. }) => {
            let mut rest = reader.into_inner().into_inner();
            let mut byte = [0];
            tokio::select! {
                ended = answers.tail(request, lines) => ended,
                // Nothing more is asked on this connection: a read ends when it is closed.
                closed = rest.read(&mut byte) => closed.map(|_| ()),
            }
        }
        Err(error) => {
            let text = serde_json::json!({ "error": format!("not a question: {error}") });
            lines.send(&format!("{text}\n")).await
        }
    }
}

/// Calls `with` with a path to the socket that is short enough for a socket address.
fn with_short_path<T>(dir: &Path, with: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = dir.join(NAME);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return with(&path);
    }
    let handle = File::open(dir)?;
    with(&through(&handle))
}

/// The socket's path by way of an open directory.
fn through(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
}
