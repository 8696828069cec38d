//! One cluster's processes: `initdb`, the postmaster, and what a crash left.

use super::{
    Cluster,
    cluster_dirs::{ClusterDirs, SOCKET_NAME, make_socket_dir, remove_all},
};
use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Pid, getpid, getppid},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, OpenOptionsExt},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

const LEFTOVER_GONE_WITHIN: Duration = Duration::from_secs(30);
const LEFTOVER_POLL: Duration = Duration::from_millis(50);
/// Bytes after which the log is cut.
pub const MAX_LOG_BYTES: u64 = 16 << 20;
const LOG_TAIL_BYTES: u16 = 4096;
const LOG_TAIL_LINES: usize = 6;

/// On the command line, where neither a file nor `alter system` overrides it.
const SETTINGS: &[(&str, &str)] = &[
    ("cluster_name", "shema"),
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "300"),
    ("shared_buffers", "128MB"),
    // What was acknowledged survives a power cut.
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    // Nothing replicates from here, so WAL serves recovery only.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_logical_replication_workers", "0"),
    ("max_wal_size", "512MB"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] "),
    ("log_checkpoints", "off"),
    // Neither statements nor the keys of violated constraints: personal data.
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

pub struct Server {
    dirs: ClusterDirs,
    binaries: PathBuf,
    data: PathBuf,
    log: File,
}

