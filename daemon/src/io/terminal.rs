//! Asking a person at a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// The longest line that is read as a password, in bytes: what MQTT can spell.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Asks for a password without showing what is typed.
///
/// # Errors
/// If there is no terminal, or it ends.
pub fn ask_password(question: &str) -> io::Result<String> {
    let input = io::stdin();
    if !input.is_terminal() {
        let why = "standard input is no terminal; with --batch the password is read from it";
        return Err(io::Error::other(why));
    }
    let mut output = io::stderr();
    write!(output, "{question}: ")?;
    output.flush()?;
    let shown = tcgetattr(&input)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&input, OptionalActions::Flush, &hidden)?;
    let line = read_password();
    tcsetattr(&input, OptionalActions::Flush, &shown)?;
    line
}

/// Reads a password from the first line of standard input.
///
/// # Errors
/// If there is none.
pub fn read_password() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::Error::other("standard input has ended without a password"));
    }
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(io::Error::other("a password has 1 to 65,535 bytes"));
    }
    Ok(password.to_owned())
}
