//! From the text of a file to its sections: all keys that are not known, all values that are of another kind, all
//! that is missing, each at its place and in the words of the configuration.
//!
//! What is a path is meant as seen from where the file lies. A value that cannot be is replaced by the example of its
//! key, so that everything else can still be checked; what the checks find at such a place is not told.

use core::ops::Range;
use core::str::FromStr;
use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::LOG_DIR_DEFAULT;
use super::file::File;
use super::problem::{Problem, from_toml, unknown};
use super::schema::{FILE, Key, Kind};
use super::units::{Rate, Size, Span};

/// What was read, and what is wrong with it so far.
pub(super) struct Reading {
    pub(super) file: File,
    problems: Vec<Problem>,
    replaced: Vec<Range<usize>>,
}

impl Reading {
    /// Reads the text of a file that lies in `base`.
    ///
    /// # Errors
    /// It is not TOML.
    pub(super) fn of(source: &str, base: &Path) -> Result<Self, Vec<Problem>> {
        let mut root = DeTable::parse(source).map_err(|error| vec![from_toml(&error)])?;
        let mut walk = Walk { base, problems: Vec::new(), replaced: Vec::new() };
        walk.keys(root.get_mut(), FILE, None);
        match File::deserialize(Deserializer::from(root)) {
            Ok(mut file) => {
                file.log
                    .dir
                    .get_or_insert_with(|| Spanned::new(0..0, beside(LOG_DIR_DEFAULT, base)));
                Ok(Self { file, problems: walk.problems, replaced: walk.replaced })
            }
            Err(error) => {
                walk.problems.push(from_toml(&error));
                Err(walk.problems)
            }
        }
    }

    /// All that is wrong, with what the checks have found, in the order of the file.
    pub(super) fn all(self, found: Vec<Problem>) -> Vec<Problem> {
        let replaced = |problem: &Problem| {
            problem.span.as_ref().is_some_and(|span| self.replaced.contains(span))
        };
        let found = found.into_iter().filter(|problem| !replaced(problem));
        let mut all: Vec<Problem> = self.problems.into_iter().chain(found).collect();
        all.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        all
    }
}

/// Where the log of a file is that lies in `base`, whatever else is wrong with it; `None`: that cannot be told.
pub(super) fn log_dir(source: &str, base: &Path) -> Option<String> {
    let (root, errors) = DeTable::parse_recoverable(source);
    let section = root.get_ref().get("log").map(|section| section.get_ref().as_table());
    match section.map(|table| table.map(|table| table.get("dir"))) {
        Some(Some(Some(dir))) => dir.get_ref().as_str().map(|dir| beside(dir, base)),
        // It may stand in what cannot be read.
        None | Some(Some(None)) if errors.is_empty() => Some(beside(LOG_DIR_DEFAULT, base)),
        _ => None,
    }
}

struct Walk<'b> {
    base: &'b Path,
    problems: Vec<Problem>,
    replaced: Vec<Range<usize>>,
}

impl Walk<'_> {
    /// The keys of a table that belongs to `owner`; `None`: of the file.
    fn keys(&mut self, table: &mut DeTable<'_>, keys: &'static [Key], owner: Option<&Key>) {
        let is_known = |name: &str| keys.iter().any(|key| key.name == name);
        let strange = table.keys().filter(|name| !is_known(name.get_ref()));
        for name in strange.cloned().collect::<Vec<_>>() {
            self.problems.push(unknown(&name, keys, owner));
            table.remove::<str>(name.get_ref());
        }
        for key in keys {
            if let Some(value) = table.get_mut(key.name) {
                self.value(value, key);
            }
        }
    }

    /// The keys of a table that stands at `span`, and those that it lacks.
    fn table(&mut self, table: &mut DeTable<'_>, span: &Range<usize>, owner: &Key) {
        let keys = owner.kind.keys().unwrap_or_default();
        self.keys(table, keys, Some(owner));
        for key in keys.iter().filter(|key| key.needed) {
            if !table.contains_key(key.name) {
                let what = format!("`{}` needs `{}`", owner.title(), key.name);
                self.problems.push(Problem::at(span.clone(), what).help(written(key)));
                self.replaced.push(span.clone());
                let name = Spanned::new(span.clone(), Cow::Borrowed(key.name));
                table.insert(name, example(key, span));
            }
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, key: &Key) {
        let span = value.span();
        if let Some((what, other)) = other_brackets(value, key) {
            let help = format!("write `{}`", key.title());
            self.problems.push(Problem::at(span.clone(), what).help(help));
            *value.get_mut() = other;
        }
        match (&key.kind, value.get_mut()) {
            (Kind::Sections(_), DeValue::Array(sections)) if sections.iter().all(is_table) => {
                for section in sections.iter_mut() {
                    let span = section.span();
                    if let DeValue::Table(table) = section.get_mut() {
                        self.table(table, &span, key);
                    }
                }
            }
            (
                Kind::Table(_) | Kind::SwitchOr(_) | Kind::TextOr(_) | Kind::Section(_),
                DeValue::Table(table),
            ) => self.table(table, &span, key),
            (_, found) => match flaw(found, &span, key) {
                None => resolve(found, key, self.base),
                Some(problem) => {
                    self.problems.push(problem);
                    *value = example(key, &span);
                    self.replaced.push(span);
                }
            },
        }
    }
}

