//! `tributary init`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::FAILED;
use super::output::print;
use crate::config::FILE_DEFAULT;
use crate::import::{Copy, Import, Source, from_mosquitto};
use crate::io::files::{conf_files, read_text, whole_path, write_new, write_new_secret};

/// What `init` writes: valid as it stands, every key explained.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

/// Writes the example.
pub(super) fn run(path: &Path) -> Result<(), ExitCode> {
    match write_new(path, EXAMPLE) {
        Ok(()) => print(&written(path)),
        Err(error) => {
            eprintln!("error: cannot write {}: {error}", path.display());
            Err(ExitCode::from(FAILED))
        }
    }
}

/// Writes a configuration that does what a Mosquitto's does, as far as there is a counterpart, and
/// lists the rest.
pub(super) fn import(dir: &Path, path: &Path) -> Result<(), ExitCode> {
    match try_import(dir, path) {
        Ok(import) => print(&carried_over(path, &import)),
        Err(error) => {
            eprintln!("error: {error}");
            Err(ExitCode::from(FAILED))
        }
    }
}

fn written(path: &Path) -> String {
    let shown = path.display();
    // Only the default is found without being named.
    let named = match path.to_str() {
        Some(FILE_DEFAULT) => String::new(),
        _ => format!(" --config {shown}"),
    };
    format!("wrote {shown}; next: `tributary check{named}`, `tributary run{named}`")
}

fn carried_over(path: &Path, import: &Import) -> String {
    let copied = |Copy { from, to }: &Copy| {
        format!("  {} is a copy of {from}", path.with_file_name(to).display())
    };
    let mut lines = vec![written(path)];
    lines.extend(import.copies.iter().map(copied));
    if !import.remarks.is_empty() {
        lines.push("not carried over, or not as it was:".to_owned());
    }
    lines.extend(import.remarks.iter().map(|remark| format!("  {remark}")));
    lines.join("\n")
}

fn try_import(dir: &Path, path: &Path) -> io::Result<Import> {
    let whole = |file: &str| whole_path(Path::new(file), dir).display().to_string();
    let import = from_mosquitto(&sources(dir)?, &whole);
    let place = |copy: &Copy| path.with_file_name(&copy.to);
    // Read before anything is written: all or nothing.
    let mut texts = Vec::new();
    for copy in &import.copies {
        texts.push(read_text(Path::new(&copy.from)).map_err(|error| named(&copy.from, &error))?);
    }
    for copy in &import.copies {
        if place(copy).exists() {
            return Err(io::Error::other(format!("{} exists already", place(copy).display())));
        }
    }
    let remarks = import.remarks.iter().map(|remark| format!("#   {remark}\n"));
    let head = format!("# Carried over from {}. What was not:\n", dir.display());
    let text: String = [head].into_iter().chain(remarks).chain([import.toml.clone()]).collect();
    write_new(path, &text).map_err(|error| named(&path.display().to_string(), &error))?;
    for (copy, text) in import.copies.iter().zip(texts) {
        let to = place(copy);
        write_new_secret(&to, &text).map_err(|error| named(&to.display().to_string(), &error))?;
    }
    Ok(import)
}

/// Mosquitto's file, and those of its directories.
fn sources(dir: &Path) -> io::Result<Vec<Source>> {
    let mut paths = vec![dir.join("mosquitto.conf")];
    let mut sources = Vec::new();
    while !paths.is_empty() {
        let path = paths.remove(0);
        let name = path.display().to_string();
        let text = read_text(&path).map_err(|error| named(&name, &error))?;
        for line in text.lines() {
            if let Some(more) = line.trim().strip_prefix("include_dir ") {
                let more = whole_path(Path::new(more.trim()), dir);
                let found =
                    conf_files(&more).map_err(|e| named(&more.display().to_string(), &e))?;
                paths.extend(found);
            }
        }
        sources.push(Source { name, text });
    }
    Ok(sources)
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::door::credential;
    use crate::door::users::edited;

    /// The example with its commented keys switched on.
    fn in_full() -> String {
        let uncomment = |line: &str| {
            let is_name = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let is_key = |rest: &&str| {
                rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_name(key))
            };
            let key = line.strip_prefix("# ").filter(is_key);
            key.map_or_else(|| line.to_owned(), str::to_owned)
        };
        EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_carried_over_is_found_where_it_was_put() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, out) = (dir.path().join("mq"), dir.path().join("out"));
        for made in [&from, &from.join("conf.d"), &out] {
            std::fs::create_dir(made).expect("it can be made");
        }
        let write = |name: &str, text: &str| {
            std::fs::write(from.join(name), text).expect("it can be written");
        };
        write("mosquitto.conf", "include_dir conf.d\n");
        write("conf.d/a.conf", "listener 1883 127.0.0.1\nallow_anonymous true\nacl_file own/acl\n");
        std::fs::create_dir(from.join("own")).expect("it can be made");
        write("own/acl", "topic read a\n");
        let path = out.join("tributary.toml");
        try_import(&from, &path).expect("it is carried over");
        let config = Config::load(&path).expect("what it names is there");
        assert_eq!(config.listeners[0].acl, Some(out.join("acl")));
        assert!(read_text(&path).expect("a text").contains("acl = \"acl\"\n"));
        let next = format!("next: `tributary check --config {}`", path.display());
        assert!(written(&path).contains(&next), "{}", written(&path));
        assert!(written(Path::new(FILE_DEFAULT)).ends_with("`tributary check`, `tributary run`"));
    }

    #[test]
    fn the_example_is_the_default_and_all_that_it_shows_is_valid() {
        assert_eq!(Config::parse(EXAMPLE), Ok(Config::empty()));
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("it can be written");
        };
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        file("cert.pem", &pair.cert.pem());
        file("key.pem", &pair.signing_key.serialize_pem());
        file("passwd", &edited("", "press-3", Some(&credential::hash(b"public", &[7; 16]))));
        file("acl", "topic read #\n");
        let text = in_full().replace("/etc/tributary", &dir.path().display().to_string());
        let full = Config::parse(&text).expect("every key that is shown is valid");
        assert_eq!((full.routes.len(), full.downlinks.len()), (1, 1));
        let listener = &full.listeners[0];
        assert!(listener.tls.is_some() && listener.users.is_some() && listener.acl.is_some());
        assert_eq!(listener.per_address_max, 100);
        assert!(full.upstream.is_some());
    }
}
