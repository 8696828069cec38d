//! Faults drawn from a seed, and a checker of what the clients saw.
//!
//! Several labs work side by side, since most of the time they wait for what
//! was broken. In each, one schedule runs after the other: two guests, an admin
//! who answers them and one who only reads, over sockets and over HTTP.
//!
//! - `schedule`: what happens, as the seed says.
//! - `lab`: the hosts, Postgres, Redis, and the faults.
//! - `clients`: the guests and admins.
//! - `fragile`: their connections, which can be cut in the middle of a frame.
//! - `judge`: what must be true in the end.

mod clients;
mod fragile;
mod judge;
mod lab;
mod schedule;

use super::{Setup, guest::Guest};
use crate::{environment, processes, report::Report};
use anyhow::{Context, Result};
use clients::{Client, Noticed, Shared, Who, lock};
use fastrand::Rng;
use fragile::Cutter;
use judge::{Known, Observer, Stored};
use lab::Lab;
use schedule::{Fault, GUESTS, SOCKETS, Schedule, VERSIONS};
use sqlx::{Connection as _, PgConnection, Row};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

const LABS: u64 = 4;
/// For all clients to have sent and seen all, once nothing is broken any more.
const TIMEOUT: Duration = Duration::from_secs(60);
const TELL_EVERY: u64 = 25;

/// What the hosts run.
pub struct Artifacts {
    /// With the components that a chat needs.
    dir: PathBuf,
    /// Of the chat; at last the one that traps at random.
    versions: Vec<Vec<u8>>,
}

#[derive(Default)]
pub struct Outcome {
    schedules: u64,
    violations: Vec<String>,
    messages: usize,
    /// By the fault's word.
    struck: BTreeMap<String, usize>,
    noticed: Noticed,
    seconds: Vec<f64>,
}

pub async fn run(setup: &Setup<'_>, schedules: u64) -> Result<Outcome> {
    let artifacts = Artifacts::build(setup)?;
    let next = Arc::new(AtomicU64::new(0));
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut labs = Vec::new();
    let worked = async {
        for number in 0..LABS.min(schedules) {
            eprintln!("schedules  setting up lab {}", number + 1);
            labs.push(Lab::set_up(setup, &artifacts, usize::try_from(number)?).await?);
        }
        let begun = Instant::now();
        let mut workers: JoinSet<Result<()>> = JoinSet::new();
        for lab in &labs {
            let (lab, next, outcome, first) = (Arc::clone(lab), Arc::clone(&next), Arc::clone(&outcome), setup.seed);
            workers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= schedules {
                        return Ok(());
                    }
                    let seed = first + number;
                    let one = play(&lab, &Schedule::draw(seed)).await.with_context(|| format!("schedule {seed}"))?;
                    lock(&outcome).add(seed, one, schedules, begun);
                }
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        anyhow::Ok(())
    };
    let worked = worked.await;
    for lab in &labs {
        lab.tear_down().await;
    }
    worked?;
    let outcome = std::mem::take(&mut *lock(&outcome));
    Ok(outcome)
}

impl Artifacts {
    fn build(setup: &Setup<'_>) -> Result<Artifacts> {
        let dir = setup.scratch.join("chat-components");
        std::fs::create_dir_all(&dir)?;
        for name in ["auth.wasm", "cs.wasm"] {
            std::fs::copy(setup.components.join(name), dir.join(name))?;
        }
        let chat = std::fs::read(dir.join("cs.wasm"))?;
        let mut versions: Vec<_> =
            (0..VERSIONS as u64).map(|number| processes::marked(&chat, setup.seed, number)).collect();
        versions.push(processes::build_fixture("cs", &["sdk/traps"])?);
        Ok(Artifacts { dir, versions })
    }
}

/// What one schedule came to.
struct Played {
    violations: Vec<String>,
    messages: usize,
    faults: Vec<Fault>,
    noticed: Noticed,
    took: Duration,
}