fn is_table(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table()
}

/// What is wrong with the brackets of a section, and the section as it was meant.
fn other_brackets<'i>(value: &Spanned<DeValue<'i>>, key: &Key) -> Option<(String, DeValue<'i>)> {
    match (&key.kind, value.get_ref()) {
        (Kind::Sections(_), DeValue::Table(_)) => {
            let mut all = DeArray::new();
            all.push(value.clone());
            let what = format!("`[{}]` needs two brackets: there may be several", key.name);
            Some((what, DeValue::Array(all)))
        }
        (Kind::Section(_), DeValue::Array(all)) if all.iter().all(is_table) => {
            let what = format!("`[[{}]]` has a bracket too many: there is but one", key.name);
            Some((what, all.first()?.get_ref().clone()))
        }
        _ => None,
    }
}

/// What is wrong with a value that is no table of keys.
fn flaw(value: &DeValue<'_>, span: &Range<usize>, key: &Key) -> Option<Problem> {
    let name = key.name;
    let fits = match (&key.kind, value) {
        (Kind::Text | Kind::Path | Kind::TextOr(_), DeValue::String(_))
        | (Kind::Flag | Kind::SwitchOr(_), DeValue::Boolean(_)) => true,
        (Kind::Texts | Kind::Command, DeValue::Array(all)) => all.iter().all(is_text),
        (Kind::Named, DeValue::Table(all)) => all.values().all(is_text),
        (Kind::Count(max), DeValue::Integer(number)) => {
            let parsed = u64::from_str_radix(number.as_str(), number.radix());
            if parsed.is_ok_and(|count| count <= *max) {
                return None;
            }
            let what = format!("`{name}` cannot be {number}");
            return Some(Problem::at(span.clone(), what).help(written(key)));
        }
        (Kind::OneOf(words), DeValue::String(word)) => {
            if words.contains(&word.as_ref()) {
                return None;
            }
            let known: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            let what = format!("`{name}` cannot be \"{word}\"");
            let help = format!("known here: {}", known.join(", "));
            return Some(Problem::at(span.clone(), what).help(help));
        }
        (Kind::Size, DeValue::String(text)) => return misspelt::<Size>(text, span),
        (Kind::Rate, DeValue::String(text)) => return misspelt::<Rate>(text, span),
        (Kind::Span, DeValue::String(text)) => return misspelt::<Span>(text, span),
        _ => false,
    };
    let what = || format!("`{name}` is {}, not {}", key.kind.words(), words(value));
    (!fits).then(|| Problem::at(span.clone(), what()).help(written(key)))
}

/// Puts `base` in front of a path.
fn resolve(value: &mut DeValue<'_>, key: &Key, base: &Path) {
    let path = match (&key.kind, value) {
        (Kind::Path, DeValue::String(path)) => path,
        (Kind::Command, DeValue::Array(words)) => match words.first_mut().map(Spanned::get_mut) {
            // One without a slash is looked for where programs are.
            Some(DeValue::String(program)) if program.contains('/') => program,
            _ => return,
        },
        _ => return,
    };
    *path = Cow::Owned(beside(path, base));
}

