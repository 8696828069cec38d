//! What the folders promise, read from the sources: who may import whom, and what
//! stands in one place only. The rules are functions over a path and a text, so
//! that each can be seen to refuse what it is there for.
//!
//! - `contract`: the same for the packages of `wit/`.

mod contract;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The floors of `host/src`, from the ground up; `host/src/lib.rs` says what each
/// may know. The first two and `services` are crates of their own.
const FLOORS: [&[&str]; 9] = [
    &["config", "embedded", "builder"],
    &["telemetry"],
    &["services"],
    &["capability"],
    &["runtime"],
    &["deploy"],
    &["gateway"],
    &["welcome", "app"],
    &["cli"],
];

/// The only files that generate bindings.
const BINDINGS: [&str; 2] = ["host/src/capability/bindings.rs", "components/sdk/src/bindings.rs"];

/// What the components are about. `/chat-demo` and the like are the operator's to
/// name, in `host.toml`.
const DOMAIN_WORDS: [&str; 14] = [
    "academy",
    "attendance",
    "booking",
    "bookings",
    "chat",
    "chats",
    "course",
    "courses",
    "enrollment",
    "enrollments",
    "instructor",
    "instructors",
    "lesson",
    "student",
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The first segment of a path below `host/src`, without `.rs`.
fn module_of(path: &str) -> &str {
    let first = path.strip_prefix("host/src/").unwrap_or(path).split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Modules of the crate that a file names: `crate::x` anywhere, and each `x` of a
/// `use crate::{x::…, …}`.
fn named_modules(text: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut names: Vec<String> = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                letter if begins && !letter.is_whitespace() => {
                    names.push(word(&group[at..]));
                    begins = false;
                }
                _ => (),
            }
        }
    }
    names
}

/// Imports of a file of the host from a floor above its own, or beside it.
fn climbing_imports(path: &str, text: &str) -> Vec<String> {
    let own = module_of(path);
    let Some(rank) = floor(own) else { return vec![format!("{path} stands on no floor")] };
    let climbs = |name: &&String| *name != own && floor(name).is_some_and(|other| other > rank);
    named_modules(text)
        .iter()
        .filter(climbs)
        .map(|name| format!("{path} imports crate::{name}, which is above"))
        .collect()
}

/// Bindings outside of the two files that have them.
fn stray_bindings(path: &str, text: &str) -> bool {
    let generates = text.lines().filter(|line| !is_comment(line));
    let generates =
        generates.into_iter().any(|line| line.contains("bindgen!(") || line.contains("bindgen::generate!("));
    generates && !BINDINGS.contains(&path)
}

/// The environment read outside of `host/config`.
fn reads_environment(path: &str, text: &str) -> bool {
    let reads = ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("];
    !path.starts_with("host/config/") && reads.iter().any(|read| text.contains(read))
}

/// Statements outside of a component's `store.rs`.
fn stray_sql(path: &str, text: &str) -> bool {
    let names_sql = text.contains("sql!(") || text.contains("include_str!(\"../sql/") || text.contains(".sql\")");
    names_sql && !path.ends_with("/src/store.rs")
}

/// Words of a domain in the host, comments included.
fn domain_words(text: &str) -> Vec<&'static str> {
    let words = || text.split(|letter: char| !letter.is_alphabetic());
    let present = |domain: &&&'static str| words().any(|word| word.eq_ignore_ascii_case(domain));
    DOMAIN_WORDS.iter().filter(present).copied().collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Paths from the root, and texts, of all Rust files below some directories.
fn sources(directories: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut open: Vec<PathBuf> = directories.iter().map(|directory| root.join(directory)).collect();
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a text")));
            }
        }
    }
    assert!(!found.is_empty(), "nothing was read: {directories:?}");
    found
}

#[test]
fn no_module_of_the_host_imports_from_above() {
    let host = sources(&["host/src"]);
    let house = |(path, _): &&(String, String)| !["host/src/lib.rs", "host/src/main.rs"].contains(&path.as_str());
    let climbing: Vec<String> =
        host.iter().filter(house).flat_map(|(path, text)| climbing_imports(path, text)).collect();
    assert!(climbing.is_empty(), "{climbing:#?}");
}

