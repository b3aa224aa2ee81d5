//! A password file: lines of `name:hash`, as a value.
//!
//! Comments and empty lines stay as they are when an entry changes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Mistake;
use super::credential::Hash;

/// The longest name of a user, in bytes: what MQTT can spell.
pub const NAME_BYTES_MAX: usize = 65_535;
const WITH: &str = "add the user with `tributary passwd add`";

/// Users and their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    entries: HashMap<Box<str>, Arc<str>>,
}

impl Users {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Every line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut users = Self::default();
        let mut mistakes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some((name, hash)) = entry(line) else {
                if !is_remark(line) {
                    mistakes.push(Mistake::new(index + 1, "is not `name:hash`", WITH));
                }
                continue;
            };
            if let Err(why) = check_name(name) {
                mistakes.push(Mistake::new(index + 1, why, WITH));
            } else if let Err(why) = Hash::parse(hash) {
                mistakes.push(Mistake::new(index + 1, format!("of `{name}`: {why}"), WITH));
            } else if users.entries.insert(name.into(), hash.into()).is_some() {
                let what = format!("is a second one of `{name}`");
                mistakes.push(Mistake::new(index + 1, what, "remove one of the two"));
            }
        }
        if mistakes.is_empty() { Ok(users) } else { Err(mistakes) }
    }

    /// The hash of a user.
    #[must_use]
    pub fn hash(&self, name: &str) -> Option<&Arc<str>> {
        self.entries.get(name)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Another hash for a user that is there.
    pub(super) fn replace(&mut self, name: &str, hash: Arc<str>) {
        if let Some(entry) = self.entries.get_mut(name) {
            *entry = hash;
        }
    }
}

/// Whether a name can stand in a password file.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("has an empty name");
    }
    if name.contains(':') || name.contains(char::is_control) || name.trim() != name {
        return Err("has a name with a colon, a line break or space at its ends");
    }
    if name.len() > NAME_BYTES_MAX || name.starts_with('#') {
        return Err("has a name that is too long, or begins with `#`");
    }
    Ok(())
}

/// The text with the entry of `name` changed to `hash`, or added at its end; `None` removes it.
#[must_use]
pub fn edited(text: &str, name: &str, hash: Option<&str>) -> String {
    let is_it = |line: &str| entry(line).is_some_and(|(other, _)| other == name);
    let mut wanted = hash.map(|hash| format!("{name}:{hash}"));
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if is_it(line) {
            lines.extend(wanted.take());
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.extend(wanted);
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Name and hash of a line that has them.
fn entry(line: &str) -> Option<(&str, &str)> {
    if is_remark(line) {
        None
    } else {
        line.split_once(':').map(|(name, hash)| (name, hash.trim()))
    }
}

fn is_remark(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "$7$101$zL8xSD1g4Zld5gjD$y28tY5fDolxwQD1pBmBJwWIAcHi7OnXwogF7ID4ELj4uBn0rNsb6W2ZsM2RMIBsh39nyPVlFr/JqqaZ6i7Ur9A==";

    #[test]
    fn every_wrong_line_is_told_with_its_number() {
        let text = format!("# people\n\nann:{OLD}\nplain:secret\nno colon\n:{OLD}\nann:{OLD}\n");
        let mistakes = Users::parse(&text).expect_err("it is wrong");
        let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [4, 5, 6, 7], "{mistakes:?}");
        assert!(!format!("{mistakes:?}").contains("secret"), "a password is never shown");
    }

    #[test]
    fn an_edit_leaves_everything_else_as_it_was() {
        let text = "# people\nann:1\n\nbob:2\n";
        assert_eq!(edited(text, "ann", Some("3")), "# people\nann:3\n\nbob:2\n");
        assert_eq!(edited(text, "bob", None), "# people\nann:1\n\n");
        assert_eq!(edited(text, "cid", Some("4")), "# people\nann:1\n\nbob:2\ncid:4\n");
        assert_eq!(edited("ann:1\nann:2", "ann", None), "");
    }
}
