//! Reads secrets where the configuration says they are, each time that they are needed: so one that was
//! replaced is taken without a restart.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::upstream::Secret;

/// Bytes of a secret; tokens of some identity providers have many claims.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Where systemd puts what a unit's `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The secret, without the line end that editors put behind it.
///
/// # Errors
/// Why there is none, for people; never what it is.
pub fn read(secret: &Secret) -> Result<SecretString, String> {
    match secret {
        Secret::File(path) => read_file(path),
        Secret::Env(name) => match env::var(name) {
            Ok(value) => Ok(value.into()),
            Err(env::VarError::NotPresent) => {
                Err(format!("the environment variable {name} is not set"))
            }
            Err(env::VarError::NotUnicode(_)) => {
                Err(format!("the environment variable {name} is not text"))
            }
        },
        Secret::Credential(name) => {
            let dir = env::var_os(CREDENTIALS).ok_or_else(|| {
                format!(
                    "${CREDENTIALS} is not set: start it by systemd, with LoadCredential={name}:…"
                )
            })?;
            read_file(&PathBuf::from(dir).join(name))
        }
    }
}

/// A file that holds one secret.
///
/// # Errors
/// Why there is none, for people.
pub fn read_file(path: &Path) -> Result<SecretString, String> {
    let wrong = |why: &str| format!("the secret in {} cannot be used: {why}", path.display());
    let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
    let mut text = String::new();
    match file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text) {
        Err(error) => return Err(wrong(&error.to_string())),
        Ok(read) if read as u64 > SECRET_BYTES_MAX => return Err(wrong("it is too long")),
        Ok(_) => {}
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_line_end_is_not_part_of_a_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        for (text, secret) in [("pencil", "pencil"), ("pencil\r\n", "pencil"), (" a b \n", " a b ")]
        {
            std::fs::write(&path, text).expect("written");
            let read = read(&Secret::File(path.clone())).expect("a secret");
            assert_eq!(read.expose_secret(), secret);
        }
        let empty = ["", "\n"];
        for text in empty {
            std::fs::write(&path, text).expect("written");
            assert!(read_file(&path).is_err_and(|why| why.contains("empty")));
        }
        std::fs::write(&path, vec![b'x'; 65 << 10]).expect("written");
        assert!(read_file(&path).is_err_and(|why| why.contains("too long")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = Secret::Env("TRIBUTARY_NO_SUCH_VARIABLE".to_owned());
        assert!(read(&missing).is_err_and(|why| why.contains("TRIBUTARY_NO_SUCH_VARIABLE")));
        let missing = Secret::File("/nowhere/password".into());
        assert!(read(&missing).is_err_and(|why| why.contains("/nowhere/password")));
    }
}
