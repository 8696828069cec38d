//! Processes of a measurement: Postgres, the host under test, and others.
//! All end with this process.

use anyhow::{Context, Result, bail, ensure};
use host::embedded::Cluster;
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

const TIMEOUT: Duration = Duration::from_secs(120);

pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A directory that is removed with this.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("shema-bench-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The embedded Postgres, as a host without `DATABASE_URL` runs it.
pub struct Postgres {
    cluster: Cluster,
}

impl Postgres {
    pub async fn start(dir: &Path) -> Result<Postgres> {
        let path = std::env::var_os("PATH");
        let cluster = Cluster::start(&dir.join("postgres"), None, path.as_deref()).await?;
        let postgres = Postgres { cluster };
        postgres.create("bench").await?;
        Ok(postgres)
    }

    /// A new, empty database.
    pub async fn create(&self, name: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        connection.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await?;
        Ok(())
    }

    pub fn url(&self, name: &str) -> String {
        format!("postgres://{}@localhost/{name}?host={}", Cluster::USER, self.cluster.socket_dir().display())
    }

    /// The directory of its socket.
    pub fn socket(&self) -> String {
        self.cluster.socket_dir().to_string_lossy().into_owned()
    }

    pub async fn stop(self) {
        self.cluster.stop().await;
    }

    /// Stops as in a crash, without a last write, and starts again.
    pub async fn crash_and_recover(self, dir: &Path) -> Result<Postgres> {
        let dir = dir.join("postgres");
        let text = fs::read_to_string(dir.join("data/postmaster.pid")).context("Postgres has no pid file")?;
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).context("a pid")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT)?;
        self.cluster.stop().await;
        let path = std::env::var_os("PATH");
        let until = Instant::now() + TIMEOUT;
        loop {
            match Cluster::start(&dir, None, path.as_deref()).await {
                Ok(cluster) => return Ok(Postgres { cluster }),
                // What looked after the former one lets go of the directory a moment later.
                Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return Err(error),
            }
        }
    }
}

/// A process that is killed with this.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// The host under test.
pub struct Host {
    pub process: Process,
    pub control: SocketAddr,
    pub token: String,
}

/// Runs a proof until it is done or somebody stops it; then what it holds is
/// dropped in order, and nothing stays behind.
pub async fn unless_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // The signals first, so that they are listened to before the work begins.
        biased;
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = terminate.recv() => bail!("stopped"),
        done = work => done,
    }
}

/// A Redis on a socket in `dir`, without files; None where none is installed.
pub async fn start_redis(dir: &Path) -> Result<Option<(Process, String)>> {
    let on_path = |name: &str| {
        std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|file| file.is_file())
    };
    let Some(program) = ["redis-server", "valkey-server"].into_iter().find_map(on_path) else { return Ok(None) };
    let socket = dir.join("redis.sock");
    let mut command = Command::new(program);
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    let mut child = spawn_bound_to_us(&mut command, &dir.join("redis.log"))?;
    let connects = || std::os::unix::net::UnixStream::connect(&socket).ok();
    wait_for(&mut child, connects).await.context("Redis did not start")?;
    let process = Process { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
    Ok(Some((process, format!("redis+unix://{}", socket.display()))))
}

/// Builds the host in release; cargo does nothing if nothing has changed. Named
/// together with this package, so that both ask for the same features and the
/// dependencies are not compiled twice.
pub fn build_host() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["build", "--release", "-p", "bench", "-p", "host", "--bin", "shema"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the host was not built");
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut binaries = messages.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
    binaries.find(|path| path.ends_with("shema")).context("cargo names no binary")
}

/// Builds the components and puts them into one directory, with a fixture.
pub fn build_components(shema: &Path, dir: &Path, fixture: &str) -> Result<PathBuf> {
    let built = Command::new(shema).current_dir(root()).arg("build").status()?;
    ensure!(built.success(), "the components were not built");
    let target = dir.join("components");
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(root().join("target/components"))? {
        let path = entry?.path();
        fs::copy(&path, target.join(path.file_name().context("a name")?))?;
    }
    fs::write(target.join(format!("{fixture}.wasm")), build_fixture(fixture, &[])?)?;
    Ok(target)
}

