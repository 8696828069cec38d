//! Hot swap: versions come and go while requests run.

use crate::harness::{ANY_P99_FACTOR, Api, Expect, Host, Setup, hello, setup, signal, until, variant};
use futures_util::StreamExt;
use host::runtime::{
    Version,
    registry::{Registry, Split},
    version_id::VersionId,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

const CONFIG: &str = "\n[components.hello]\nmounts = [\"/hello\"]\n";

fn with_hello(setup: Setup) -> Setup {
    setup.config(CONFIG)
}

fn host() -> Host {
    Host::start(with_hello(setup()).set("TRUSTED_PROXIES", "127.0.0.1"))
}

fn version(wasm: &[u8]) -> String {
    VersionId::of(wasm).to_string()
}

fn label(wasm: &[u8]) -> String {
    format!("hello@{}", version(wasm))
}

/// What `hello` says, by the label of the version that said it.
fn sayings() -> BTreeMap<String, &'static str> {
    BTreeMap::from([(label(&hello("")), "Hello, world!"), (label(&hello("second")), "Hello again!")])
}

/// The state of each version of a component.
async fn states(host: &Host, name: &str) -> BTreeMap<String, (String, u64)> {
    let all = host.control().get("/v1/components").await;
    let all = all.expect_status(200).as_array().expect("a list").clone();
    let component = all.into_iter().find(|component| component["name"] == name).expect("the component");
    let of = |version: &Value| {
        let text = |key: &str| version[key].as_str().expect("a text").to_owned();
        (text("version"), (text("state"), version["weight"].as_u64().expect("a number")))
    };
    component["versions"].as_array().expect("a list").iter().map(of).collect()
}

async fn state(host: &Host, wasm: &[u8]) -> (String, u64) {
    states(host, "hello").await.remove(&version(wasm)).expect("the version")
}

async fn activate(host: &Host, wasm: &[u8], weight: u8) -> Value {
    let body = json!({ "version": version(wasm), "weight": weight });
    host.control().post("/v1/components/hello/activate", body).await.expect_status(200).clone()
}

async fn rollback(host: &Host) -> crate::harness::Answer {
    host.control().post("/v1/components/hello/rollback", json!({})).await
}

/// A metric of the host, summed over its labels.
async fn metric(host: &Host, name: &str) -> f64 {
    let text = host.control().get("/metrics").await.text;
    let of = |line: &str| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok();
    text.lines().filter_map(of).sum()
}

/// The answer of `hello` to one client.
async fn served_to(api: &Api, client: &str) -> String {
    let answer = api.with_header("x-forwarded-for", client).get("/hello").await;
    answer.expect_status(200);
    answer.header("x-shema-component").to_owned()
}

#[tokio::test]
async fn a_deploy_goes_live_and_the_same_bytes_again_do_nothing() {
    let host = host();
    let (first, second) = (hello(""), hello("second"));
    let answer = host.deploy("hello", &first, "").await;
    let body = answer.expect_status(201);
    assert_eq!((&body["version"], &body["state"]), (&json!(version(&first)), &json!("live")));
    assert!(body["check_ms"].as_f64() > Some(0.0) && body["swap_us"].is_f64() && body["compile_ms"].is_f64(), "{body}");
    assert_eq!(body["routes"]["added"], json!(["GET /hello"]));
    let again = host.deploy("hello", &first, "").await;
    assert_eq!(
        (&again.expect_status(200)["version"], &again.body["unchanged"]),
        (&json!(version(&first)), &json!(true))
    );
    assert!(again.body["message"].as_str().expect("a sentence").contains("live already"), "{}", again.text);

    let body = host.deploy("hello", &second, "").await.expect_status(201).clone();
    assert_eq!(body["capabilities"], json!({ "added": [], "removed": [] }));
    let answer = host.api().get("/hello").await;
    assert_eq!(
        (answer.header("x-shema-component"), &answer.data()["message"]),
        (label(&second).as_str(), &json!("Hello again!"))
    );
    assert_eq!(state(&host, &second).await, ("live".into(), 100));
    assert_eq!(state(&host, &first).await, ("retired".into(), 0));
    // A former version comes back without a compilation.
    let body = host.deploy("hello", &first, "").await.expect_status(200).clone();
    assert_eq!((&body["state"], &body["compile_ms"], &body["unchanged"]), (&json!("live"), &json!(0.0), &json!(false)));
}

