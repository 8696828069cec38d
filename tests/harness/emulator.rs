//! Firebase's own Auth emulator, from npm.

use super::{TIMEOUT, root, say, scratch_dir, services::installed, spawn};
use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Instant,
};

/// Pinned, so that a test of today is a test of tomorrow.
const PACKAGE: &str = "firebase-tools@15.34.2";

/// One emulator for one project. It needs Node and nothing else.
pub struct Emulator {
    /// `host:port`, for `FIREBASE_AUTH_EMULATOR_HOST`.
    pub address: String,
    child: Child,
}

impl Emulator {
    pub fn start(project: &str) -> Emulator {
        let dir = scratch_dir("firebase");
        // All are bound at the same time, so that the ports differ, and freed for the
        // emulator.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [port, hub, logging] = listeners.each_ref().map(|one| one.local_addr().expect("an address").port());
        let config = serde_json::json!({ "emulators": {
            "auth": { "host": "127.0.0.1", "port": port },
            "hub": { "host": "127.0.0.1", "port": hub },
            "logging": { "host": "127.0.0.1", "port": logging },
            "ui": { "enabled": false },
        } });
        fs::write(dir.join("firebase.json"), config.to_string()).expect("firebase.json");
        let script = tools();
        drop(listeners);

        let mut command = Command::new(installed(&["node"], "nodejs"));
        command.current_dir(&dir).arg(script).args(["emulators:start", "--only", "auth", "--project", project]);
        // Its settings and its log go to the scratch directory; `CI` turns questions off.
        command.env("HOME", &dir).env("CI", "1");
        let log = fs::File::create(dir.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = spawn(command);

        // It loads many packages before it listens.
        let until = Instant::now() + 3 * TIMEOUT;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().expect("it can be waited for").is_some();
            let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(!ended && Instant::now() < until, "the Firebase emulator does not start:\n{}", log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Emulator { address: format!("127.0.0.1:{port}"), child }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The emulator's program, installed beside the builds where it is missing.
fn tools() -> &'static PathBuf {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let dir = root().join("target/firebase");
        // npm writes this last: if it exists, the installation is complete.
        let (done, script) =
            (dir.join("node_modules/.bin/firebase"), dir.join("node_modules/firebase-tools/lib/bin/firebase.js"));
        if !done.exists() {
            say(&format!("Installing the Firebase emulator for the tests: npm install {PACKAGE} …"));
            fs::create_dir_all(&dir).expect("a directory");
            fs::write(dir.join("package.json"), r#"{ "private": true }"#).expect("package.json");
            let mut npm = Command::new(installed(&["npm"], "npm"));
            npm.current_dir(&dir).args(["install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]);
            let installed = npm.stdout(Stdio::null()).status().expect("npm runs").success();
            assert!(installed && done.exists(), "the tests need {PACKAGE} in {}", dir.display());
        }
        script
    })
}
