//! Components of the `wasi:http` worlds, as the host runs them: what they see,
//! what they cannot reach, and that one that fails harms nobody else.

use crate::harness::{TIMEOUT, fixture, javascript_guest, until};
use axum::{body::Body, extract::State, http::Request, response::IntoResponse, response::Response};
use bytes::Bytes;
use host::{
    capability::http_client::Grant,
    config::Limits,
    gateway::http::wasi_http::{self as gateway, Origin},
    runtime::{
        Version,
        call::Failure,
        description::Description,
        engine,
        stats::Stats,
        version::{Parts, Runner},
        version_id::VersionId,
        wasi_http::{self as foreign, WasiHttp, World},
    },
    services::http_client::Client,
    telemetry::operator_events::OperatorEvents,
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, Once},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

const RUST_02: &str = "foreign-rust-02";
const RUST_03: &str = "foreign-rust-03";
const JAVASCRIPT: &str = "foreign-js";
const ALL: [&str; 3] = [RUST_02, RUST_03, JAVASCRIPT];
/// Those that do everything.
const BOTH: [&str; 2] = [RUST_02, RUST_03];

/// A deadline for what is not meant to reach it.
const LONG: Duration = TIMEOUT;
/// One that is reached: short, but long enough for the headers on a busy machine.
const SHORT: Duration = Duration::from_secs(3);

static ENGINE: LazyLock<Engine> = LazyLock::new(|| engine::start(engine::Kind::WasiHttp).expect("an engine"));
static LINKER: LazyLock<Linker<foreign::State>> = LazyLock::new(|| foreign::linker(&ENGINE).expect("a linker"));

fn file(name: &str) -> PathBuf {
    if name == JAVASCRIPT { javascript_guest().clone() } else { fixture(name) }
}

/// Each is built and compiled once per run.
fn component(name: &str) -> Component {
    static BUILT: Mutex<Option<HashMap<String, Component>>> = Mutex::new(None);
    let mut built = BUILT.lock().expect("no panic");
    let built = built.get_or_insert_default();
    built
        .entry(name.to_owned())
        .or_insert_with(|| Component::from_file(&ENGINE, file(name)).expect("a component"))
        .clone()
}

fn limits() -> Limits {
    Limits {
        deadline_ms: 0,
        max_calls: 4,
        max_wait_ms: 60_000,
        memory_mib: 32,
        reuse: 1000,
        recycle_above_mib: 16,
        max_response_kib: 256,
        connections: 0,
        statement_timeout_ms: 0,
        max_rows: 0,
        max_result_kib: 0,
    }
}

fn guest_with(name: &str, limits: Limits, deadline: Duration, origins: Vec<String>) -> WasiHttp {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let component = component(name);
    let world = World::of(&component, &ENGINE).expect("a world of wasi:http");
    let outbound = Grant { origins, client: Client::new().expect("a client") };
    WasiHttp::new(&LINKER, &component, world, limits, deadline, outbound, name).expect("it can be linked")
}

fn guest(name: &str) -> WasiHttp {
    guest_with(name, limits(), LONG, Vec::new())
}

fn get(path: &str) -> Request<Bytes> {
    let request = Request::get(format!("http://guests.example{path}")).header("x-shema-mount", "/mount");
    request.body(Bytes::new()).expect("a request")
}

async fn ask(foreign: &WasiHttp, path: &str) -> Result<Response, Failure> {
    foreign.call(get(&format!("/mount{path}"))).await
}

async fn text(response: Response) -> Result<String, axum::Error> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.into()).expect("text"))
}

/// Status and text of an answer that is whole.
async fn fetch(foreign: &WasiHttp, path: &str) -> (u16, String) {
    let response = ask(foreign, path).await.expect("an answer");
    (response.status().as_u16(), text(response).await.expect("the whole body"))
}

async fn json_of(foreign: &WasiHttp, path: &str) -> Value {
    serde_json::from_str(&fetch(foreign, path).await.1).expect("JSON")
}

async fn trap(foreign: &WasiHttp, path: &str) -> String {
    match ask(foreign, path).await {
        Err(Failure::Trap(words)) => words,
        other => panic!("{path} traps, and does not give {other:?}"),
    }
}

async fn expect_working(foreign: &WasiHttp) {
    assert_eq!(fetch(foreign, "/hello").await.0, 200);
}