#[tokio::test]
async fn an_upload_alone_is_reached_by_testers_and_nobody_else() {
    let host = host();
    let (first, second) = (hello(""), hello("second"));
    host.deploy("hello", &first, "").await.expect_status(201);
    assert_eq!(host.deploy("hello", &second, "?activate=false").await.expect_status(201)["state"], "ready");
    assert_eq!(state(&host, &second).await, ("ready".into(), 0));
    let asks = async |wanted: &str, token: &str| {
        let api = host.api().with_header("x-shema-version", wanted).with_header("x-shema-control", token);
        api.get("/hello").await
    };
    let answer = asks(&label(&second), &host.control_token).await;
    assert_eq!(
        (answer.header("x-shema-component"), &answer.data()["message"]),
        (label(&second).as_str(), &json!("Hello again!"))
    );
    for (wanted, token) in
        [(label(&second), "guess"), (label(&second), ""), ("hello".into(), host.control_token.as_str())]
    {
        assert_eq!(asks(&wanted, token).await.header("x-shema-component"), label(&first), "{wanted} {token}");
    }
    // Of another component the header says nothing here.
    let other = asks("course@0123456789ab", &host.control_token).await;
    assert_eq!(other.header("x-shema-component"), label(&first));
    asks("hello@0123456789ab", &host.control_token).await.expect_error(404, "ROUTE_NOT_FOUND");
    // Neither header gets to a component.
    let api = host.api().with_header("x-shema-version", "x").with_header("x-shema-control", &host.control_token);
    let seen = api.get("/probe/request").await;
    assert!(!seen.expect_status(200).to_string().contains("x-shema"), "{}", seen.text);

    activate(&host, &second, 100).await;
    assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&second));
}

#[tokio::test]
async fn rollback_goes_back_step_by_step_and_compiles_nothing() {
    let host = host();
    let versions = [hello(""), hello("second"), variant(&hello(""), 1)];
    for wasm in &versions {
        host.deploy("hello", wasm, "").await.expect_status(201);
    }
    for wasm in [&versions[1], &versions[0]] {
        let back = rollback(&host).await;
        assert_eq!(
            (&back.expect_status(200)["version"], &back.body["compile_ms"]),
            (&json!(version(wasm)), &json!(0.0))
        );
        assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(wasm));
    }
    assert_eq!(rollback(&host).await.expect_status(409)["error"]["code"], "NO_PREVIOUS_VERSION");
    assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&versions[0]));
}

#[tokio::test]
async fn a_deleted_component_answers_503_until_it_is_deployed_again() {
    let host = host();
    let wasm = hello("");
    host.deploy("hello", &wasm, "").await.expect_status(201);
    host.control().delete("/v1/components/hello").await.expect_status(200);
    host.api().get("/hello").await.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(state(&host, &wasm).await, ("retired".into(), 0));
    assert_eq!(host.deploy("hello", &wasm, "").await.expect_status(200)["state"], "live");
    host.api().get("/hello").await.expect_status(200);
}

#[tokio::test]
async fn what_was_deployed_is_there_after_a_restart() {
    let dir = crate::harness::scratch_dir("restart");
    let configured = with_hello(setup());
    let again = Setup { environment: configured.environment.clone(), config: configured.config.clone(), ..setup() };
    let host = Host::start(Setup { data_dir: Some(dir.clone()), ..configured });
    let (first, second) = (hello(""), hello("second"));
    host.deploy("hello", &first, "").await.expect_status(201);
    host.deploy("hello", &second, "").await.expect_status(201);
    // A component that host.toml does not name, and one that was taken off.
    host.deploy("guest", &foreign(), "?mount=/api/guest").await.expect_status(201);
    host.control().delete("/v1/components/cs").await.expect_status(200);
    host.kill();
    drop(host);
    let host = Host::start(Setup { data_dir: Some(dir), ..again });
    assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&second));
    host.api().get("/api/guest/hello").await.expect_status(200);
    host.api().get("/api/cs/sessions").await.expect_status(503);
    assert_eq!(rollback(&host).await.expect_status(200)["version"], version(&first));
}

fn foreign() -> Vec<u8> {
    std::fs::read(crate::harness::fixture("foreign-rust-02")).expect("read")
}

/// Asks `hello` from many sides until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    /// Requests that were answered.
    answered: Arc<AtomicU64>,
    clients: JoinSet<(u64, Vec<String>)>,
}

