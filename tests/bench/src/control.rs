//! A client of the control API of the host under test.

use crate::{
    load::{Answer, Connection},
    processes::Host,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
};

const TIMEOUT: Duration = Duration::from_secs(90);

#[derive(Clone)]
pub struct Control {
    address: SocketAddr,
    token: String,
}

/// How a change has gone.
pub struct Change {
    pub version: String,
    pub check_ms: f64,
    pub compile_ms: f64,
    pub swap_us: f64,
    /// From the request to its answer.
    pub took: Duration,
}

impl Control {
    pub fn of(host: &Host) -> Control {
        Control { address: host.control, token: host.token.clone() }
    }

    /// `query`: as in `activate=false`.
    pub async fn deploy(&self, name: &str, query: &str, wasm: &[u8]) -> Result<Change> {
        self.change(&format!("{name}/versions?{query}"), "application/wasm", wasm).await
    }

    pub async fn activate(&self, name: &str, version: &str) -> Result<Change> {
        let body = json!({ "version": version }).to_string();
        self.change(&format!("{name}/activate"), "application/json", body.as_bytes()).await
    }

    async fn change(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Change> {
        let begun = Instant::now();
        let request = self.request("POST", &format!("/v1/components/{path}"), content_type, body);
        let mut connection = Connection::open(self.address).await?;
        let answer = tokio::time::timeout(TIMEOUT, connection.exchange(&request)).await.context(path.to_owned())??;
        let answer = judged(&answer).with_context(|| path.to_owned())?;
        let took = begun.elapsed();
        let number = |key: &str| answer[key].as_f64().with_context(|| format!("no {key} in {answer}"));
        Ok(Change {
            version: answer["version"].as_str().context("no version")?.to_owned(),
            check_ms: number("check_ms")?,
            compile_ms: number("compile_ms")?,
            swap_us: number("swap_us")?,
            took,
        })
    }

    /// One figure without labels of `/metrics`.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let request = self.request("GET", "/metrics", "text/plain", &[]);
        let mut connection = Connection::open(self.address).await?;
        let answer = tokio::time::timeout(TIMEOUT, connection.exchange(&request)).await??;
        let text = std::str::from_utf8(answer.body)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("/metrics has no {name}"))?.parse()?)
    }

    /// What happens from now on.
    pub async fn events(&self) -> Result<Events> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(&self.request("GET", "/v1/events", "text/plain", &[])).await?;
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next_line().await?.unwrap_or_default();
        ensure!(status.contains(" 200 "), "/v1/events answers {status}");
        // To the end of the head: from here on nothing is missed.
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        Ok(Events(lines))
    }

    fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\nx-shema-actor: bench\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

fn judged(answer: &Answer<'_>) -> Result<Value> {
    let text = String::from_utf8_lossy(answer.body);
    ensure!((200..300).contains(&answer.status), "refused with {}: {text}", answer.status);
    Ok(serde_json::from_str(&text)?)
}

/// Server-sent events.
pub struct Events(Lines<BufReader<TcpStream>>);

impl Events {
    /// The next one of these kinds, of one or any component, and when it came.
    pub async fn next(&mut self, component: Option<&str>, kinds: &[&str]) -> Result<(Value, Instant)> {
        loop {
            let line = self.0.next_line().await?.context("the events ended")?;
            // The host sends an event with its data in one piece, so the frames
            // of the chunks are lines of their own.
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data)?;
            let wanted = component.is_none_or(|component| event["component"] == component);
            if wanted && kinds.contains(&event["kind"].as_str().unwrap_or_default()) {
                return Ok((event, Instant::now()));
            }
        }
    }
}
