//! The commands that ask a running host, and those that need none: what they
//! print, and how they fail.

use crate::harness::{Checkout, Host, fixture, scratch_dir, setup, shared, signal, spawn};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
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
fn expect_success(command: Command) -> String {
    let output = output(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code 1 and one sentence, which is returned.
#[track_caller]
fn expect_failure(command: Command) -> String {
    let output = output(command);
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    error.trim_end().strip_prefix("shema: ").unwrap_or_else(|| panic!("who says this? {error}")).to_owned()
}

#[test]
fn a_command_without_a_host_says_where_it_has_looked() {
    let said = expect_failure(shema(&["status"]));
    let expected = "no host runs here: there is no .shema/listen.json; \
                    start one with `shema serve` or set SHEMA_CONTROL_URL";
    assert_eq!(said, expected);

    let mut gone = shema(&["rollback", "course"]);
    gone.env("SHEMA_CONTROL_URL", "http://127.0.0.1:1").env("SHEMA_CONTROL_TOKEN", "any");
    let expected = "no host answers at http://127.0.0.1:1, which is the address in SHEMA_CONTROL_URL: has it ended?";
    assert_eq!(expect_failure(gone), expected);

    let mut wrong = shema(&["logs"]);
    wrong.env("SHEMA_CONTROL_URL", "localhost").env("SHEMA_CONTROL_TOKEN", "any");
    assert_eq!(expect_failure(wrong), "SHEMA_CONTROL_URL: `localhost` is not an address such as http://127.0.0.1:3001");

    let missing = expect_failure(shema(&["deploy", "course", "missing.wasm"]));
    assert!(missing.starts_with("cannot read missing.wasm"), "{missing}");
}

#[test]
fn the_token_goes_to_the_host_that_it_is_of() {
    let host = shared();
    let mut other = shema_of(host, &["logs"]);
    other.env("SHEMA_CONTROL_URL", "http://127.0.0.1:1");
    let said = expect_failure(other);
    assert!(said.starts_with("SHEMA_CONTROL_URL is set and SHEMA_CONTROL_TOKEN is not"), "{said}");

    let mut wrong = shema_of(host, &["logs"]);
    wrong.env("SHEMA_CONTROL_TOKEN", "wrong");
    let expected = format!("the host at {} refuses the control token of SHEMA_CONTROL_TOKEN", host.control);
    assert_eq!(expect_failure(wrong), expected);

    let mut given = shema(&["logs"]);
    given.env("SHEMA_CONTROL_URL", format!("{}/", host.control)).env("SHEMA_CONTROL_TOKEN", &host.control_token);
    expect_success(given);
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
    for command in ["serve", "dev", "build", "new", "deploy", "activate", "rollback", "status", "logs", "migrate"] {
        assert!(expect_success(shema(&[command, "--help"])).contains("Usage: shema"), "{command}");
    }
}

#[tokio::test]
async fn a_new_component_answers_is_in_order_and_passes_its_test() {
    let checkout = Checkout::new();
    let steps = expect_success(checkout.shema(&["new", "two-words"]));
    assert!(steps.contains("shema deploy two-words target/components/two-words.wasm"), "{steps}");

    expect_success(checkout.shema(&["build", "two-words"]));
    let artifact = checkout.dir.join("target/components/two-words.wasm");
    // As the steps say: deployed, it answers below its name.
    let host = Host::start(setup());
    let told = expect_success(shema_of(&host, &["deploy", "two-words", &text(&artifact)]));
    assert!(told.contains("two-words@") && told.contains("+ GET /api/two-words"), "{told}");
    let answer = host.api().get("/api/two-words?name=Ada").await;
    assert_eq!(answer.expect_data(200)["message"], "Hello, Ada!");
    // In the profile whose macros are compiled for `shema dev`: 13 s of computing
    // instead of 170 where nothing is built yet.
    let test = ["test", "--quiet", "--profile", "component-dev", "-p", "two-words"];
    let tested = expect_success(checkout.command("cargo", &test));
    assert!(tested.contains("1 passed"), "{tested}");
    expect_success(checkout.command("cargo", &["fmt", "--all", "--check"]));

    for (name, why) in [
        ("two-words", "components/two-words is there already"),
        ("sdk", "components/sdk is there already"),
        ("serde", "the workspace has a package `serde` already, which cargo could not tell apart"),
        ("host", "the workspace has a package `host` already, which cargo could not tell apart"),
    ] {
        assert_eq!(expect_failure(checkout.shema(&["new", name])), why);
    }
    for name in ["Course", "a_b", "a--b", "1a", "a-", "../a", "", &"a".repeat(41)] {
        let said = expect_failure(checkout.shema(&["new", name]));
        assert!(said.starts_with(&format!("`{name}` is no name for a component")), "{said}");
    }
    assert_eq!(expect_failure(shema(&["new", "thing"])), "`shema new` runs in the root of a source checkout");
}

/// The same component with another identity: a custom section says nothing.
fn variant(wasm: &[u8], mark: u8) -> Vec<u8> {
    [wasm, &[0, 3, 1, b'x', mark]].concat()
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_version_is_deployed_activated_and_taken_back() {
    let host = Host::start(setup());
    let dir = scratch_dir("cli");
    let wasm = fs::read(fixture("hello")).expect("an artifact");
    let file = |name: &str, wasm: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, wasm).expect("a file");
        text(&path)
    };
    let (one, two, three) =
        (file("1.wasm", &wasm), file("2.wasm", &variant(&wasm, 2)), file("3.wasm", &variant(&wasm, 3)));
    let run = |arguments: &[&str]| expect_success(shema_of(&host, arguments));
    let live = async || host.api().get("/hello").await.header("x-shema-component").to_owned();

    let told = run(&["deploy", "hello", &one, "--mount", "/hello"]);
    let first = live().await;
    assert!(told.contains(&first) && told.contains("live in ") && told.contains("+ GET /hello"), "{told}");
    let told = run(&["deploy", "hello", &one]);
    assert!(told.contains("already") && !told.contains("live in "), "{told}");

    let told = run(&["deploy", "hello", &two, "--no-activate"]);
    assert_eq!(live().await, first);
    let status: Value = serde_json::from_str(&run(&["status", "--json"])).expect("JSON");
    let hello = status["components"].as_array().expect("a list").iter().find(|one| one["name"] == "hello");
    let versions = &hello.expect("it is there")["versions"];
    assert_eq!([&versions[0]["state"], &versions[1]["state"]], ["ready", "live"], "{versions}");
    let by = versions[0]["deployed_by"].as_str().expect("a text");
    assert!(by.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()), "{by}");
    assert_eq!(status["health"]["database"], "up");
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(1));

    // As logs and answers write it.
    let label = format!("hello@{}", versions[0]["version"].as_str().expect("a text"));
    assert!(told.contains(&label), "{told}");
    run(&["activate", "hello", &label]);
    assert_eq!(live().await, label);
    let told = run(&["rollback", "hello"]);
    assert!(told.contains(&first), "{told}");
    assert_eq!(live().await, first);

    run(&["deploy", "hello", &three, "--canary", "10"]);
    let table = run(&["status"]);
    let row = |state: &str| table.lines().find(|line| line.contains(state) && line.contains(" %")).unwrap_or(&table);
    assert!(row("canary").contains(" 10 %"), "{table}");
    assert!(table.lines().any(|line| line.contains("live") && line.contains(" 90 %")), "{table}");
    assert!(!table.contains('\x1b'), "no colours beside a terminal");
}

