//! Guests and admins as a good frontend behaves: they come back by themselves,
//! say what they have seen, and send again what was not acknowledged.

use super::{
    fragile::{CONNECT_WITHIN, Cutter, Fragile},
    judge::{Acknowledged, Known, Observer},
    schedule::{Message, NODES},
};
use crate::{
    chat::{
        guest::Guest,
        socket::{Heard, Socket},
    },
    load::Connection,
};
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch, time::Instant};
use uuid::Uuid;

/// Messages that a client sends before it waits for a word.
const AT_ONCE: usize = 3;
/// What has no answer for so long is sent again.
const SEND_AGAIN: Duration = Duration::from_secs(2);
const POST_WITHIN: Duration = Duration::from_secs(5);
/// What a client may be told while something is broken.
const PASSING: [&str; 4] = ["SERVICE_UNAVAILABLE", "REQUEST_TIMEOUT", "DB_CONNECTION_ERROR", "INTERNAL_SERVER_ERROR"];

/// Where the hosts are now; None while one is away.
pub type Nodes = Mutex<[Option<SocketAddr>; NODES]>;

/// What the clients of one schedule share.
pub struct Shared {
    pub nodes: Arc<Nodes>,
    pub acknowledged: watch::Sender<Vec<Acknowledged>>,
    /// The last number of each session, once there will be no more.
    pub goal: watch::Sender<Option<BTreeMap<Uuid, u64>>>,
    pub noticed: Mutex<Noticed>,
}

/// What clients have noticed of the faults.
#[derive(Clone, Default)]
pub struct Noticed {
    pub connections: usize,
    pub errors: usize,
    pub sent_again: usize,
    /// By close code; 0: without one.
    pub ends: BTreeMap<u16, usize>,
    /// What nobody should have been told.
    pub refused: Vec<String>,
}

impl Noticed {
    pub fn add(&mut self, other: &Noticed) {
        self.connections += other.connections;
        self.errors += other.errors;
        self.sent_again += other.sent_again;
        for (code, number) in &other.ends {
            *self.ends.entry(*code).or_default() += number;
        }
        self.refused.extend(other.refused.iter().cloned());
    }
}

pub enum Who {
    Guest(Guest),
    Admin { token: String, sessions: Vec<Uuid> },
}

pub struct Client {
    pub who: Who,
    pub cutter: Cutter,
    pub random: Rng,
    pub shared: Arc<Shared>,
    pub observer: Arc<Mutex<Observer>>,
    /// Each with the session that it is for, and when it was sent.
    pub unacknowledged: Vec<(Message, Uuid, Option<Instant>)>,
}

impl Client {
    /// Until everything is acknowledged and everything is seen.
    pub async fn run(mut self) {
        while !self.is_done() {
            // Whatever happens to a connection, the client comes back.
            let _ = self.connect_and_talk().await;
            self.unacknowledged.iter_mut().for_each(|(_, _, sent)| *sent = None);
            tokio::time::sleep(Duration::from_millis(self.random.u64(5..60))).await;
        }
    }

    fn is_done(&self) -> bool {
        let goal = self.shared.goal.borrow();
        let Some(goal) = goal.as_ref().filter(|_| self.unacknowledged.is_empty()) else { return false };
        let observer = lock(&self.observer);
        observer.saw.iter().all(|(session, seen)| seen.last().map_or(0, |last| last.seq) >= goal[session])
    }

    async fn connect_and_talk(&mut self) -> Result<()> {
        let address = pick(&self.shared.nodes, &mut self.random)?;
        let stream = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let opening = Socket::open(Fragile::new(stream, self.cutter.clone()));
        let mut socket = tokio::time::timeout(CONNECT_WITHIN, opening).await??;
        lock(&self.shared.noticed).connections += 1;
        socket.send("auth", self.auth()).await?;
        let (mut goal, mut connected) = (self.shared.goal.subscribe(), false);
        let mut last_word = Instant::now();
        while !self.is_done() {
            if connected {
                self.send(&mut socket).await?;
            }
            tokio::select! {
                heard = socket.next() => match heard? {
                    Heard::Frame(frame) => {
                        last_word = Instant::now();
                        connected |= frame["type"] == "connected";
                        self.hear(&frame).await?;
                    }
                    Heard::End(code) => {
                        *lock(&self.shared.noticed).ends.entry(code.unwrap_or(0)).or_default() += 1;
                        return Ok(());
                    }
                },
                _ = goal.changed() => {}
                // As the page does: a line that is silent is asked, and then left.
                () = tokio::time::sleep_until(last_word + SEND_AGAIN) => {
                    if !connected || last_word.elapsed() > 2 * SEND_AGAIN {
                        bail!("no word");
                    }
                    self.unacknowledged.iter_mut().for_each(|(_, _, sent)| *sent = None);
                    socket.send("ping", json!({})).await?;
                    last_word = Instant::now();
                }
            }
        }
        Ok(())
    }

