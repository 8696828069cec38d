//! A checkout of its own for tests of what changes one: the workspace with the
//! SDK and without the domains, so that little has to be built.

use super::root;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub struct Checkout {
    pub dir: PathBuf,
}

impl Checkout {
    /// The place is the same in each run, and so are the times of the files:
    /// what an earlier run has compiled is used again.
    pub fn new(name: &str) -> Checkout {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("components")).expect("a directory");
        for path in ["Cargo.toml", "Cargo.lock", "rustfmt.toml", "wit", "components/sdk"] {
            let copied = Command::new("cp").arg("-a").arg(root().join(path)).arg(dir.join(path)).status();
            assert!(copied.expect("cp runs").success(), "{path}");
        }
        for path in ["host", "tests"] {
            symlink(root().join(path), dir.join(path)).expect("a link");
        }
        Checkout { dir }
    }

    /// A program in this checkout. Dependencies are compiled once, for the
    /// repository and for this.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().args(arguments).stdin(Stdio::null());
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
        command.env("CARGO_TARGET_DIR", target);
        command
    }

    pub fn shema(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_shema"), arguments)
    }
}
