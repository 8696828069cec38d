//! One line of `shema logs` on a terminal.

use super::Paint;
use serde_json::Value;

/// Shown in places of their own, or in every line the same.
const PLACED: [&str; 5] = ["timestamp", "level", "component", "message", "target"];

/// A line that is not the JSON of a log is shown as it is.
pub fn log_line(line: &str, paint: Paint) -> String {
    let Ok(Value::Object(line)) = serde_json::from_str(line) else { return harmless(line) };
    let word = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    // The time of day: whoever reads along knows the date.
    let time = word("timestamp").get(11..23).unwrap_or_default();
    let level = word("level");
    let colored = match level {
        "ERROR" => paint.red(format!("{level:<5}")),
        "WARN" => paint.yellow(format!("{level:<5}")),
        _ => paint.green(format!("{level:<5}")),
    };
    let mut text = format!("{} {colored} {}", paint.dim(time), paint.bold(word("component")));
    if !word("message").is_empty() {
        text += &format!(" {}", harmless(word("message")));
    }
    for (name, value) in line.iter().filter(|(name, _)| !PLACED.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text += &format!(" {}{}", paint.dim(format!("{name}=")), harmless(&value));
    }
    text
}

/// A component must not steer the terminal, nor begin a line that looks like
/// somebody else's.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\n    "),
            '\t' => shown.push('\t'),
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_what_people_look_for() {
        let line = r#"{"timestamp":"2025-10-15T08:00:01.250Z","level":"WARN","target":"component","component":"orders","message":"late","ms":12}"#;
        assert_eq!(log_line(line, Paint(false)), "08:00:01.250 WARN  orders late ms=12");
        assert_eq!(log_line("no JSON", Paint(false)), "no JSON");
    }

    #[test]
    fn a_component_does_not_steer_the_terminal() {
        let line = serde_json::json!({ "level": "INFO", "message": "one\n00:00 two\x1b[2J" }).to_string();
        assert!(log_line(&line, Paint(false)).ends_with("one\n    00:00 two\\u{1b}[2J"));
    }
}
