//! Guests who sit on their sockets: each is a task that reads, answers pings and
//! remembers the last message it has seen, as a page in a browser would.

use crate::chat::{
    guest::Guest,
    socket::{Heard, Socket},
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Guests who connect at a time, where there is no hurry.
const AT_A_TIME: usize = 32;
/// Addresses that they come from: the ports of one are soon used up, since each
/// rests for a minute after its connection.
const ADDRESSES: usize = 16;
/// For one try to connect and be greeted.
const TRY: Duration = Duration::from_secs(20);
/// Before the second try; twice as long before each further one.
const BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(8);
/// For all to arrive.
const TIMEOUT: Duration = Duration::from_secs(240);

/// A guest, and what they remember between two connections.
pub struct Seat {
    pub guest: Guest,
    source: Ipv4Addr,
    /// Where this guest stands among the others: 0 to 1, as drawn.
    lot: f64,
    /// The highest number that was seen; None before the first connection.
    seen: Mutex<Option<u64>>,
    /// Messages that came again, or after a gap.
    wrong: AtomicU64,
}

impl Seat {
    pub fn new(guest: Guest, index: usize, seed: u64) -> Arc<Seat> {
        let source = Ipv4Addr::new(127, 0, 0, 2 + (index % ADDRESSES) as u8);
        let lot = draw(seed, index as u64);
        Arc::new(Seat { guest, source, lot, seen: Mutex::default(), wrong: AtomicU64::new(0) })
    }

    pub fn seen(&self) -> Option<u64> {
        *self.seen.lock().expect("no panic")
    }

    pub fn wrong(&self) -> u64 {
        self.wrong.load(Relaxed)
    }

    fn hear(&self, number: u64) {
        let before = self.seen.lock().expect("no panic").replace(number);
        if before.is_some_and(|before| number != before + 1) {
            self.wrong.fetch_add(1, Relaxed);
        }
    }

    /// Connects and is greeted; returns the number of the last message there is.
    async fn come(&self, address: SocketAddr) -> Result<(Socket<TcpStream>, u64)> {
        let before = self.seen();
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Socket::open(stream).await?;
        socket.send("auth", self.guest.auth(before)).await?;
        let greeting = match socket.next().await? {
            Heard::Frame(frame) => frame,
            Heard::End(code) => anyhow::bail!("closed with {code:?} instead of a greeting"),
        };
        ensure!(greeting["type"] == "connected", "greeted with {greeting}");
        let head = greeting["data"]["seq"].as_u64().context("the greeting has no number")?;
        if before.is_none() {
            *self.seen.lock().expect("no panic") = Some(head);
        }
        Ok((socket, head))
    }

    /// The same again and again, until it works.
    async fn come_at_last(&self, address: SocketAddr) -> (Socket<TcpStream>, u64, u32) {
        let mut pause = BACK_OFF;
        for tries in 1.. {
            if let Ok(Ok((socket, head))) = timeout(TRY, self.come(address)).await {
                return (socket, head, tries);
            }
            sleep(pause.mul_f64(0.5 + self.lot)).await;
            pause = (pause * 2).min(LONGEST_BACK_OFF);
        }
        unreachable!("there is no last number")
    }
}

/// How guests come.
#[derive(Clone, Copy)]
pub enum Way {
    /// A few at a time.
    InTurn,
    /// All at once, each after a pause that is drawn, up to so long.
    AtOnce(Duration),
}

/// A guest is connected and has what was missed.
pub struct Arrival {
    pub at: Instant,
    pub tries: u32,
}

/// Sockets that have ended although nobody wanted it, by how.
#[derive(Default)]
pub struct Ended(Mutex<BTreeMap<String, u64>>);

impl Ended {
    pub fn count(&self) -> u64 {
        self.0.lock().expect("no panic").values().sum()
    }

    pub fn note(&self, how: String) {
        *self.0.lock().expect("no panic").entry(how).or_default() += 1;
    }

    pub fn in_words(&self) -> String {
        let ended = self.0.lock().expect("no panic");
        ended.iter().map(|(how, count)| format!("{count} × {how}")).collect::<Vec<_>>().join(", ")
    }
}

/// The sockets that are open.
pub struct Clients {
    address: SocketAddr,
    tasks: JoinSet<()>,
    pub ended: Arc<Ended>,
}

impl Clients {
    pub fn of(address: SocketAddr) -> Clients {
        Clients { address, tasks: JoinSet::new(), ended: Arc::default() }
    }

    /// Waits until all of these have arrived.
    pub async fn open(&mut self, seats: &[Arc<Seat>], way: Way) -> Result<Vec<Arrival>> {
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let (gate, longest) = match way {
            Way::InTurn => (AT_A_TIME, Duration::ZERO),
            Way::AtOnce(longest) => (Semaphore::MAX_PERMITS, longest),
        };
        let gate = Arc::new(Semaphore::new(gate));
        for seat in seats {
            let (seat, gate, address) = (Arc::clone(seat), Arc::clone(&gate), self.address);
            let (arrived, ended) = (arrived.clone(), Arc::clone(&self.ended));
            self.tasks.spawn(async move {
                sleep(longest.mul_f64(seat.lot)).await;
                sit(&seat, address, &gate, arrived, &ended).await;
            });
        }
        drop(arrived);
        let mut all = Vec::with_capacity(seats.len());
        let waiting = async {
            while let Some(arrival) = arrivals.recv().await {
                all.push(arrival);
            }
        };
        // Ended when the last one has arrived, or gone.
        let _ = timeout(TIMEOUT, waiting).await;
        let (there, wanted) = (all.len(), seats.len());
        ensure!(there == wanted, "{there} of {wanted} sockets arrived; ended: {}", self.ended.in_words());
        Ok(all)
    }

    /// Drops all connections, without a word.
    pub async fn cut(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// From the connection to its end.
async fn sit(
    seat: &Seat,
    address: SocketAddr,
    gate: &Semaphore,
    arrived: mpsc::UnboundedSender<Arrival>,
    ended: &Ended,
) {
    let permit = gate.acquire().await;
    let (mut socket, head, tries) = seat.come_at_last(address).await;
    let mut waiting = Some((arrived, permit));
    loop {
        if seat.seen() >= Some(head)
            && let Some((arrived, _)) = waiting.take()
        {
            // Nobody listens any more if it has taken too long.
            let _ = arrived.send(Arrival { at: Instant::now(), tries });
        }
        match socket.next().await {
            Ok(Heard::Frame(frame)) if frame["type"] == "new_message" => {
                seat.hear(frame["data"]["seq"].as_u64().unwrap_or(0));
            }
            Ok(Heard::Frame(_)) => {}
            Ok(Heard::End(code)) => return ended.note(format!("close code {code:?}")),
            Err(error) => return ended.note(format!("{error:#}")),
        }
    }
}

/// A number from 0 to 1 that looks random: the last step of SplitMix64.
fn draw(seed: u64, index: u64) -> f64 {
    let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ bits >> 31) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_spread_evenly_and_drawn_again_alike() {
        let lots: Vec<f64> = (0..1_000).map(|index| draw(1, index)).collect();
        assert_eq!(lots, (0..1_000).map(|index| draw(1, index)).collect::<Vec<_>>());
        assert_ne!(lots[0], draw(2, 0));
        for tenth in 0..10 {
            let count = lots.iter().filter(|lot| (**lot * 10.0) as u32 == tenth).count();
            assert!((60..140).contains(&count), "{count} in tenth {tenth}");
        }
    }

    #[test]
    fn a_message_that_comes_again_or_too_early_is_wrong() {
        let seat = Seat::new(Guest { session: String::new(), token: String::new() }, 0, 1);
        for (number, wrong) in [(3, 0), (4, 0), (4, 1), (6, 2), (7, 2)] {
            seat.hear(number);
            assert_eq!((seat.seen(), seat.wrong()), (Some(number), wrong));
        }
    }
}