impl Load {
    /// `good`: judges an answer, and says what is wrong with it.
    fn start(host: &Host, good: fn(u16, &str, &Value) -> Option<String>) -> Load {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut clients = JoinSet::new();
        for number in 0..8 {
            let api = host.api().with_header("x-forwarded-for", &format!("10.0.0.{number}"));
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            clients.spawn(async move {
                let (mut asked, mut bad) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let request = api.request(reqwest::Method::GET, "/hello");
                    match api.finish(request, "/hello").await {
                        Ok(answer) => bad.extend(good(answer.status, answer.header("x-shema-component"), &answer.body)),
                        Err(error) => bad.push(format!("{error:?}")),
                    }
                    asked += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                (asked, bad)
            });
        }
        Load { stop, answered, clients }
    }

    /// Waits for so many answers from now on.
    async fn answers(&self, more: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + more;
        until("answers", async || (self.answered.load(Ordering::Relaxed) >= enough).then_some(())).await;
    }

    /// How many requests there were, and what was wrong.
    async fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = (0, Vec::new());
        for (asked, bad) in self.clients.join_all().await {
            sum.0 += asked;
            sum.1.extend(bad);
        }
        sum
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapping_under_load_loses_no_request_and_mixes_no_versions() {
    let host = host();
    let versions = [hello(""), hello("second")];
    for wasm in &versions {
        host.deploy("hello", wasm, "").await.expect_status(201);
    }
    let load = Load::start(&host, |status, label, body| {
        let said = body["data"]["message"].as_str().unwrap_or_default();
        let fits = status == 200 && sayings().get(label).is_some_and(|saying| *saying == said);
        (!fits).then(|| format!("{status} {label} {body}"))
    });
    for turn in 0..60 {
        activate(&host, &versions[turn % 2], 100).await;
        load.answers(8).await;
    }
    let (asked, bad) = load.finish().await;
    assert_eq!(bad, Vec::<String>::new(), "of {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_ends_on_the_version_it_began_on() {
    let host = host();
    let (slow, quick) = (hello("slow"), hello("second"));
    host.deploy("hello", &slow, "").await.expect_status(201);
    host.deploy("hello", &quick, "?activate=false").await.expect_status(201);
    // Whoever answers says what it is there to say.
    let load = Load::start(&host, |status, by, body| {
        let said = if by == label(&hello("slow")) { "Hello, world!" } else { "Hello again!" };
        let fits = status == 200 && body["data"]["message"] == said;
        (!fits).then(|| format!("{status} {by} {body}"))
    });
    // One call takes a tenth of a second, and they come without pause.
    until("calls under way", async || (host.running("hello").await > 0).then_some(())).await;
    activate(&host, &quick, 100).await;
    assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&quick));
    let (_, bad) = load.finish().await;
    assert_eq!(bad, Vec::<String>::new());
    let drained = async || {
        let versions = host.stats("hello").await;
        let old = versions.into_iter().find(|other| other["version"] == version(&slow)).expect("still compiled");
        (old["state"] == "retired" && old["instances"] == 0 && old["running"] == 0).then_some(old)
    };
    let old = until("the old version has drained", drained).await;
    assert!(old["p50_ms"].as_f64() >= Some(90.0), "{old}");
}

