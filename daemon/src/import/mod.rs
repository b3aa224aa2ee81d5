//! Mosquitto's configuration, carried over: what has a counterpart here becomes a configuration of
//! ours, and everything else is listed with the reason. As a value: texts in, text and list out.

mod bridges;
mod listeners;
#[cfg(test)]
mod tests;

use core::fmt;

use bridges::Bridge;
use listeners::Section;

/// A configuration file of Mosquitto.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, for people.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A line of Mosquitto's that is not carried over, or not as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// File and line.
    pub place: String,
    /// The option.
    pub option: String,
    /// What became of it.
    pub why: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.option, self.why)
    }
}

/// A file that is copied beside the new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where Mosquitto has it.
    pub from: String,
    /// Its name beside the new configuration.
    pub to: String,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Sections of our configuration.
    pub toml: String,
    /// Password files and access lists.
    pub copies: Vec<Copy>,
    /// What was not carried over as it is.
    pub remarks: Vec<Remark>,
}

/// One line that says something.
#[derive(Clone, Debug)]
struct Line<'a> {
    place: String,
    option: &'a str,
    value: &'a str,
}

/// Carries a configuration over; `whole` tells the whole path of a file that it names.
#[must_use]
pub fn from_mosquitto(sources: &[Source], whole: &dyn Fn(&str) -> String) -> Import {
    let mut import = Import::default();
    let mut global = Section::default();
    let mut sections: Vec<Section> = Vec::new();
    let mut bridges: Vec<Bridge> = Vec::new();
    let mut is_bridge = false;
    let lines: Vec<Line<'_>> = sources.iter().flat_map(lines).collect();
    for line in &lines {
        match line.option {
            "listener" => {
                is_bridge = false;
                sections.push(Section::begin(line, &mut import));
            }
            "connection" => {
                is_bridge = true;
                bridges.push(Bridge::begin(line));
            }
            "include_dir" | "per_listener_settings" => {}
            _ if is_bridge => {
                if let Some(bridge) = bridges.last_mut() {
                    bridge.take(line, &mut import);
                }
            }
            _ if Section::is_global(line.option) => global.take(line, &mut import),
            _ => sections.last_mut().unwrap_or(&mut global).take(line, &mut import),
        }
    }
    let per_listener =
        lines.iter().any(|line| line.option == "per_listener_settings" && line.value == "true");
    listeners::write(global, sections, (per_listener, whole), &mut import);
    for bridge in bridges {
        bridge.write(&mut import);
    }
    import
}

fn lines(source: &Source) -> impl Iterator<Item = Line<'_>> {
    source.text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        let (option, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let says = !option.is_empty() && !option.starts_with('#');
        let place = || format!("{}:{}", source.name, index + 1);
        says.then(|| Line { place: place(), option, value: value.trim() })
    })
}

impl Import {
    fn remark(&mut self, line: &Line<'_>, why: impl Into<String>) {
        let option = line.option.to_owned();
        self.remarks.push(Remark { place: line.place.clone(), option, why: why.into() });
    }

    fn put(&mut self, line: &str) {
        self.toml.push_str(line);
        self.toml.push('\n');
    }

    /// The name of the copy of a file.
    fn copy(&mut self, from: &str) -> String {
        if let Some(known) = self.copies.iter().find(|copy| copy.from == from) {
            return known.to.clone();
        }
        let name = from.rsplit('/').next().unwrap_or(from);
        let is_taken = |to: &str| self.copies.iter().any(|copy| copy.to == to);
        let names = (1..).map(|number| match number {
            1 => name.to_owned(),
            _ => format!("{name}-{number}"),
        });
        let to = names.into_iter().find(|to| !is_taken(to)).unwrap_or_default();
        self.copies.push(Copy { from: from.to_owned(), to: to.clone() });
        to
    }
}

/// A value as TOML spells it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
