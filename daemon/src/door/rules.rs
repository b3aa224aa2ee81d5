//! What holds at a listener, read from its files: by `check`, at the start and on reload.

use core::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::Mistake;
use super::acl::Acl;
use super::users::Users;
use crate::config::Listener;
use crate::io::files;

/// The rules of a listener.
pub struct Rules {
    /// Its section of the configuration.
    pub listener: Listener,
    /// How it speaks TLS, if it does.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who has a password; `None`: passwords are not asked for.
    pub users: Option<Mutex<Users>>,
    /// Who may do what; `None`: everybody everything.
    pub acl: Option<Acl>,
}

/// Which key of a `[[listener]]` names a file that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `tls`.
    Tls,
    /// `users`.
    Users,
    /// `acl`.
    Acl,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Named by this key.
    pub subject: Subject,
    /// What is wrong, with file and line.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.help)
    }
}

impl Rules {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(listener: &Listener) -> Result<Self, Vec<Flaw>> {
        let mut flaws = Vec::new();
        let tls = listener.tls.as_ref().and_then(|tls| match tls.files.load() {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                let what = format!("`{}` {}", error.path.display(), error.what);
                flaws.push(Flaw { subject: Subject::Tls, what, help: error.help });
                None
            }
        });
        let users = listener.users.as_deref().and_then(|path| {
            let users = read(path, Subject::Users, Users::parse);
            users.map_err(|found| flaws.extend(found)).ok()
        });
        let acl = listener.acl.as_deref().and_then(|path| {
            let acl = read(path, Subject::Acl, Acl::parse);
            acl.map_err(|found| flaws.extend(found)).ok()
        });
        if !flaws.is_empty() {
            return Err(flaws);
        }
        Ok(Self { listener: listener.clone(), tls, users: users.map(Mutex::new), acl })
    }
}

fn read<T>(
    path: &Path,
    subject: Subject,
    parse: impl Fn(&str) -> Result<T, Vec<Mistake>>,
) -> Result<T, Vec<Flaw>> {
    let text = files::read_text(path).map_err(|error| {
        let help = match subject {
            Subject::Users => "`tributary passwd add` makes one; the daemon's user must see it",
            Subject::Tls | Subject::Acl => "the daemon's user must see it",
        };
        let what = format!("`{}` cannot be read: {error}", path.display());
        vec![Flaw { subject, what, help: help.to_owned() }]
    })?;
    parse(&text).map_err(|mistakes| {
        let flaw = |Mistake { line, what, help }: Mistake| {
            let what = format!("{}:{line}: {what}", path.display());
            Flaw { subject, what, help }
        };
        mistakes.into_iter().map(flaw).collect()
    })
}
