//! What we build on: licences that we may use, and no crate in two versions
//! without a reason.

use crate::harness::root;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output},
};

const LICENCES: [&str; 12] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "BSL-1.0",
    "Unicode-3.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "MPL-2.0",
];

/// Crates of which our dependencies want several versions; each is theirs to
/// heal. Counted are names in `Cargo.lock`, whichever platform needs them.
const KNOWN_DUPLICATES: usize = 36;

fn output(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).current_dir(root()).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not run: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// All packages that this workspace needs on this platform, which is what we
/// ship: the host, and the components, none of which needs a package of its own
/// on `wasm32-wasip2`. cargo may not have downloaded those of other platforms.
/// Without `--offline`, because `cargo test -p host` does not download what only
/// other members need.
fn packages() -> Vec<Value> {
    let platform = output("rustc", &["--print", "host-tuple"]);
    let platform = std::str::from_utf8(&platform.stdout).expect("text").trim();
    let metadata = output("cargo", &["metadata", "--format-version", "1", "--locked", "--filter-platform", platform]);
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

/// `A OR B` is fine if one is, `A AND B` if both are (SPDX, without brackets
/// inside brackets).
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn every_dependency_has_a_licence_that_we_may_use() {
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} ({})", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn duplicates_do_not_grow_unseen() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let lock: toml::Table = lock.parse().expect("TOML");
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("a list") {
        let text = |key: &str| package[key].as_str().expect("a text");
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    assert!(versions.len() > 100, "{} crates are too few to be all", versions.len());
    let duplicates: Vec<_> = versions.into_iter().filter(|(_, versions)| versions.len() > 1).collect();
    let count = duplicates.len();
    assert!(count <= KNOWN_DUPLICATES, "{count} crates in several versions: {duplicates:?}");
}
