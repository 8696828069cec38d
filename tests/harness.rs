//! The harness of the integration tests: the real `shema` binary over a real
//! Postgres and a real Redis, tested over real HTTP.
//!
//! One Postgres and one Redis serve the whole run; each host has a database of
//! its own. All processes are started from one thread that lives as long as the
//! run: the kernel signals them when the thread that started them ends
//! (`PR_SET_PDEATHSIG`), so they never outlive the tests, however these end.

mod api;
mod balancer;
mod browser;
mod chat;
mod checkout;
mod components;
mod emulator;
mod javascript;
mod proxy;
mod school;
mod services;
mod socket;

pub use api::{Answer, Api, Expect, PASSWORD, User};
pub use balancer::Balancer;
pub use browser::{Browser, Tab};
pub use chat::Chat;
pub use checkout::Checkout;
pub use components::{components, example, fixture, hello, variant};
pub use emulator::Emulator;
pub use javascript::javascript_guest;
pub use proxy::{Proxy, State as ProxyState};
pub use school::{School, assert_has_keys, course_body, id_of, is_time, unique, unknown_id, with, without};
pub use services::{Redis, database, installed, redis};
pub use socket::{RawSocket, Socket, error_code, seq, seqs};

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock, Mutex, Once, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// How long a condition may take to hold. A test that passes never waits that
/// long, so the limit can allow for a machine that is busy with other work.
pub const TIMEOUT: Duration = Duration::from_secs(180);

/// Secrets of every host under test, so that tests can forge tokens.
pub const ACCESS_SECRET: &str = "access-secret-of-the-tests-0123456789";
pub const REFRESH_SECRET: &str = "refresh-secret-of-the-tests-0123456789";
pub const SERVICE_SECRET: &str = "service-secret-of-the-tests-0123456789";

/// A grant for everything that the probe is asked to try. A test that waits for
/// one of these limits sets a shorter one (`Setup::probe_limit`).
const PROBE: &str = r#"
[components.probe]
mounts = ["/probe"]
[components.probe.grants]
database = "shema_course"
redis = ["probe:*"]
events = ["probe.*"]
calls = ["probe", "admin"]
http = ["http://127.0.0.1:1"]
[components.probe.limits]
deadline_ms = 60000
max_wait_ms = 60000
max_calls = 8
connections = 4
statement_timeout_ms = 3000
max_rows = 1000
max_result_kib = 256
max_response_kib = 256
memory_mib = 32
"#;

/// A factor that no version reaches, so that none is rolled back for its latency.
pub const ANY_P99_FACTOR: u32 = 1_000_000;

/// How a host is started.
#[derive(Clone)]
pub struct Setup {
    pub environment: BTreeMap<String, String>,
    /// Appended to `host/host.toml`.
    pub config: String,
    /// Replacements in `host/host.toml`: from, to.
    pub replaced: Vec<(String, String)>,
    /// The data directory. One that is given is not removed with the host, so
    /// that another host can be started in it.
    pub data_dir: Option<PathBuf>,
    /// The limit of open files (`RLIMIT_NOFILE`).
    pub files: Option<u32>,
}

