//! `tributary init`.

use std::path::Path;
use std::process::ExitCode;

use super::FAILED;
use crate::io::files::write_new;

/// What `init` writes: valid as it stands, every key explained.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

/// Writes the example.
pub(super) fn run(path: &Path) -> Result<(), ExitCode> {
    match write_new(path, EXAMPLE) {
        Ok(()) => {
            println!("wrote {}; next: `tributary check`, `tributary run`", path.display());
            Ok(())
        }
        Err(error) => {
            eprintln!("error: cannot write {}: {error}", path.display());
            Err(ExitCode::from(FAILED))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The example with its commented keys switched on.
    fn in_full() -> String {
        let uncomment = |line: &str| {
            let key = line
                .strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") || rest.starts_with('['));
            key.map_or_else(|| line.to_owned(), str::to_owned)
        };
        EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_the_default_and_all_that_it_shows_is_valid() {
        assert_eq!(Config::parse(EXAMPLE), Ok(Config::empty()));
        let full = Config::parse(&in_full()).expect("every key that is shown is valid");
        assert_eq!(full.routes.len(), 1);
        assert!(full.upstream.is_some());
    }
}