#[test]
fn the_engine_of_a_component_is_known_before_it_is_compiled() {
    for name in ALL {
        let wasm = std::fs::read(file(name)).expect("a component");
        assert_eq!(engine::Kind::of(&wasm), engine::Kind::WasiHttp, "{name}");
    }
    let wasm = std::fs::read(fixture("probe")).expect("a component");
    assert_eq!(engine::Kind::of(&wasm), engine::Kind::Typed);
    assert_eq!(engine::Kind::of(&wasm[..wasm.len() / 2]), engine::Kind::WasiHttp);
    assert_eq!(engine::Kind::of(b""), engine::Kind::WasiHttp);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_both_worlds_answer_in_whatever_language() {
    for (name, world, greeting) in [
        (RUST_02, World::Http02, "hello from Rust, wasi:http 0.2\n"),
        (RUST_03, World::Http03, "hello from Rust, wasi:http 0.3\n"),
        (JAVASCRIPT, World::Http02, "hello from JavaScript, wasi:http 0.2\n"),
    ] {
        assert_eq!(World::of(&component(name), &ENGINE), Some(world));
        let foreign = guest(name);
        foreign.probe().await.expect("it can be instantiated");
        assert_eq!(fetch(&foreign, "/hello").await, (200, greeting.to_owned()));
        assert_eq!(fetch(&foreign, "/nowhere").await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_the_request_as_the_client_sent_it() {
    for name in ALL {
        let foreign = guest(name);
        let body = "x".repeat(100_000);
        let request = Request::post("http://guests.example:8080/mount/echo/a%20b?c=d&c=%20")
            .header("x-shema-mount", "/mount")
            .header("x-mine", "1")
            .header("x-mine", "2")
            .body(Bytes::from(body.clone()))
            .expect("a request");
        let echo = text(foreign.call(request).await.expect("an answer")).await.expect("the whole body");
        let mut echo: Value = serde_json::from_str(&echo).expect("JSON");
        assert_eq!(echo["body"].take(), body, "{name}");
        echo["headers"].as_array_mut().expect("headers").sort_by_key(Value::to_string);
        // JavaScript joins what is there twice.
        let mine =
            if name == JAVASCRIPT { json!([["x-mine", "1, 2"]]) } else { json!([["x-mine", "1"], ["x-mine", "2"]]) };
        let mut headers = mine.as_array().expect("headers").clone();
        headers.push(json!(["x-shema-mount", "/mount"]));
        let expected = json!({
            "method": "POST",
            "target": "/mount/echo/a%20b?c=d&c=%20",
            "authority": "guests.example:8080",
            "headers": headers,
            "body": null,
        });
        assert_eq!(echo, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_as_many_calls_as_its_world_and_the_operator_allow() {
    async fn counts(foreign: &WasiHttp) -> Vec<Value> {
        let mut counts = Vec::new();
        for _ in 0..8 {
            counts.push(json_of(foreign, "/calls").await);
        }
        counts
    }
    // An instance is ready again shortly after its answer, not with it.
    let reused = counts(&guest(RUST_03)).await;
    assert!(reused.contains(&json!(2)), "{reused:?}");
    let once = Limits { reuse: 1, ..limits() };
    assert_eq!(counts(&guest_with(RUST_03, once, LONG, Vec::new())).await, vec![json!(1); 8]);
    // Guests of 0.2 are made to answer once; JavaScript's fail at the second call.
    for name in [RUST_02, JAVASCRIPT] {
        assert_eq!(counts(&guest(name)).await, vec![json!(1); 8], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_fails_one_call_and_says_what_the_guest_said_last() {
    for name in BOTH {
        let foreign = guest(name);
        for _ in 0..3 {
            let words = trap(&foreign, "/trap").await;
            assert!(words.contains("trapped as asked") && words.contains("unreachable"), "{name}: {words}");
            expect_working(&foreign).await;
        }
    }
    let foreign = guest(RUST_02);
    for (path, expected) in [("/exit", "exit status 1"), ("/nothing", "never invoked")] {
        let words = trap(&foreign, path).await;
        assert!(words.contains(expected), "{path}: {words}");
    }
    expect_working(&foreign).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_guest_is_a_failure_of_its_call() {
    for name in BOTH {
        let foreign = guest(name);
        let words = trap(&foreign, "/refuse").await;
        assert!(words.contains("gave no answer: "), "{name}: {words}");
        expect_working(&foreign).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_only_computes_is_ended_at_its_deadline() {
    for name in BOTH {
        let foreign = guest_with(name, limits(), SHORT, Vec::new());
        expect_working(&foreign).await;
        let started = Instant::now();
        let failure = ask(&foreign, "/loop").await.expect_err("it does not answer");
        assert!(matches!(failure, Failure::Timeout(SHORT)), "{name}: {failure}");
        assert!((SHORT..LONG).contains(&started.elapsed()), "{name}: {:?}", started.elapsed());
        expect_working(&foreign).await;
        wait_for_instances(foreign.stats(), 1).await;
    }
}

/// The computing guest is gone; what is left is idle.
async fn wait_for_instances(stats: &Arc<Stats>, idle: usize) {
    until("the instance is gone", async || (stats.instances() <= idle).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_a_trap_cuts_never_looks_complete() {
    for (name, path) in [
        (RUST_02, "/slow-body"),
        (RUST_02, "/short-body"),
        (RUST_02, "/unfinished"),
        (RUST_02, "/leaked"),
        (RUST_03, "/slow-body"),
    ] {
        let foreign = guest(name);
        let response = ask(&foreign, path).await.expect("the headers");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let begun = body.frame().await.expect("a frame").expect("the part before the trap");
        assert_eq!(begun.into_data().expect("data"), "begun");
        body.frame().await.expect("not the end").expect_err("a cut");
        expect_working(&foreign).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_covers_the_body_too() {
    for name in BOTH {
        let foreign = guest_with(name, limits(), SHORT, Vec::new());
        for path in ["/loop-body", "/endless"] {
            expect_working(&foreign).await;
            let started = Instant::now();
            let response = ask(&foreign, path).await.expect("the headers");
            text(response).await.expect_err("a cut");
            assert!((SHORT..LONG).contains(&started.elapsed()), "{name}{path}: {:?}", started.elapsed());
        }
        expect_working(&foreign).await;
        wait_for_instances(foreign.stats(), 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_does_after_its_answer_does_not_touch_the_next_call() {
    let foreign = guest_with(RUST_03, limits(), SHORT, Vec::new());
    for path in ["/trap-after", "/loop-after"] {
        assert_eq!(fetch(&foreign, path).await, (200, "whole".to_owned()));
        expect_working(&foreign).await;
        wait_for_instances(foreign.stats(), 1).await;
        expect_working(&foreign).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_than_allowed_run_at_a_time() {
    for name in BOTH {
        let foreign = guest_with(name, Limits { max_calls: 2, max_wait_ms: 200, ..limits() }, LONG, Vec::new());
        // An answer that is not read to its end is a running call.
        let first = ask(&foreign, "/endless").await.expect("the headers");
        let second = ask(&foreign, "/endless").await.expect("the headers");
        let failure = ask(&foreign, "/hello").await.expect_err("no room");
        assert!(matches!(failure, Failure::Busy), "{name}: {failure}");
        assert_eq!(foreign.stats().instances(), 2, "{name}");
        // A client that goes away makes room.
        drop(first);
        until("there is room", async || ask(&foreign, "/hello").await.ok()).await;
        drop(second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_all_get_their_own_answer() {
    for name in BOTH {
        let limits = Limits { max_calls: 16, ..limits() };
        let foreign = Arc::new(guest_with(name, limits, LONG, Vec::new()));
        let calls = (0..400).map(|number| {
            let foreign = Arc::clone(&foreign);
            tokio::spawn(async move {
                let path = format!("/mount/echo/{number}");
                if number % 10 == 0 {
                    trap(&foreign, "/trap").await;
                }
                let echo = text(foreign.call(get(&path)).await.expect("an answer")).await.expect("the whole body");
                let echo: Value = serde_json::from_str(&echo).expect("JSON");
                assert_eq!(echo["target"], path);
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.expect("no panic");
        }
        assert!(foreign.stats().instances() <= 16 + 2, "{name}: {}", foreign.stats().instances());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_guest() {
    for name in BOTH {
        let foreign = guest(name);
        tokio::select! {
            answer = ask(&foreign, "/loop") => panic!("it loops, and does not give {answer:?}"),
            () = until("the guest to run", async || (foreign.stats().instances() > 0).then_some(())) => (),
        }
        wait_for_instances(foreign.stats(), 0).await;
        let response = ask(&foreign, "/endless").await.expect("the headers");
        drop(response);
        wait_for_instances(foreign.stats(), 0).await;
        expect_working(&foreign).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_version_leaves_nothing_behind() {
    for name in BOTH {
        let foreign = guest(name);
        let stats = Arc::clone(foreign.stats());
        expect_working(&foreign).await;
        trap(&foreign, "/trap").await;
        let open = ask(&foreign, "/endless").await.expect("the headers");
        drop(foreign);
        // The answer that is still being sent goes on.
        let mut body = open.into_body();
        for _ in 0..3 {
            body.frame().await.expect("not the end").expect("more of it");
        }
        drop(body);
        // This is the last reference: factory and instances are gone.
        until("all is freed", async || (Arc::strong_count(&stats) == 1).then_some(())).await;
        assert_eq!(stats.instances(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_closed() {
    let foreign = guest(RUST_02);
    assert_eq!(json_of(&foreign, "/env").await, json!([]));
    for closed in ["/files", "/socket"] {
        let errors = json_of(&foreign, closed).await;
        let errors = errors.as_object().expect("an object");
        assert!(errors.values().all(Value::is_string), "{closed}: {errors:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_no_more_memory_than_its_limit() {
    let foreign = guest(RUST_02);
    assert_eq!(json_of(&foreign, "/grow/8").await["granted"], true);
    assert_eq!(json_of(&foreign, "/grow/40").await["granted"], false);
    // Grown past `recycle_above_mib`, an instance serves no further call.
    let foreign = guest(RUST_02);
    assert_eq!(json_of(&foreign, "/grow/20").await["granted"], true);
    wait_for_instances(foreign.stats(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_its_limit_is_refused_or_cut() {
    let foreign = guest(RUST_02);
    assert_eq!(fetch(&foreign, "/big/256").await.1.len(), 256 << 10);
    assert_eq!(fetch(&foreign, "/big/256?declared").await.1.len(), 256 << 10);
    assert!(trap(&foreign, "/big/257?declared").await.contains("max_response_kib"));
    let response = ask(&foreign, "/big/1000").await.expect("the headers");
    let error = text(response).await.expect_err("a cut");
    assert!(error.to_string().contains("max_response_kib"), "{error}");
    expect_working(&foreign).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reaches_granted_origins_only() {
    let granted = serve(axum::Router::new().fallback(async |request: axum::extract::Request| {
        let from = request.headers()["x-from"].to_str().expect("text").to_owned();
        let path = request.uri().to_string();
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        (axum::http::StatusCode::CREATED, format!("{from} {path} {}", String::from_utf8_lossy(&body)))
    }))
    .await;
    let denied = serve(axum::Router::new().fallback(async || -> () { panic!("nobody may get here") })).await;
    for name in ALL {
        let foreign = guest_with(name, limits(), LONG, vec![format!("http://{granted}"), "http://127.0.0.1:1".into()]);
        let answer = json_of(&foreign, &format!("/fetch?url=http://{granted}/a?b=c")).await;
        assert_eq!(answer, json!({ "status": 201, "body": "guest /a?b=c ping" }), "{name}");
        for url in [format!("http://{denied}/"), format!("https://{granted}/"), "http://localhost/".into()] {
            let answer = json_of(&foreign, &format!("/fetch?url={url}")).await;
            assert_error(name, &answer, "ErrorCode::HttpRequestDenied");
        }
        let answer = json_of(&foreign, "/fetch?url=http://127.0.0.1:1/").await;
        assert_error(name, &answer, "ErrorCode::ConnectionRefused");
    }
}

/// JavaScript's engine keeps the code to itself.
fn assert_error(name: &str, answer: &Value, code: &str) {
    let code = if name == JAVASCRIPT { "TypeError: NetworkError when attempting to fetch resource" } else { code };
    assert_eq!(*answer, json!({ "error": code }), "{name}");
}

async fn serve(router: axum::Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A version whose id follows from a number.
pub fn version_of(name: &str, number: u32) -> Version {
    version(guest(RUST_02), name, number)
}

fn version(foreign: WasiHttp, name: &str, number: u32) -> Version {
    let version = Version::new(Parts {
        id: VersionId::of(&number.to_le_bytes()),
        component: name.into(),
        mounts: vec!["/mount".into()],
        config: String::new(),
        imports: Vec::new(),
        description: Description::default(),
        stats: Arc::clone(foreign.stats()),
        runner: Runner::WasiHttp(foreign),
        events: Arc::new(OperatorEvents::new("test")),
    });
    version.expect("a name that fits into a header")
}

/// The guest behind a real listener, and what that answers on a connection.
async fn exchange(foreign: WasiHttp, path: &str) -> String {
    async fn answer(State(version): State<Arc<Version>>, request: axum::extract::Request<Body>) -> Response {
        let Runner::WasiHttp(foreign) = &version.runner else { panic!("it is foreign") };
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let origin = Origin { mount: "/mount", request_id: "0123456789", client: [127, 0, 0, 1].into() };
        let answer = gateway::call(Arc::clone(&version), foreign, &parts, body, &origin).await;
        answer.unwrap_or_else(IntoResponse::into_response)
    }
    let version = Arc::new(version(foreign, "guest", 0));
    let address = serve(axum::Router::new().fallback(answer).with_state(version)).await;
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /mount{path} HTTP/1.1\r\nhost: guests.example\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_ends_the_connection_without_its_last_chunk() {
    const END: &str = "\r\n0\r\n\r\n";
    for name in BOTH {
        assert!(exchange(guest(name), "/hello").await.ends_with(END));
        let cut = exchange(guest(name), "/slow-body").await;
        assert!(cut.starts_with("HTTP/1.1 200") && cut.contains("begun") && !cut.contains(END), "{name}: {cut}");
    }
    let cut = exchange(guest(RUST_02), "/short-body").await;
    assert!(cut.contains("content-length: 100") && cut.ends_with("begun"), "{cut}");
    let cut = exchange(guest(RUST_02), "/big/1000").await;
    assert!(cut.starts_with("HTTP/1.1 200") && !cut.contains(END), "{}", cut.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_answered_in_the_contracts_envelope() {
    let quick = |name| guest_with(name, limits(), SHORT, Vec::new());
    for (foreign, path, status, code) in [
        (guest(RUST_02), "/trap", 500, "INTERNAL_SERVER_ERROR"),
        (guest(RUST_03), "/trap", 500, "INTERNAL_SERVER_ERROR"),
        (quick(RUST_02), "/loop", 504, "REQUEST_TIMEOUT"),
        (quick(RUST_03), "/loop", 504, "REQUEST_TIMEOUT"),
        (guest(RUST_02), "/status/199", 502, "SERVICE_INVALID_RESPONSE"),
        (guest(RUST_03), "/status/101", 502, "SERVICE_INVALID_RESPONSE"),
        (guest(RUST_02), "/status/600", 502, "SERVICE_INVALID_RESPONSE"),
        (
            guest_with(RUST_02, Limits { max_calls: 0, max_wait_ms: 200, ..limits() }, LONG, Vec::new()),
            "/hello",
            503,
            "SERVICE_UNAVAILABLE",
        ),
    ] {
        let answer = exchange(foreign, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_cannot_say_what_is_the_hosts_to_say() {
    for header in ["date=x", "server=x", "x-request-id=x", "x-shema-component=x", "trailer=x"] {
        let answer = exchange(guest(RUST_02), &format!("/header?{header}")).await;
        let name = header.trim_end_matches("=x");
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains(&format!("{name}: x")), "{answer}");
    }
    assert!(exchange(guest(RUST_02), "/header?x-mine=x").await.contains("x-mine: x"));
}

/// What its engine does with an error: a status without a body that ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_returns_without_an_answer_has_failed() {
    let foreign = guest(JAVASCRIPT);
    for (path, expected) in
        [("/throw", "thrown as asked"), ("/status/199", "invalid status 199"), ("/fill", "out of memory")]
    {
        let words = trap(&foreign, path).await;
        assert!(words.contains(expected), "{path}: {words}");
        expect_working(&foreign).await;
    }
    let answer = exchange(guest(JAVASCRIPT), "/throw").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("INTERNAL_SERVER_ERROR"), "{answer}");
    assert!(!answer.contains("thrown as asked"), "{answer}");
}
