//! Answers of the control API for people: words, units and, on a terminal,
//! colours.

mod lines;
mod status;

pub use lines::log_line;
pub use status::status;

use crate::deploy::{Change, Difference};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

/// Colours for a terminal that wants them (`NO_COLOR`, `CLICOLOR`, `TERM`), nothing
/// for a file or a pipe.
#[derive(Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    pub fn for_stdout() -> Paint {
        Paint(AutoStream::choice(&io::stdout()) != ColorChoice::Never)
    }

    pub fn bold(self, text: impl Display) -> String {
        self.wrap(Style::new().bold(), text)
    }

    pub fn dim(self, text: impl Display) -> String {
        self.wrap(Style::new().dimmed(), text)
    }

    pub fn red(self, text: impl Display) -> String {
        self.wrap(AnsiColor::Red.on_default(), text)
    }

    pub fn green(self, text: impl Display) -> String {
        self.wrap(AnsiColor::Green.on_default(), text)
    }

    pub fn yellow(self, text: impl Display) -> String {
        self.wrap(AnsiColor::Yellow.on_default(), text)
    }

    /// By what a version's state means to traffic.
    pub fn state(self, state: &str, text: impl Display) -> String {
        match state {
            "live" | "up" | "ready" => self.green(text),
            "canary" | "checking" | "draining" | "catching-up" => self.yellow(text),
            "refused" | "missing" | "down" | "fenced" => self.red(text),
            _ => self.dim(text),
        }
    }

    fn wrap(self, style: Style, text: impl Display) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// Shows on a terminal how an upload goes, on a line that the outcome replaces.
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn for_stderr() -> Progress {
        Progress { shown: io::stderr().is_terminal() }
    }

    pub fn uploaded(&self, sent: usize, total: usize) {
        if !self.shown {
            return;
        }
        let text = if sent < total {
            format!("uploading {} of {}…", bytes(sent as u64), bytes(total as u64))
        } else {
            "uploaded; the host checks, compiles and probes it…".to_owned()
        };
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }

    pub fn end(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// What a change has come to.
pub fn change(change: &Change, paint: Paint) -> String {
    let label = format!("{}@{}", change.component, change.version);
    let headline = if !change.message.is_empty() {
        change.message.clone()
    } else if change.unchanged {
        format!("{label} is {} already; nothing has changed.", change.state)
    } else {
        format!("{label} is {}.", change.state)
    };
    let mut text = match headline.split_once(&label) {
        Some((before, after)) => format!("{before}{}{after}\n", paint.bold(&label)),
        None => format!("{} {headline}\n", paint.bold(&label)),
    };
    let mut steps = Vec::new();
    // Zero: what is known already was not looked at again.
    if change.check_ms > 0.0 {
        steps.push(format!("checked in {}", milliseconds(change.check_ms)));
    }
    if change.compile_ms > 0.0 {
        steps.push(format!("compiled in {}", milliseconds(change.compile_ms)));
    }
    if ["live", "canary"].contains(&change.state.as_str()) {
        steps.push(format!("{} in {}", change.state, microseconds(change.swap_us)));
    }
    if change.nodes > 1 {
        steps.push(format!("on {} nodes", change.nodes));
    }
    if !steps.is_empty() && !change.unchanged {
        text += &format!("  {}\n", paint.dim(steps.join(", ")));
    }
    text += &difference("capabilities", &change.capabilities, paint);
    text += &difference("routes", &change.routes, paint);
    text
}

fn difference(what: &str, difference: &Difference, paint: Paint) -> String {
    let mut text = String::new();
    let added = difference.added.iter().map(|item| paint.green(format!("+ {item}")));
    let removed = difference.removed.iter().map(|item| paint.red(format!("- {item}")));
    for (index, item) in added.chain(removed).enumerate() {
        text += &format!("  {:<13} {item}\n", if index == 0 { what } else { "" });
    }
    text
}

pub fn milliseconds(ms: f64) -> String {
    if ms >= 1000.0 { format!("{:.1} s", ms / 1000.0) } else { format!("{ms:.0} ms") }
}

pub fn microseconds(us: f64) -> String {
    if us >= 1000.0 { milliseconds(us / 1000.0) } else { format!("{us:.0} µs") }
}

pub fn bytes(count: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match count {
        0..KIB => format!("{count} B"),
        KIB..MIB => format!("{} KiB", count / KIB),
        _ => format!("{:.1} MiB", count as f64 / MIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint(false);

    #[test]
    fn a_change_is_told_with_its_times_and_differences() {
        let told = change(
            &Change {
                component: "orders".into(),
                version: "abcdef012345".into(),
                state: "live".into(),
                check_ms: 104.4,
                compile_ms: 1_932.0,
                swap_us: 35.0,
                nodes: 2,
                routes: Difference { added: vec!["GET /api/x".into()], removed: vec!["GET /api/y".into()] },
                ..Change::default()
            },
            PLAIN,
        );
        let expected = "orders@abcdef012345 is live.\n  \
             checked in 104 ms, compiled in 1.9 s, live in 35 µs, on 2 nodes\n  \
             routes        + GET /api/x\n                - GET /api/y\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn amounts_have_units_that_suit_them() {
        assert_eq!([bytes(900), bytes(831_488), bytes(5 << 20)], ["900 B", "812 KiB", "5.0 MiB"]);
        assert_eq!([microseconds(35.4), microseconds(1_500.0), milliseconds(61_000.0)], ["35 µs", "2 ms", "61.0 s"]);
    }
}
