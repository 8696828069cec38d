//! Builds components from a source checkout.
//!
//! Deliberately not a build system: cargo decides what has changed. This module
//! only knows where components lie and where the host looks for them.

mod scaffold;

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Instant, SystemTime},
};

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "component";
const OUTPUT: &str = "target/components";
/// For `shema dev`: what it makes is nobody else's.
const QUICK_PROFILE: &str = "component-dev";
pub const QUICK_OUTPUT: &str = "target/components-dev";

/// A checkout of this repository, or of one with its layout.
pub struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// None: the current directory is not the root of a checkout.
    pub fn here() -> Option<Checkout> {
        let root = PathBuf::from(".");
        let is_one = root.join("Cargo.toml").is_file() && root.join("components/sdk/Cargo.toml").is_file();
        is_one.then_some(Checkout { root })
    }

    /// Names of all components: the directories beside the SDK.
    pub fn components(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join("components")).context("cannot list components/")? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "sdk" && entry.path().join("Cargo.toml").is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Those whose artifact is missing or older than what it is made of.
    pub fn stale(&self, names: &[String]) -> Vec<String> {
        let shared = ["components/sdk", "wit", "Cargo.toml", "Cargo.lock"].map(|path| newest(&self.root.join(path)));
        let shared = shared.into_iter().max().flatten();
        let is_stale = |name: &&String| {
            let built = self.artifact(name).metadata().and_then(|artifact| artifact.modified()).ok();
            built.is_none_or(|built| Some(built) < shared.max(newest(&self.root.join("components").join(name))))
        };
        names.iter().filter(is_stale).cloned().collect()
    }

    fn artifact(&self, name: &str) -> PathBuf {
        self.root.join(OUTPUT).join(format!("{name}.wasm"))
    }

    /// Builds the named components with cargo, whose output goes to standard
    /// error as it comes.
    pub fn build(&self, names: &[String]) -> Result<()> {
        let known = self.components()?;
        for name in names {
            ensure!(known.contains(name), "there is no component `{name}`; there are {}", known.join(", "));
        }
        let started = Instant::now();
        let (done, artifacts) = self.run_cargo(names, &["--profile", PROFILE])?;
        ensure!(done, "the components were not built; cargo says why above");
        for name in names {
            let Some(artifact) = artifact_of(name, &artifacts) else {
                bail!("cargo has built no {name}: is it a cdylib?");
            };
            place(artifact, &self.artifact(name))?;
        }
        tracing::info!("Built {} in {:.1} s.", names.join(", "), started.elapsed().as_secs_f32());
        Ok(())
    }

    /// Builds for somebody who waits: quickly, quietly, and what can be built
    /// although something else cannot. Returns the artifacts by name.
    pub fn rebuild(&self, names: &[String]) -> Result<BTreeMap<String, PathBuf>> {
        let (_, artifacts) = self.run_cargo(names, &["--profile", QUICK_PROFILE, "--quiet", "--keep-going"])?;
        let mut built = BTreeMap::new();
        for name in names {
            if let Some(artifact) = artifact_of(name, &artifacts) {
                let target = self.root.join(QUICK_OUTPUT).join(format!("{name}.wasm"));
                place(artifact, &target)?;
                built.insert(name.clone(), target);
            }
        }
        Ok(built)
    }

    /// Whether all went well, and the artifacts that cargo names.
    fn run_cargo(&self, names: &[String], options: &[&str]) -> Result<(bool, Vec<PathBuf>)> {
        install_target()?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.root).args(["build", "--target", TARGET]).args(options);
        cargo.arg("--message-format=json-render-diagnostics");
        for name in names {
            cargo.args(["--package", name]);
        }
        let mut child =
            cargo.stdout(Stdio::piped()).spawn().context("cannot run cargo, which builds the components")?;
        let mut artifacts = Vec::new();
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines() {
                artifacts.extend(artifacts_in(&line?));
            }
        }
        Ok((child.wait()?.success(), artifacts))
    }
}

fn artifact_of<'a>(name: &str, artifacts: &'a [PathBuf]) -> Option<&'a PathBuf> {
    let file_name = format!("{}.wasm", name.replace('-', "_"));
    artifacts.iter().find(|path| path.file_name().is_some_and(|name| *name == *file_name))
}

/// Copied beside and renamed, so that nobody loads half a file; always, so
/// that its time is that of this build.
fn place(artifact: &Path, target: &Path) -> Result<()> {
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let draft = target.with_extension(format!("draft-{}", std::process::id()));
    fs::copy(artifact, &draft).with_context(|| format!("cannot copy {}", artifact.display()))?;
    fs::File::open(&draft)?.set_modified(SystemTime::now())?;
    fs::rename(&draft, target).with_context(|| format!("cannot write {}", target.display()))
}

/// Time of the latest change below a path; none where there is nothing.
fn newest(path: &Path) -> Option<SystemTime> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_dir() {
        return metadata.modified().ok();
    }
    let entries = fs::read_dir(path).ok()?.flatten();
    entries.filter_map(|entry| newest(&entry.path())).max().max(metadata.modified().ok())
}

/// The `.wasm` files in one line of cargo's JSON messages.
fn artifacts_in(line: &str) -> Vec<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let files = message.get("filenames").and_then(|files| files.as_array()).into_iter().flatten();
    let paths = files.filter_map(|file| file.as_str()).map(PathBuf::from);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect()
}

fn install_target() -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().context("cannot run rustc")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    tracing::info!("Installing Rust's target {TARGET}: rustup target add {TARGET}.");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    ensure!(
        added.is_ok_and(|status| status.success()),
        "Rust's target {TARGET} is missing and rustup could not add it: run `rustup target add {TARGET}`"
    );
    Ok(())
}
