//! The guest in JavaScript, made into a component by its own tool chain.

use super::{root, say, services::installed};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Its sources. The first pins the versions of the npm packages, one of which is only
/// there because another imports it without declaring it.
const SOURCES: [&str; 4] = ["package.json", "build.mjs", "guest.js", "wit/world.wit"];

/// The component of `tests/fixtures/foreign-js`, built if it is missing or if its
/// sources have changed.
pub fn javascript_guest() -> &'static PathBuf {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let (from, dir) = (root().join("tests/fixtures/foreign-js"), root().join("target/foreign-js"));
        let guest = dir.join("guest.wasm");
        let read = |file: PathBuf| fs::read(file).ok();
        if guest.exists() && SOURCES.iter().all(|source| read(from.join(source)) == read(dir.join(source))) {
            return guest;
        }
        let _ = fs::remove_file(&guest);
        fs::create_dir_all(dir.join("wit")).expect("a directory");
        for source in SOURCES {
            fs::copy(from.join(source), dir.join(source)).expect("a copy");
        }
        say("Building the guest in JavaScript for the tests: npm install, node build.mjs …");
        let mut npm = Command::new(installed(&["npm"], "npm"));
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]);
        let mut node = Command::new(installed(&["node"], "nodejs"));
        node.arg("build.mjs");
        for mut command in [npm, node] {
            let done = command.current_dir(&dir).stdout(Stdio::null()).status().expect("it runs").success();
            assert!(done, "{command:?} fails in {}", dir.display());
        }
        guest
    })
}
