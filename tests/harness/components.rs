//! The components that hosts under test run: those of the checkout, and the
//! fixtures. All are built once, before the first host starts.

use super::{root, say, scratch_dir};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Instant, SystemTime},
};

/// Packages in `tests/fixtures`.
const FIXTURES: [&str; 5] = ["echo", "foreign-rust-02", "foreign-rust-03", "hello", "probe"];

/// Features of `tests/fixtures/hello`, each of which makes a version of it.
const HELLO: [&str; 7] = ["bare", "endless", "flaky", "mute", "second", "sick", "slow"];

/// A directory with the components of the checkout and the probe.
pub fn components() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let probe = fixture("probe");
        let dir = scratch_dir("components");
        for entry in fs::read_dir(root().join("target/components")).expect("the components") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("a copy");
        }
        fs::copy(probe, dir.join("probe.wasm")).expect("a copy");
        dir
    })
}

/// The component of a package in `tests/fixtures`.
pub fn fixture(package: &str) -> PathBuf {
    built().join(package).with_extension("wasm")
}

/// A version of the smallest component: with one of its features, or with none.
pub fn hello(feature: &str) -> Vec<u8> {
    let name = if feature.is_empty() { "hello".to_owned() } else { format!("hello-{feature}") };
    fs::read(fixture(&name)).expect("the component is read")
}

/// The same component as another version: with a custom section that nobody
/// reads.
pub fn variant(wasm: &[u8], number: u32) -> Vec<u8> {
    let section = format!("\u{7}variant{number:08}");
    let length = u8::try_from(section.len()).expect("a short section");
    [wasm, &[0, length], section.as_bytes()].concat()
}

/// Builds everything, the components of the checkout by `shema build`; returns
/// the directory of the fixtures.
fn built() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        say("Building the components for the tests; the first time this takes a minute or two …");
        let started = Instant::now();
        let build = Command::new(env!("CARGO_BIN_EXE_shema")).current_dir(root()).arg("build").status();
        assert!(build.expect("shema runs").success(), "the components are built");
        let dir = root().join("target/fixtures");
        fs::create_dir_all(&dir).expect("a directory");
        let artifacts = build_packages(&FIXTURES, "");
        for package in FIXTURES {
            keep(package, &artifacts, &dir.join(package).with_extension("wasm"));
        }
        // One after the other, because cargo puts all of them into the same file;
        // for it each replaces the one before, so what has changed is judged here.
        let sources = ["components/sdk", "wit", "tests/fixtures/hello", "Cargo.toml", "Cargo.lock"];
        let changed = sources.into_iter().map(|path| modified(&root().join(path))).max();
        for feature in HELLO {
            let file = dir.join(format!("hello-{feature}.wasm"));
            if !file.exists() || Some(modified(&file)) < changed {
                keep("hello", &build_packages(&["hello"], feature), &file);
            }
        }
        say(&format!("… built in {} s.", started.elapsed().as_secs()));
        dir
    })
}

/// Copies the artifact of a package, in one step for whoever reads it meanwhile.
fn keep(package: &str, artifacts: &[PathBuf], file: &Path) {
    let name = format!("{}.wasm", package.replace('-', "_"));
    let artifact = artifacts.iter().find(|path| path.ends_with(&name));
    let artifact = artifact.unwrap_or_else(|| panic!("cargo names no {name}"));
    let draft = file.with_extension(std::process::id().to_string());
    fs::copy(artifact, &draft).expect("a copy");
    fs::rename(draft, file).expect("a name");
}

/// Time of the latest change to a file, or to anything in a directory.
fn modified(path: &Path) -> SystemTime {
    let own = path.metadata().and_then(|metadata| metadata.modified()).expect("a time");
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    inside.map(|entry| modified(&entry.path())).max().map_or(own, |latest| own.max(latest))
}

/// The component of an example of the SDK.
pub fn example(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| cargo_build(&["--package", "sdk", "--examples"]));
    let path = built.iter().find(|path| path.ends_with(format!("examples/{name}.wasm")));
    fs::read(path.unwrap_or_else(|| panic!("cargo names no {name}"))).expect("the component is read")
}

/// Returns the files that cargo names.
fn build_packages(packages: &[&str], features: &str) -> Vec<PathBuf> {
    let names = packages.iter().flat_map(|package| ["--package", package]);
    cargo_build(&[["--features", features].as_slice(), &names.collect::<Vec<_>>()].concat())
}

fn cargo_build(arguments: &[&str]) -> Vec<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["build", "--quiet", "--target", "wasm32-wasip2", "--profile", "component"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).args(arguments);
    let built = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(built.status.success(), "{arguments:?} are built");
    let output = String::from_utf8(built.stdout).expect("text");
    let messages = output.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let files = messages.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    files.filter_map(|file| file.as_str().map(PathBuf::from)).collect()
}
