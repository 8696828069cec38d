//! A client that keeps a number of connections busy, one request at a time
//! each, for a while. Bounded in time; only ever for addresses of this machine.

use anyhow::{Context, Result, bail, ensure};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

pub const CONNECTIONS: usize = 32;

/// What one measurement found.
pub struct Measured {
    pub per_second: f64,
    pub p99: Duration,
}

/// Makes the body of the request of that number.
pub type Body = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// A request that is sent again and again; `body` gets a new one each time.
#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub token: Option<String>,
    pub body: Option<Body>,
    pub expect: u16,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Request {
        Request { method: "GET", path: path.into(), token: None, body: None, expect: 200 }
    }

    pub fn bytes(&self, number: u64) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: bench\r\n", self.method, self.path);
        if let Some(token) = &self.token {
            text += &format!("authorization: Bearer {token}\r\n");
        }
        match &self.body {
            Some(body) => {
                let body = body(number);
                text += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
            None => text += "\r\n",
        }
        text.into_bytes()
    }
}

/// Sends for a while and reports. Every answer has to have the status that is
/// expected; else there is nothing to compare.
pub async fn measure(address: SocketAddr, request: &Request, time: Duration) -> Result<Measured> {
    let mut connections = JoinSet::new();
    let started = Instant::now();
    let end = started + time;
    for index in 0..CONNECTIONS {
        let request = request.clone();
        connections.spawn(async move {
            let lane = (index as u64) << 40;
            ask(address, &request, lane, end).await.with_context(|| format!("{} {}", request.method, request.path))
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = connections.join_next().await {
        latencies.extend(done??);
    }
    let elapsed = started.elapsed();
    ensure!(!latencies.is_empty(), "no answer to {}", request.path);
    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
    Ok(Measured { per_second, p99: percentile(&mut latencies, 99) })
}

/// Of latencies in microseconds; zero if there are none.
pub fn percentile(latencies: &mut [u32], percent: usize) -> Duration {
    latencies.sort_unstable();
    let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
    Duration::from_micros(latencies.get(index).copied().unwrap_or(0).into())
}

/// Sends one request over a connection of its own.
pub async fn once(address: SocketAddr, request: &Request) -> Result<Duration> {
    let begun = Instant::now();
    ask(address, request, 0, begun).await?;
    Ok(begun.elapsed())
}

/// At least one request, and as many as there is time for.
async fn ask(address: SocketAddr, request: &Request, lane: u64, end: Instant) -> Result<Vec<u32>> {
    let mut connection = Connection::open(address).await?;
    let mut latencies = Vec::new();
    let fixed = request.body.is_none().then(|| request.bytes(0));
    let mut number = 0;
    loop {
        let bytes = fixed.clone().unwrap_or_else(|| request.bytes(lane + number));
        number += 1;
        let sent = Instant::now();
        let status = connection.exchange(&bytes).await?.status;
        ensure!(status == request.expect, "the answer has status {status}");
        latencies.push(micros(sent.elapsed()));
        if Instant::now() >= end {
            return Ok(latencies);
        }
    }
}

pub fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// A connection that is kept, one request at a time.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer that was read to its end.
pub struct Answer<'a> {
    pub status: u16,
    head: &'a str,
    /// As it came: chunks keep their frames.
    pub body: &'a [u8],
}

impl Answer<'_> {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; 64 << 10] })
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        let (head_length, filled) = self.read().await?;
        let head = std::str::from_utf8(&self.buffer[..head_length]).context("the head is no text")?;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        Ok(Answer { status, head, body: &self.buffer[head_length + 4..filled] })
    }

    /// Fills the buffer with one answer; returns the lengths of its head and of
    /// all of it.
    async fn read(&mut self) -> Result<(usize, usize)> {
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the connection was closed");
            filled += read;
            let Some(head) = find(&self.buffer[..filled], b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head]).context("the head is no text")?;
            if is_complete(text, &self.buffer[head + 4..filled])? {
                return Ok((head, filled));
            }
        }
    }
}

fn is_complete(head: &str, body: &[u8]) -> Result<bool> {
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value.trim().parse()?;
            ensure!(body.len() <= length, "more than one answer");
            return Ok(body.len() == length);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(body.ends_with(b"0\r\n\r\n"));
        }
    }
    bail!("the answer tells no length")
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
