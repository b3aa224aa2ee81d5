//! BENCHMARKS.md has two authors: `tests/bench` writes its beginning, `tests/bench-log` the section on
//! the log at its end. Each leaves the other's alone.

/// What the section on the log begins with.
const THE_LOG: &str = "## The log beside other logs and databases\n";

/// The document with another section on the log.
#[must_use]
pub fn with_the_log(document: &str, section: &str) -> String {
    let begin = document.find(THE_LOG).unwrap_or(document.len());
    let before = document[..begin].trim_end();
    let gap = if before.is_empty() { "" } else { "\n\n" };
    format!("{before}{gap}{section}")
}

/// The document with another beginning.
#[must_use]
pub fn with_the_rest(document: &str, beginning: &str) -> String {
    match document.find(THE_LOG) {
        Some(begin) => with_the_log(beginning, &document[begin..]),
        None => beginning.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_author_leaves_the_part_of_the_other_alone() {
        let section = format!("{THE_LOG}\nquick\n");
        let first = with_the_log("", &section);
        assert_eq!(first, section);
        let both = with_the_rest(&first, "# Benchmarks\n\n| a |\n");
        assert_eq!(both, format!("# Benchmarks\n\n| a |\n\n{section}"));
        let newer = format!("{THE_LOG}\nquicker\n");
        assert_eq!(with_the_log(&both, &newer), format!("# Benchmarks\n\n| a |\n\n{newer}"));
        assert_eq!(with_the_rest(&both, "# New\n"), format!("# New\n\n{section}"));
        assert_eq!(with_the_rest("# Old\n", "# New\n"), "# New\n");
    }
}