impl Server {
    pub fn new(dirs: ClusterDirs, binaries: PathBuf) -> Result<Server> {
        make_socket_dir(&dirs)?;
        let path = dirs.home.join("postgres.log");
        // The last run's log is kept: it may say why that run ended.
        match fs::rename(&path, dirs.home.join("postgres.log.1")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot move {} away", path.display()));
            }
            _ => (),
        }
        let log = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Server { data: dirs.data(), dirs, binaries, log })
    }

    pub fn socket_dir(&self) -> &Path {
        &self.dirs.socket_dir
    }

    pub fn log(&self) -> Result<File> {
        self.log.try_clone().context("cannot keep the log of the embedded Postgres open")
    }

    /// Makes the cluster if there is none. It gets its name only when it is
    /// complete and on disk, so that a killed `initdb` is never half used.
    pub fn initialise(&self) -> Result<()> {
        if self.data.exists() {
            return Ok(());
        }
        tracing::info!("Making a database in {}.", self.dirs.home.display());
        let draft = self.dirs.home.join("data.init");
        remove_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
        self.dirs.account.own_dir(&draft)?;
        let mut command = self.dirs.account.command(&self.binaries.join("initdb"));
        command.args(["-U", Cluster::USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums", "-D"]);
        command.arg(&draft);
        die_with_host(&mut command, Signal::SIGKILL);
        let output = command.output().context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        // `initdb` has synced its files, and only them: `syncfs` in its stead
        // would wait for whatever else is being written to this disk.
        let name = || fs::rename(&draft, &self.data).and_then(|()| File::open(&self.dirs.home)?.sync_all());
        name().with_context(|| format!("cannot write {}", self.data.display()))
    }

    pub fn spawn(&self) -> io::Result<Child> {
        let mut command = self.dirs.account.command(&self.binaries.join("postgres"));
        command.arg("-D").arg(&self.data);
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A list of directories: quotes keep a comma or a blank in the path.
        let mut socket_dirs = b"unix_socket_directories=\"".to_vec();
        for byte in self.dirs.socket_dir.as_os_str().as_bytes() {
            socket_dirs.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
        }
        socket_dirs.push(b'"');
        command.arg("-c").arg(std::ffi::OsStr::from_bytes(&socket_dirs));
        command.stdout(self.log.try_clone()?).stderr(self.log.try_clone()?);
        // Fast shutdown: cut the clients, write everything out, exit.
        die_with_host(&mut command, Signal::SIGINT);
        command.spawn()
    }

    /// Whether postmaster `pid` accepts connections, by its own word (the last
    /// line of its pid file, as `pg_ctl` reads it) and by trying.
    pub fn is_ready(&self, pid: Pid) -> bool {
        let Ok(text) = fs::read_to_string(self.data.join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        lines.next() == Some(pid.to_string().as_str())
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
            && UnixStream::connect(self.dirs.socket_dir.join(SOCKET_NAME)).is_ok()
    }

    /// Sees out what is left of an earlier run, whose host or postmaster was
    /// killed: two postmasters on one directory would destroy it.
    pub fn clear_leftovers(&self) -> Result<()> {
        let deadline = Instant::now() + LEFTOVER_GONE_WITHIN;
        let recorded = self.recorded_pid();
        let mut told = false;
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!("Waiting for the Postgres of an earlier run to end.");
            }
            ensure!(
                Instant::now() < deadline,
                "the Postgres of an earlier run (process {}) does not end; the log ends with:\n{}",
                left.iter().map(Pid::to_string).collect::<Vec<_>>().join(", "),
                self.log_tail()
            );
            // The postmaster has had its signal when its host died, and again
            // does no harm. Without a postmaster the rest are orphans, busy
            // with statements whose clients have gone.
            match recorded.filter(|postmaster| left.contains(postmaster)) {
                Some(postmaster) => kill(postmaster, Signal::SIGINT).unwrap_or_default(),
                None => left.iter().for_each(|orphan| kill(*orphan, Signal::SIGQUIT).unwrap_or_default()),
            }
            thread::sleep(LEFTOVER_POLL);
        }
        // Its number may be a stranger's by now (after a restart of the
        // machine or container), in which Postgres would see a live postmaster.
        if recorded.is_some_and(|pid| kill(pid, None).is_ok()) {
            remove(&self.data.join("postmaster.pid"))?;
        }
        // The same for the socket's lock; nobody else uses this directory.
        remove(&self.dirs.socket_dir.join(format!("{SOCKET_NAME}.lock")))?;
        remove(&self.dirs.socket_dir.join(SOCKET_NAME))
    }

    /// The last lines of this run's log, or of the run before if it is empty.
    pub fn log_tail(&self) -> String {
        let tail = tail_of(&self.log).unwrap_or_default();
        let before = || File::open(self.dirs.home.join("postgres.log.1")).and_then(|file| tail_of(&file));
        if tail.is_empty() { before().unwrap_or_default() } else { tail }
    }

    fn recorded_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        Some(Pid::from_raw(text.lines().next()?.trim().parse().ok()?))
    }

    /// Every process of this cluster: Postgres works in its data directory.
    fn processes(&self) -> Vec<Pid> {
        let Ok(data) = self.data.metadata() else { return Vec::new() };
        let here = |pid: &Pid| {
            let process = Path::new("/proc").join(pid.to_string());
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let dir = process.join("cwd").metadata();
            name.trim() == "postgres" && dir.is_ok_and(|dir| (dir.dev(), dir.ino()) == (data.dev(), data.ino()))
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)).filter(here).collect()
    }
}

/// Has the kernel send `signal` to the child when the thread that spawned it
/// ends, which it does at the latest with the host, even at `kill -9`.
fn die_with_host(command: &mut Command, signal: Signal) {
    let host = getpid();
    let arm = move || -> io::Result<()> {
        prctl::set_pdeathsig(signal)?;
        // The host may have died before the line above: then no signal comes.
        if getppid() == host { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: what runs between fork and exec may neither allocate nor lock;
    // `arm` makes two system calls and builds an error out of a number.
    unsafe { command.pre_exec(arm) };
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn tail_of(file: &File) -> io::Result<String> {
    let from = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES.into());
    let mut bytes = vec![0; usize::from(LOG_TAIL_BYTES)];
    let length = file.read_at(&mut bytes, from)?;
    bytes.truncate(length);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().rev().take(LOG_TAIL_LINES).collect();
    lines.reverse();
    Ok(lines.join("\n"))
}
