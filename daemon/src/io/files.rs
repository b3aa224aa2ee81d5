//! Small whole files, and what the operating system knows of this machine.

use std::io::Write;
use std::path::Path;

use tributary_core::log::Entropy;

/// The largest configuration that is read.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Reads a text file of at most 1 MiB.
///
/// # Errors
/// If it cannot be read, is too large or is not UTF-8.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > TEXT_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read_to_string(path)
}

/// Writes a new file; one that exists is left alone.
///
/// # Errors
/// If it exists or cannot be written.
pub fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The machine's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Random numbers for one opening of a log.
///
/// # Errors
/// If the operating system has none to give.
pub fn entropy() -> std::io::Result<Entropy> {
    Ok(Entropy {
        log_id: random_u64()?,
        generation: u32::try_from(random_u64()? >> 32).unwrap_or_default(),
        salt: random_u64()?,
    })
}

/// Random numbers for identities and salts.
///
/// # Errors
/// If the operating system has none to give.
pub fn random_u64() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}
