//! The database of a host that was given none: a private PostgreSQL cluster,
//! run as a child of this process.
//!
//! A developer who types `shema` gets the real dialect, real concurrency and
//! real durability without installing or configuring anything. The cluster
//! lives in one directory, listens on no network, and dies with the host
//! however the host dies; what it acknowledged is on disk.
//!
//! Deliberately not here: pools, roles, schemas and migrations (they treat
//! this cluster like any other), upgrades between major versions of Postgres,
//! backups, and tuning. Production refuses this module.
//!
//! - `cluster_dirs`: the directories, their lock, and the user that Postgres runs as.
//! - `binaries`: finding `postgres` and `initdb`, or installing them.
//! - `server`: `initdb`, the postmaster's command line, what a crash left behind.

// The host answers hostile input; a panic would be somebody else's lost request.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo))]

mod binaries;
mod cluster_dirs;
mod server;

pub use binaries::find_binaries;

use anyhow::{Context, Result, bail};
use cluster_dirs::ClusterDirs;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use server::Server;
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::AbortHandle};

/// Long enough to replay all the WAL that `max_wal_size` lets pile up.
const START_WITHIN: Duration = Duration::from_secs(120);
/// Clean, by crash recovery at the next start, and by force. None of them
/// loses what was committed; the first writes out the buffers, which takes time.
const STOPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(60)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
    (Signal::SIGKILL, Duration::from_secs(10)),
];
const READY_POLL: Duration = Duration::from_millis(10);
/// Postmasters that may die before the first is ready: one that cannot start
/// at all is the operator's business, one that met a dying predecessor is not.
const FIRST_TRIES: u32 = 3;
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const MAX_BACK_OFF: Duration = Duration::from_secs(10);
const LOG_CHECK: Duration = Duration::from_secs(60);

/// A private PostgreSQL cluster that runs as a child of this process.
pub struct Cluster {
    socket_dir: PathBuf,
    shared: Arc<Shared>,
    /// Closed when the supervisor has seen the last postmaster out.
    finished: oneshot::Receiver<()>,
    log_keeper: Option<AbortHandle>,
}

impl Cluster {
    /// The superuser, who needs no password: only the host's own user and root
    /// can reach the socket. No schema may have this name, because `"$user"`
    /// comes first in the search path and would catch unqualified tables.
    pub const USER: &str = "shema";

    /// Locks `dir`, makes the cluster at the first start, runs it and returns
    /// when it accepts connections.
    ///
    /// `postgres_bin` is the only directory searched if it is given; otherwise
    /// the newest `/usr/lib/postgresql/*/bin`, then `search_path` (the value
    /// of `PATH`), then what an earlier start downloaded. Where there is
    /// nothing, Postgres is installed: by `apt-get` as root, else from PyPI
    /// into `dir`. As root the cluster runs as user `postgres` or `nobody`, and
    /// below `/var/lib` if that user cannot enter `dir`.
    ///
    /// Errors are sentences for the operator, with the end of Postgres' log
    /// where it says why.
    pub async fn start(dir: &Path, postgres_bin: Option<&Path>, search_path: Option<&OsStr>) -> Result<Cluster> {
        let (dir, given) = (dir.to_path_buf(), postgres_bin.map(Path::to_path_buf));
        let search_path = search_path.map(OsStr::to_os_string);
        let task = move || {
            let server = prepare(&dir, given.as_deref(), search_path.as_deref())?;
            server.initialise()?;
            Cluster::run(server)
        };
        tokio::task::spawn_blocking(task).await.context("the start of the embedded Postgres was cut off")?
    }

    /// Host of a connection (port 5432, user [`Cluster::USER`], no password).
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Stops the cluster and waits until it has gone. Close the pools first:
    /// connections that are still open are cut.
    pub async fn stop(mut self) {
        for (signal, patience) in STOPS {
            self.shared.ask_to_stop(signal);
            // An error of the channel is the closing that is waited for.
            if tokio::time::timeout(patience, &mut self.finished).await.is_ok() {
                return;
            }
            tracing::warn!("The embedded Postgres did not stop within {patience:?} of {signal}.");
        }
    }

    fn run(server: Server) -> Result<Cluster> {
        server.clear_leftovers()?;
        let server = Arc::new(server);
        let shared = Arc::new(Shared::default());
        let (ended, finished) = oneshot::channel();
        // A thread of its own, for as long as there is a postmaster: the
        // kernel's "your parent died" signal goes out when the *thread* that
        // forked ends, so a pool thread would stop the database at a whim.
        let (of_thread, for_thread) = (Arc::clone(&server), Arc::clone(&shared));
        thread::Builder::new()
            .name("embedded-postgres".into())
            .spawn(move || {
                supervise(&of_thread, &for_thread);
                drop(of_thread);
                drop(ended);
            })
            .context("cannot start the thread that runs the embedded Postgres")?;
        let mut cluster = Cluster { socket_dir: server.socket_dir().into(), shared, finished, log_keeper: None };
        cluster.await_ready(&server)?;
        cluster.log_keeper = Some(keep_log_short(&server)?);
        Ok(cluster)
    }