/// Memory is freed: whatever is swapped, only the last versions stay.
#[tokio::test(flavor = "multi_thread")]
async fn versions_that_were_swapped_out_are_freed() {
    let host = host();
    let base = hello("");
    host.deploy("hello", &base, "").await.expect_status(201);
    let before = metric(&host, "shema_versions_loaded").await;
    for number in 0..12 {
        host.deploy("hello", &variant(&base, number), "").await.expect_status(201);
        host.api().get("/hello").await.expect_status(200);
    }
    // The three former ones that stay compiled.
    let freed = async || (metric(&host, "shema_versions_loaded").await <= before + 3.0).then_some(());
    until("the old versions are freed", freed).await;
    for number in 12..18 {
        host.deploy("hello", &variant(&base, number), "?activate=false").await.expect_status(201);
    }
    until("uploads that nobody makes live are freed", freed).await;
    for turn in 0..1_000 {
        activate(&host, &variant(&base, 16 + turn % 2), 100).await;
    }
    until("the old versions are freed", freed).await;
    host.api().get("/hello").await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_let_go_dies() {
    let registry = Registry::default();
    let slot = registry.slot_or_new("guest");
    let mut weak = Vec::new();
    for number in 0..4 {
        let version = Arc::new(crate::foreign::version_of("guest", number));
        weak.push(Arc::downgrade(&version));
        slot.loaded().put(&version);
        let split = Split { live: Some(version), canary: None };
        let gone = slot.loaded().trim(&split, 1);
        slot.store(split);
        drop(gone);
    }
    // A request that still holds one keeps it, and only that one.
    let held: Option<Arc<Version>> = slot.live();
    let alive = |weak: &[std::sync::Weak<Version>]| weak.iter().map(|weak| weak.strong_count() > 0).collect::<Vec<_>>();
    assert_eq!(alive(&weak), [false, false, true, true]);
    slot.store(Split::default());
    drop(slot.loaded().trim(&Split::default(), 0));
    assert_eq!(alive(&weak), [false, false, false, true]);
    drop(held);
    assert_eq!(alive(&weak), [false; 4]);
}

#[tokio::test]
async fn a_canary_takes_its_share_and_keeps_each_client_on_one_version() {
    let host = host();
    let (first, second) = (hello(""), hello("second"));
    host.deploy("hello", &first, "").await.expect_status(201);
    let body = host.deploy("hello", &second, "?canary=30").await.expect_status(201).clone();
    assert_eq!(body["state"], "canary");
    assert_eq!((state(&host, &second).await, state(&host, &first).await), (("canary".into(), 30), ("live".into(), 70)));
    let api = host.api();
    let clients: Vec<String> = (0..400).map(|number| format!("10.1.{}.{}", number / 200, number % 200 + 1)).collect();
    let mut on_trial = Vec::new();
    for client in &clients {
        let by = served_to(&api, client).await;
        assert_eq!(served_to(&api, client).await, by, "{client}");
        if by == label(&second) {
            on_trial.push(client);
        }
    }
    // 400 draws of 30 %: 120 on average, 9 of standard deviation.
    assert!((75..=165).contains(&on_trial.len()), "{}", on_trial.len());
    // Who is on trial stays when the share grows, whoever it is that asks.
    activate(&host, &second, 60).await;
    for client in &on_trial {
        assert_eq!(served_to(&api, client).await, label(&second), "{client}");
    }
    // A user is one client from wherever.
    let admin = host.admin().await;
    let by = served_to(&admin.api, clients[0].as_str()).await;
    for client in &clients[1..20] {
        assert_eq!(served_to(&admin.api, client).await, by, "{client}");
    }
    // One step takes it back, and the next would be an earlier live version.
    assert_eq!(rollback(&host).await.expect_status(200)["version"], version(&first));
    assert_eq!(state(&host, &second).await, ("retired".into(), 0));
    assert_eq!(rollback(&host).await.expect_status(409)["error"]["code"], "NO_PREVIOUS_VERSION");
    // Or it goes live for all.
    activate(&host, &second, 10).await;
    assert_eq!(activate(&host, &second, 100).await["state"], "live");
    assert_eq!(state(&host, &second).await, ("live".into(), 100));
}

#[tokio::test]
async fn the_first_version_of_all_is_live_even_as_a_canary() {
    let host = host();
    assert_eq!(host.deploy("hello", &hello(""), "?canary=10").await.expect_status(201)["state"], "live");
    host.api().get("/hello").await.expect_status(200);
}

/// Listens to `/v1/events` and keeps what it hears.
struct Events(Arc<std::sync::Mutex<Vec<Value>>>);

impl Events {
    async fn listen(host: &Host) -> Events {
        let control = host.control().with_header("last-event-id", "0");
        let request = control.request(reqwest::Method::GET, "/v1/events").timeout(Duration::from_secs(600));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (mut stream, keep) = (response.bytes_stream(), Arc::clone(&heard));
        tokio::spawn(async move {
            let mut text = String::new();
            while let Some(Ok(bytes)) = stream.next().await {
                text += &String::from_utf8_lossy(&bytes);
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let data = data.map(|data| serde_json::from_str(data).expect("JSON"));
                    keep.lock().expect("no panic").extend(data);
                    text = rest.to_owned();
                }
            }
        });
        Events(heard)
    }

    /// The first of a kind, about `hello`.
    async fn first(&self, kind: &str) -> Value {
        let find = async || {
            let heard = self.0.lock().expect("no panic");
            heard.iter().find(|event| event["kind"] == kind && event["component"] == "hello").cloned()
        };
        until(&format!("an event `{kind}`"), find).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_one_request_in_five_is_taken_back_by_itself() {
    for query in ["", "?canary=50"] {
        let host = host();
        let (good, flaky) = (hello(""), hello("flaky"));
        host.deploy("hello", &good, "").await.expect_status(201);
        for _ in 0..50 {
            host.api().get("/hello").await.expect_status(200);
        }
        let events = Events::listen(&host).await;
        let load = Load::start(&host, |status, _, body| (status != 200).then(|| body.to_string()));
        host.deploy("hello", &flaky, query).await.expect_status(201);
        let event = events.first("rollback").await;
        let (asked, failed) = load.finish().await;
        let reason = event["reason"].as_str().expect("a reason");
        assert!(reason.contains("% of its") && reason.contains("trapped"), "{event}");
        assert_eq!((&event["version"], &event["to"]), (&json!(version(&flaky)), &json!(version(&good))));
        println!("{query} taken back: {} of {asked} failed", failed.len());
        assert!(!failed.is_empty() && failed.iter().all(|body| body.contains("INTERNAL_SERVER_ERROR")), "{failed:?}");
        assert_eq!(state(&host, &good).await, ("live".into(), 100));
        assert_eq!(state(&host, &flaky).await, ("retired".into(), 0));
        host.api().get("/hello").await.expect_status(200);
        events.first("trap").await;
        let detail: String =
            sqlx::query_scalar("select detail from deploy.audit where action = 'rollback' and actor = 'watch'")
                .fetch_one(&mut host.sql().await)
                .await
                .expect("it is in the audit");
        assert!(detail.contains(reason), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_slower_is_taken_back_by_itself() {
    // A tenth of a second against what is less even on a busy machine.
    let factor = (format!("max_p99_factor = {ANY_P99_FACTOR}"), "max_p99_factor = 1.5");
    let setup = with_hello(setup()).replace("min_requests = 20", "min_requests = 5").replace(&factor.0, factor.1);
    let host = Host::start(setup);
    let (good, slow) = (hello(""), hello("slow"));
    host.deploy("hello", &good, "").await.expect_status(201);
    for _ in 0..1_000 {
        host.api().get("/hello").await.expect_status(200);
    }
    let events = Events::listen(&host).await;
    host.deploy("hello", &slow, "").await.expect_status(201);
    let load = Load::start(&host, |status, _, body| (status != 200).then(|| body.to_string()));
    let event = events.first("rollback").await;
    let (_, failed) = load.finish().await;
    assert!(event["reason"].as_str().expect("a reason").contains("p99"), "{event}");
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(state(&host, &good).await, ("live".into(), 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_version_that_fails_stays_because_there_is_no_other() {
    let host = host();
    host.deploy("hello", &hello("flaky"), "").await.expect_status(201);
    for _ in 0..60 {
        host.api().get("/hello").await;
    }
    assert_eq!(state(&host, &hello("flaky")).await, ("live".into(), 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_is_compared_and_never_answers() {
    let host = host();
    let (first, second) = (hello(""), hello("second"));
    host.deploy("hello", &first, "").await.expect_status(201);
    let events = Events::listen(&host).await;
    let body = host.deploy("hello", &second, "?shadow=true").await.expect_status(201).clone();
    assert_eq!(body["state"], "canary");
    let compared = async || {
        assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&first));
        let versions = host.stats("hello").await;
        let shadow = versions.into_iter().find(|other| other["version"] == version(&second)).expect("loaded");
        (shadow["compared"].as_u64() > Some(0)).then_some(shadow)
    };
    let shadow = until("answers are compared", compared).await;
    assert!(shadow["different"].as_u64() > Some(0), "{shadow}");
    let differs = async || {
        let heard = events.0.lock().expect("no panic");
        heard.iter().find(|event| event["kind"] == "shadow" && event["different"].is_u64()).cloned()
    };
    let event = until("the difference is told", differs).await;
    assert!(event["message"].as_str().expect("a sentence").contains("has another body"), "{event}");
    activate(&host, &second, 100).await;
    assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&second));
}

/// A repeated call changes nothing: its SQL is read-only.
#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_leaves_no_trace() {
    let host = host();
    let course = std::fs::read(crate::harness::components().join("course.wasm")).expect("read");
    host.deploy("course", &variant(&course, 1), "?shadow=true").await.expect_status(201);
    let compared = async || {
        host.api().get("/api/courses").await.expect_status(200);
        let versions = host.stats("course").await;
        versions.into_iter().find(|version| version["compared"].as_u64() > Some(0))
    };
    let shadow = until("answers are compared", compared).await;
    assert_eq!((&shadow["different"], &shadow["errors"]), (&json!(0), &json!(0)), "{shadow}");
}

#[tokio::test]
async fn every_change_is_in_the_audit() {
    let host = host();
    let wasm = hello("");
    let control = host.control().with_header("x-shema-actor", "ada@example.org");
    let path = "/v1/components/hello/versions";
    let sent = control.request(reqwest::Method::POST, path).body(wasm.clone());
    control.finish(sent, path).await.expect("an answer").expect_status(201);
    host.deploy("hello", &hello("second"), "").await.expect_status(201);
    rollback(&host).await.expect_status(200);
    host.control().delete("/v1/components/hello").await.expect_status(200);
    host.deploy("hello", b"nonsense", "").await.expect_status(422);
    type Line = (String, String, Option<String>, String, String);
    let lines: Vec<Line> = sqlx::query_as(
        "select action, component, digest, actor, origin from deploy.audit where component = 'hello' order by id",
    )
    .fetch_all(&mut host.sql().await)
    .await
    .expect("the audit");
    let actions: Vec<&str> = lines.iter().map(|line| line.0.as_str()).collect();
    assert_eq!(actions, ["deploy", "activate", "deploy", "activate", "rollback", "delete", "refuse"]);
    let digest = host::runtime::version_id::digest(&wasm);
    for line in &lines[..2] {
        assert_eq!(
            (line.2.as_deref(), line.3.as_str(), line.4.as_str()),
            (Some(digest.as_str()), "ada@example.org", "127.0.0.1")
        );
    }
    assert_eq!(lines[2].3, "control token");
}

#[tokio::test]
async fn operators_see_what_runs_when_the_database_is_away() {
    let host = host();
    host.deploy("hello", &hello(""), "").await.expect_status(201);
    assert_eq!(state(&host, &hello("")).await, ("live".into(), 100));
    let mut sql = host.sql().await;
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&mut sql).await.expect("a name");
    let forbid = format!("alter database {name} allow_connections false");
    let url = host.database_url.clone().expect("its own database");
    let mut other: sqlx::PgConnection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&url.replace(&name, "postgres"))
            .await
            .expect("another database");
    let run = async |other: &mut sqlx::PgConnection, statement: String| {
        let statement = sqlx::AssertSqlSafe(statement);
        sqlx::raw_sql(statement).execute(other).await.expect("done");
    };
    run(&mut other, forbid).await;
    run(&mut other, format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")).await;
    assert_eq!(state(&host, &hello("")).await, ("live".into(), 100));
    host.api().get("/hello").await.expect_status(200);
    let refused = host.deploy("hello", &hello("second"), "").await;
    assert_eq!(refused.expect_status(503)["error"]["code"], "DATABASE_UNAVAILABLE");
    assert_eq!(host.api().get("/hello").await.header("x-shema-component"), label(&hello("")));
    run(&mut other, format!("alter database {name} allow_connections true")).await;
    let deployed = async || {
        let answer = host.deploy("hello", &hello("second"), "").await;
        (answer.status < 300).then_some(())
    };
    until("the database is back", deployed).await;
}

/// A deploy whose client hangs up is carried through all the same, or not at
/// all: a stopping host finishes it.
#[tokio::test]
async fn a_stopping_host_finishes_the_deploy_it_has_begun() {
    let host = host();
    let wasm = hello("");
    let control = host.control();
    let path = "/v1/components/hello/versions";
    let request = control.request(reqwest::Method::POST, path).body(variant(&wasm, std::process::id()));
    let deploy = tokio::spawn(async move { control.finish(request, path).await });
    let checking = async || {
        let states = host.control().get("/v1/components").await.text;
        (states.contains("checking") || states.contains(&version(&variant(&wasm, std::process::id())))).then_some(())
    };
    until("the deploy has begun", checking).await;
    signal(host.pid(), nix::sys::signal::Signal::SIGTERM);
    let answer = deploy.await.expect("no panic").expect("an answer");
    answer.expect_status(201);
}
