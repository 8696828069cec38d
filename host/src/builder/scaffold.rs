//! `shema new`: a component that builds, answers and passes its test as it is.
//!
//! The workspace takes `components/*` as its members, so that nothing but the
//! new directory has to be written.

use super::Checkout;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    fs,
    process::{Command, Stdio},
};

const FILES: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../../templates/component/Cargo.toml.template")),
    ("src/lib.rs", include_str!("../../templates/component/lib.rs.template")),
    ("src/domain.rs", include_str!("../../templates/component/domain.rs.template")),
];
const NAME: &str = "{{name}}";
const MAX_LENGTH: usize = 40;

impl Checkout {
    pub fn scaffold(&self, name: &str) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let parts_are_plain = name.split('-').all(|part| !part.is_empty() && part.bytes().all(plain));
        ensure!(
            parts_are_plain && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() <= MAX_LENGTH,
            "`{name}` is no name for a component: it takes lowercase letters, digits and single dashes, \
             begins with a letter and has at most {MAX_LENGTH} of them"
        );
        let target = self.root.join("components").join(name);
        ensure!(!target.exists(), "components/{name} is there already");
        ensure!(
            !self.has_package(name)?,
            "the workspace has a package `{name}` already, which cargo could not tell apart"
        );

        // Written elsewhere and moved: cargo refuses to work while a directory of
        // components/ has no Cargo.toml.
        let draft = self.root.join("target").join(format!("new-{name}-{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(draft.join("src"))?;
            for (path, template) in FILES {
                fs::write(draft.join(path), template.replace(NAME, name))?;
            }
            fs::rename(&draft, &target)
        };
        write().with_context(|| format!("cannot write components/{name}"))
    }

    /// Whether the workspace contains it or depends on it.
    fn has_package(&self, name: &str) -> Result<bool> {
        let lock = fs::read_to_string(self.root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let lock: Lock = toml::from_str(&lock).context("cannot read Cargo.lock")?;
        // What has no source is or was a member: cargo knows which.
        let depends = lock.package.iter().any(|package| package.name == name && package.source.is_some());
        Ok(depends || self.members()?.iter().any(|member| member == name))
    }

    fn members(&self) -> Result<Vec<String>> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.root).args(["metadata", "--no-deps", "--format-version", "1"]);
        let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo cannot read the workspace; it says why above");
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo describes no workspace")?;
        Ok(metadata.packages.into_iter().map(|package| package.name).collect())
    }
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    source: Option<String>,
}
