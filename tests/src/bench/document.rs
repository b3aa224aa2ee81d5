//! BENCHMARKS.md has three authors: `tests/bench` writes its beginning, `tests/bench-log` and
//! `tests/bench-link` a section each behind it. Each leaves what the others wrote alone.

/// What the section on the log begins with.
const THE_LOG: &str = "## The log beside other logs and databases\n";
/// What the section on the bridge begins with.
const THE_LINK: &str = "## The bridge beside other producers, and on bad links\n";
/// Both, in the order in which they stand.
const HEADINGS: [&str; 2] = [THE_LOG, THE_LINK];

/// The document with another section on the log.
#[must_use]
pub fn with_the_log(document: &str, section: &str) -> String {
    with(document, (THE_LOG, section))
}

/// The document with another section on the bridge.
#[must_use]
pub fn with_the_link(document: &str, section: &str) -> String {
    with(document, (THE_LINK, section))
}

/// The document with another beginning.
#[must_use]
pub fn with_the_rest(document: &str, beginning: &str) -> String {
    let sections = HEADINGS.iter().filter_map(|heading| section(document, heading));
    join(core::iter::once(beginning).chain(sections))
}

fn with(document: &str, (heading, new): (&str, &str)) -> String {
    let end = HEADINGS.iter().filter_map(|heading| document.find(heading)).min();
    let beginning = &document[..end.unwrap_or(document.len())];
    let sections = HEADINGS
        .iter()
        .filter_map(|other| if *other == heading { Some(new) } else { section(document, other) });
    join(core::iter::once(beginning).chain(sections))
}

/// From a heading to the next one of these.
fn section<'d>(document: &'d str, heading: &str) -> Option<&'d str> {
    let begin = document.find(heading)?;
    let behind = begin + heading.len();
    let next = HEADINGS.iter().filter_map(|other| document[behind..].find(other)).min();
    Some(&document[begin..next.map_or(document.len(), |next| behind + next)])
}

/// Parts with an empty line between.
fn join<'p>(parts: impl Iterator<Item = &'p str>) -> String {
    let parts: Vec<&str> = parts.map(str::trim_end).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_author_leaves_the_parts_of_the_others_alone() {
        let log = format!("{THE_LOG}\nquick\n");
        let link = format!("{THE_LINK}\nfar\n");
        let first = with_the_link("", &link);
        assert_eq!(first, link);
        let both = with_the_log(&first, &log);
        assert_eq!(both, format!("{log}\n{link}"));
        let all = with_the_rest(&both, "# Benchmarks\n\n| a |\n");
        assert_eq!(all, format!("# Benchmarks\n\n| a |\n\n{log}\n{link}"));
        let newer = format!("{THE_LOG}\nquicker\n");
        assert_eq!(with_the_log(&all, &newer), format!("# Benchmarks\n\n| a |\n\n{newer}\n{link}"));
        let farther = format!("{THE_LINK}\nfarther\n");
        assert_eq!(with_the_link(&both, &farther), format!("{log}\n{farther}"));
        assert_eq!(with_the_rest(&all, "# New\n"), format!("# New\n\n{log}\n{link}"));
        assert_eq!(with_the_rest("# Old\n", "# New\n"), "# New\n");
    }
}