fn beside(path: &str, base: &Path) -> String {
    // An empty one stays what it is: wrong.
    let is_whole = path.is_empty() || base.as_os_str().is_empty();
    if is_whole { path.to_owned() } else { base.join(path).to_string_lossy().into_owned() }
}

fn misspelt<T: FromStr<Err = String>>(text: &str, span: &Range<usize>) -> Option<Problem> {
    text.parse::<T>().err().map(|why| Problem::at(span.clone(), why))
}

fn is_text(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_str()
}

const fn words(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(true) => "`true`",
        DeValue::Boolean(false) => "`false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "such a list",
        DeValue::Table(_) => "such a table",
    }
}

/// How a key is written.
fn written(key: &Key) -> String {
    match key.kind {
        Kind::Section(_) | Kind::Sections(_) => {
            format!("write `{}`, and its keys below", key.title())
        }
        _ => format!("for example `{} = {}`", key.name, key.example),
    }
}

/// The example of a key, as if it stood at `span`.
fn example(key: &Key, span: &Range<usize>) -> Spanned<DeValue<'static>> {
    let value = DeValue::parse(key.example).map(Spanned::into_inner);
    placed(value.unwrap_or_else(|why| unreachable!("{} is no value: {why}", key.example)), span)
}

fn placed<'i>(value: DeValue<'i>, span: &Range<usize>) -> Spanned<DeValue<'i>> {
    let value = match value {
        DeValue::Array(all) => {
            let mut items = DeArray::new();
            all.into_iter().for_each(|item| items.push(placed(item.into_inner(), span)));
            DeValue::Array(items)
        }
        DeValue::Table(all) => {
            let place = |(name, value): (Spanned<Cow<'i, str>>, Spanned<DeValue<'i>>)| {
                (Spanned::new(span.clone(), name.into_inner()), placed(value.into_inner(), span))
            };
            DeValue::Table(all.into_iter().map(place).collect())
        }
        plain => plain,
    };
    Spanned::new(span.clone(), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Messages, helps and texts at fault of all that is wrong.
    fn told(source: &str) -> Vec<(String, String, String)> {
        let all = Config::parse(source).expect_err("it is wrong");
        let place = |problem: &Problem| problem.span.clone().map(|span| source[span].to_owned());
        let told = |problem: Problem| {
            let at = place(&problem).unwrap_or_default();
            (problem.message, problem.help.unwrap_or_default(), at)
        };
        all.into_iter().map(told).collect()
    }

    #[test]
    fn what_is_of_another_kind_is_told_in_words_of_the_configuration() {
        let listener = "[[listener]]\naddress = \"127.0.0.1:1883\"\n";
        let upstream = "[upstream]\nbrokers = [\"k:1\"]\n";
        for (source, message, help) in [
            (
                "[listener]\naddress = \"127.0.0.1:1\"\n".to_owned(),
                "`[listener]` needs two brackets: there may be several",
                "write `[[listener]]`",
            ),
            (
                "[[log]]\nsize = \"1 GiB\"\n".to_owned(),
                "`[[log]]` has a bracket too many: there is but one",
                "write `[log]`",
            ),
            (
                "[log]\ncommit = \"5 ms\"\n".to_owned(),
                "`commit` is a table, not a text",
                "for example `commit = { delay = \"50 ms\" }`",
            ),
            (
                format!("{listener}tls = true\n"),
                "`tls` is a table, not `true`",
                "for example `tls = { cert = \"cert.pem\", key = \"key.pem\" }`",
            ),
            (
                format!("{listener}max_connections = \"10\"\n"),
                "`max_connections` is a whole number, not a text",
                "for example `max_connections = 10000`",
            ),
            (
                format!("{listener}max_connections = -1\n"),
                "`max_connections` cannot be -1",
                "for example `max_connections = 10000`",
            ),
            (
                "[upstream]\nbrokers = \"k:1\"\n".to_owned(),
                "`brokers` is a list of texts, not a text",
                "for example `brokers = [\"kafka-1:9092\"]`",
            ),
            (
                format!("{upstream}proxy = 1080\n"),
                "`proxy` is a text in quotes or a table, not a number",
                "for example `proxy = \"socks5://proxy.plant:1080\"`",
            ),
            (
                format!("{upstream}compression = \"zip\"\n"),
                "`compression` cannot be \"zip\"",
                "known here: \"auto\", \"none\", \"gzip\", \"snappy\", \"lz4\", \"zstd\"",
            ),
            (
                "log = 5\n".to_owned(),
                "`log` is a section, not a number",
                "write `[log]`, and its keys below",
            ),
            (
                "[[route]]\ntopic = \"t\"\n".to_owned(),
                "`[[route]]` needs `from`",
                "for example `from = \"plant/+/telemetry\"`",
            ),
        ] {
            let all = told(&source);
            assert_eq!(all.len(), 1, "{source}: {all:?}");
            assert_eq!((all[0].0.as_str(), all[0].1.as_str()), (message, help), "{source}");
        }
    }

    #[test]
    fn all_mistakes_are_told_in_the_order_of_the_file() {
        let source = "[log]\nsizes = \"1 GiB\"\nsize = \"1 MiB\"\nmaxage = \"1d\"\n\
                      [[listener]]\nusers = 7\naddress = \"127.0.0.1:1\"\n\
                      [upstream]\nbandwidth = \"fast\"\n\
                      [[route]]\nfrom = \"a\"\ntopic = \"t\"\nlane = \"slow\"\n";
        let at: Vec<String> = told(source).into_iter().map(|(.., at)| at).collect();
        let wanted = ["sizes", "\"1 MiB\"", "maxage", "7", "[upstream]", "\"fast\"", "\"slow\""];
        assert_eq!(at, wanted);
    }

    #[test]
    fn a_key_of_the_file_in_a_section_is_told_where_it_belongs() {
        let all = told("[log]\nsize = \"1 GiB\"\ngateway = \"gw\"\n");
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].0, "`gateway` is no key of `[log]`");
        assert_eq!(all[0].1, "it stands above the first section, at the head of the file");
        assert_eq!(all[0].2, "gateway");
    }

    #[test]
    fn paths_are_meant_from_where_the_file_lies() {
        let source = "[log]\ndir = \"data\"\n\
                      [upstream]\nbrokers = [\"k:1\"]\ntls = { ca = \"ca.pem\" }\n\
                      sasl = { mechanism = \"OAUTHBEARER\", token_command = [\"./token\", \"./x\"] }\n\
                      [[source]]\nurl = \"mqtt://b\"\ntopics = [\"#\"]\nusername = \"u\"\n\
                      password_file = \"/etc/p\"\n";
        let Ok(Reading { file, .. }) = Reading::of(source, Path::new("etc/t")) else { panic!() };
        assert_eq!(file.log.dir.map(Spanned::into_inner).as_deref(), Some("etc/t/data"));
        let upstream = format!("{:?}", file.upstream.expect("a section"));
        assert!(upstream.contains("\"etc/t/ca.pem\""), "{upstream}");
        assert!(upstream.contains("[\"etc/t/./token\", \"./x\"]"), "{upstream}");
        assert!(format!("{:?}", file.source).contains("Some(\"/etc/p\")"));
        let dir = |source: &str, base: &str| {
            let reading = Reading::of(source, Path::new(base)).ok();
            reading.and_then(|reading| reading.file.log.dir).map(Spanned::into_inner)
        };
        assert_eq!(dir("", "etc/t").as_deref(), Some("etc/t/tributary-data"));
        assert_eq!(dir("", "").as_deref(), Some("tributary-data"));
    }

    #[test]
    fn where_the_log_is_can_be_told_of_a_file_with_mistakes() {
        let base = Path::new("/etc/t");
        let told = |source: &str| log_dir(source, base);
        assert_eq!(told("").as_deref(), Some("/etc/t/tributary-data"));
        let typo = "[log]\ndir = \"d\"\nsizes = 1\n[[listener]\nusers = \"missing\"\n";
        assert_eq!(told(typo).as_deref(), Some("/etc/t/d"));
        assert_eq!(told("[log]\ndir = 5\n"), None);
        assert_eq!(told("[[log]]\ndir = \"d\"\n"), None);
        assert_eq!(told("[log\ndir = \"d\"\n"), None);
    }

    #[test]
    fn every_example_is_a_value() {
        fn check(keys: &[Key]) {
            for key in keys {
                assert_eq!(example(key, &(3..5)).span(), 3..5);
                check(key.kind.keys().unwrap_or_default());
            }
        }
        check(FILE);
    }
}
