//! Where the cluster lives, and as whom it runs.
//!
//! Postgres refuses to run as root. A host that is root keeps the directory
//! itself and lets user `postgres` (else `nobody`) have two directories in it:
//! `data` and `socket`. Nothing is ever changed recursively, and nothing that
//! somebody else could have planted is used.

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User};
use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// `sun_path` of a Unix socket's address, less its final NUL.
const MAX_SOCKET_PATH: usize = 107;
pub const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The user that Postgres runs as.
#[derive(Clone, Debug)]
pub struct Account {
    uid: u32,
    gid: u32,
    name: String,
    /// The host is root and has to step down.
    other: bool,
}

impl Account {
    /// `data` is the cluster's directory if there is one: as only its owner
    /// can run it, that user wins, whoever was installed since.
    fn choose(data: Option<&Path>) -> Result<Account> {
        let (uid, gid) = (Uid::effective(), nix::unistd::Gid::effective());
        if !uid.is_root() {
            return Ok(Account { uid: uid.as_raw(), gid: gid.as_raw(), name: name_of(uid), other: false });
        }
        if let Some(data) = data {
            let owner = data.metadata().with_context(|| format!("cannot look at {}", data.display()))?;
            ensure!(owner.uid() != 0, "{} belongs to root, as whom Postgres refuses to run", data.display());
            let name = name_of(Uid::from_raw(owner.uid()));
            return Ok(Account { uid: owner.uid(), gid: owner.gid(), name, other: true });
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name).context("cannot read the list of users")? {
                return Ok(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name, other: true });
            }
        }
        bail!("Postgres refuses to run as root and there is neither a user postgres nor nobody: add one of them");
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command run as this user, in a group of its own so that Ctrl-C in a
    /// terminal reaches only the host, and with nothing from the environment:
    /// it holds the host's secrets, and every `PG*` variable changes Postgres.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        if self.other {
            // With a user and no list of groups, `Command` drops root's groups.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Asked of the kernel, not worked out of mode bits: it knows about
    /// access lists, read-only mounts and security modules.
    fn can_enter(&self, dir: &Path) -> bool {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", ":"]).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// A directory for this user alone. One that exists has to be just that,
    /// because the names under `/tmp` can be guessed and taken by anybody.
    pub fn own_dir(&self, path: &Path) -> Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) if self.other => {
                chown(path, Some(self.uid), Some(self.gid))
                    .with_context(|| format!("cannot give {} to user {}", path.display(), self.name))?;
            }
            Ok(()) => (),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
        }
        let found = fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        ensure!(
            found.is_dir() && found.uid() == self.uid && found.mode() & 0o077 == 0,
            "{} is not a directory of user {} alone: remove it",
            path.display(),
            self.name
        );
        Ok(())
    }
}

/// For messages only: in a container the number may have no name.
fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("number {uid}"), |user| user.name)
}

/// The cluster's directories, locked as long as this lives.
#[derive(Debug)]
pub struct ClusterDirs {
    pub account: Account,
    pub home: PathBuf,
    /// Exists after [`make_socket_dir`].
    pub socket_dir: PathBuf,
    _lock: File,
}

impl ClusterDirs {
    pub fn open(dir: &Path) -> Result<ClusterDirs> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("cannot look at {}", dir.display()))?;
        let elsewhere = Path::new("/var/lib").join(short_name(&dir));
        let used = [&dir, &elsewhere].into_iter().find(|home| home.join("data").exists());
        let account = Account::choose(used.map(|home| home.join("data")).as_deref())?;
        let outside = dir.parent().unwrap_or(&dir);
        let home = match used {
            Some(home) => home.clone(),
            None if !account.other || account.can_enter(outside) => dir.clone(),
            None => elsewhere,
        };
        own_home(&home, &account)?;
        if !account.can_enter(&home) {
            let (home, name) = (home.display(), &account.name);
            bail!("user {name}, who runs Postgres, cannot enter {home}: chmod o+x the directories above it");
        }
        let lock = lock(&home)?;
        if home != dir {
            let (dir, home, name) = (dir.display(), home.display(), &account.name);
            tracing::warn!(
                "The database of {dir} is in {home}, as user {name}, who runs it, could not enter the former when it \
                 was made; remove both to start afresh."
            );
        }
        Ok(ClusterDirs { account, socket_dir: socket_dir(&home), home, _lock: lock })
    }

    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }
}

/// Root keeps the directory and lets only Postgres' group through it, so that
/// Postgres cannot swap the log or the data under a host that is root.
fn own_home(home: &Path, account: &Account) -> Result<()> {
    let cannot = || format!("cannot take possession of {}", home.display());
    if let Err(error) = DirBuilder::new().mode(0o700).create(home)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error).with_context(cannot);
    }
    let found = fs::symlink_metadata(home).with_context(cannot)?;
    if found.is_dir() && found.uid() == account.uid {
        // An unprivileged user's, who shall still get in after a `sudo shema`.
        return fs::set_permissions(home, Permissions::from_mode(0o700)).with_context(cannot);
    }
    ensure!(account.other && found.is_dir() && found.uid() == 0, "{} belongs to another user", home.display());
    chown(home, None, Some(account.gid)).with_context(cannot)?;
    fs::set_permissions(home, Permissions::from_mode(0o710)).with_context(cannot)
}

/// Without it a second host would adopt the first one's postmaster, and lose
/// it when the first host ends. The kernel frees it however a host dies.
fn lock(home: &Path) -> Result<File> {
    let file = File::open(home).with_context(|| format!("cannot open {}", home.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another shema uses this data directory ({})", home.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", home.display())),
    }
}

/// The usual one is made anew at each start, lest it belong to the user that
/// an earlier start chose; one under `/tmp` could be anybody's.
pub fn make_socket_dir(dirs: &ClusterDirs) -> Result<()> {
    let dir = &dirs.socket_dir;
    if dir.starts_with(&dirs.home) {
        remove_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    dirs.account.own_dir(dir)
}

fn socket_dir(home: &Path) -> PathBuf {
    let dir = home.join("socket");
    if dir.join(SOCKET_NAME).as_os_str().len() > MAX_SOCKET_PATH {
        return Path::new("/tmp").join(short_name(home));
    }
    dir
}

/// Tries for a second: a dying process may still be adding files.
pub fn remove_all(dir: &Path) -> io::Result<()> {
    let mut tries = 20;
    loop {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) if tries > 0 => tries -= 1,
            result => return result,
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The same for a path in every run and every build, so a hash of our own
/// (FNV-1a, 64 bits): the standard library's may change with the compiler.
fn short_name(path: &Path) -> String {
    let hash =
        path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("shema-{hash:016x}")
}
