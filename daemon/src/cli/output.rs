//! What commands print. All goes through here: a reader may have gone, a disk may be full, and neither is a
//! reason to end otherwise than orderly.

use std::io::{self, Write};
use std::process::ExitCode;

use super::FAILED;

/// Prints text, and the end of its last line if that is missing.
pub(super) fn print(text: &str) -> Result<(), ExitCode> {
    written(try_print(text))
}

/// The same for who has more to print only if that is read: with what became of it.
pub(super) fn try_print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// What the output's fate means for the command: a reader that has gone has seen enough.
pub(super) fn written(done: io::Result<()>) -> Result<(), ExitCode> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write the output: {error}");
            Err(ExitCode::from(FAILED))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_seen_enough_is_no_failure() {
        let fate = |kind: io::ErrorKind| written(Err(kind.into()));
        assert_eq!(fate(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(fate(io::ErrorKind::StorageFull), Err(ExitCode::from(FAILED)));
    }
}
