//! An admin at the desk: gets every message of every chat. A task of its own
//! reads, and nothing else, because the host lets no more than some frames wait
//! for a client.

use super::clients::Ended;
use crate::{
    chat::socket::{Heard, Socket},
    environment,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinHandle, time::sleep};

/// The greeting names all open chats.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A message, as it came.
pub struct Seen {
    pub session: String,
    pub seq: u64,
    pub content: String,
    pub at: Instant,
}

pub struct Desk {
    seen: Arc<Mutex<Vec<Seen>>>,
    reader: JoinHandle<()>,
    /// Open chats, as the greeting told.
    pub open: u64,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Desk {
    /// Logs in anew, since tokens do not last as long as a proof.
    pub async fn open(address: SocketAddr, ended: &Arc<Ended>) -> Result<Desk> {
        let token = environment::log_in(address).await?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Socket::open(stream).await?;
        socket.send("auth", json!({ "token": token })).await?;
        let greeting = tokio::time::timeout(TIMEOUT, socket.next()).await.context("no greeting for an admin")??;
        let Heard::Frame(greeting) = greeting else { bail!("closed instead of a greeting for an admin") };
        ensure!(greeting["type"] == "connected", "an admin is greeted with {greeting}");
        let open = greeting["data"]["open_sessions"].as_u64().context("the greeting tells no number of chats")?;
        let seen = Arc::default();
        let reader = tokio::spawn(read(socket, Arc::clone(&seen), Arc::clone(ended)));
        Ok(Desk { seen, reader, open })
    }

    /// Waits until so many messages have come, or no longer than `time`; then a
    /// moment more, in which none should come.
    pub async fn hear(&self, number: usize, time: Duration) {
        let end = Instant::now() + time;
        while self.seen.lock().expect("no panic").len() < number && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(200)).await;
    }

    /// What has come since the last time.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

async fn read(mut socket: Socket<TcpStream>, seen: Arc<Mutex<Vec<Seen>>>, ended: Arc<Ended>) {
    loop {
        let frame = match socket.next().await {
            Ok(Heard::Frame(frame)) => frame,
            Ok(Heard::End(code)) => return ended.note(format!("an admin's close code {code:?}")),
            Err(error) => return ended.note(format!("an admin's: {error:#}")),
        };
        let at = Instant::now();
        let data = &frame["data"];
        if frame["type"] == "new_message" {
            let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
            let (session, content) = (text("session_id"), text("content"));
            let seq = data["seq"].as_u64().unwrap_or(0);
            seen.lock().expect("no panic").push(Seen { session, seq, content, at });
        }
    }
}
