//! Services that die under traffic, and what must survive it: nothing that was
//! acknowledged is lost, and everything recovers by itself.

use crate::harness::{Api, Expect, Host, Redis, Setup, TIMEOUT, scratch_dir, setup, signal, until};
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// The embedded database: of the host under test alone, so it can be killed.
fn embedded(dir: &Path) -> Setup {
    let setup = setup().unset("DATABASE_URL");
    Setup { data_dir: Some(dir.to_owned()), ..setup }
}

fn postmaster(dir: &Path) -> Option<u32> {
    std::fs::read_to_string(dir.join("postgres/data/postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

#[derive(Default)]
struct Traffic {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// Creates rooms until told to stop; returns the ids that were acknowledged and
/// the statuses that were seen.
async fn write(api: Api, traffic: Arc<Traffic>, name: &str) -> (BTreeSet<String>, BTreeSet<u16>) {
    let (mut acknowledged, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    let mut number = 0;
    while !traffic.stop.load(Ordering::Relaxed) {
        number += 1;
        let body = json!({ "name": format!("{name} {number}"), "capacity": 4 });
        let answer = api.post("/api/rooms", body).await;
        statuses.insert(answer.status);
        match answer.status {
            201 => {
                acknowledged.insert(answer.data()["id"].as_str().expect("an id").to_owned());
                traffic.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            503 => {
                answer.expect_error(503, "DB_CONNECTION_ERROR");
            }
            _ => panic!("{}", answer.text),
        }
    }
    (acknowledged, statuses)
}

async fn all_rooms(api: &Api) -> BTreeSet<String> {
    let answer = api.get("/api/rooms?limit=1000").await;
    let rooms = answer.expect_status(200)["data"]["rooms"].as_array().expect("a list").clone();
    rooms.iter().map(|room| room["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn postgres_may_die_under_traffic_and_no_acknowledged_write_is_lost() {
    let dir = scratch_dir("postgres-dies");
    let host = Host::start(embedded(&dir));
    let admin = host.api().first_admin().await;
    let traffic = Arc::new(Traffic::default());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (api, traffic) = (admin.api.clone(), Arc::clone(&traffic));
            tokio::spawn(async move { write(api, traffic, &format!("room {writer}")).await })
        })
        .collect();
    for (round, how) in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGKILL].into_iter().enumerate() {
        let written = || traffic.acknowledged.load(Ordering::Relaxed) >= 50 * (round + 1);
        until("recovery without a restart of the host", async || written().then_some(())).await;
        let old = postmaster(&dir).expect("a postmaster");
        signal(old, how);
        until("a new postmaster", async || postmaster(&dir).filter(|new| *new != old)).await;
    }
    until("traffic", async || (traffic.acknowledged.load(Ordering::Relaxed) >= 200).then_some(())).await;
    traffic.stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    let mut statuses = BTreeSet::new();
    for writer in writers {
        let (ids, seen) = writer.await.expect("no panic");
        acknowledged.extend(ids);
        statuses.extend(seen);
    }
    assert_eq!(statuses, BTreeSet::from([201, 503]), "the outage was seen, and only as 503");
    let kept = all_rooms(&admin.api).await;
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{} acknowledged, lost {lost:?}", acknowledged.len());
}

#[tokio::test]
async fn a_killed_host_loses_nothing_that_it_acknowledged() {
    let dir = scratch_dir("host-dies");
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let host = Host::start(embedded(&dir));
        let api = match round {
            0 => host.api().first_admin().await.api,
            _ => {
                let body = json!({ "email": "admin@example.org", "password": "Passw0rd-of-admin" });
                let answer = host.api().post("/api/auth/login", body).await;
                host.api().user_of(answer.expect_status(200)).api
            }
        };
        let kept = all_rooms(&api).await;
        assert!(acknowledged.is_subset(&kept), "round {round} lost {:?}", acknowledged.difference(&kept));
        for number in 0..20 {
            let answer = api.post("/api/rooms", json!({ "name": format!("{round}/{number}"), "capacity": 1 })).await;
            acknowledged.insert(answer.expect_status(201)["data"]["id"].as_str().expect("an id").to_owned());
        }
        host.kill();
    }
}

#[tokio::test]
async fn everything_works_without_redis_and_again_with_it() {
    let redis = Redis::start();
    redis.kill();
    // It is down at the start already.
    let host = Host::start(setup().set("REDIS_URL", redis.url()).set("RATE_LIMIT_ENABLED", "true"));
    let works = async |round: usize| {
        let user = host.user("instructor").await;
        user.api.get("/api/auth/me").await.expect_status(200);
        let body = json!({ "title": format!("course {round}"), "level": "beginner", "price_per_session": 1, "duration_minutes": 60 });
        user.api.post("/api/courses", body).await.expect_status(201);
        let fresh = host.api().post("/api/auth/refresh", json!({ "refreshToken": user.refresh })).await;
        fresh.expect_status(200);
        user.api.post("/api/auth/logout", json!({})).await.expect_status(200);
        // Revoked at once, with or without Redis.
        user.api.get("/api/auth/me").await.expect_error(401, "AUTH_INVALID_TOKEN");
    };
    works(0).await;
    let control = Api::new(&host.control);
    let state = |wanted: &'static str| {
        let control = control.clone();
        move || {
            let control = control.clone();
            async move { (control.get("/health").await.body["redis"] == wanted).then_some(()) }
        }
    };
    for round in 1..4 {
        redis.run();
        until("Redis to be found again", state("up")).await;
        works(round).await;
        redis.kill();
        works(round + 10).await;
        until("Redis to be missed", state("down")).await;
    }
}

#[tokio::test]
async fn a_redis_that_hangs_delays_but_fails_no_request() {
    let redis = Redis::start();
    let host = Host::start(setup().set("REDIS_URL", redis.url()));
    let user = host.user("student").await;
    redis.pause();
    user.api.get("/api/auth/me").await.expect_status(200);
    host.login(&user.email).await;
    redis.resume();
    let control = Api::new(&host.control);
    until("Redis again", || async { (control.get("/health").await.body["redis"] == "up").then_some(()) }).await;
}

fn event(key: &str, number: usize) -> Value {
    json!({ "op": "publish", "channel": "probe.a", "key": key, "fields": { "key": key, "number": number } })
}

/// Receives what the relay publishes of these keys until each has reached `last`.
async fn receive(mut messages: redis::aio::PubSub, keys: Range<usize>, last: u64) -> Vec<(String, u64)> {
    let keys: BTreeSet<String> = keys.map(|key| format!("key {key}")).collect();
    let mut received = Vec::new();
    let mut done = BTreeSet::new();
    let mut stream = messages.on_message();
    while done.len() < keys.len() {
        let message = tokio::time::timeout(TIMEOUT, stream.next()).await.expect("in time").expect("a message");
        let payload: Value = serde_json::from_slice(message.get_payload_bytes()).expect("JSON");
        let (key, number) =
            (payload["key"].as_str().expect("a key").to_owned(), payload["number"].as_u64().expect("a number"));
        if !keys.contains(&key) {
            continue;
        }
        if number == last {
            done.insert(key.clone());
        }
        received.push((key, number));
    }
    received
}

/// Each key's events came in order; a repetition is allowed, an overtaking not.
fn assert_in_order(received: &[(String, u64)], keys: Range<usize>, last: u64) {
    for key in keys {
        let key = format!("key {key}");
        let numbers: Vec<u64> = received.iter().filter(|(of, _)| *of == key).map(|(_, number)| *number).collect();
        let mut highest = 0;
        for number in &numbers {
            assert!(*number <= highest + 1, "{key}: {numbers:?}");
            highest = highest.max(*number);
        }
        assert_eq!(highest, last, "{key}: {numbers:?}");
    }
}

#[tokio::test]
async fn events_wait_for_redis_and_come_in_order_per_key() {
    let redis = Redis::start();
    let host = Host::start(setup().set("REDIS_URL", redis.url()).set("REDIS_PREFIX", "p:"));
    let api = host.api();
    redis.kill();
    for number in 1..=20 {
        let steps: Vec<Value> = (0..5).map(|key| event(&format!("key {key}"), number)).collect();
        api.probe(json!(steps)).await;
    }
    let unpublished = "select count(*) from public.outbox where published_at is null";
    assert_eq!(host.count(unpublished).await, 100);
    let tried = "select count(*) from public.outbox where attempts > 0 and last_error is not null";
    until("a failed attempt to be noted", async || (host.count(tried).await > 0).then_some(())).await;

    redis.run();
    let mut messages = redis.client().get_async_pubsub().await.expect("a connection");
    messages.subscribe("p:probe.a").await.expect("subscribed");
    until("the backlog to be shipped", async || (host.count(unpublished).await == 0).then_some(())).await;
    let out_of_order = "select count(*) from public.outbox a join public.outbox b
                        on a.key = b.key and a.id < b.id and a.published_at > b.published_at";
    assert_eq!(host.count(out_of_order).await, 0);
    // Of the backlog some was sent before the subscription: other keys are heard
    // from their first event on.
    for number in 1..=5 {
        let steps: Vec<Value> = (5..10).map(|key| event(&format!("key {key}"), number)).collect();
        api.probe(json!(steps)).await;
    }
    assert_in_order(&receive(messages, 5..10, 5).await, 5..10, 5);
}

#[tokio::test]
async fn an_event_survives_the_death_of_its_host_between_commit_and_relay() {
    let redis = Redis::start();
    redis.kill();
    let dir = scratch_dir("outbox");
    let start = || {
        Host::start(Setup {
            data_dir: Some(dir.clone()),
            ..embedded(&dir).set("REDIS_URL", redis.url()).set("REDIS_PREFIX", "p:")
        })
    };
    let host = start();
    for number in 1..=10 {
        host.api().probe(json!([event("key 0", number)])).await;
    }
    host.kill();
    redis.run();
    let mut messages = redis.client().get_async_pubsub().await.expect("a connection");
    messages.subscribe("p:probe.a").await.expect("subscribed");
    let _host = start();
    assert_in_order(&receive(messages, 0..1, 10).await, 0..1, 10);
}