async fn play(lab: &Arc<Lab>, schedule: &Schedule) -> Result<Played> {
    let begun = Instant::now();
    let (token, guests) = enter(lab).await?;
    let sessions: Vec<Uuid> = guests.iter().map(|guest| Ok(guest.session.parse()?)).collect::<Result<_>>()?;
    let shared = Arc::new(Shared {
        nodes: Arc::clone(&lab.nodes),
        acknowledged: watch::Sender::default(),
        goal: watch::Sender::default(),
        noticed: Mutex::default(),
    });
    let mut random = Rng::with_seed(schedule.seed ^ 0x5c4e_d01e);
    let cutter: [Cutter; SOCKETS] = std::array::from_fn(|_| Cutter::default());
    let (mut observers, mut tasks, mut expected) = (Vec::new(), JoinSet::new(), 0);
    let admin = || Who::Admin { token: token.clone(), sessions: sessions.clone() };
    for socket in 0..SOCKETS {
        let (name, who, messages) = match socket {
            guest if guest < GUESTS => {
                (format!("guest {guest}"), Who::Guest(guests[guest].clone()), schedule.by_socket[guest].clone())
            }
            GUESTS => ("the admin who answers".to_owned(), admin(), schedule.answers.clone()),
            _ => ("the admin who reads".to_owned(), admin(), Vec::new()),
        };
        let sees = match &who {
            Who::Guest(_) => &sessions[socket..=socket],
            Who::Admin { sessions, .. } => sessions,
        };
        let saw = sees.iter().map(|session| (*session, Vec::new())).collect();
        let observer = Arc::new(Mutex::new(Observer { name, saw }));
        observers.push(Arc::clone(&observer));
        expected += messages.len();
        let unacknowledged =
            messages.into_iter().map(|message| (message.clone(), sessions[message.guest], None)).collect();
        let (cutter, random) = (cutter[socket].clone(), random.fork());
        let client = Client { who, cutter, random, shared: Arc::clone(&shared), observer, unacknowledged };
        tasks.spawn(client.run());
    }
    for (number, guest) in guests.iter().enumerate() {
        let (shared, guest, session) = (Arc::clone(&shared), guest.clone(), sessions[number]);
        let (messages, random) = (schedule.by_http[number].clone(), random.fork());
        expected += messages.len();
        tasks.spawn(async move { shared.post(&guest, session, &messages, random).await });
    }

    let mut violations = Vec::new();
    let mut background = JoinSet::new();
    let mut acknowledged = shared.acknowledged.subscribe();
    for strike in &schedule.faults {
        let enough = acknowledged.wait_for(|all| all.len() >= strike.after);
        if tokio::time::timeout(TIMEOUT, enough).await.is_err() {
            break;
        }
        if let Fault::Cut { socket, bytes, end } = strike.fault {
            cutter[socket].cut(bytes, end);
        } else if let Some(task) = lab.strike(strike.fault).await? {
            background.spawn(async move { task.await? });
        }
    }
    lab.heal(background).await?;
    let all = tokio::time::timeout(TIMEOUT, acknowledged.wait_for(|all| all.len() >= expected)).await.is_ok();
    if !all {
        let number = shared.acknowledged.borrow().len();
        violations.push(format!("of {expected} messages {number} were acknowledged after {TIMEOUT:?}"));
    }
    let stored = read(&lab.database, &sessions).await?;
    let heads = stored.iter().map(|(session, messages)| (*session, messages.len() as u64)).collect();
    shared.goal.send_replace(Some(heads));
    let seen = tokio::time::timeout(TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await.is_ok();
    if all && !seen {
        violations.push(format!("not all clients had seen all after {TIMEOUT:?}"));
    }
    tasks.shutdown().await;
    let acknowledged = shared.acknowledged.borrow().clone();
    let observers: Vec<Observer> = observers.iter().map(|observer| std::mem::take(&mut *lock(observer))).collect();
    violations.extend(judge::judge(&stored, &acknowledged, &observers));
    let noticed = lock(&shared.noticed).clone();
    violations.extend(noticed.refused.iter().map(|refusal| format!("a client was told {refusal}")));
    close(&lab.database, &sessions).await?;
    let faults = schedule.faults.iter().map(|strike| strike.fault).collect();
    Ok(Played { violations, messages: acknowledged.len(), faults, noticed, took: begun.elapsed() })
}

/// An admin's token, and guests. The first connection to a Postgres that was
/// restarted may be one to the former.
async fn enter(lab: &Lab) -> Result<(String, Vec<Guest>)> {
    let address = lock(&lab.nodes)[0].context("a host")?;
    let until = Instant::now() + TIMEOUT;
    loop {
        let entered = async { Ok((environment::log_in(address).await?, Guest::many(address, GUESTS).await?)) };
        match entered.await {
            Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(50)).await,
            entered => return entered,
        }
    }
}