    fn await_ready(&mut self, server: &Server) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let child = self.shared.lock().child;
            if child.is_some_and(|pid| server.is_ready(pid)) {
                self.shared.lock().ready = true;
                return Ok(());
            }
            if !matches!(self.finished.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                bail!("the embedded Postgres did not start; its log ends with:\n{}", server.log_tail());
            }
            if Instant::now() > deadline {
                let log = server.log_tail();
                bail!("the embedded Postgres was not ready within {START_WITHIN:?}; its log ends with:\n{log}");
            }
            thread::sleep(READY_POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(task) = &self.log_keeper {
            task.abort();
        }
        // For a cluster dropped without `stop`; the supervisor still reaps it.
        self.shared.ask_to_stop(Signal::SIGINT);
    }
}

/// Everything before the first process: directories, lock and binaries.
fn prepare(dir: &Path, given: Option<&Path>, search_path: Option<&OsStr>) -> Result<Server> {
    let mut dirs = ClusterDirs::open(dir)?;
    let mut found = find_binaries(given, search_path)?;
    found.extend(binaries::downloaded(&dirs));
    if found.is_empty() && binaries::install_package() {
        // The package brings the user `postgres`, so choose the user again.
        drop(dirs);
        dirs = ClusterDirs::open(dir)?;
        found = find_binaries(None, search_path)?;
    }
    if found.is_empty() {
        found.push(binaries::download(&dirs)?);
    }
    let binaries = binaries::select(&found, &dirs)?;
    Server::new(dirs, binaries)
}

/// What the supervisor's thread and the handle both touch.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Not yet reaped, so that the number cannot be another process by now.
    child: Option<Pid>,
    ready: bool,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans two fields, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_to_stop(&self, signal: Signal) {
        let mut state = self.lock();
        state.stopping = true;
        if let Some(pid) = state.child {
            // It can only fail for a child that has died by itself.
            let _ = kill(pid, signal);
        }
        self.changed.notify_all();
    }

    /// None: asked to stop. Spawning under the lock leaves no moment in which
    /// `ask_to_stop` could miss the new child.
    fn spawn(&self, server: &Server) -> Option<io::Result<Child>> {
        let mut state = self.lock();
        if state.stopping {
            return None;
        }
        let child = server.spawn();
        state.child = child.as_ref().ok().map(|child| Pid::from_raw(child.id().cast_signed()));
        Some(child)
    }

    fn wait(&self, mut child: Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_raw(child.id().cast_signed());
        // Without reaping: the number stays ours until the lock is held, so
        // `ask_to_stop` never signals a stranger.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
        let mut state = self.lock();
        state.child = None;
        child.wait()
    }
}

/// Runs postmasters one after the other until asked to stop.
fn supervise(server: &Server, shared: &Shared) {
    let mut back_off = FIRST_BACK_OFF;
    let mut tries = 0;
    loop {
        let started = Instant::now();
        let Some(child) = shared.spawn(server) else { return };
        let end = child.and_then(|child| shared.wait(child));
        if started.elapsed() > MAX_BACK_OFF {
            back_off = FIRST_BACK_OFF;
        }
        let state = shared.lock();
        tries += 1;
        if state.stopping || (!state.ready && tries >= FIRST_TRIES) {
            return;
        }
        let end = end.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::warn!("The embedded Postgres ended unasked ({end}) and is started again in {back_off:?}.");
        let paused = shared.changed.wait_timeout_while(state, back_off, |state| !state.stopping);
        drop(paused.unwrap_or_else(PoisonError::into_inner));
        back_off = (back_off * 2).min(MAX_BACK_OFF);
        if let Err(error) = server.clear_leftovers() {
            tracing::warn!("{error:#}");
        }
    }
}

/// A host may run for months, and every refused connection is a line.
fn keep_log_short(server: &Server) -> Result<AbortHandle> {
    let log = server.log()?;
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOG_CHECK).await;
            // Postgres appends, so after the cut it goes on at the new end.
            if log.metadata().is_ok_and(|log| log.len() > server::MAX_LOG_BYTES) && log.set_len(0).is_err() {
                tracing::warn!("The log of the embedded Postgres cannot be cut.");
            }
        }
    });
    Ok(task.abort_handle())
}
