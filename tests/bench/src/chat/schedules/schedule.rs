//! What happens in one schedule, drawn from its seed: who writes what, and
//! which faults strike when. The same seed makes the same schedule; how the
//! hosts interleave its parts is theirs.

use fastrand::Rng;
use uuid::Uuid;

pub const NODES: usize = 2;
pub const GUESTS: usize = 2;
/// Each guest, an admin who answers them, and one who only reads.
pub const SOCKETS: usize = GUESTS + 2;
/// Normal versions of the component.
pub const VERSIONS: usize = 3;

/// Messages of each guest by socket, of each guest by HTTP, and of the admin.
const BY_SOCKET: usize = 8;
const BY_HTTP: usize = 4;
const ANSWERS: usize = 8;
const MESSAGES: usize = GUESTS * (BY_SOCKET + BY_HTTP) + ANSWERS;

#[derive(Debug)]
pub struct Schedule {
    pub seed: u64,
    /// By guest: what is sent by socket, and by HTTP.
    pub by_socket: [Vec<Message>; GUESTS],
    pub by_http: [Vec<Message>; GUESTS],
    /// The admin's.
    pub answers: Vec<Message>,
    /// In order.
    pub faults: Vec<Injection>,
}

#[derive(Clone, Debug)]
pub struct Message {
    /// In the session of this guest.
    pub guest: usize,
    /// The `client_message_id`.
    pub name: Uuid,
    pub content: String,
}

#[derive(Debug)]
pub struct Injection {
    /// When so many messages have been acknowledged.
    pub after: usize,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// SIGKILL; the host is started again at once.
    KillNode(usize),
    /// A version that traps at random goes live, until the next `Swap`.
    Trap,
    Swap(usize),
    /// SIGKILL; it is started again, empty, after so many milliseconds.
    RestartRedis(u64),
    /// It stops as in a crash, and recovers.
    RestartPostgres,
    /// The socket's connection breaks after so many more bytes.
    Cut {
        socket: usize,
        bytes: u32,
        end: End,
    },
}

impl Fault {
    pub fn word(self) -> &'static str {
        match self {
            Fault::KillNode(_) => "host killed",
            Fault::Trap => "component traps",
            Fault::Swap(_) => "version swapped",
            Fault::RestartRedis(_) => "Redis restarted",
            Fault::RestartPostgres => "Postgres restarted",
            Fault::Cut { .. } => "connection cut",
        }
    }
}

/// What of a connection breaks, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// In the middle of what the client writes.
    Writing,
    /// In the middle of what it reads.
    Reading,
    /// The latter, without a goodbye of TCP's own either.
    Reset,
}

impl Schedule {
    pub fn draw(seed: u64) -> Schedule {
        let mut random = Rng::with_seed(seed);
        let mut write = |what: &str, guest: usize, number: usize| Message {
            guest,
            name: uuid::Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid(),
            content: format!("{what} {number} in the chat of guest {guest}"),
        };
        let mut of_guest = |what: &str, count: usize| {
            std::array::from_fn(|guest| (0..count).map(|number| write(what, guest, number)).collect())
        };
        let (by_socket, by_http) = (of_guest("socket", BY_SOCKET), of_guest("http", BY_HTTP));
        let answers = (0..ANSWERS).map(|number| write("answer", number % GUESTS, number)).collect();
        let mut faults = Vec::new();
        for _ in 0..random.usize(3..=6) {
            let after = random.usize(1..MESSAGES * 3 / 4);
            let fault = draw_fault(&mut random);
            if fault == Fault::Trap {
                let ends = Fault::Swap(random.usize(..VERSIONS));
                faults.push(Injection { after: after + random.usize(3..MESSAGES / 4), fault: ends });
            }
            faults.push(Injection { after, fault });
        }
        faults.sort_by_key(|strike| strike.after);
        Schedule { seed, by_socket, by_http, answers, faults }
    }
}

fn draw_fault(random: &mut Rng) -> Fault {
    match random.usize(..12) {
        0 | 1 => Fault::KillNode(random.usize(..NODES)),
        2 | 3 => Fault::Trap,
        4 | 5 => Fault::Swap(random.usize(..VERSIONS)),
        6 | 7 => Fault::RestartRedis(random.u64(..400)),
        8 => Fault::RestartPostgres,
        _ => {
            let end = random.choice([End::Writing, End::Reading, End::Reset]).unwrap_or(End::Reset);
            Fault::Cut { socket: random.usize(..SOCKETS), bytes: random.u32(..600), end }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_makes_one_schedule() {
        assert_eq!(format!("{:?}", Schedule::draw(7)), format!("{:?}", Schedule::draw(7)));
        assert_ne!(format!("{:?}", Schedule::draw(7)), format!("{:?}", Schedule::draw(8)));
    }

    #[test]
    fn every_fault_is_drawn_and_strikes_while_there_is_something_to_say() {
        let mut kinds = BTreeSet::new();
        for seed in 0..200 {
            let schedule = Schedule::draw(seed);
            assert!((3..=12).contains(&schedule.faults.len()));
            for strike in &schedule.faults {
                assert!(strike.after < MESSAGES, "{strike:?}");
                kinds.insert(strike.fault.word());
            }
        }
        assert_eq!(kinds.len(), 6, "{kinds:?}");
    }

    #[test]
    fn names_are_unique() {
        let schedule = Schedule::draw(1);
        let all = schedule.by_socket.iter().chain(&schedule.by_http).flatten().chain(&schedule.answers);
        let names: BTreeSet<_> = all.map(|message| message.name).collect();
        assert_eq!(names.len(), MESSAGES);
    }
}
