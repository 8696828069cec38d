//! Postgres and Redis, each started once per run, and programs that the tests need.

use super::{TIMEOUT, say, scratch_dir, spawn};
use host::embedded::Cluster;
use sqlx::{Connection, Executor, PgConnection, SqlSafeStr};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// A runtime that outlives the single test.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}

/// Runs a future on that runtime and waits for it, also from within another runtime.
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    runtime().spawn(async move { sender.send(work.await) });
    receiver.recv().expect("the work is done")
}

/// The socket directory of the run's Postgres: the host's embedded one, which is
/// installed where there is none.
pub fn postgres() -> &'static Path {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| {
        let dir = scratch_dir("postgres");
        let path = std::env::var_os("PATH");
        wait(async move { Cluster::start(&dir, None, path.as_deref()).await.expect("Postgres starts") })
    });
    cluster.socket_dir()
}

/// URL of a new, empty database.
pub fn database(name: &str) -> String {
    let url = |name: &str| format!("postgres://{}@localhost/{name}?host={}", Cluster::USER, postgres().display());
    let (admin, statement) = (url("postgres"), format!("create database {name}"));
    wait(async move {
        let mut connection = PgConnection::connect(&admin).await.expect("a connection");
        connection.execute(sqlx::AssertSqlSafe(statement).into_sql_str()).await.expect("a database");
    });
    url(name)
}

/// A Redis server on a Unix socket, which can be stopped and started again.
pub struct Redis {
    socket: PathBuf,
    child: Mutex<Option<Child>>,
}

/// The run's Redis.
pub fn redis() -> &'static Redis {
    static REDIS: OnceLock<Redis> = OnceLock::new();
    REDIS.get_or_init(Redis::start)
}

impl Redis {
    pub fn start() -> Redis {
        let redis = Redis { socket: scratch_dir("redis").join("redis.sock"), child: Mutex::new(None) };
        redis.run();
        redis
    }

    /// Starts the server, which is empty: nothing is persisted.
    pub fn run(&self) {
        let mut command = Command::new(redis_server());
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&self.socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.child.lock().expect("no panic") = Some(spawn(command));
        let until = Instant::now() + TIMEOUT;
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            assert!(Instant::now() < until, "Redis does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no panic").take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("reaped");
    }

    /// Stops the process with SIGSTOP: connections stay open and are not answered.
    pub fn pause(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        super::signal(self.child.lock().expect("no panic").as_ref().expect("it runs").id(), signal);
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("a good address")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.get_mut().expect("no panic").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn redis_server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| installed(&["redis-server", "valkey-server"], "redis-server"))
}

/// A program by one of its names, from Debian's package where it is missing.
pub fn installed(names: &[&str], package: &str) -> PathBuf {
    // Tests run side by side, and `apt-get` does not.
    static TURN: Mutex<()> = Mutex::new(());
    let found = || names.iter().find_map(|name| on_path(name));
    let _in_turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = found() {
        return program;
    }
    say(&format!("Installing what the tests need: apt-get install {package} …"));
    let install = format!("apt-get install -y -q -o DPkg::Lock::Timeout=600 --no-install-recommends {package}");
    let script = format!("export DEBIAN_FRONTEND=noninteractive; {install} || (apt-get update -q && {install})");
    let _ = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status();
    found().unwrap_or_else(|| panic!("the tests need {}: install {package}", names.join(" or ")))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