async fn read(database: &str, sessions: &[Uuid]) -> Result<Stored> {
    let mut connection = PgConnection::connect(database).await?;
    let mut stored: Stored = sessions.iter().map(|session| (*session, Vec::new())).collect();
    let rows = sqlx::query(
        "select session_id, seq, id, message, client_message_id from cs.messages
         where session_id = any($1) order by session_id, seq",
    );
    for row in rows.bind(sessions).fetch_all(&mut connection).await? {
        let known = Known { seq: u64::try_from(row.get::<i64, _>(1))?, id: row.get(2), content: row.get(3) };
        stored.entry(row.get(0)).or_default().push((known, row.get(4)));
    }
    connection.close().await?;
    Ok(stored)
}

/// The next schedule's admins are not to be told of these.
async fn close(database: &str, sessions: &[Uuid]) -> Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    sqlx::query("delete from cs.admin_assignments where session_id = any($1)")
        .bind(sessions)
        .execute(&mut connection)
        .await?;
    sqlx::query(
        "update cs.sessions set status = 'closed', close_reason = 'closed_by_admin', closed_at = now()
         where id = any($1)",
    )
    .bind(sessions)
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}

impl Outcome {
    fn add(&mut self, seed: u64, played: Played, of: u64, begun: Instant) {
        self.schedules += 1;
        self.messages += played.messages;
        self.seconds.push(played.took.as_secs_f64());
        for fault in &played.faults {
            *self.struck.entry(fault.word().to_owned()).or_default() += 1;
        }
        self.noticed.add(&played.noticed);
        for violation in played.violations {
            eprintln!("schedules  seed {seed}: {violation}");
            self.violations.push(format!("seed {seed}: {violation}"));
        }
        if self.schedules.is_multiple_of(TELL_EVERY) || self.schedules == of {
            let left = begun.elapsed().as_secs_f64() / self.schedules as f64 * (of - self.schedules) as f64;
            let (done, wrong) = (self.schedules, self.violations.len());
            eprintln!("schedules  {done} of {of}, {wrong} violations, about {left:.0} s left");
        }
    }

    pub fn tell(self, report: &mut Report) {
        report.line("a schedule", &self.seconds, "s");
        let struck: Vec<_> = self.struck.iter().map(|(word, number)| format!("{word} {number}")).collect();
        report.table.push(format!(
            "{} schedules, {} acknowledged messages, {} violations; faults: {}",
            self.schedules,
            self.messages,
            self.violations.len(),
            struck.join(", ")
        ));
        let Noticed { connections, errors, sent_again, ends, .. } = &self.noticed;
        let ends: Vec<_> = ends.iter().map(|(code, number)| format!("{code}: {number}")).collect();
        report.table.push(format!(
            "clients connected {connections} times, were told of {errors} failures, sent {sent_again} messages again; \
             connections ended with {} (0: broken)",
            ends.join(", ")
        ));
        report.count("schedules", self.schedules);
        report.count("violations", self.violations.len());
        report.notes.extend(self.violations.into_iter().take(10));
    }
}
