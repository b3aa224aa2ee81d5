//! Making the control socket. A gateway without one serves all the same: it is told what keeps it from being
//! made, and it is tried again.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use core::time::Duration;

use tokio::net::UnixListener;

use super::{NAME, with_short_path};

/// How often it is tried to make what could not be made.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// A socket that listens for questions.
pub type Listener = UnixListener;

/// Opens the socket of a data directory, which must be locked by this process. `None`, if it cannot be made: that
/// is told.
#[must_use]
pub fn listen(dir: &Path) -> Option<Listener> {
    let told = |error: &io::Error| {
        let advice = advice(dir, error.kind());
        tracing::error!(
            %error,
            "there is no control socket, so `status`, `tail` and others do not reach this daemon, \
             which runs all the same: {advice}; it is tried again"
        );
    };
    try_listen(dir).inspect_err(told).ok()
}

/// Opens it as soon as that can be done.
pub(super) async fn listen_later(dir: &Path) -> Listener {
    loop {
        tokio::time::sleep(RETRY_EVERY).await;
        match try_listen(dir) {
            Ok(listener) => {
                tracing::info!("the control socket is there");
                return listener;
            }
            Err(error) => tracing::debug!(%error, "there is still no control socket"),
        }
    }
}

fn try_listen(dir: &Path) -> io::Result<Listener> {
    let path = dir.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_short_path(dir, |path| UnixListener::bind(path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// What to do about it.
fn advice(dir: &Path, error: ErrorKind) -> String {
    let (path, dir) = (dir.join(NAME), dir.display());
    match error {
        _ if path.is_dir() => format!("remove the directory {}", path.display()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("free space in {dir}"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!(
            "this user must be able to make files in {dir}, on a file system that has sockets"
        ),
        _ => format!(
            "choose a `dir` under [log] that has a shorter path, or lies on a file system that has \
             sockets, in place of {dir}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_the_way_is_told_and_a_long_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(120));
        let obstacle = long.join(NAME);
        fs::create_dir_all(&obstacle).unwrap();
        assert!(listen(&long).is_none());
        assert!(advice(&long, ErrorKind::IsADirectory).starts_with("remove the directory"));
        fs::remove_dir(&obstacle).unwrap();
        let listener = listen(&long);
        assert!(listener.is_some() && obstacle.exists());
        assert!(listen(&long).is_some(), "one of an earlier daemon is not in the way");
        assert!(listen(Path::new("/proc")).is_none(), "nobody makes sockets there");
        let other = advice(Path::new("/a"), ErrorKind::PermissionDenied);
        assert!(other.contains("make files in /a"), "{other}");
    }
}
