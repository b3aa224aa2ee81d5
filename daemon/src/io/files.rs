//! Small whole files, and what the operating system knows of this machine.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fchown, flock};
use rustix::process::{Gid, Uid};

use tributary_core::log::Entropy;

/// The largest configuration that is read.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Modes of a log's directory and of what is in it: what devices send is for the daemon's user, and for
/// whom its group lets read.
pub const LOG_DIR_MODE: u32 = 0o750;
/// See [`LOG_DIR_MODE`].
pub const LOG_FILE_MODE: u32 = 0o640;

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

/// Writes a new file that only its owner reads; one that exists is left alone.
///
/// # Errors
/// If it exists or cannot be written.
pub fn write_new_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(SECRET).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The files of a directory whose names end in `.conf`, in the order of their names.
///
/// # Errors
/// If it cannot be read.
pub fn conf_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
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
    random().map(u64::from_le_bytes)
}

/// Random bytes.
///
/// # Errors
/// If the operating system has none to give.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// What is to be said of a file that every user of this machine can read, or of a directory that they
/// can enter or list.
#[must_use]
pub fn open_to_others(path: &Path) -> Option<String> {
    let found = std::fs::metadata(path).ok()?;
    let read = if found.is_dir() { 0o005 } else { 0o004 };
    let path = path.display();
    (found.mode() & read != 0)
        .then(|| format!("every user of this machine can read `{path}`: chmod o= {path}"))
}

/// The name of the group that a file belongs to, or its number if this machine has no name for it.
///
/// # Errors
/// If the file cannot be looked at.
pub fn group_of(path: &Path) -> io::Result<String> {
    let number = std::fs::metadata(path)?.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    // name:password:number:members
    let named = groups.lines().find(|line| line.split(':').nth(2) == Some(&number));
    Ok(named.and_then(|line| line.split(':').next()).unwrap_or(&number).to_owned())
}

/// The whole path of a file that is named as seen from here or from `dir`, wherever there is one.
#[must_use]
pub fn whole_path(path: &Path, dir: &Path) -> PathBuf {
    let there = dir.join(path);
    let found = if !path.exists() && there.exists() { there } else { path.to_owned() };
    std::path::absolute(&found).unwrap_or(found)
}

/// Changes a small file with secrets in one step: whoever reads it finds the old text or the new one,
/// also after a power cut. One that does not exist counts as empty, and only its owner will read it.
/// Two who change it at the same time wait for each other.
///
/// # Errors
/// If it cannot be read or written, or `change` fails; then it is as it was.
pub fn edit(path: &Path, change: impl FnOnce(&str) -> io::Result<String>) -> io::Result<()> {
    let mut file = lock_in_place(path)?;
    if file.metadata()?.len() > TEXT_BYTES_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let changed = change(&text)?;
    if changed == text {
        return Ok(());
    }
    let next = sibling(path);
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Left by one that was killed: who holds the lock may take it away.
        _ => {}
    }
    let mut new = File::options().write(true).create_new(true).mode(SECRET).open(&next)?;
    let found = file.metadata()?;
    let owner = (Some(Uid::from_raw(found.uid())), Some(Gid::from_raw(found.gid())));
    new.set_permissions(Permissions::from_mode(found.mode() & 0o770))?;
    if new.metadata()?.uid() != found.uid() || new.metadata()?.gid() != found.gid() {
        fchown(&new, owner.0, owner.1)?;
    }
    new.write_all(changed.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&next, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Only its owner reads and writes it.
const SECRET: u32 = 0o600;

/// Opens and locks the file that the path names at that moment.
fn lock_in_place(path: &Path) -> io::Result<File> {
    loop {
        let mut options = File::options();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(SECRET).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
            return Ok(file);
        }
    }
}

fn sibling(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
