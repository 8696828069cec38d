//! The commands that ask a running host, and those that need none: what they
//! print, and how they fail.

use crate::harness::{Checkout, Host, scratch_dir, setup, shared, signal, spawn};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// `shema` in a directory where nothing is, with an environment of its own.
fn shema(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shema"));
    command.current_dir(scratch_dir("cli")).env_clear().args(arguments).stdin(Stdio::null());
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// The same, told which host to ask as on the host's own machine.
fn shema_of(host: &Host, arguments: &[&str]) -> Command {
    let mut command = shema(arguments);
    command.env("SHEMA_DATA_DIR", &host.data_dir);
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("shema runs")
}

#[track_caller]
fn done(command: Command) -> String {
    let output = output(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code 1 and one sentence, which is returned.
#[track_caller]
fn fails(command: Command) -> String {
    let output = output(command);
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    error.trim_end().strip_prefix("shema: ").unwrap_or_else(|| panic!("who says this? {error}")).to_owned()
}

#[test]
fn a_command_without_a_host_says_where_it_has_looked() {
    let said = fails(shema(&["status"]));
    let expected = "no host runs here: there is no .shema/listen.json; \
                    start one with `shema serve` or set SHEMA_CONTROL_URL";
    assert_eq!(said, expected);

    let mut gone = shema(&["rollback", "course"]);
    gone.env("SHEMA_CONTROL_URL", "http://127.0.0.1:1").env("SHEMA_CONTROL_TOKEN", "any");
    let expected = "no host answers at http://127.0.0.1:1, which is the address in SHEMA_CONTROL_URL: has it ended?";
    assert_eq!(fails(gone), expected);

    let mut wrong = shema(&["logs"]);
    wrong.env("SHEMA_CONTROL_URL", "localhost").env("SHEMA_CONTROL_TOKEN", "any");
    assert_eq!(fails(wrong), "SHEMA_CONTROL_URL: `localhost` is not an address such as http://127.0.0.1:3001");

    let missing = fails(shema(&["deploy", "course", "missing.wasm"]));
    assert!(missing.starts_with("cannot read missing.wasm"), "{missing}");
}

#[test]
fn the_token_goes_to_the_host_that_it_is_of() {
    let host = shared();
    let mut other = shema_of(host, &["logs"]);
    other.env("SHEMA_CONTROL_URL", "http://127.0.0.1:1");
    let said = fails(other);
    assert!(said.starts_with("SHEMA_CONTROL_URL is set and SHEMA_CONTROL_TOKEN is not"), "{said}");

    let mut wrong = shema_of(host, &["logs"]);
    wrong.env("SHEMA_CONTROL_TOKEN", "wrong");
    let expected = format!("the host at {} refuses the control token of SHEMA_CONTROL_TOKEN", host.control);
    assert_eq!(fails(wrong), expected);

    let mut given = shema(&["logs"]);
    given.env("SHEMA_CONTROL_URL", format!("{}/", host.control)).env("SHEMA_CONTROL_TOKEN", &host.control_token);
    done(given);
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let wrong: [&[&str]; 7] = [
        &["frobnicate"],
        &["deploy", "course"],
        &["deploy", "course", "course.wasm", "--canary", "100"],
        &["deploy", "course", "course.wasm", "--canary", "5", "--no-activate"],
        &["activate", "course"],
        &["activate", "course", "abcdef012345", "--weight", "0"],
        &["status", "course"],
    ];
    for arguments in wrong {
        assert_eq!(output(shema(arguments)).status.code(), Some(2), "{arguments:?}");
    }
    for command in ["serve", "build", "new", "deploy", "activate", "rollback", "status", "logs", "migrate"] {
        assert!(done(shema(&[command, "--help"])).contains("Usage: shema"), "{command}");
    }
}

#[test]
fn a_new_component_builds_is_in_order_and_passes_its_test() {
    let checkout = Checkout::new("new");
    let steps = done(checkout.shema(&["new", "two-words"]));
    assert!(steps.contains("shema deploy two-words target/components/two-words.wasm"), "{steps}");

    done(checkout.shema(&["build", "two-words"]));
    let artifact = std::fs::read(checkout.dir.join("target/components/two-words.wasm")).expect("an artifact");
    assert!(artifact.starts_with(b"\0asm"));
    let tested = done(checkout.command("cargo", &["test", "--quiet", "-p", "two-words"]));
    assert!(tested.contains("1 passed"), "{tested}");
    done(checkout.command("cargo", &["fmt", "--all", "--check"]));

    for (name, why) in [
        ("two-words", "components/two-words is there already"),
        ("sdk", "components/sdk is there already"),
        ("serde", "the workspace has a package `serde` already, which cargo could not tell apart"),
        ("host", "the workspace has a package `host` already, which cargo could not tell apart"),
    ] {
        assert_eq!(fails(checkout.shema(&["new", name])), why);
    }
    for name in ["Course", "a_b", "a--b", "1a", "a-", "../a", "", &"a".repeat(41)] {
        let said = fails(checkout.shema(&["new", name]));
        assert!(said.starts_with(&format!("`{name}` is no name for a component")), "{said}");
    }
    assert_eq!(fails(shema(&["new", "thing"])), "`shema new` runs in the root of a source checkout");
}

#[test]
fn a_broken_file_of_the_host_does_not_stop_a_client() {
    let host = shared();
    let mut command = shema_of(host, &["logs"]);
    let file = scratch_dir("cli").join("host.toml");
    std::fs::write(&file, "no toml").expect("a file");
    command.env("SHEMA_CONFIG", file).env("SHEMA_LISTEN", "nowhere");
    done(command);
}

#[tokio::test]
async fn logs_are_of_one_component_or_of_all_and_can_be_followed() {
    let host = shared();
    host.api().get("/api/courses").await;
    host.api().probe(json!([{ "op": "log", "value": "said to the test" }])).await;
    let of = |lines: &str| -> Vec<String> {
        let parse = |line| serde_json::from_str::<Value>(line).expect("JSON");
        lines.lines().map(|line| parse(line)["component"].as_str().expect("a component").to_owned()).collect()
    };
    assert!(done(shema_of(host, &["logs", "probe"])).contains(r#""message":"said to the test 0""#));
    let course = of(&done(shema_of(host, &["logs", "course"])));
    assert!(!course.is_empty() && course.iter().all(|name| name.starts_with("course")), "{course:?}");
    let all = of(&done(shema_of(host, &["logs"])));
    assert!(all.iter().any(|name| name.starts_with("probe")) && all.len() > course.len(), "{all:?}");
    assert_eq!(fails(shema_of(host, &["logs", "coures"])), "There is no component `coures`");

    let mut follow = shema_of(host, &["logs", "course", "--follow"]);
    follow.stdout(Stdio::piped());
    let mut child = spawn(follow);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // The oldest line has come, so it reads; then a new one does.
    lines.next().expect("a line").expect("text");
    let id = "followed-by-the-test";
    host.api().with_header("x-request-id", id).get("/api/courses/active").await;
    let found = tokio::task::spawn_blocking(move || lines.map_while(Result::ok).find(|line| line.contains(id)));
    let found: Value = serde_json::from_str(&found.await.expect("no panic").expect("a line")).expect("JSON");
    assert_eq!((&found["route"], &found["status"]), (&"/api/courses/active".into(), &200.into()));
    signal(child.id(), nix::sys::signal::Signal::SIGINT);
    assert!(child.wait().expect("reaped").success());
}

#[tokio::test]
async fn who_follows_the_logs_does_not_hold_up_the_end_of_the_host() {
    let host = Host::start(setup());
    host.api().get("/api/courses").await;
    let mut follow = shema_of(&host, &["logs", "--follow"]);
    follow.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(follow);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next().expect("a line").expect("text");
    let started = Instant::now();
    assert_eq!(host.stop(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let ended = child.wait_with_output().expect("reaped");
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "shema: the host has stopped\n");
}
