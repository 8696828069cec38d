//! `peers`: the same four requests to the host, to a native axum server, to
//! `wasmtime serve` and to Hono on Node, in turns.

use crate::{
    environment::{ACCESS_SECRET, COURSES, Environment, course, fill, log_in},
    load::{self, Measured, Request},
    median,
    processes::{self, Postgres, Process, Scratch, root},
};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const WARM_UP: Duration = Duration::from_secs(1);
/// A component that `wasmtime serve` runs as well, and where ours is mounted.
/// What follows the mount is what it is asked for; without a mount it takes the
/// first segment, so that one path means the same to both.
const FOREIGN: (&str, &str) = ("foreign-rust-02", "/hello/foreign");
const FOREIGN_PATH: &str = "/hello/foreign/hello";

/// One server that is asked.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    asked: fn(&str) -> bool,
    _process: Process,
}

/// Measurements by request and peer, in the order of the rounds.
type Results = BTreeMap<(&'static str, &'static str), Vec<Measured>>;

pub async fn run(seconds: u64, rounds: u64) -> Result<()> {
    let mut notes = Vec::new();
    let scratch = Scratch::new()?;
    let mut postgres = None;
    let work = async {
        let shema = processes::build_host()?;
        let components = processes::build_components(&shema, scratch.path(), "hello")?;
        let foreign = processes::build_fixture(FOREIGN.0, &[])?;
        std::fs::write(components.join(format!("{}.wasm", FOREIGN.0)), foreign)?;
        let postgres = postgres.insert(Postgres::start(scratch.path()).await?);
        compare(&shema, &components, &scratch, postgres, seconds, rounds, &mut notes).await
    };
    let outcome = processes::unless_stopped(work).await;
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    let mut result = outcome?;
    result.insert("notes".into(), json!(notes));
    println!("{}", Value::Object(result));
    Ok(())
}

async fn compare(
    shema: &Path,
    components: &Path,
    scratch: &Scratch,
    postgres: &Postgres,
    seconds: u64,
    rounds: u64,
    notes: &mut Vec<String>,
) -> Result<Map<String, Value>> {
    let url = postgres.url("bench");
    let environment =
        Environment { shema, components, mounts: &[("hello", "/hello"), FOREIGN], database: &url, redis: None };
    // Once for the cache of machine code and the migrations, as after a deploy.
    environment.start(scratch.path()).await?.process.kill()?;
    let begun = Instant::now();
    let host = environment.start(scratch.path()).await?.process;
    let cold_start = begun.elapsed();
    // With no connection to the database and no warm instance yet.
    let first_call = load::once(host.address, &Request::get("/api/courses")).await?;
    fill(&url).await?;
    let token = log_in(host.address).await?;
    let requests = requests(&url, &token).await?;

    let native_too: fn(&str) -> bool = |request| request != "foreign";
    let mut peers = vec![Peer { name: "shema", address: host.address, asked: |_| true, _process: host }];
    let mut native = Command::new(std::env::current_exe()?);
    native.args(["native", &url, ACCESS_SECRET]);
    let process = processes::start(&mut native, scratch.path(), "native").await?;
    peers.push(Peer { name: "native", address: process.address, asked: native_too, _process: process });
    match hono(scratch.path(), postgres).await {
        Ok(process) => {
            peers.push(Peer { name: "hono", address: process.address, asked: native_too, _process: process });
        }
        Err(error) => notes.push(format!("Hono was not measured: {error:#}")),
    }
    match wasmtime_serve(scratch.path(), &components.join(format!("{}.wasm", FOREIGN.0))).await {
        Ok(process) => {
            peers.push(Peer {
                name: "wasmtime",
                address: process.address,
                asked: |request| request == "foreign",
                _process: process,
            });
        }
        Err(error) => notes.push(format!("wasmtime serve was not measured: {error:#}")),
    }

    let results = measure(&peers, &requests, Duration::from_secs(seconds), rounds).await?;
    print(&results, &requests, &peers);
    notes.push(format!(
        "{rounds} rounds of {seconds} s, 32 connections, client and servers on the same {} cores; no \
         server logs requests, rate limits are off; the list is 20 of {COURSES} or more rows",
        std::thread::available_parallelism().map_or(0, usize::from)
    ));
    let mut result = Map::new();
    for (key, request, other) in [
        ("no_db_vs_native", "no_db", "native"),
        ("no_db_vs_wasmtime_serve", "foreign", "wasmtime"),
        ("db_get_vs_native", "db_get", "native"),
        ("db_list_vs_native", "db_list", "native"),
        ("db_post_vs_native", "db_post", "native"),
        ("db_get_vs_hono", "db_get", "hono"),
        ("db_list_vs_hono", "db_list", "hono"),
        ("db_post_vs_hono", "db_post", "hono"),
    ] {
        result.insert(key.into(), ratio(&results, request, other, |measured| measured.per_second));
    }
    let p99 = ratio(&results, "db_get", "native", |measured| measured.p99.as_secs_f64());
    result.insert("p99_vs_native".into(), p99);
    result.insert("cold_start_ms".into(), json!(cold_start.as_millis()));
    result.insert("first_call_ms".into(), json!(first_call.as_secs_f64() * 1e3));
    Ok(result)
}

