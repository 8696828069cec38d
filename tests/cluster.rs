//! Several hosts over one database: they swap together, one that is away
//! catches up before it answers again, and no client ever gets the former
//! version after the latter.

use crate::harness::{
    Api, Balancer, Expect, Host, Proxy, ProxyState, Setup, fixture, hello, scratch_dir, setup, signal, until,
};
use host::runtime::version_id::VersionId;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const HELLO: &str = "\n[components.hello]\nmounts = [\"/hello\"]\n";

/// What the hosts have in common.
struct Cluster {
    base: Setup,
    dir: PathBuf,
}

impl Cluster {
    /// Nothing is live at first.
    fn new() -> Cluster {
        let dir = scratch_dir("cluster");
        let components = dir.join("components");
        fs::create_dir_all(&components).expect("a directory");
        let base = setup()
            .set("SHEMA_COMPONENTS", components.to_string_lossy())
            .set("SHEMA_CONTROL_TOKEN", "control-token-of-the-cluster-0123456789")
            .config(HELLO);
        Cluster { base, dir }
    }

    /// Brought by every host that starts.
    fn seed(&self, wasm: &[u8]) {
        fs::write(self.dir.join("components/hello.wasm"), wasm).expect("a component");
    }

    fn setup(&self, node: usize) -> Setup {
        Setup { data_dir: Some(self.dir.join(format!("node-{node}"))), ..self.base.clone() }
    }

    fn start(&self, node: usize) -> Host {
        Host::start(self.setup(node))
    }

    /// At the same time.
    async fn start_all(&self, nodes: usize) -> Vec<Host> {
        let starts = (0..nodes).map(|node| {
            let setup = self.setup(node);
            tokio::task::spawn_blocking(move || Host::start(setup))
        });
        let mut hosts = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            hosts.push(start.await.expect("it starts"));
        }
        hosts
    }

    async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.base.environment["DATABASE_URL"]).await.expect("a connection")
    }

    /// Action, version, digest, actor, origin of each line, the oldest first.
    async fn audit(&self) -> Vec<[String; 5]> {
        let select =
            "select action, coalesce(version, ''), coalesce(digest, ''), actor, origin from deploy.audit order by id";
        let rows = sqlx::query(select).fetch_all(&mut self.sql().await).await.expect("the audit");
        rows.iter().map(|row| [0, 1, 2, 3, 4].map(|column| row.get(column))).collect()
    }
}

fn version(wasm: &[u8]) -> String {
    VersionId::of(wasm).to_string()
}

fn label(wasm: &[u8]) -> String {
    format!("hello@{}", version(wasm))
}

/// Two versions that differ in what they say.
fn pair() -> [Vec<u8>; 2] {
    [hello(""), hello("second")]
}

fn says(wasm: &[u8]) -> &'static str {
    let [first, second] = pair();
    match wasm {
        _ if wasm == first => "Hello, world!",
        _ if wasm == second => "Hello again!",
        _ => panic!("another version"),
    }
}

/// What a host answers: status, label and what it says.
async fn served(api: &Api) -> (u16, String, String) {
    let answer = api.get("/hello").await;
    let message = answer.data()["message"].as_str().unwrap_or_default().to_owned();
    (answer.status, answer.header("x-shema-component").to_owned(), message)
}

async fn assert_serves(host: &Host, wasm: &[u8]) {
    assert_eq!(served(&host.api()).await, (200, label(wasm), says(wasm).to_owned()), "{}", host.url);
}

/// From the events so far.
async fn events(host: &Host, kind: &str) -> Vec<String> {
    let path = "/v1/events";
    let request = host.control().request(reqwest::Method::GET, path).header("last-event-id", "0");
    let mut response = request.send().await.expect("an answer");
    let mut text = String::new();
    // The stream has no end: what was kept comes at once. Whoever waits for an
    // event asks again.
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(Duration::from_millis(300), response.chunk()).await {
        text += std::str::from_utf8(&chunk).expect("text");
    }
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?.trim()).ok());
    let of_kind = events.filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["message"].as_str().expect("a message").to_owned()).collect()
}