    /// Who it is, and what it has seen.
    fn auth(&self) -> Value {
        let observer = lock(&self.observer);
        let mut seen = observer.saw.iter().map(|(session, seen)| (session, seen.last().map_or(0, |last| last.seq)));
        match &self.who {
            Who::Guest(guest) => guest.auth(seen.next().map(|(_, seq)| seq)),
            Who::Admin { token, .. } => json!({ "token": token, "after": seen.collect::<BTreeMap<_, _>>() }),
        }
    }

    async fn send(&mut self, socket: &mut Socket<Fragile>) -> Result<()> {
        for (message, session, sent) in self.unacknowledged.iter_mut().take(AT_ONCE) {
            if sent.is_none() {
                let mut data = json!({ "content": message.content, "client_message_id": message.name });
                if matches!(self.who, Who::Admin { .. }) {
                    data["session_id"] = json!(session);
                }
                *sent = Some(Instant::now());
                socket.send("send_message", data).await?;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, frame: &Value) -> Result<()> {
        let data = &frame["data"];
        match frame["type"].as_str() {
            Some("new_message") => {
                let session = data["session_id"].as_str().context("no session")?.parse()?;
                if let Some(seen) = lock(&self.observer).saw.get_mut(&session) {
                    seen.push(known(data)?);
                }
            }
            Some("message_delivered") => {
                let name: Uuid = data["client_message_id"].as_str().context("no name")?.parse()?;
                let found = self.unacknowledged.iter().position(|(message, ..)| message.name == name);
                // A second word of what was sent again is none.
                if let Some(index) = found {
                    let (_, session, _) = self.unacknowledged.remove(index);
                    let id = data["message_id"].as_str().context("no id")?.parse()?;
                    let seq = data["seq"].as_u64().context("no number")?;
                    self.shared.acknowledge(Acknowledged { session, name, seq, id });
                }
            }
            Some("error") => {
                self.shared.error(data);
                // Which frame it was about is not said.
                let again = self.unacknowledged.iter_mut().filter(|(_, _, sent)| sent.is_some());
                lock(&self.shared.noticed).sent_again += again.map(|(_, _, sent)| *sent = None).count();
                tokio::time::sleep(Duration::from_millis(self.random.u64(5..40))).await;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Shared {
    fn acknowledge(&self, message: Acknowledged) {
        self.acknowledged.send_modify(|all| all.push(message));
    }

    fn error(&self, data: &Value) {
        let mut noticed = lock(&self.noticed);
        noticed.errors += 1;
        if !data["code"].as_str().is_some_and(|code| PASSING.contains(&code)) {
            noticed.refused.push(data.to_string());
        }
    }

    /// Posts a guest's messages one after the other, each until it is stored.
    pub async fn post(&self, guest: &Guest, session: Uuid, messages: &[Message], mut random: Rng) {
        for message in messages {
            loop {
                let posted = async { self.post_once(pick(&self.nodes, &mut random)?, guest, message).await };
                if let Ok(Ok(Some(known))) = tokio::time::timeout(POST_WITHIN, posted).await {
                    self.acknowledge(Acknowledged { session, name: message.name, seq: known.seq, id: known.id });
                    break;
                }
                lock(&self.noticed).sent_again += 1;
                tokio::time::sleep(Duration::from_millis(random.u64(5..60))).await;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(..20))).await;
        }
    }

    /// None: not now.
    async fn post_once(&self, address: SocketAddr, guest: &Guest, message: &Message) -> Result<Option<Known>> {
        let body = json!({ "content": message.content, "client_message_id": message.name }).to_string();
        let Guest { session, token } = guest;
        let request = format!(
            "POST /api/cs/sessions/{session}/messages HTTP/1.1\r\nhost: bench\r\nx-session-token: {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(request.as_bytes()).await?;
        let status = answer.status;
        let body: Value = serde_json::from_slice(answer.body)?;
        if matches!(status, 200 | 201) {
            return Ok(Some(known(&body["data"]["message"])?));
        }
        self.error(&body["error"]);
        Ok(None)
    }
}

fn known(message: &Value) -> Result<Known> {
    Ok(Known {
        seq: message["seq"].as_u64().context("no number")?,
        id: message["id"].as_str().context("no id")?.parse()?,
        content: message["content"].as_str().context("no content")?.to_owned(),
    })
}

fn pick(nodes: &Nodes, random: &mut Rng) -> Result<SocketAddr> {
    let there: Vec<SocketAddr> = lock(nodes).iter().copied().flatten().collect();
    random.choice(there).context("no host is there")
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
