//! MQTT topic names and topic filters (MQTT 5.0, 4.7).

/// What is wrong with a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// A topic has at least one character (MQTT-4.7.3-1).
    Empty,
    /// No U+0000 in a topic (MQTT-4.7.3-2).
    Nul,
    /// At most 65,535 bytes (MQTT-4.7.3-3).
    TooLong,
    /// A topic name has no wildcards (MQTT-3.3.2-2).
    WildcardInName,
    /// `#` stands alone in the last level (MQTT-4.7.1-1).
    HashNotLast,
    /// `+` stands alone in its level (MQTT-4.7.1-2).
    PlusNotAlone,
}

impl core::fmt::Display for TopicError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic has at least one character",
            Self::Nul => "a topic may not contain the character U+0000",
            Self::TooLong => "a topic has at most 65,535 bytes",
            Self::WildcardInName => "a topic to publish to may not contain '+' or '#'",
            Self::HashNotLast => "'#' must stand alone in the last level, as in 'plant/#'",
            Self::PlusNotAlone => "'+' must stand alone in its level, as in 'plant/+/state'",
        })
    }
}

impl core::error::Error for TopicError {}

fn check(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > crate::limits::TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if topic.as_bytes().contains(&0) {
        return Err(TopicError::Nul);
    }
    Ok(())
}

/// Checks a topic to publish to.
///
/// # Errors
/// Names the rule that it breaks.
pub fn check_name(topic: &str) -> Result<(), TopicError> {
    check(topic)?;
    if topic.bytes().any(|b| b == b'+' || b == b'#') {
        return Err(TopicError::WildcardInName);
    }
    Ok(())
}

/// Checks a filter to subscribe with, without a `$share` prefix.
///
/// # Errors
/// Names the rule that it breaks.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::HashNotLast);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::PlusNotAlone);
        }
    }
    Ok(())
}

/// Whether a valid `filter` selects a valid `topic`. Topics that begin with `$` are not selected
/// by a filter that begins with a wildcard (MQTT-4.7.2-1).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let mut wanted = filter.split('/');
    let mut levels = topic.split('/');
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_select_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/broker", false),
            ("+/monitor", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("a/b", "a/b/c", false),
            ("é/+", "é/b", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn malformed_topics_are_refused() {
        assert_eq!(check_name(""), Err(TopicError::Empty));
        assert_eq!(check_name("a\0b"), Err(TopicError::Nul));
        assert_eq!(check_name("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(check_filter("a/#/b"), Err(TopicError::HashNotLast));
        assert_eq!(check_filter("a#"), Err(TopicError::HashNotLast));
        assert_eq!(check_filter("a+/b"), Err(TopicError::PlusNotAlone));
        assert_eq!(check_filter("+/a/#"), Ok(()));
    }
}