/// The requests by name.
async fn requests(url: &str, token: &str) -> Result<Vec<(&'static str, Request)>> {
    let id = course(url).await?;
    let post = Request {
        method: "POST",
        path: "/api/courses".into(),
        token: Some(token.to_owned()),
        body: Some(Arc::new(|number| {
            json!({ "title": format!("New {number}"), "level": "beginner", "price_per_session": 100000,
                    "duration_minutes": 60 })
            .to_string()
        })),
        expect: 201,
    };
    Ok(vec![
        ("no_db", Request::get("/hello")),
        ("foreign", Request::get(FOREIGN_PATH)),
        ("db_get", Request::get(format!("/api/courses/{id}"))),
        ("db_list", Request::get("/api/courses?limit=20")),
        ("db_post", post),
    ])
}

async fn hono(dir: &Path, postgres: &Postgres) -> Result<Process> {
    let package_dir = root().join("target/bench-hono");
    std::fs::create_dir_all(&package_dir)?;
    for name in ["package.json", "server.mjs"] {
        std::fs::copy(root().join("tests/bench/hono").join(name), package_dir.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&package_dir).args(["install", "--no-audit", "--no-fund", "--silent"]).stdout(Stdio::null());
    ensure!(npm.status().context("npm is not there")?.success(), "npm install failed");
    let mut node = Command::new("node");
    node.current_dir(&package_dir).arg("server.mjs").args([&postgres.socket(), "bench", ACCESS_SECRET]);
    processes::start(&mut node, dir, "hono").await
}

async fn wasmtime_serve(dir: &Path, component: &Path) -> Result<Process> {
    let mut wasmtime = Command::new("wasmtime");
    wasmtime.args(["serve", "--addr", "127.0.0.1:0"]).arg(component);
    processes::start(&mut wasmtime, dir, "wasmtime").await
}

async fn measure(peers: &[Peer], requests: &[(&'static str, Request)], time: Duration, rounds: u64) -> Result<Results> {
    let mut results = Results::new();
    // Nobody to compare with: nothing to measure.
    let compared = |name: &str| peers.iter().filter(|peer| (peer.asked)(name)).count() > 1;
    let asks = |peer: &&Peer, name: &str| compared(name) && (peer.asked)(name);
    for (name, request) in requests {
        for peer in peers.iter().filter(|peer| asks(peer, name)) {
            load::measure(peer.address, request, WARM_UP).await.with_context(|| peer.name)?;
        }
    }
    for round in 1..=rounds {
        for (name, request) in requests {
            for peer in peers.iter().filter(|peer| asks(peer, name)) {
                let measured = load::measure(peer.address, request, time).await.with_context(|| peer.name)?;
                eprintln!("round {round}/{rounds}  {name:8} {:9} {:9.0}/s", peer.name, measured.per_second);
                results.entry((name, peer.name)).or_default().push(measured);
            }
        }
    }
    Ok(results)
}

/// The median over the rounds of ours divided by theirs.
fn ratio(results: &Results, request: &'static str, other: &'static str, of: fn(&Measured) -> f64) -> Value {
    let (Some(ours), Some(theirs)) = (results.get(&(request, "shema")), results.get(&(request, other))) else {
        return Value::Null;
    };
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)).collect();
    json!((median(ratios) * 1000.0).round() / 1000.0)
}

fn print(results: &Results, requests: &[(&'static str, Request)], peers: &[Peer]) {
    println!(
        "{:9} {:10} {:>10} {:>21} {:>9} {:>7}",
        "request", "server", "median/s", "lowest … highest", "p99 ms", "ours"
    );
    for (name, _) in requests {
        for peer in peers {
            let Some(measured) = results.get(&(*name, peer.name)) else { continue };
            let rates: Vec<f64> = measured.iter().map(|measured| measured.per_second).collect();
            let p99 = median(measured.iter().map(|measured| measured.p99.as_secs_f64() * 1e3).collect());
            let low = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let high = rates.iter().copied().fold(0.0, f64::max);
            let ours = match ratio(results, name, peer.name, |measured| measured.per_second).as_f64() {
                Some(ratio) if peer.name != "shema" => format!("{ratio:.2}"),
                _ => String::new(),
            };
            let spread = format!("{low:.0} … {high:.0}");
            println!("{name:9} {:10} {:>10.0} {spread:>21} {p99:>9.2} {ours:>7}", peer.name, median(rates));
        }
    }
}