impl Setup {
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Setup {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub fn unset(mut self, name: &str) -> Setup {
        self.environment.remove(name);
        self
    }

    pub fn config(mut self, text: &str) -> Setup {
        self.config += text;
        self
    }

    /// Another limit of the probe than the one in `PROBE`.
    pub fn probe_limit(mut self, key: &str, value: u32) -> Setup {
        let is_limit = |line: &str| line.split_once(" = ").is_some_and(|(of, _)| of == key);
        assert!(self.config.lines().any(is_limit), "the probe has a limit `{key}`");
        let line = format!("{key} = {value}");
        let lines: Vec<&str> = self.config.lines().map(|old| if is_limit(old) { &*line } else { old }).collect();
        self.config = lines.join("\n");
        self
    }

    /// In `host/host.toml`.
    pub fn replace(mut self, from: &str, to: &str) -> Setup {
        self.replaced.push((from.into(), to.into()));
        self
    }
}

pub struct Host {
    pub url: String,
    pub control: String,
    pub control_token: String,
    pub data_dir: PathBuf,
    /// Of the host's own database, for reading and changing it directly.
    pub database_url: Option<String>,
    child: Mutex<Child>,
    scratch: Option<PathBuf>,
}

/// Settings that suit most tests: a database of its own, the shared Redis under a
/// prefix of its own, no rate limits, and the probe beside the other components.
pub fn setup() -> Setup {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let pairs = [
        ("SHEMA_LISTEN", "127.0.0.1:0".to_owned()),
        ("SHEMA_CONTROL_LISTEN", "127.0.0.1:0".to_owned()),
        ("DATABASE_URL", database(&format!("test_{number}"))),
        ("REDIS_URL", services::redis().url()),
        ("REDIS_PREFIX", format!("t{number}:")),
        ("RATE_LIMIT_ENABLED", "false".to_owned()),
        ("JWT_SECRET", ACCESS_SECRET.to_owned()),
        ("JWT_REFRESH_SECRET", REFRESH_SECRET.to_owned()),
        ("SERVICE_JWT_SECRET", SERVICE_SECRET.to_owned()),
        ("SHEMA_COMPONENTS", components().to_string_lossy().into_owned()),
        ("SHEMA_LOG_FORMAT", "json".to_owned()),
        ("RUST_LOG", "info".to_owned()),
    ];
    let environment = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Setup { environment, config: PROBE.to_owned(), replaced: Vec::new(), data_dir: None, files: None }
}

/// The same with what production demands.
pub fn production() -> Setup {
    setup()
        .set("SHEMA_PROFILE", "production")
        .set("RATE_LIMIT_ENABLED", "true")
        .set("SHEMA_CONTROL_TOKEN", "control-token-of-the-tests-0123456789")
        .set("CAPTCHA_SECRET", "captcha-secret")
        .set("CAPTCHA_VERIFY_URL", "http://127.0.0.1:1/verify")
}

/// One host for all tests that do not disturb each other.
pub fn shared() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::start(setup()))
}

impl Host {
    pub fn start(setup: Setup) -> Host {
        Host::try_start(setup).unwrap_or_else(|output| panic!("the host did not start:\n{output}"))
    }

    /// The error is what the host wrote to standard error.
    pub fn try_start(setup: Setup) -> Result<Host, String> {
        let given = setup.data_dir.is_some();
        let data_dir = setup.data_dir.clone().unwrap_or_else(|| scratch_dir("host"));
        fs::create_dir_all(&data_dir).expect("a data directory");
        let file = data_dir.join("host.toml");
        let base = fs::read_to_string(root().join("host/host.toml")).expect("host.toml");
        // Many hosts share one Postgres here.
        let mut base = base.replace("connections = 24", "connections = 10");
        // On a busy machine any version may look slow; the one test of it sets a
        // factor of its own.
        base = base.replace("max_p99_factor = 3 ", &format!("max_p99_factor = {ANY_P99_FACTOR} "));
        for (from, to) in &setup.replaced {
            assert!(base.contains(from), "host.toml has `{from}`");
            base = base.replace(from, to);
        }
        fs::write(&file, format!("{base}\n{}", setup.config)).expect("host.toml is written");
        let log = data_dir.join("log");
        let listen = data_dir.join("listen.json");
        let _ = fs::remove_file(&listen);

        if !given {
            warm_up(&data_dir);
        }
        let shema = env!("CARGO_BIN_EXE_shema");
        let mut command = Command::new(if setup.files.is_some() { "prlimit" } else { shema });
        if let Some(files) = setup.files {
            command.arg(format!("--nofile={files}:{files}")).arg(shema);
        }
        command.current_dir(&data_dir).arg("serve").env_clear();
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("SHEMA_CONFIG", &file).env("SHEMA_DATA_DIR", &data_dir).envs(&setup.environment);
        let lines = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(lines.try_clone().expect("a log")).stderr(lines);
        let mut child = spawn(command);

        let until = Instant::now() + TIMEOUT;
        let note = loop {
            if let Some(note) = fs::read(&listen).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok()) {
                break note;
            }
            let ended = child.try_wait().expect("the host can be waited for").is_some();
            if ended || Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                return Err(fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if !given {
            keep_warm(&data_dir);
        }
        let text = |name: &str| note[name].as_str().expect("a text").to_owned();
        Ok(Host {
            url: text("public"),
            control: text("control"),
            control_token: text("control_token"),
            database_url: setup.environment.get("DATABASE_URL").cloned(),
            child: Mutex::new(child),
            scratch: (!given).then(|| data_dir.clone()),
            data_dir,
        })
    }

    pub fn api(&self) -> Api {
        Api::new(&self.url)
    }

    /// The control API, with its token.
    pub fn control(&self) -> Api {
        Api::new(&self.control).with_token(&self.control_token)
    }

    /// Uploads a version; `query` as in `?canary=10`.
    pub async fn deploy(&self, name: &str, wasm: &[u8], query: &str) -> Answer {
        let path = format!("/v1/components/{name}/versions{query}");
        let control = self.control();
        let request = control.request(reqwest::Method::POST, &path).body(wasm.to_vec());
        control.finish(request, &path).await.expect("an answer")
    }

    /// What the host counts of each loaded version of a component.
    pub async fn stats(&self, component: &str) -> Vec<Value> {
        let answer = self.control().get(&format!("/v1/components/{component}/stats")).await;
        answer.expect_status(200)["versions"].as_array().expect("a list").clone()
    }

    /// How many calls of a component are under way, or wait for an instance.
    pub async fn running(&self, component: &str) -> u64 {
        let versions = self.stats(component).await;
        versions.iter().map(|version| version["running"].as_u64().expect("a number")).sum()
    }

    pub fn pid(&self) -> u32 {
        self.child.lock().expect("no panic").id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.data_dir.join("log")).expect("the log")
    }

