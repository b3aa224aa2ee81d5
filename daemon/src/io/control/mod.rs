//! The control socket: a Unix socket in the data directory on which the command line asks.
//!
//! One line of JSON asks; lines of JSON answer. The daemon's user and its group may ask. Who reads with a
//! cursor gets lines `{"at":N}` between: all below N was sent; and answers `{"read":N}` once it has
//! dealt with that. At the end comes `{"end":true}`: the last answer is waited for.

mod asking;
mod listening;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use core::pin::pin;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use asking::{ask, connect, group, read};
pub use listening::{Listener, listen};

/// The socket's name in the data directory.
const NAME: &str = "tributary.sock";
/// The longest path that a socket address holds, with room to spare.
const PATH_BYTES_MAX: usize = 100;
/// The longest answer of a reader with a cursor.
const READ_BYTES_MAX: u64 = 64;
/// What comes behind the last event for a reader with a cursor.
const END: &str = r#"{"end":true}"#;
/// The longest question.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// How long a question may take to come.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Questions at the same time, readers of events among them; more wait.
const ASKERS_MAX: usize = 64;
/// How long to wait when the machine has no more sockets to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

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
        /// Without `from`: what came in at this wall time or later, ms since 1970.
        #[serde(default)]
        since_ms: Option<i64>,
        /// So many and no more.
        count: Option<u64>,
        /// End when the durable end is reached, instead of waiting for more.
        until_end: bool,
        /// Begin where this cursor stands, and move it with what is read. `from` moves it before.
        #[serde(default)]
        cursor: Option<String>,
    },
    /// Puts dead letters back on their way: lines that tell how far that is, and a last one.
    Replay(Replay),
    /// Forgets a cursor: one line.
    Forget {
        /// Its name.
        cursor: String,
    },
    /// Decides where a lane goes on that has halted: one line.
    Decide(Decide),
}

/// A decision of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decide {
    /// The lane; none: the one that has halted.
    pub lane: Option<String>,
    /// Whether nothing may come twice, rather than be missing.
    pub skip: bool,
    /// The offset at which it goes on; none: as far back, or ahead, as is possible.
    pub at: Option<u64>,
    /// Where Kafka's topics show that it has come to: they are read, and it is done.
    #[serde(default)]
    pub read: bool,
    /// Whether it is done, rather than only told what would be.
    pub confirmed: bool,
}

/// Which dead letters are put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Of this route alone.
    pub route: Option<String>,
    /// MQTT topic filter; none selects all.
    pub filter: Option<String>,
    /// The first offset in their stream.
    pub from: u64,
    /// The offset to stop before.
    pub to: Option<u64>,
    /// Of events that came in at this time or later, in ms since 1970.
    pub since: Option<i64>,
    /// Of events that came in before.
    pub until: Option<i64>,
    /// Change nothing, and tell what would be put back.
    pub dry_run: bool,
}

/// What a reader with a cursor answers: it has dealt with all below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The next offset that it wants.
    pub read: u64,
}

