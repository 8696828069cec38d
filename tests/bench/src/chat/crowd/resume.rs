//! All are cut off at once, each misses a message, and all come back at once.

use super::clients::{Clients, Seat, Way};
use crate::load::{CONNECTIONS, Connection};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Clients draw a pause up to so long before they come back, as clients should.
pub const JITTER: Duration = Duration::from_secs(1);

/// What a busy host says, and how often it may.
const BUSY: u16 = 503;
const TRIES: u32 = 20;
const BACK_OFF: Duration = Duration::from_millis(500);

pub struct Resume {
    /// From the first moment when they could come, to the last one who is there
    /// and has what was missed.
    pub seconds: f64,
    /// The same for the one in the middle.
    pub half_seconds: f64,
    /// Messages that were refused at first, because the host was busy with those
    /// who had gone.
    pub busy: u64,
    /// Tries beyond the first of each.
    pub again: u64,
    /// Messages that somebody did not get.
    pub lost: u64,
    /// Messages that came twice or out of order.
    pub wrong: u64,
}

pub async fn resume(address: SocketAddr, clients: &mut Clients, seats: &[Arc<Seat>]) -> Result<Resume> {
    let before: u64 = seats.iter().map(|seat| seat.wrong()).sum();
    clients.cut().await;
    let (due, busy) = store(address, seats).await?;
    let begun = Instant::now();
    let mut arrivals = clients.open(seats, Way::AtOnce(JITTER)).await?;
    // What comes twice comes after it has come once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    arrivals.sort_by_key(|arrival| arrival.at);
    let seconds = |index: usize| arrivals.get(index).map_or(f64::NAN, |last| (last.at - begun).as_secs_f64());
    let missing = seats.iter().zip(due).map(|(seat, due)| due.saturating_sub(seat.seen().unwrap_or(0)));
    Ok(Resume {
        seconds: seconds(arrivals.len() - 1),
        half_seconds: seconds(arrivals.len() / 2),
        busy,
        again: arrivals.iter().map(|arrival| u64::from(arrival.tries - 1)).sum(),
        lost: missing.sum(),
        wrong: seats.iter().map(|seat| seat.wrong()).sum::<u64>() - before,
    })
}

/// One message in each chat, sent over HTTP by its guest. Returns their numbers,
/// and how often the host was busy.
async fn store(address: SocketAddr, seats: &[Arc<Seat>]) -> Result<(Vec<u64>, u64)> {
    let mut lanes = JoinSet::new();
    for lane in 0..CONNECTIONS {
        let seats: Vec<(usize, Arc<Seat>)> =
            seats.iter().cloned().enumerate().skip(lane).step_by(CONNECTIONS).collect();
        lanes.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let (mut numbers, mut busy) = (Vec::with_capacity(seats.len()), 0);
            for (index, seat) in seats {
                numbers.push((index, send(&mut connection, &seat, &mut busy).await?));
            }
            anyhow::Ok((numbers, busy))
        });
    }
    let (mut due, mut all_busy) = (vec![0; seats.len()], 0);
    while let Some(lane) = lanes.join_next().await {
        let (numbers, busy) = lane?.context("a message was not stored")?;
        all_busy += busy;
        for (index, number) in numbers {
            due[index] = number;
        }
    }
    Ok((due, all_busy))
}

async fn send(connection: &mut Connection, seat: &Seat, busy: &mut u64) -> Result<u64> {
    let body = json!({ "content": "Are you still there?" }).to_string();
    let request = format!(
        "POST /api/cs/sessions/{}/messages HTTP/1.1\r\nhost: bench\r\nx-session-token: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        seat.guest.session,
        seat.guest.token,
        body.len()
    );
    for _ in 0..TRIES {
        let answer = connection.exchange(request.as_bytes()).await?;
        if answer.status == BUSY {
            *busy += 1;
            tokio::time::sleep(BACK_OFF).await;
            continue;
        }
        ensure!(answer.status == 201, "status {}: {}", answer.status, String::from_utf8_lossy(answer.body));
        let body: serde_json::Value = serde_json::from_slice(answer.body)?;
        return body["data"]["message"]["seq"].as_u64().context("a stored message has a number");
    }
    bail!("the host was busy {TRIES} times")
}
