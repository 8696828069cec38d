//! Rules of `wit/` that keep guests of every language out of trouble. Each was
//! met with a real tool chain; `wit/README.md` tells which.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// As parameters or bare results they arrive as other numbers in JavaScript when
/// they are negative or large.
const FRAGILE: [&str; 2] = ["s64", "u32"];

/// A line of a package that declares something, and the resource that it is in.
struct Declaration<'a> {
    line: &'a str,
    before: &'a str,
    resource: Option<&'a str>,
}

fn declarations(text: &str) -> Vec<Declaration<'_>> {
    let (mut found, mut before, mut resource) = (Vec::new(), "", None);
    for line in text.lines().map(str::trim_end) {
        let code = line.trim_start();
        let is_function = code.contains(": func(") || code.contains(": static func(");
        let is_type = ["interface ", "record ", "variant ", "enum ", "flags ", "resource ", "type "]
            .iter()
            .any(|word| code.starts_with(word));
        if is_function || is_type {
            found.push(Declaration { line: code, before: before.trim_start(), resource });
        }
        if let Some(rest) = code.strip_prefix("resource ") {
            resource = rest.split([' ', '{', ';']).next();
        } else if line == "  }" {
            resource = None;
        }
        before = line;
    }
    found
}

/// What breaks a rule in one package, in sentences.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for Declaration { line, before, resource } in declarations(text) {
        if !before.starts_with("@since(") {
            faults.push(format!("no @since: {line}"));
        }
        let Some((name, signature)) = line.split_once(": ").filter(|(_, rest)| rest.contains("func(")) else {
            continue;
        };
        let (params, result) = signature.split_once("func(").unwrap_or_default().1.rsplit_once(')').unwrap_or_default();
        let params = params.split(", ").filter_map(|param| param.split_once(": "));
        let types = params.map(|(_, kind)| kind).chain([result.trim_start_matches(" -> ").trim_end_matches(';')]);
        for kind in types {
            if FRAGILE.contains(&kind) {
                faults.push(format!("a bare {kind}: {line}"));
            }
            if resource == Some(kind) && signature.starts_with("static ") {
                faults.push(format!("takes the resource away from the guest, whose drop then fails: {line}"));
            }
        }
        if resource.is_some() && name == "handle" {
            faults.push(format!("a method that Python's bindings hide: {line}"));
        }
    }
    faults
}

/// Names of interfaces that more than one package has.
fn shared_names<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        for Declaration { line, .. } in declarations(text) {
            if let Some(rest) = line.strip_prefix("interface ") {
                *count.entry(rest.trim_end_matches(" {").to_owned()).or_default() += 1;
            }
        }
    }
    count.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

fn packages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/deps");
    let directories = fs::read_dir(root).expect("wit/deps").map(|entry| entry.expect("an entry").path());
    let files = directories.flat_map(|directory| fs::read_dir(directory).expect("a package"));
    files
        .map(|file| file.expect("a file").path())
        .map(|path| (path.clone(), fs::read_to_string(path).expect("a text")))
        .collect()
}

#[test]
fn every_package_keeps_the_rules() {
    let packages = packages();
    assert!(packages.len() >= 10, "the packages were not found");
    let faults: Vec<String> = packages
        .iter()
        .flat_map(|(path, text)| faults(text).into_iter().map(|fault| format!("{}: {fault}", path.display())))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_two_packages_have_an_interface_of_one_name() {
    let packages = packages();
    assert_eq!(shared_names(packages.iter().map(|(_, text)| text.as_str())), Vec::<String>::new());
}

#[test]
fn each_rule_refuses_what_it_is_there_for() {
    let refused = [
        ("interface a {\n", "no @since"),
        ("  @since(version = 0.1.0)\n  f: func(by: s64) -> string;", "a bare s64"),
        ("  @since(version = 0.1.0)\n  f: func(a: string, n: u32);", "a bare u32"),
        ("  @since(version = 0.1.0)\n  f: func() -> s64;", "a bare s64"),
        ("  f: func();", "no @since"),
        (
            "  @since(version = 0.1.0)\n  resource r {\n    @since(version = 0.1.0)\n    end: static func(r: r);\n  }",
            "takes the resource away",
        ),
        (
            "  @since(version = 0.1.0)\n  resource r {\n    @since(version = 0.1.0)\n    handle: func();\n  }",
            "a method that Python's",
        ),
    ];
    for (text, expected) in refused {
        assert!(faults(text).iter().any(|fault| fault.starts_with(expected)), "{text}: {:?}", faults(text));
    }
    let fine = "  @since(version = 0.1.0)\n  f: func(by: s32, at: u64) -> result<s64, error>;";
    assert_eq!(faults(fine), Vec::<String>::new());
    let outside = "  @since(version = 0.1.0)\n  handle: func(request: request) -> response;";
    assert_eq!(faults(outside), Vec::<String>::new());
    assert_eq!(shared_names(["interface types {", "interface types {"].into_iter()), ["types"]);
}
