//! The tree against plain matching of every filter.