async fn has_event(host: &Host, kind: &str, part: &str) {
    until(part, async || events(host, kind).await.iter().any(|message| message.contains(part)).then_some(())).await;
}

/// State of each host by its public URL, as `host` sees them.
async fn nodes(host: &Host) -> BTreeMap<String, String> {
    let answer = host.control().get("/v1/nodes").await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let nodes = answer.expect_status(200).as_array().expect("a list").clone();
    nodes.iter().map(|node| (text(&node["public"]), text(&node["state"]))).collect()
}

async fn state(host: &Host, of: &Host) -> Option<String> {
    nodes(host).await.remove(&of.url)
}

/// State and weight of each version of `hello`, as a host has it.
async fn states(host: &Host) -> BTreeMap<String, (String, u64)> {
    let answer = host.control().get("/v1/components").await;
    let all = answer.expect_status(200).as_array().expect("a list").clone();
    let hello = all.iter().find(|component| component["name"] == "hello").expect("hello").clone();
    let state = |version: &Value| {
        let text = |key: &str| version[key].as_str().expect("a text").to_owned();
        (text("version"), (text("state"), version["weight"].as_u64().expect("a number")))
    };
    hello["versions"].as_array().expect("versions").iter().map(state).collect()
}

async fn rollback(host: &Host) -> Value {
    host.control().post("/v1/components/hello/rollback", json!({})).await.expect_status(200).clone()
}

/// Deploys that were asked for, and when each was answered.
#[derive(Default)]
struct History(Mutex<Vec<(String, Instant, Option<Instant>)>>);

impl History {
    fn begin(&self, label: String) {
        self.0.lock().expect("no panic").push((label, Instant::now(), None));
    }

    fn end(&self) {
        self.0.lock().expect("no panic").last_mut().expect("it has begun").2 = Some(Instant::now());
    }

    /// What may answer a request: the last version whose deploy was answered
    /// before the request was sent, and all whose deploys began before it was
    /// answered.
    fn allowed(&self, sent: Instant, received: Instant) -> BTreeSet<String> {
        let deploys = self.0.lock().expect("no panic");
        let settled = deploys.iter().rposition(|(_, _, answered)| answered.is_some_and(|answered| answered <= sent));
        let later = deploys.iter().skip(settled.unwrap_or(0)).filter(|(_, begun, _)| *begun <= received);
        later.map(|(label, _, _)| label.clone()).collect()
    }
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    /// Each is a sentence.
    wrong: Mutex<Vec<String>>,
    /// When each host served a version first, by label and URL.
    first: Mutex<BTreeMap<(String, String), Instant>>,
}

/// Clients that ask without pause until they are dropped. `refused`: the host
/// may answer 503 with a reason to come back, as one does that is behind.
struct Load {
    stop: Arc<AtomicBool>,
    history: Arc<History>,
    seen: Arc<Seen>,
    clients: JoinSet<()>,
}

impl Load {
    fn new(history: &Arc<History>) -> Load {
        Load { stop: Arc::default(), history: Arc::clone(history), seen: Arc::default(), clients: JoinSet::new() }
    }

    fn on(&mut self, url: &str, clients: usize, refused: bool) {
        for _ in 0..clients {
            let (stop, history, seen) = (Arc::clone(&self.stop), Arc::clone(&self.history), Arc::clone(&self.seen));
            let (api, url) = (Api::new(url), url.to_owned());
            self.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    ask(&api, &url, &history, &seen, refused).await;
                }
            });
        }
    }

    async fn answers(&self, more: usize) {
        let enough = self.seen.answers.load(Ordering::Relaxed) + more;
        let answered = || self.seen.answers.load(Ordering::Relaxed) >= enough;
        until("answers", async || answered().then_some(())).await;
    }

    /// Ends it; nothing was wrong.
    async fn end(mut self) -> Arc<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("no panic");
        }
        let wrong = self.seen.wrong.lock().expect("no panic").clone();
        assert!(wrong.is_empty(), "{} of {:?}: {:#?}", wrong.len(), self.seen.answers, &wrong[..wrong.len().min(10)]);
        self.seen
    }
}