/// Builds a fixture with some of its features; returns its bytes, since the next
/// build with others replaces it.
pub fn build_fixture(name: &str, features: &[&str]) -> Result<Vec<u8>> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["build", "--target", "wasm32-wasip2", "--profile", "component", "-p", name]);
    cargo.args(["--features", &features.join(",")]);
    let output = cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{name} was not built");
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files: Vec<String> = messages.filter_map(|message| first_file(&message)).collect();
    let wasm = files.iter().find(|file| file.ends_with(&format!("/{}.wasm", name.replace('-', "_"))));
    Ok(fs::read(wasm.context("cargo names no component")?)?)
}

/// An artifact that does the same and that no host has seen yet: a custom
/// section at the end makes it another version.
pub fn marked(artifact: &[u8], seed: u64, number: u64) -> Vec<u8> {
    let name = b"bench";
    let payload = [seed.to_le_bytes(), number.to_le_bytes()].concat();
    let length = 1 + name.len() + payload.len();
    // Section 0; both lengths are below 128, and so one byte of LEB128.
    let head = [0, length as u8, name.len() as u8];
    [artifact, &head, name, &payload].concat()
}

fn first_file(message: &Value) -> Option<String> {
    Some(message.get("filenames")?.get(0)?.as_str()?.to_owned())
}

/// Lets this process, and those that it starts, open as many files as it may:
/// each socket is one, here and in the host. Returns how many.
pub fn open_many_files() -> Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot open more files")?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Starts the host on a free port and waits until it answers.
pub async fn start_host(shema: &Path, dir: &Path, settings: &[(&str, &str)]) -> Result<Host> {
    let listen = dir.join("listen.json");
    let _ = fs::remove_file(&listen);
    let mut command = Command::new(shema);
    command.current_dir(dir).arg("serve").env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("SHEMA_DATA_DIR", dir).env("SHEMA_LISTEN", "127.0.0.1:0").env("SHEMA_CONTROL_LISTEN", "127.0.0.1:0");
    command.envs(settings.iter().copied());
    let child = spawn_bound_to_us(&mut command, &dir.join("host.log"))?;
    // Killed with this from here on, also if it never answers.
    let mut process = Process { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
    let note = wait_for(&mut process.child, || serde_json::from_slice::<Value>(&fs::read(&listen).ok()?).ok()).await;
    let note = note.with_context(|| format!("the host did not start; see {}", dir.join("host.log").display()))?;
    let address = |key: &str| -> Result<SocketAddr> {
        let url = note[key].as_str().and_then(|url| url.strip_prefix("http://"));
        Ok(url.with_context(|| format!("listen.json names no {key}"))?.parse()?)
    };
    process.address = address("public")?;
    let token = note["control_token"].as_str().context("listen.json names no token")?.to_owned();
    Ok(Host { process, control: address("control")?, token })
}

/// Starts a server whose first line ends in its port, or in a URL with it.
pub async fn start(command: &mut Command, dir: &Path, name: &str) -> Result<Process> {
    let log = dir.join(format!("{name}.log"));
    let child = spawn_bound_to_us(command, &log)?;
    let mut process = Process { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
    let port = || {
        let text = fs::read_to_string(&log).ok()?;
        // Only a whole line: of half of it the port may be cut off.
        text.split_once('\n')?.0.trim().trim_end_matches('/').rsplit(':').next()?.parse().ok()
    };
    let port = wait_for(&mut process.child, port).await;
    process.address.set_port(port.with_context(|| format!("{name} did not start; see {}", log.display()))?);
    Ok(process)
}

fn spawn_bound_to_us(command: &mut Command, log: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let log = fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
    }
    command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))
}

async fn wait_for<T>(child: &mut Child, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + TIMEOUT;
    while Instant::now() < until {
        if let Some(value) = ready() {
            return Some(value);
        }
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}
