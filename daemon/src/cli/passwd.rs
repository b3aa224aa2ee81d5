//! `tributary passwd`: the users of a listener.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::FAILED;
use super::output::print;
use crate::door::credential::{self, Hash};
use crate::door::users::{Users, check_name, edited};
use crate::io::files::{edit, random, read_text};
use crate::io::terminal::{ask_password, read_password};

/// What to do with a password file.
#[derive(Debug, Subcommand)]
pub(super) enum PasswdCommand {
    /// Add a user; makes the file if there is none
    Add(UserArgs),
    /// Give a user another password
    Change(UserArgs),
    /// Remove a user
    Delete {
        #[command(flatten)]
        place: UserPlace,
    },
    /// Say whether a password is the user's: exit code 0 if it is, 1 if not
    Check(UserArgs),
}

#[derive(Debug, Args)]
pub(super) struct UserPlace {
    /// The password file, as `users` of a listener names it
    file: PathBuf,
    /// The user's name
    user: String,
}

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(flatten)]
    place: UserPlace,
    /// Read the password from the first line of standard input, and ask nothing
    #[arg(long)]
    batch: bool,
}

/// Does it, and says what was done.
pub(super) fn run(command: &PasswdCommand) -> Result<(), ExitCode> {
    let done = match command {
        PasswdCommand::Add(args) => set(args, false),
        PasswdCommand::Change(args) => set(args, true),
        PasswdCommand::Delete { place } => delete(place),
        PasswdCommand::Check(args) => check(args),
    };
    match done {
        Ok(said) => print(&said),
        Err(error) => {
            eprintln!("error: {error}");
            Err(ExitCode::from(FAILED))
        }
    }
}

const AFTER: &str = "a running daemon takes it on SIGHUP";

fn set(args: &UserArgs, is_change: bool) -> io::Result<String> {
    let UserPlace { file, user } = &args.place;
    check_name(user).map_err(|why| io::Error::other(format!("`{user}` {why}")))?;
    if is_change || file.exists() {
        // Before anybody types a password in vain.
        expect_user(&read_text(file).map_err(|e| named(file, &e))?, user, is_change)?;
    }
    let password = new_password(args.batch)?;
    let hash = credential::hash(password.as_bytes(), &random()?);
    edit(file, |text| {
        expect_user(text, user, is_change)?;
        Ok(edited(text, user, Some(&hash)))
    })
    .map_err(|error| named(file, &error))?;
    let what = if is_change { "has another password" } else { "is added" };
    Ok(format!("{user} {what}; {AFTER}"))
}

fn delete(UserPlace { file, user }: &UserPlace) -> io::Result<String> {
    read_text(file).map_err(|error| named(file, &error))?;
    edit(file, |text| {
        expect_user(text, user, true)?;
        Ok(edited(text, user, None))
    })
    .map_err(|error| named(file, &error))?;
    Ok(format!("{user} is removed; {AFTER}, and ends the user's connections"))
}

fn check(args: &UserArgs) -> io::Result<String> {
    let UserPlace { file, user } = &args.place;
    let text = read_text(file).map_err(|error| named(file, &error))?;
    let users = parse(&text)?;
    let hash = users.hash(user).ok_or_else(|| missing(user))?;
    let password = if args.batch { read_password()? } else { ask_password("Password")? };
    let is_it = Hash::parse(hash).is_ok_and(|hash| hash.verify(password.as_bytes()));
    if is_it {
        Ok(format!("that is the password of {user}"))
    } else {
        Err(io::Error::other(format!("that is not the password of {user}")))
    }
}

fn new_password(batch: bool) -> io::Result<String> {
    if batch {
        return read_password();
    }
    let password = ask_password("New password")?;
    if ask_password("The same again")? == password {
        Ok(password)
    } else {
        Err(io::Error::other("the two are not the same; nothing was changed"))
    }
}

fn expect_user(text: &str, user: &str, is_there: bool) -> io::Result<()> {
    match (parse(text)?.hash(user), is_there) {
        (Some(_), false) => {
            let why = format!("there is a user {user} already; `tributary passwd change`");
            Err(io::Error::other(why))
        }
        (None, true) => Err(missing(user)),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> io::Result<Users> {
    Users::parse(text).map_err(|mistakes| {
        let told: Vec<String> = mistakes
            .iter()
            .map(|mistake| format!("line {}: {}", mistake.line, mistake.what))
            .collect();
        io::Error::other(format!("the file is damaged: {}", told.join("; ")))
    })
}

fn missing(user: &str) -> io::Error {
    io::Error::other(format!("there is no user {user}"))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