async fn ask(api: &Api, url: &str, history: &History, seen: &Seen, refused: bool) {
    let sent = Instant::now();
    let answer = api.finish(api.request(reqwest::Method::GET, "/hello"), "/hello").await;
    let received = Instant::now();
    let problem = match answer {
        Err(error) => Some(format!("no answer: {error:?}")),
        Ok(answer) if answer.status == 503 && refused && answer.header("retry-after") == "1" => None,
        Ok(answer) if answer.status != 200 => Some(format!("{} {}", answer.status, answer.text)),
        Ok(answer) => {
            let label = answer.header("x-shema-component").to_owned();
            let message = answer.data()["message"].as_str().unwrap_or_default();
            let expected = pair().iter().find(|wasm| self::label(wasm) == label).map(|wasm| says(wasm));
            let allowed = history.allowed(sent, received);
            seen.first.lock().expect("no panic").entry((label.clone(), url.to_owned())).or_insert(received);
            if expected != Some(message) {
                Some(format!("{label} says {message}"))
            } else if !allowed.contains(&label) {
                Some(format!("{url} answered with {label} when only {allowed:?} may"))
            } else {
                None
            }
        }
    };
    seen.answers.fetch_add(1, Ordering::Relaxed);
    if let Some(problem) = problem {
        seen.wrong.lock().expect("no panic").push(problem);
    }
}

