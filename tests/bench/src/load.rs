//! A client that keeps a number of connections busy, one request at a time
//! each, for a while. Bounded in time; only ever for addresses of this machine.

use anyhow::{Context, Result, bail, ensure};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const CONNECTIONS: usize = 32;

/// What one measurement found.
pub struct Measured {
    pub per_second: f64,
    pub p99: Duration,
}

/// A request that is sent again and again; `body` gets a new one each time.
#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub token: Option<String>,
    pub body: Option<fn(u64) -> String>,
    pub expect: u16,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Request {
        Request { method: "GET", path: path.into(), token: None, body: None, expect: 200 }
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: bench\r\n", self.method, self.path);
        if let Some(token) = &self.token {
            text += &format!("authorization: Bearer {token}\r\n");
        }
        match self.body {
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
    latencies.sort_unstable();
    let p99 = latencies[(latencies.len() * 99 / 100).min(latencies.len() - 1)];
    Ok(Measured { per_second: latencies.len() as f64 / elapsed.as_secs_f64(), p99: Duration::from_micros(p99.into()) })
}

/// Sends one request over a connection of its own.
pub async fn once(address: SocketAddr, request: &Request) -> Result<Duration> {
    let begun = Instant::now();
    ask(address, request, 0, begun).await?;
    Ok(begun.elapsed())
}

/// At least one request, and as many as there is time for.
async fn ask(address: SocketAddr, request: &Request, lane: u64, end: Instant) -> Result<Vec<u32>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let fixed = request.body.is_none().then(|| request.bytes(0));
    let mut number = 0;
    loop {
        let bytes = fixed.clone().unwrap_or_else(|| request.bytes(lane + number));
        number += 1;
        let sent = Instant::now();
        stream.write_all(&bytes).await?;
        let status = read_answer(&mut stream, &mut buffer).await?;
        ensure!(status == request.expect, "the answer has status {status}");
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        if Instant::now() >= end {
            return Ok(latencies);
        }
    }
}

/// Reads one answer to its end; returns its status.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16> {
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
        let read = stream.read(&mut buffer[filled..]).await?;
        ensure!(read > 0, "the connection was closed");
        filled += read;
        let Some(head) = find(&buffer[..filled], b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).context("the head is no text")?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        if is_complete(text, &buffer[head + 4..filled])? {
            return Ok(status);
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

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