    /// SIGKILL, as in a crash.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no panic");
        child.kill().expect("still running");
        child.wait().expect("reaped");
    }

    /// SIGTERM, as an operator stops it; returns the exit code.
    pub fn stop(&self) -> Option<i32> {
        signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        self.child.lock().expect("no panic").wait().expect("reaped").code()
    }

    /// A connection to the host's database, as the owner of all tables.
    pub async fn sql(&self) -> sqlx::PgConnection {
        use sqlx::Connection;
        let url = self.database_url.as_ref().expect("a database of its own");
        sqlx::PgConnection::connect(url).await.expect("a connection")
    }

    /// The one number that a query answers.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.sql().await).await.expect("a number")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let child = self.child.get_mut().expect("no panic");
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            eprintln!("the host's data and log are kept in {}", self.data_dir.display());
            return;
        }
        // Whatever a test was about: no component answers a code that the
        // description of the API does not have.
        let log = fs::read_to_string(self.data_dir.join("log")).unwrap_or_default();
        let undeclared = log.lines().find(|line| line.contains("which its route does not declare"));
        assert_eq!(undeclared, None, "see {}", self.data_dir.display());
        if let Some(dir) = &self.scratch {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// The first host's cache of compiled components, with the secrets that
/// authenticate it: later hosts start with a copy and compile nothing.
static WARM: OnceLock<PathBuf> = OnceLock::new();

fn warm_up(data_dir: &Path) {
    if let Some(warm) = WARM.get() {
        link_all(warm, data_dir);
    }
}

fn keep_warm(data_dir: &Path) {
    // A host that was given no components has none to share.
    if !data_dir.join("cache").is_dir() {
        return;
    }
    WARM.get_or_init(|| {
        let warm = scratch_dir("warm");
        link_all(data_dir, &warm);
        warm
    });
}

fn link_all(from: &Path, to: &Path) {
    fs::copy(from.join("secrets.json"), to.join("secrets.json")).expect("the secrets are copied");
    fs::create_dir_all(to.join("cache")).expect("a directory");
    for file in fs::read_dir(from.join("cache")).expect("the cache").flatten() {
        let name = file.file_name();
        // One that is still being written has another name and goes away.
        if name.to_string_lossy().contains('.') {
            continue;
        }
        fs::hard_link(file.path(), to.join("cache").join(name)).expect("a file is linked");
    }
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, signal).expect("the process is there");
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the root")
}

/// A new directory that Postgres' user can enter, too.
pub fn scratch_dir(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static SWEPT: Once = Once::new();
    SWEPT.call_once(remove_leftovers);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("shema-test-{}-{name}-{number}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// What earlier runs left: statics are not dropped, so their directories stay.
fn remove_leftovers() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = name.strip_prefix("shema-test-").and_then(|rest| rest.split('-').next());
        if run.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Starts a process that ends with this one.
pub fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, started) in orders {
                use std::os::unix::process::CommandExt;
                // SAFETY: one system call between fork and exec.
                unsafe {
                    command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?));
                }
                let _ = started.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (started, child) = mpsc::channel();
    let name = format!("{command:?}");
    STARTER.lock().expect("no panic").send((command, started)).expect("the starter lives");
    child.recv().expect("an answer").unwrap_or_else(|error| panic!("cannot run {name}: {error}"))
}

/// Tells whoever runs the tests what takes so long. Written to standard error
/// directly: libtest captures only what the print macros write.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Waits until a condition holds, for at most `TIMEOUT`.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