/// Answers questions.
pub trait Answers: Send + Sync + 'static {
    /// A cursor that somebody reads with: until it is dropped.
    type Cursor: Cursor;

    /// One line, without its end.
    fn status(&self) -> impl Future<Output = String> + Send;
    /// One line, without its end.
    fn log_end(&self, stream: &str) -> impl Future<Output = String> + Send;
    /// One line, without its end.
    fn forget(&self, cursor: &str) -> impl Future<Output = String> + Send;
    /// One line, without its end.
    fn decide(&self, decide: Decide) -> impl Future<Output = String> + Send;
    /// Lines, until all is put back or `lines` is closed.
    fn replay(
        &self,
        request: Replay,
        lines: &mut Lines,
    ) -> impl Future<Output = io::Result<()>> + Send;
    /// Begins to read with a cursor.
    fn read_with(
        &self,
        cursor: &str,
        from: Option<u64>,
    ) -> impl Future<Output = Result<Self::Cursor, String>> + Send;
    /// Lines, until there have been enough or `lines` is closed.
    fn tail(
        &self,
        request: Request,
        cursor: Option<&Self::Cursor>,
        lines: &mut Lines,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// A cursor that somebody reads with.
pub trait Cursor: Send + Sync {
    /// The reader has dealt with all below `read`. Returns when that is durable.
    fn advance(&self, read: u64) -> impl Future<Output = io::Result<()>> + Send;
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

/// Serves questions until told to stop: as soon as there is a socket for them in the data directory.
pub async fn serve<A: Answers>(
    (dir, listener): (PathBuf, Option<Listener>),
    answers: Arc<A>,
    mut stop: watch::Receiver<bool>,
) {
    let listener = if let Some(listener) = listener {
        listener
    } else {
        tokio::select! {
            listener = listening::listen_later(&dir) => listener,
            _ = stop.changed() => return,
        }
    };
    let places = Arc::new(Semaphore::new(ASKERS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.changed() => return,
        };
        let answers = Arc::clone(&answers);
        match accepted {
            Ok((stream, place)) => {
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &*answers).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control connection");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

async fn answer<A: Answers>(stream: UnixStream, answers: &A) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
    let line = question(&mut reader, QUESTION_TIME_MAX).await?;
    let mut lines = Lines(write);
    let text = match serde_json::from_str(&line) {
        Ok(Request::Status) => answers.status().await,
        Ok(Request::LogEnd { stream }) => answers.log_end(&stream).await,
        Ok(Request::Forget { cursor }) => answers.forget(&cursor).await,
        Ok(Request::Decide(decide)) => answers.decide(decide).await,
        Ok(Request::Replay(request)) => return answers.replay(request, &mut lines).await,
        Ok(request @ Request::Tail { .. }) => return tail(request, (reader, lines), answers).await,
        Err(error) => error_line(&format!("not a question: {error}")),
    };
    lines.send(&format!("{text}\n")).await
}

/// What is asked. Who says nothing for so long takes the place of others who would ask.
async fn question(asker: &mut Asker, most: Duration) -> io::Result<String> {
    let mut line = String::new();
    asking::within(Some(most), asker.read_line(&mut line)).await?;
    Ok(line)
}

fn error_line(why: &str) -> String {
    serde_json::json!({ "error": why }).to_string()
}

type Asker = BufReader<Take<OwnedReadHalf>>;

/// Sends events until there have been enough, or until who asked has gone.
async fn tail<A: Answers>(
    request: Request,
    (mut reader, mut lines): (Asker, Lines),
    answers: &A,
) -> io::Result<()> {
    let cursor = match &request {
        Request::Tail { cursor: Some(name), from, .. } => {
            match answers.read_with(name, *from).await {
                Ok(cursor) => Some(cursor),
                Err(why) => return lines.send(&format!("{}\n", error_line(&why))).await,
            }
        }
        _ => None,
    };
    // A read ends when the connection is closed.
    let mut following = pin!(follow(&mut reader, cursor.as_ref()));
    tokio::select! {
        ended = answers.tail(request, cursor.as_ref(), &mut lines) => ended?,
        gone = &mut following => return gone,
    }
    if cursor.is_some() {
        lines.send(&format!("{END}\n")).await?;
        following.await?;
    }
    Ok(())
}

/// Moves the cursor as its reader says, until that has gone.
async fn follow(reader: &mut Asker, cursor: Option<&impl Cursor>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.get_mut().set_limit(READ_BYTES_MAX);
        if reader.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if let (Ok(Read { read }), Some(cursor)) = (serde_json::from_str(&line), cursor) {
            cursor.advance(read).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_nothing_is_not_waited_for() {
        let (asker, _silent) = UnixStream::pair().unwrap();
        let mut asker = BufReader::new(asker.into_split().0.take(REQUEST_BYTES_MAX));
        let error = question(&mut asker, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
