//! Asking the daemon: what the other commands of the program do.

use std::fs::File;
use std::io;
use std::path::Path;

use core::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::io::files::group_of;

use super::{END, NAME, PATH_BYTES_MAX, Read, Request, through};

/// How often a reader with a cursor tells how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(200);
/// What has one answer has it soon, or the daemon hangs: it may be out of file descriptors.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

impl Request {
    /// Whether a single line answers it, at once.
    const fn has_one_answer(&self) -> bool {
        match self {
            Self::Status | Self::LogEnd { .. } | Self::Forget { .. } => true,
            Self::Decide(decide) => !decide.read,
            Self::Tail { .. } | Self::Replay(_) => false,
        }
    }
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

/// The group that may ask the daemon that has the directory, as far as this user may know.
#[must_use]
pub fn group(dir: &Path) -> Option<String> {
    // Who may not enter the directory does not see the socket: it is of the same group.
    group_of(&dir.join(NAME)).or_else(|_| group_of(dir)).ok()
}

/// Asks, and hands each line of the answer to `line` until it says that this is enough.
///
/// # Errors
/// If the daemon cannot be reached or goes away. [`io::ErrorKind::TimedOut`]: it is there, and answers
/// none of what it could answer at once.
pub async fn ask(
    dir: &Path,
    request: &Request,
    mut line: impl FnMut(&str) -> bool,
) -> io::Result<()> {
    let (mut lines, _write) = begin(dir, request).await?;
    let limit = request.has_one_answer().then_some(ANSWER_WITHIN);
    while let Some(text) = within(limit, lines.next_line()).await? {
        if !line(&text) {
            break;
        }
    }
    Ok(())
}

pub(super) async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let Some(limit) = limit else { return answer.await };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    tokio::time::timeout(limit, answer).await.map_err(late)?
}

/// Asks for events with a cursor, and moves it behind those that `line` has dealt with. `line` says
/// whether it wants more; what it did not want is not read.
///
/// # Errors
/// If the daemon cannot be reached or goes away.
pub async fn read(
    dir: &Path,
    request: &Request,
    mut line: impl FnMut(&str) -> bool,
) -> io::Result<()> {
    let (mut lines, mut write) = begin(dir, request).await?;
    let (mut at, mut told) = (0, 0);
    let mut tick = tokio::time::interval(TOLD_EVERY);
    let mut wants_more = true;
    while wants_more {
        let text = tokio::select! {
            text = lines.next_line() => text?,
            _ = tick.tick(), if at > told => {
                tell(&mut write, at).await?;
                told = at;
                continue;
            }
        };
        let text = text.ok_or(io::ErrorKind::UnexpectedEof)?;
        match text.strip_prefix("{\"at\":").and_then(|rest| rest.strip_suffix('}')) {
            Some(offset) => at = offset.parse().map_err(io::Error::other)?,
            None if text == END => break,
            None => wants_more = line(&text),
        }
    }
    if at > told {
        tell(&mut write, at).await?;
    }
    write.shutdown().await?;
    // The daemon closes once it has noted that.
    while lines.next_line().await?.is_some() {}
    Ok(())
}

async fn begin(
    dir: &Path,
    request: &Request,
) -> io::Result<(tokio::io::Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf)> {
    let (read, mut write) = connect(dir).await?.into_split();
    let mut question = serde_json::to_string(request).map_err(io::Error::other)?;
    question.push('\n');
    write.write_all(question.as_bytes()).await?;
    Ok((BufReader::new(read).lines(), write))
}

async fn tell(write: &mut OwnedWriteHalf, read: u64) -> io::Result<()> {
    let mut text = serde_json::to_string(&Read { read }).map_err(io::Error::other)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for_for_ever() {
        let (asker, _silent) = UnixStream::pair().unwrap();
        let mut lines = BufReader::new(asker).lines();
        let limit = Some(Duration::from_millis(1));
        let error = within(limit, lines.next_line()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