#[test]
fn bindings_are_generated_in_two_files() {
    let all = sources(&["host", "components"]);
    let stray: Vec<&String> =
        all.iter().filter(|(path, text)| stray_bindings(path, text)).map(|(path, _)| path).collect();
    assert!(stray.is_empty(), "{stray:?}");
    for path in BINDINGS {
        assert!(all.iter().any(|(other, _)| other == path), "{path} is gone: this test looks for the wrong file");
    }
}

#[test]
fn only_config_reads_the_environment() {
    let host = sources(&["host/src", "host/config/src", "host/embedded/src", "host/services/src"]);
    let stray: Vec<&String> =
        host.iter().filter(|(path, text)| reads_environment(path, text)).map(|(path, _)| path).collect();
    assert!(stray.is_empty(), "{stray:?}");
}

#[test]
fn only_a_store_names_sql() {
    let components = sources(&["components"]);
    // The SDK has the macros; examples have no store.
    let components = components.iter().filter(|(path, _)| !path.starts_with("components/sdk/"));
    let stray: Vec<&String> = components.filter(|(path, text)| stray_sql(path, text)).map(|(path, _)| path).collect();
    assert!(stray.is_empty(), "{stray:?}");
}

#[test]
fn the_host_names_no_domain() {
    let host = sources(&["host/src", "host/config/src", "host/embedded/src", "host/services/src"]);
    let named = host.iter().filter_map(|(path, text)| {
        let words = domain_words(text);
        (!words.is_empty()).then(|| format!("{path}: {}", words.join(", ")))
    });
    let named: Vec<String> = named.collect();
    assert!(named.is_empty(), "{named:#?}");
}

/// The rules refuse what they are there for.
mod rules {
    use super::*;

    #[test]
    fn an_import_from_above_is_refused_however_it_is_written() {
        for text in [
            "use crate::gateway::http::Gateway;",
            "use crate::{config::Config, deploy::Deployer, gateway};",
            "use crate::{\n    config::{self, Config},\n    gateway::{\n        http::Gateway,\n    },\n};",
            "fn now() -> String {\n    crate::gateway::http::now()\n}",
            "/// See [`x`](crate::gateway::http).",
        ] {
            let climbing = climbing_imports("host/src/runtime/pool.rs", text);
            assert!(climbing.iter().any(|import| import.ends_with("crate::gateway, which is above")), "{text}");
        }
        for text in
            ["use crate::capability::Call;", "use crate::{services::{gateway}, config::cli};", "use gateway::x;"]
        {
            assert_eq!(climbing_imports("host/src/runtime/pool.rs", text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(climbing_imports("host/src/attic/pool.rs", "").len(), 1, "a folder without a floor");
    }

    #[test]
    fn what_has_its_own_place_is_refused_elsewhere() {
        assert!(stray_bindings("host/src/runtime.rs", "wasmtime::component::bindgen!({"));
        assert!(stray_bindings("components/cs/src/lib.rs", "wit_bindgen::generate!({"));
        assert!(!stray_bindings(BINDINGS[0], "wasmtime::component::bindgen!({"));
        assert!(!stray_bindings("host/src/runtime.rs", "//! Only two files run `bindgen!(…)`."));
        assert!(reads_environment("host/src/app.rs", "std::env::var(\"HOME\")"));
        assert!(!reads_environment("host/config/src/lib.rs", "std::env::var(\"HOME\")"));
        assert!(stray_sql("components/cs/src/handlers.rs", "include_str!(\"../sql/find.sql\")"));
        assert!(!stray_sql("components/cs/src/store.rs", "include_str!(\"../sql/find.sql\")"));
        assert_eq!(domain_words("/// A Course, of course; recourse is none."), ["course"]);
        assert_eq!(domain_words("chatter"), Vec::<&str>::new());
    }
}
