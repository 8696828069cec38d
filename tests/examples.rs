//! The examples of the SDK, deployed with the grants that each names in its head.

use crate::harness::{Api, Expect, Host, example, redis, root, setup};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::fs;

const PREFIX: &str = "examples:";

/// The TOML in the head of an example.
fn grants(name: &str) -> String {
    let text = fs::read_to_string(root().join("components/sdk/examples").join(name).with_extension("rs"));
    let text = text.expect("an example");
    let head =
        text.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let block = head.skip_while(|line| *line != "```toml").skip(1).take_while(|line| *line != "```");
    block.map(|line| format!("{line}\n")).collect()
}

/// A host with one or more examples.
async fn host_with(names: &[&str]) -> Host {
    let config: String = names.iter().map(|name| format!("\n{}", grants(name))).collect();
    assert!(config.contains("mounts = "), "{config}");
    let host = Host::start(setup().set("REDIS_PREFIX", PREFIX).config(&config));
    for name in names {
        host.deploy(&format!("{name}-example"), &example(name), "").await.expect_status(201);
    }
    host
}

async fn post(api: &Api, path: &str) -> crate::harness::Answer {
    api.post(path, json!({})).await
}

#[tokio::test]
async fn hello_checks_what_it_is_asked_and_is_called_by_another() {
    let host = host_with(&["hello", "call"]).await;
    let api = host.api();
    assert_eq!(api.get("/api/hello?name=Ada").await.expect_status(200)["data"]["message"], "Hello, Ada!");
    api.get("/api/hello?name=").await.expect_error(400, "VALIDATION_ERROR");
    let delivered = api.get("/api/messenger").await;
    let delivered = &delivered.expect_status(200)["data"];
    assert_eq!((&delivered["status"], &delivered["answer"]["data"]["message"]), (&json!(200), &json!("Hello, Ada!")));
}

#[tokio::test]
async fn a_transaction_keeps_everything_or_nothing() {
    let host = host_with(&["transaction"]).await;
    let api = host.api();
    post(&api, "/api/pairs/broken").await.expect_error(400, "VALIDATION_ERROR");
    // "Pair three" is not there.
    assert_eq!(post(&api, "/api/pairs").await.expect_status(200)["data"]["rooms"], 2);
}

#[tokio::test]
async fn an_event_is_heard_after_the_commit() {
    let host = host_with(&["events"]).await;
    let client = redis::Client::open(redis().url()).expect("a client");
    let mut heard = client.get_async_pubsub().await.expect("a connection");
    heard.subscribe(format!("{PREFIX}bell.rung")).await.expect("subscribed");
    post(&host.api(), "/api/bells").await.expect_status(200);
    let message = heard.on_message().next().await.expect("a message");
    let event: Value = serde_json::from_slice(message.get_payload_bytes()).expect("JSON");
    assert_eq!((&event["eventType"], &event["times"]), (&json!("BELL_RUNG"), &json!(3)));
}

#[tokio::test]
async fn what_one_says_in_the_hall_everybody_hears() {
    let host = host_with(&["socket"]).await;
    assert_eq!(host.api().get("/api/hall").await.expect_status(200)["data"]["socket"], "/api/hall/ws");
    let (mut one, mut two) = (host.open("/api/hall/ws", &[]).await, host.open("/api/hall/ws", &[]).await);
    // One's own word shows that one is in the hall; the other's may have come before.
    for (socket, word) in [(&mut one, "one"), (&mut two, "two")] {
        socket.send_text(word).await;
        while socket.next_text().await != word {}
    }
    assert_eq!(one.next_text().await, "two");
    one.send_text("hello").await;
    assert_eq!((one.next_text().await, two.next_text().await), ("hello".into(), "hello".into()));
}
