//! The latest log lines that are about a component, kept in memory.
//!
//! For a look at what a component says without access to the machine's logs,
//! which stay the place for what is older. Each line is kept as it is sent: a
//! JSON object and a line feed.

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use std::{
    collections::VecDeque,
    fmt::Debug,
    io::Write,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Kept of each kind.
const CAPACITY: usize = 2_000;
/// How far a reader may fall behind before it misses lines.
const BACKLOG: usize = 1_024;
/// Target of the line that each request leaves.
const REQUESTS: &str = "request";

static LINES: LazyLock<Mutex<Lines>> = LazyLock::new(|| {
    let (readers, _) = broadcast::channel(BACKLOG);
    Mutex::new(Lines { requests: VecDeque::new(), others: VecDeque::new(), next: 0, readers })
});

struct Lines {
    /// Apart, because thousands come in a second: they would leave nothing of
    /// the others.
    requests: VecDeque<Line>,
    others: VecDeque<Line>,
    next: u64,
    readers: broadcast::Sender<Line>,
}

#[derive(Clone)]
struct Line {
    number: u64,
    component: Arc<str>,
    text: Bytes,
}

/// The layer that keeps them.
pub struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.fields().field("component").is_none() {
            return;
        }
        let mut writer = Writer::new(metadata.level(), metadata.target());
        event.record(&mut writer);
        if let Some((component, text)) = writer.finish() {
            keep(metadata.target() == REQUESTS, component, text);
        }
    }
}

/// The lines of one component or of all, the oldest first.
pub fn recent(component: Option<&str>) -> Vec<Bytes> {
    lock().select(component)
}

/// The same, and what comes after them.
pub fn follow(component: Option<&str>) -> (Vec<Bytes>, Follow) {
    // At once, so that no line is missed between the two, nor told twice.
    let lines = lock();
    let follow = Follow { component: component.map(str::to_owned), lines: lines.readers.subscribe() };
    (lines.select(component), follow)
}

pub struct Follow {
    component: Option<String>,
    lines: broadcast::Receiver<Line>,
}

impl Follow {
    /// Waits for the next line. A reader that is too slow is told how many it
    /// has missed; nobody waits for it.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.lines.recv().await {
                Ok(line) if is_about(&line, self.component.as_deref()) => return Some(line.text),
                Ok(_) => (),
                Err(RecvError::Lagged(missed)) => return Some(skipped(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn skipped(missed: u64) -> Bytes {
    let mut writer = Writer::new(&Level::WARN, "logs");
    writer.member("message", &format!("skipped {missed} lines of all components: this reader is too slow"));
    writer.close()
}

fn lock() -> MutexGuard<'static, Lines> {
    // Nothing is left half done in it by a panic.
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that takes time has been done before the lock is taken.
fn keep(is_request: bool, component: Arc<str>, text: Bytes) {
    let mut lines = lock();
    let line = Line { number: lines.next, component, text };
    lines.next += 1;
    if lines.readers.receiver_count() > 0 {
        // An error means that the last reader has left meanwhile.
        let _ = lines.readers.send(line.clone());
    }
    let ring = if is_request { &mut lines.requests } else { &mut lines.others };
    let oldest = if ring.len() < CAPACITY { None } else { ring.pop_front() };
    ring.push_back(line);
    drop(lines);
    drop(oldest);
}

impl Lines {
    fn select(&self, component: Option<&str>) -> Vec<Bytes> {
        let all = self.requests.iter().chain(&self.others);
        let mut chosen: Vec<&Line> = all.filter(|line| is_about(line, component)).collect();
        chosen.sort_unstable_by_key(|line| line.number);
        chosen.into_iter().map(|line| line.text.clone()).collect()
    }
}

fn is_about(line: &Line, component: Option<&str>) -> bool {
    component.is_none_or(|name| *line.component == *name)
}

/// Writes the members of an event as they come.
struct Writer {
    text: Vec<u8>,
    component: Option<Arc<str>>,
}

impl Writer {
    fn new(level: &Level, target: &str) -> Writer {
        let mut writer = Writer { text: Vec::with_capacity(384), component: None };
        writer.text.push(b'{');
        writer.member("timestamp", &Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true));
        writer.member("level", level.as_str());
        writer.member("target", target);
        writer
    }

    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        let comma = if self.text.len() > 1 { "," } else { "" };
        // Writing into memory does not fail, and these are texts and numbers.
        let _ = write!(self.text, "{comma}\"{name}\":");
        let _ = serde_json::to_writer(&mut self.text, value);
    }

    fn text(&mut self, field: &Field, value: &str) {
        if field.name() != "component" {
            return self.member(field.name(), value);
        }
        // A header value in debug format has quotation marks.
        let label = value.trim_matches('"');
        self.component = Some(label.split('@').next().unwrap_or_default().into());
        self.member("component", label);
    }

    /// None: the event is about no component after all.
    fn finish(mut self) -> Option<(Arc<str>, Bytes)> {
        let component = self.component.take()?;
        Some((component, self.close()))
    }

    fn close(mut self) -> Bytes {
        self.text.extend_from_slice(b"}\n");
        self.text.into()
    }
}

impl Visit for Writer {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    fn parse(line: &Bytes) -> Value {
        let mut value: Value = serde_json::from_slice(line).expect("JSON");
        let object = value.as_object_mut().expect("an object");
        object.remove("timestamp").expect("a time");
        value
    }

    /// One test, because the lines are the process's.
    #[tokio::test]
    async fn lines_about_a_component_are_kept_and_told_on() {
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recent));
        let label = reqwest::header::HeaderValue::from_static("one@abc");
        tracing::info!("about nobody");
        tracing::info!(component = Option::<&str>::None, "about nobody");
        tracing::warn!(component = ?label, ms = 12, "it is \"late\"");
        tracing::info!(target: "request", component = "two@def", status = 200_u16);

        let one = json!({
            "level": "WARN", "target": module_path!(), "component": "one@abc", "ms": 12, "message": "it is \"late\"",
        });
        let two = json!({ "level": "INFO", "target": "request", "component": "two@def", "status": 200 });
        assert!(recent(Some("one")).iter().map(parse).eq([one.clone()]));
        assert!(recent(None).iter().map(parse).eq([one, two]));

        let (before, mut follow) = follow(Some("one"));
        assert_eq!(before.len(), 1);
        tracing::info!(component = "two");
        tracing::info!(component = "one");
        let next = follow.next().await.expect("a line");
        assert_eq!(parse(&next)["component"], "one");

        for number in 0..CAPACITY {
            tracing::info!(target: "request", component = "two", number);
        }
        assert_eq!(recent(Some("two")).len(), CAPACITY + 1, "requests push requests out, and nothing else");
        let missed = parse(&follow.next().await.expect("a line"));
        let said = missed["message"].as_str().expect("a text");
        assert!(said.starts_with(&format!("skipped {} lines", CAPACITY - BACKLOG)), "{said}");
    }
}