/// Deploys, and remembers when.
async fn deploy(host: &Host, wasm: &[u8], history: &History) -> Value {
    history.begin(label(wasm));
    let answer = host.deploy("hello", wasm, "").await;
    history.end();
    assert!([200, 201].contains(&answer.status), "{}", answer.text);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_behind_a_balancer_swap_together_and_fail_no_request() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(3).await;
    let history = Arc::new(History::default());
    let versions = pair();
    deploy(&hosts[0], &versions[1], &history).await;
    let outcome = deploy(&hosts[0], &versions[0], &history).await;
    assert_eq!(outcome["nodes"], 3, "{outcome}");
    let balancer = Balancer::start(&hosts.iter().map(|host| host.url.as_str()).collect::<Vec<_>>());
    let mut load = Load::new(&history);
    load.on(&balancer.url, 4, false);
    load.answers(50).await;
    let mut skews = Vec::new();
    let mut took = Vec::new();
    for swap in 1..=20 {
        let wasm = &versions[swap % 2];
        // Each host is also asked by itself, to see when it flips.
        let mut each = Load::new(&history);
        hosts.iter().for_each(|host| each.on(&host.url, 1, false));
        each.answers(30).await;
        let begun = Instant::now();
        let outcome = deploy(&hosts[swap % 3], wasm, &history).await;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(outcome["nodes"], 3, "{outcome}");
        for host in &hosts {
            assert_serves(host, wasm).await;
        }
        each.answers(30).await;
        let seen = each.end().await;
        let first = seen.first.lock().expect("no panic");
        let flips: Vec<Instant> = hosts.iter().map(|host| first[&(label(wasm), host.url.clone())]).collect();
        let skew = *flips.iter().max().expect("three") - *flips.iter().min().expect("three");
        skews.push(skew.as_secs_f64() * 1000.0);
    }
    let seen = load.end().await;
    skews.sort_by(f64::total_cmp);
    took.sort_by(f64::total_cmp);
    eprintln!(
        "20 swaps of 3 hosts under {} requests: first answers of the new version within {:.1} ms of each other \
         (median), {:.1} ms at most; a swap took {:.1} ms (median), {:.1} ms at most",
        seen.answers.load(Ordering::Relaxed),
        skews[10],
        skews[19],
        took[10],
        took[19]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_prepare_blocks_the_deploy_and_says_why() {
    let cluster = Cluster::new();
    let good = cluster.start(0);
    let mut setup = cluster.setup(1);
    setup.config = format!("\n[components.probe]\nmounts = [\"/probe\"]\n{HELLO}");
    let poor = Host::start(setup);
    let probe = fs::read(fixture("probe")).expect("the probe");

    let answer = good.deploy("probe", &probe, "").await;
    let error = &answer.expect_status(409)["error"];
    assert_eq!(error["code"], "NODE_NOT_PREPARED");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(&poor.url) && message.contains("grant"), "{message}");
    assert_eq!(error["details"][0]["node"], poor.url);
    for host in [&good, &poor] {
        host.api().post("/probe/run", json!([])).await.expect_error(503, "SERVICE_UNAVAILABLE");
    }
    has_event(&poor, "node", "cannot prepare probe@").await;
    has_event(&good, "refused", "Nothing was changed").await;
    let actions: Vec<String> = cluster.audit().await.into_iter().map(|[action, ..]| action).collect();
    assert_eq!(actions, ["deploy"]);

    // The operator mends the file: no host has to start again.
    fs::copy(good.data_dir.join("host.toml"), poor.data_dir.join("host.toml")).expect("a copy");
    good.deploy("probe", &probe, "").await.expect_status(200);
    for host in [&good, &poor] {
        host.api().post("/probe/run", json!([])).await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_is_fenced_and_has_caught_up_before_it_is_ready() {
    let cluster = Cluster::new();
    let mut hosts = cluster.start_all(3).await;
    let [first, second] = pair();
    hosts[0].deploy("hello", &second, "").await.expect_status(201);
    hosts[0].deploy("hello", &first, "").await.expect_status(201);
    let dead = hosts.pop().expect("three");
    dead.kill();
    let answer = hosts[0].deploy("hello", &second, "").await;
    assert_eq!(answer.expect_status(200)["nodes"], 2);
    for host in &hosts {
        assert_serves(host, &second).await;
    }
    assert_eq!(state(&hosts[1], &dead).await.as_deref(), Some("fenced"));
    has_event(&hosts[1], "node", &format!("{} was not seen for some seconds and is fenced", dead.url)).await;

    let again = cluster.start(2);
    assert_serves(&again, &second).await;
    assert_eq!(state(&hosts[0], &again).await.as_deref(), Some("ready"));
    assert_eq!(hosts[0].deploy("hello", &first, "").await.expect_status(200)["nodes"], 3);
    assert_serves(&again, &first).await;
    // One that is stopped in order leaves the list at once.
    assert_eq!(again.stop(), Some(0));
    assert_eq!(state(&hosts[0], &again).await, None);
    assert_eq!(hosts[0].deploy("hello", &second, "").await.expect_status(200)["nodes"], 2);
    let events = events(&hosts[0], "node").await;
    let fenced = format!("{} was not seen", again.url);
    assert!(!events.iter().any(|message| message.contains(&fenced)), "nobody waits for it: {events:?}");
}

/// The last of three hosts, behind a proxy.
async fn wired(cluster: &Cluster) -> (Vec<Host>, Host, Proxy) {
    let hosts = cluster.start_all(2).await;
    let proxy = Proxy::new().await;
    let setup = cluster.setup(2);
    let url = proxy.url(&setup.environment["DATABASE_URL"]);
    let away = tokio::task::spawn_blocking(move || Host::start(setup.set("DATABASE_URL", url)));
    (hosts, away.await.expect("it starts"), proxy)
}

async fn others_go_on_without_a_host_that(what: ProxyState) {
    let cluster = Cluster::new();
    let (hosts, away, proxy) = wired(&cluster).await;
    let history = Arc::new(History::default());
    let [first, second] = pair();
    deploy(&hosts[0], &second, &history).await;
    assert_eq!(deploy(&hosts[0], &first, &history).await["nodes"], 3);
    let mut load = Load::new(&history);
    load.on(&away.url, 2, true);
    load.answers(20).await;
    proxy.set(what);
    // It answers as before, as long as the others wait for it, and nothing then.
    let outcome = deploy(&hosts[0], &second, &history).await;
    assert_eq!(outcome["nodes"], 2, "{outcome}");
    assert_eq!(away.api().get("/health").await.status, 503);
    away.api().get("/hello").await.expect_error(503, "SERVICE_UNAVAILABLE");
    let alone = nodes(&away).await;
    assert_eq!(alone, BTreeMap::from([(away.url.clone(), "fenced".to_owned())]), "as far as it knows");
    assert_eq!(state(&hosts[0], &away).await.as_deref(), Some("fenced"));
    deploy(&hosts[1], &first, &history).await;
    deploy(&hosts[0], &second, &history).await;
    has_event(&away, "node", "This host has lost the database").await;

    proxy.set(ProxyState::Open);
    until("it is back", async || (served(&away.api()).await.0 == 200).then_some(())).await;
    assert_serves(&away, &second).await;
    assert_eq!(away.api().get("/health").await.status, 200);
    has_event(&away, "node", "This host has caught up with the cluster").await;
    has_event(&hosts[0], "node", &format!("{} is back", away.url)).await;
    assert_eq!(deploy(&hosts[1], &first, &history).await["nodes"], 3);
    assert_serves(&away, &first).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_cut_off_answers_nothing_until_it_has_caught_up() {
    others_go_on_without_a_host_that(ProxyState::Closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_whose_packets_are_lost() {
    others_go_on_without_a_host_that(ProxyState::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stood_still_does_not_answer_with_what_it_had() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(3).await;
    let history = Arc::new(History::default());
    let [first, second] = pair();
    deploy(&hosts[0], &first, &history).await;
    let mut load = Load::new(&history);
    load.on(&hosts[2].url, 4, true);
    load.answers(20).await;
    signal(hosts[2].pid(), Signal::SIGSTOP);
    assert_eq!(deploy(&hosts[1], &second, &history).await["nodes"], 2);
    // These are sent to a host that will answer when it goes on.
    load.on(&hosts[2].url, 8, true);
    signal(hosts[2].pid(), Signal::SIGCONT);
    until("it is back", async || (served(&hosts[2].api()).await.0 == 200).then_some(())).await;
    assert_serves(&hosts[2], &second).await;
    load.answers(50).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_though_notifications_are_lost() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(3).await;
    let history = Arc::new(History::default());
    let versions = pair();
    deploy(&hosts[0], &versions[1], &history).await;
    deploy(&hosts[0], &versions[0], &history).await;
    let mut load = Load::new(&history);
    hosts.iter().for_each(|host| load.on(&host.url, 1, false));
    // Whoever listens is thrown out at once.
    let mut sql = cluster.sql().await;
    let (stop, killed) = (Arc::<AtomicBool>::default(), Arc::<AtomicI64>::default());
    let (stopped, count) = (Arc::clone(&stop), Arc::clone(&killed));
    let killer = tokio::spawn(async move {
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where datname = current_database() and application_name = 'shema/listener'";
        while !stopped.load(Ordering::Relaxed) {
            let now: i64 = sqlx::query_scalar(kill).fetch_one(&mut sql).await.expect("a number");
            count.fetch_add(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    until("the listeners are thrown out", async || (killed.load(Ordering::Relaxed) >= 3).then_some(())).await;
    for swap in 1..=4 {
        let outcome = deploy(&hosts[swap % 3], &versions[swap % 2], &history).await;
        assert_eq!(outcome["nodes"], 3, "{outcome}");
        for host in &hosts {
            assert_serves(host, &versions[swap % 2]).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    killer.await.expect("no panic");
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_canary_and_delete_reach_all_hosts_and_the_audit() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(3).await;
    let [first, second] = pair();
    let weights = async |expected: &[(&[u8], &str, u64)]| {
        let expected: BTreeMap<String, (String, u64)> =
            expected.iter().map(|(wasm, state, weight)| (version(wasm), ((*state).to_owned(), *weight))).collect();
        for host in &hosts {
            assert_eq!(states(host).await, expected, "{}", host.url);
        }
    };
    let by = |host: &Host, who: &str| host.control().with_header("x-shema-actor", who);
    let path = "/v1/components/hello/versions";
    let upload = async |host: &Host, who: &str, query: &str, wasm: &[u8]| {
        let request = by(host, who).request(reqwest::Method::POST, &format!("{path}{query}")).body(wasm.to_vec());
        host.api().finish(request, path).await.expect("an answer")
    };
    upload(&hosts[0], "anna", "", &first).await.expect_status(201);
    weights(&[(&first, "live", 100)]).await;
    upload(&hosts[1], "bert", "?canary=30", &second).await.expect_status(201);
    weights(&[(&first, "live", 70), (&second, "canary", 30)]).await;
    has_event(&hosts[0], "canary", "30 % of the clients, by a change on another host").await;
    // The same clients on all hosts.
    for client in 0..20 {
        let client = format!("10.0.0.{client}");
        let mut labels = BTreeSet::new();
        for host in &hosts {
            let answer = host.api().with_header("x-forwarded-for", &client).get("/hello").await;
            labels.insert(answer.header("x-shema-component").to_owned());
        }
        assert_eq!(labels.len(), 1, "{client}: {labels:?}");
    }
    by(&hosts[2], "carl").post("/v1/components/hello/rollback", json!({})).await.expect_status(200);
    weights(&[(&first, "live", 100), (&second, "retired", 0)]).await;
    let body = json!({ "version": version(&second) });
    by(&hosts[2], "dora").post("/v1/components/hello/activate", body).await.expect_status(200);
    weights(&[(&first, "retired", 0), (&second, "live", 100)]).await;
    rollback(&hosts[0]).await;
    weights(&[(&first, "live", 100), (&second, "retired", 0)]).await;
    by(&hosts[1], "emil").delete("/v1/components/hello").await.expect_status(200);
    for host in &hosts {
        host.api().get("/hello").await.expect_error(503, "SERVICE_UNAVAILABLE");
    }
    has_event(&hosts[0], "delete", "hello was deleted, by a change on another host").await;
    upload(&hosts[2], "fred", "", &first).await.expect_status(200);
    weights(&[(&first, "live", 100), (&second, "retired", 0)]).await;

    let digest = host::runtime::version_id::digest;
    let (one, two) = (version(&first), version(&second));
    let line = |action: &str, version: &str, actor: &str| {
        let digest = if version == one { digest(&first) } else { digest(&second) };
        let digest = if version.is_empty() { String::new() } else { digest };
        [action.to_owned(), version.to_owned(), digest, actor.to_owned(), "127.0.0.1".to_owned()]
    };
    let expected = [
        line("deploy", &one, "anna"),
        line("activate", &one, "anna"),
        line("deploy", &two, "bert"),
        line("activate", &two, "bert"),
        line("rollback", &one, "carl"),
        line("activate", &two, "dora"),
        line("rollback", &one, "control token"),
        line("delete", "", "emil"),
        line("activate", &one, "fred"),
    ];
    assert_eq!(cluster.audit().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_one_host_is_taken_back_on_all() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(3).await;
    let (good, flaky) = (hello(""), hello("flaky"));
    hosts[0].deploy("hello", &good, "").await.expect_status(201);
    for host in &hosts {
        assert_serves(host, &good).await;
    }
    hosts[1].deploy("hello", &flaky, "").await.expect_status(201);
    // All find it worse at about the same time.
    let asking = hosts.iter().map(|host| async {
        until("it is taken back", async || (served(&host.api()).await.1 == label(&good)).then_some(())).await;
    });
    futures_util::future::join_all(asking).await;
    for host in &hosts {
        assert_serves(host, &good).await;
    }
    let mut audit = cluster.audit().await;
    let last = audit.pop().expect("a line");
    assert_eq!(last[..2], ["rollback".to_owned(), version(&good)]);
    assert_eq!(last[3..], ["watch".to_owned(), "this host".to_owned()]);
    assert!(audit.iter().all(|[action, ..]| action != "rollback"), "only one of them does it");
    let told = async || {
        let mut told = Vec::new();
        for host in &hosts {
            told.extend(events(host, "rollback").await);
        }
        (!told.is_empty()).then_some(told)
    };
    let told = until("it is told", told).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("trapped"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deploys_on_two_hosts_at_once_leave_all_with_one_version() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(3).await;
    let versions = pair();
    // Also the very first one, of a component that nobody knows.
    for round in 0..8 {
        let deploys = (0..2).map(|number| hosts[(round + number) % 3].deploy("hello", &versions[number], ""));
        let answers = futures_util::future::join_all(deploys).await;
        let won: Vec<usize> = answers.iter().enumerate().filter(|(_, one)| one.status < 300).map(|(i, _)| i).collect();
        for answer in answers.iter().filter(|answer| answer.status >= 300) {
            let error = &answer.expect_status(409)["error"];
            assert_eq!(error["code"], "CONFLICT", "{error}");
        }
        assert!(!won.is_empty(), "somebody wins");
        let mut labels = BTreeSet::new();
        for host in &hosts {
            labels.insert(served(&host.api()).await.1);
        }
        assert_eq!(labels.len(), 1, "round {round}: {labels:?}");
        let live = labels.pop_first().expect("one");
        assert!(won.iter().any(|number| label(&versions[*number]) == live), "{live} is the version of a winner");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_start_together_on_an_empty_database_agree() {
    let cluster = Cluster::new();
    let [first, _] = pair();
    cluster.seed(&first);
    let hosts = cluster.start_all(3).await;
    for host in &hosts {
        assert_serves(host, &first).await;
        let ready: BTreeSet<String> = nodes(host).await.into_values().collect();
        assert_eq!(ready, BTreeSet::from(["ready".to_owned()]));
    }
    assert_eq!(nodes(&hosts[0]).await.len(), 3);
    let seeds = cluster.audit().await.into_iter().filter(|[action, ..]| action == "activate").count();
    assert_eq!(seeds, 1, "the others found it there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_joins_amid_swaps_answers_with_what_is_live() {
    let cluster = Cluster::new();
    let hosts = cluster.start_all(2).await;
    let history = Arc::new(History::default());
    let versions = pair();
    deploy(&hosts[0], &versions[1], &history).await;
    deploy(&hosts[0], &versions[0], &history).await;
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, history) = (Arc::clone(&stop), Arc::clone(&history));
        tokio::spawn(async move {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                swaps += 1;
                deploy(&hosts[swaps % 2], &pair()[swaps % 2], &history).await;
            }
            (hosts, swaps)
        })
    };
    let mut load = Load::new(&history);
    for _ in 0..3 {
        let setup = cluster.setup(2);
        let joined = tokio::task::spawn_blocking(move || Host::start(setup)).await.expect("it starts");
        // From its very first answer on.
        load.on(&joined.url, 2, false);
        load.answers(100).await;
        load.end().await;
        load = Load::new(&history);
        assert_eq!(joined.stop(), Some(0));
    }
    stop.store(true, Ordering::Relaxed);
    let (_hosts, swaps) = swapping.await.expect("no panic");
    eprintln!("{swaps} swaps while a host joined three times");
}
