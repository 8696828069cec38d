//! Patterns in grants: names of keys, channels and the like.

/// Whether one of the patterns fits. `*` at the end of a pattern matches any
/// rest; without it a pattern fits only the whole text.
pub fn matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    })
}