#[tokio::test]
async fn what_the_host_refuses_is_said_in_its_words() {
    let host = shared();
    let not_one = scratch_dir("cli").join("not.wasm");
    fs::write(&not_one, "text").expect("a file");
    let said = expect_failure(shema_of(host, &["deploy", "course", &text(&not_one)]));
    assert!(said.contains("component") && !said.ends_with('.'), "{said}");
    assert_eq!(host.api().get("/api/courses").await.status, 200);

    assert!(expect_failure(shema_of(host, &["rollback", "nothing"])).contains("nothing"));
    assert!(expect_failure(shema_of(host, &["activate", "course", "000000000000"])).contains("000000000000"));
    let said = expect_failure(shema_of(host, &["deploy", "course", &text(&not_one), "--signature", &text(&not_one)]));
    assert!(said.ends_with("not an Ed25519 signature, which is 64 bytes or the same in base64"), "{said}");
}

#[test]
fn a_broken_file_of_the_host_does_not_stop_a_client() {
    let host = shared();
    let mut command = shema_of(host, &["logs"]);
    let file = scratch_dir("cli").join("host.toml");
    fs::write(&file, "no toml").expect("a file");
    command.env("SHEMA_CONFIG", file).env("SHEMA_LISTEN", "nowhere");
    expect_success(command);
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
    assert!(expect_success(shema_of(host, &["logs", "probe"])).contains(r#""message":"said to the test 0""#));
    let course = of(&expect_success(shema_of(host, &["logs", "course"])));
    assert!(!course.is_empty() && course.iter().all(|name| name.starts_with("course")), "{course:?}");
    let all = of(&expect_success(shema_of(host, &["logs"])));
    assert!(all.iter().any(|name| name.starts_with("probe")) && all.len() > course.len(), "{all:?}");
    assert_eq!(expect_failure(shema_of(host, &["logs", "coures"])), "There is no component `coures`");

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
    assert_eq!(host.stop(), Some(0));
    let log = host.log();
    assert!(!log.contains("still under way"), "it did not wait in vain: {log}");
    let ended = child.wait_with_output().expect("reaped");
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "shema: the host has stopped\n");
}
