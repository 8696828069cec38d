//! Where a proof takes place: Postgres, the host under test, other processes.
//! All end with this process.

use anyhow::{Context, Result, ensure};
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

const PATIENCE: Duration = Duration::from_secs(120);

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
        let mut connection = PgConnection::connect(&postgres.url("postgres")).await?;
        connection.execute("create database bench").await?;
        Ok(postgres)
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
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
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

/// Builds the components and a fixture, and puts them into one directory.
pub fn build_components(shema: &Path, dir: &Path, fixture: &str) -> Result<PathBuf> {
    let built = Command::new(shema).current_dir(root()).arg("build").status()?;
    ensure!(built.success(), "the components were not built");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["build", "--target", "wasm32-wasip2", "--profile", "component", "-p", fixture]);
    let output = cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{fixture} was not built");
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut files = messages.filter_map(|message| Some(message.get("filenames")?.get(0)?.as_str()?.to_owned()));
    let wasm = files.find(|file| file.ends_with(&format!("/{fixture}.wasm"))).context("cargo names no component")?;
    let target = dir.join("components");
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(root().join("target/components"))? {
        let path = entry?.path();
        fs::copy(&path, target.join(path.file_name().context("a name")?))?;
    }
    fs::copy(wasm, target.join(format!("{fixture}.wasm")))?;
    Ok(target)
}

/// Starts the host on a free port and waits until it answers.
pub fn start_host(shema: &Path, dir: &Path, settings: &[(&str, &str)]) -> Result<Process> {
    let listen = dir.join("listen.json");
    let _ = fs::remove_file(&listen);
    let mut command = Command::new(shema);
    command.current_dir(dir).arg("serve").env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("SHEMA_DATA_DIR", dir).env("SHEMA_LISTEN", "127.0.0.1:0").env("SHEMA_CONTROL_LISTEN", "127.0.0.1:0");
    command.envs(settings.iter().copied());
    let mut child = die_with_us(&mut command, &dir.join("host.log"))?;
    let address = wait_for(&mut child, || {
        let note: Value = serde_json::from_slice(&fs::read(&listen).ok()?).ok()?;
        note["public"].as_str()?.strip_prefix("http://")?.parse().ok()
    });
    let address = address.with_context(|| format!("the host did not start; see {}", dir.join("host.log").display()))?;
    Ok(Process { child, address })
}

/// Starts a server that prints its port as its first line.
pub fn start(command: &mut Command, dir: &Path, name: &str) -> Result<Process> {
    let log = dir.join(format!("{name}.log"));
    let mut child = die_with_us(command, &log)?;
    let port = wait_for(&mut child, || fs::read_to_string(&log).ok()?.lines().next()?.trim().parse().ok());
    let port: u16 = port.with_context(|| format!("{name} did not start; see {}", log.display()))?;
    Ok(Process { child, address: SocketAddr::from(([127, 0, 0, 1], port)) })
}

fn die_with_us(command: &mut Command, log: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let log = fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
    }
    command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))
}

fn wait_for<T>(child: &mut Child, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(value) = ready() {
            return Some(value);
        }
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}
