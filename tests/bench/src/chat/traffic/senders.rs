//! Guests who send: as fast as they are acknowledged, or at a fixed pace.

use super::super::{
    crowd::Ended,
    guest::Guest,
    socket::{Heard, Socket},
};
use crate::load;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet, time::MissedTickBehavior};
use uuid::Uuid;

/// For what is still to be acknowledged at the end.
const TIMEOUT: Duration = Duration::from_secs(15);
/// No guest sends more often than this, however long it is left alone.
const MAX_MESSAGES: usize = 1_000_000;

/// When a guest sends the next message.
#[derive(Clone, Copy)]
pub enum Pace {
    /// When the one before is acknowledged.
    Acknowledged,
    /// Every so often, whatever has become of the one before.
    Every(Duration),
}

/// A message; its index among those of its guest is its number.
pub struct Sent {
    pub at: Instant,
    /// Its number in the chat, once it is acknowledged, and when that was.
    pub stored: Option<(u64, Instant)>,
}

/// What one guest has sent.
pub struct Lane {
    pub session: String,
    pub sent: Vec<Sent>,
    /// Frames that say no.
    pub refused: Vec<String>,
}

/// The guests under way.
pub struct Senders {
    guests: JoinSet<Result<Lane>>,
    stopped: Arc<AtomicBool>,
}

impl Senders {
    pub async fn start(address: SocketAddr, guests: &[Guest], pace: Pace, ended: &Arc<Ended>) -> Result<Senders> {
        // So that two runs send no message twice.
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Relaxed);
        let mut senders = Senders { guests: JoinSet::new(), stopped: Arc::default() };
        for (index, guest) in guests.iter().enumerate() {
            let line = connect(address, guest).await?;
            let sender = Sender {
                lane: Lane { session: guest.session.clone(), sent: Vec::new(), refused: Vec::new() },
                names: run << 32 | index as u64,
                outstanding: 0,
                line,
            };
            let (stopped, ended) = (Arc::clone(&senders.stopped), Arc::clone(ended));
            let share = index as f64 / guests.len() as f64;
            senders.guests.spawn(async move {
                // One after the other, not all at the same tick.
                if let Pace::Every(time) = pace {
                    tokio::time::sleep(time.mul_f64(share)).await;
                }
                sender.run(pace, &stopped, &ended).await
            });
        }
        Ok(senders)
    }

    /// Waits for what is to be acknowledged.
    pub async fn stop(mut self) -> Result<Vec<Lane>> {
        self.stopped.store(true, Relaxed);
        let mut lanes = Vec::new();
        while let Some(lane) = self.guests.join_next().await {
            lanes.push(lane??);
        }
        Ok(lanes)
    }
}

async fn connect(address: SocketAddr, guest: &Guest) -> Result<Socket<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut socket = Socket::open(stream).await?;
    socket.send("auth", guest.auth(None)).await?;
    match socket.next().await? {
        Heard::Frame(frame) if frame["type"] == "connected" => Ok(socket),
        Heard::Frame(frame) => bail!("a guest is greeted with {frame}"),
        Heard::End(code) => bail!("a guest is closed with {code:?} instead of a greeting"),
    }
}

struct Sender {
    line: Socket<TcpStream>,
    lane: Lane,
    /// First half of the names of this guest's messages in this run.
    names: u64,
    outstanding: usize,
}

impl Sender {
    async fn run(mut self, pace: Pace, stopped: &AtomicBool, ended: &Ended) -> Result<Lane> {
        let mut ticks = tokio::time::interval(match pace {
            Pace::Acknowledged => TIMEOUT,
            Pace::Every(time) => time,
        });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !stopped.load(Relaxed) && self.lane.sent.len() < MAX_MESSAGES {
            if matches!(pace, Pace::Acknowledged) && self.outstanding == 0 {
                self.send().await?;
            }
            tokio::select! {
                _ = ticks.tick() => if matches!(pace, Pace::Every(_)) {
                    self.send().await?;
                },
                heard = self.line.next() => if !self.hear(heard?, ended)? {
                    return Ok(self.lane);
                },
            }
        }
        let end = tokio::time::Instant::now() + TIMEOUT;
        while self.outstanding > 0 {
            // What is not acknowledged then shows by itself.
            let Ok(heard) = tokio::time::timeout_at(end, self.line.next()).await else { break };
            if !self.hear(heard?, ended)? {
                break;
            }
        }
        Ok(self.lane)
    }

    async fn send(&mut self) -> Result<()> {
        let number = self.lane.sent.len();
        let name = Uuid::from_u64_pair(self.names, number as u64);
        self.lane.sent.push(Sent { at: Instant::now(), stored: None });
        self.outstanding += 1;
        self.line.send("send_message", json!({ "content": number.to_string(), "client_message_id": name })).await
    }

    /// False: the socket has ended.
    fn hear(&mut self, heard: Heard, ended: &Ended) -> Result<bool> {
        let frame = match heard {
            Heard::Frame(frame) => frame,
            Heard::End(code) => {
                ended.note(format!("a sender's close code {code:?}"));
                return Ok(false);
            }
        };
        match frame["type"].as_str() {
            Some("message_delivered") => {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.acknowledge(&frame["data"])?;
            }
            Some("error") => {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.lane.refused.push(frame["data"].to_string());
            }
            _ => {}
        }
        Ok(true)
    }

    fn acknowledge(&mut self, data: &Value) -> Result<()> {
        let name = data["client_message_id"].as_str().context("an acknowledgement names its message")?;
        let (names, number) = Uuid::parse_str(name)?.as_u64_pair();
        let seq = data["seq"].as_u64().context("an acknowledgement has a number")?;
        let sent = self.lane.sent.get_mut(usize::try_from(number)?).filter(|_| names == self.names);
        let sent = sent.with_context(|| format!("an acknowledgement of {name}, which nobody sent"))?;
        ensure!(sent.stored.is_none(), "a message was acknowledged twice");
        sent.stored = Some((seq, Instant::now()));
        Ok(())
    }
}

impl Lane {
    /// From sending to the acknowledgement, in microseconds.
    pub fn round_trips(&self) -> impl Iterator<Item = u32> {
        self.sent.iter().filter_map(|sent| Some(load::micros(sent.stored?.1 - sent.at)))
    }
}
