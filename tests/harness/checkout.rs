//! A copy of the checkout for tests of commands that change one: the workspace with
//! the SDK but without the components, so that little has to be built.

use super::root;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One at a time, because there is one directory.
static TURN: Mutex<()> = Mutex::new(());

pub struct Checkout {
    pub dir: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Checkout {
    /// In the same directory in each run, so that dependencies are compiled once. It
    /// has a target directory of its own, because cargo confuses members of two
    /// workspaces that have the same path inside them.
    pub fn new() -> Checkout {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("checkout");
        fs::create_dir_all(&dir).expect("a directory");
        for path in ["components", "wit", "host", "tests"] {
            let old = dir.join(path);
            let _ = if old.is_symlink() { fs::remove_file(old) } else { fs::remove_dir_all(old) };
        }
        fs::create_dir_all(dir.join("components")).expect("a directory");
        // With new modification times: artifacts of an earlier test count as stale.
        for path in ["Cargo.toml", "Cargo.lock", "rustfmt.toml", "wit", "components/sdk"] {
            let copied = Command::new("cp").arg("-r").arg(root().join(path)).arg(dir.join(path)).status();
            assert!(copied.expect("cp runs").success(), "{path}");
        }
        for path in ["host", "tests"] {
            symlink(root().join(path), dir.join(path)).expect("a link");
        }
        Checkout { dir, _turn: turn }
    }

    /// A program in this checkout.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().args(arguments).stdin(Stdio::null());
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    pub fn shema(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_shema"), arguments)
    }
}
