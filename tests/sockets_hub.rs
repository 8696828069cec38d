//! What a component can do with the connections that it holds, asked by one
//! that does what it is told: rooms, numbered streams, timers, state, traps.

use crate::harness::{Expect, Host, Setup, Socket, fixture, redis, setup, until, variant};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// Of the one host that is spoken to through Redis.
const PREFIX: &str = "hub:";

/// Publishes `heard` through Redis, once so many hosts listen to the channel.
async fn publish(channel: &str, hosts: i64) {
    let mut redis = redis().client().get_multiplexed_async_connection().await.expect("Redis");
    let publish = redis::cmd("PUBLISH").arg(channel).arg("heard").to_owned();
    let reached = async || {
        let reached: i64 = publish.query_async(&mut redis).await.expect("published");
        (reached == hosts).then_some(())
    };
    until(&format!("{hosts} hosts to listen to {channel}"), reached).await;
}

async fn host() -> Host {
    host_with(setup()).await
}

async fn host_with(setup: Setup) -> Host {
    let config = "\n[components.echo]\nmounts = [\"/echo\"]\ngrants.sockets = [\"echo:*\"]\n";
    let host = Host::start(setup.config(config));
    host.deploy("echo", &echo(), "").await.expect_status(201);
    host
}

fn echo() -> Vec<u8> {
    fs::read(fixture("echo")).expect("the component")
}

/// A connection, with its greeting taken.
async fn open(host: &Host) -> Socket {
    let mut socket = host.open("/echo/ws?hello", &[]).await;
    assert_eq!(socket.next_text().await, "opened /echo/ws hello");
    socket
}

impl Socket {
    async fn expect_reply(&mut self, text: &str, answer: &str) {
        self.send_text(text).await;
        assert_eq!(self.next_text().await, answer, "to {text}");
    }

    async fn expect_texts(&mut self, texts: impl IntoIterator<Item = u64>) {
        for text in texts {
            assert_eq!(self.next_text().await, text.to_string());
        }
    }
}

#[tokio::test]
async fn frames_are_handled_one_after_the_other() {
    let host = host().await;
    let (mut one, mut two) = (open(&host).await, open(&host).await);
    for number in 0..500 {
        one.send_text(&format!("n{number}")).await;
        two.send_text(&format!("all b{number}")).await;
    }
    let mut own = 0;
    let mut others = 0;
    while own < 500 || others < 500 {
        let text = one.next_text().await;
        if text == format!("n{own}") {
            own += 1;
        } else {
            assert_eq!(text, format!("b{others}"));
            others += 1;
        }
    }
    for number in 0..500 {
        assert_eq!(two.next_text().await, format!("b{number}"));
    }
}

#[tokio::test]
async fn bytes_come_back_as_they_are_up_to_the_limit() {
    const LIMIT: usize = 64 << 10;
    let host = host().await;
    let mut one = open(&host).await;
    // Of every value, text or not, and of every way to tell a length.
    for length in [0, 1, 125, 126, 127, 65_535, LIMIT - 1, LIMIT] {
        let bytes: Vec<u8> = (0..=u8::MAX).rev().cycle().take(length).collect();
        one.send_frame(Message::binary(bytes.clone())).await;
        assert!(one.next_bytes().await == bytes, "{length} bytes came back otherwise");
    }
    // In their order among texts, and a text remains one.
    one.send_frame(Message::binary("text")).await;
    one.send_text("text").await;
    one.send_frame(Message::binary("trap")).await;
    assert_eq!(one.next_bytes().await, b"text");
    assert_eq!(one.next_text().await, "text");
    assert_eq!(one.next_bytes().await, b"trap");
    one.send_frame(Message::binary(vec![0; LIMIT + 1])).await;
    one.expect_close(1009).await;
}

#[tokio::test]
async fn a_trap_costs_its_frame_alone() {
    let host = host().await;
    let (mut one, mut two) = (open(&host).await, open(&host).await);
    one.send_text("state kept").await;
    for _ in 0..20 {
        one.expect_reply("trap", "failed").await;
        one.expect_reply("state", "kept").await;
        two.expect_reply("still here", "still here").await;
    }
    // Frames behind it are not lost.
    for text in ["trap", "a", "trap", "b"] {
        one.send_text(text).await;
    }
    for text in ["failed", "a", "failed", "b"] {
        assert_eq!(one.next_text().await, text);
    }
    // Where there is nothing yet to go on with, there is no going on.
    let mut stranger = host.open("/echo/ws?trap", &[]).await;
    assert_eq!(stranger.next_text().await, "failed");
    stranger.expect_close(1011).await;
    assert_eq!(two.next_text().await, "closed 1011");
    two.expect_reply("still here", "still here").await;
}

#[tokio::test]
async fn who_came_into_a_room_by_a_call_that_failed_hears_nothing_from_there() {
    let host = host().await;
    let (mut teller, mut member) = (open(&host).await, open(&host).await);
    member.send_text("join club").await;
    member.expect_reply("here", "here").await;
    for _ in 0..10 {
        let mut stranger = open(&host).await;
        stranger.send_text("join club trap").await;
        let told = async {
            for number in 0..20 {
                teller.send_text(&format!("in club {number}")).await;
            }
        };
        let (heard, ()) = futures_util::join!(stranger.read_until_close(), told);
        assert_eq!(heard, (vec![serde_json::json!("failed")], Some(1011)));
        let (mut numbers, mut closed) = (0, 0);
        while (numbers, closed) != (20, 1) {
            match member.next_text().await.as_str() {
                "closed 1011" => closed += 1,
                text => {
                    assert_eq!(text, numbers.to_string());
                    numbers += 1;
                }
            }
        }
        assert_eq!(teller.next_text().await, "closed 1011");
    }
    // Whoever is in already stays, and goes on.
    member.expect_reply("join club trap", "failed").await;
    teller.send_text("in club again").await;
    assert_eq!(member.next_text().await, "again");
}

#[tokio::test]
async fn a_stream_comes_once_and_in_order_whatever_is_told_when() {
    let host = host().await;
    let (mut one, mut two) = (open(&host).await, open(&host).await);
    for (told, heard) in [
        ("number s 1", vec![1]),
        // Again, and of the past.
        ("number s 1", vec![]),
        // A jump is filled, three at a time.
        ("number s 9", (2..=9).collect()),
        ("number s 4", vec![]),
        ("advance s 9", vec![]),
        ("advance s 20", (10..=20).collect()),
        ("number s 21", vec![21]),
    ] {
        two.send_text(told).await;
        one.expect_texts(heard.clone()).await;
        two.expect_texts(heard).await;
        two.expect_reply("x", "x").await;
        one.expect_reply("x", "x").await;
    }
    // Another stream counts for itself, and a muted one is not heard.
    two.send_text("number t 1").await;
    one.expect_texts([1]).await;
    one.send_text("mute s").await;
    one.expect_reply("x", "x").await;
    two.send_text("number s 30").await;
    two.send_text("number t 2").await;
    one.expect_texts([2]).await;
    two.expect_texts([1]).await;
    let mut heard = Vec::new();
    for _ in 0..10 {
        heard.push(two.next_text().await);
    }
    // Of two streams at once each keeps its own order.
    heard.retain(|text| text != "2");
    assert_eq!(heard, (22..=30).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_is_told_once_by_its_name() {
    let host = host().await;
    let (mut one, mut two) = (open(&host).await, open(&host).await);
    for socket in [&mut one, &mut two] {
        for _ in 0..3 {
            socket.send_text("once event-1").await;
        }
        socket.send_text("x").await;
    }
    two.send_text("once event-2").await;
    let mut told = Vec::new();
    while !told.contains(&"event-2".to_owned()) {
        told.push(one.next_text().await);
    }
    assert_eq!(told.iter().filter(|text| *text == "event-1").count(), 1, "{told:?}");
}

#[tokio::test]
async fn timers_limits_and_closes_are_kept() {
    let host = host().await;
    let (mut one, mut two) = (open(&host).await, open(&host).await);
    let started = Instant::now();
    one.expect_reply("timer 300", "timer").await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    // A new time takes the place of the old one, and 0 of any.
    for text in ["timer 3000", "timer 600000", "timer 3000", "timer 0"] {
        one.send_text(text).await;
    }
    tokio::time::sleep(Duration::from_millis(3300)).await;
    one.expect_reply("no timer", "no timer").await;
    // Of a limit a frame is told by its end.
    let mut small = open(&host).await;
    small.send_text("limit 10").await;
    small.expect_reply("0123456789", "0123456789").await;
    small.send_text("0123456789a").await;
    small.expect_close(1009).await;
    assert_eq!(one.next_text().await, "closed 1009");
    two.send_text("close 4321").await;
    two.expect_close(4321).await;
    assert_eq!(one.next_text().await, "closed 4321");
    let mut three = open(&host).await;
    three.send_frame(Message::Close(Some(CloseFrame { code: CloseCode::from(4000), reason: "enough".into() }))).await;
    assert_eq!(one.next_text().await, "closed 4000");
    open(&host).await.disconnect();
    assert_eq!(one.next_text().await, "closed 1006");
}

#[tokio::test]
async fn who_lets_too_much_wait_is_told_so() {
    let host = host().await;
    let (mut one, mut bystander) = (open(&host).await, host.open("/echo/ws?trap", &[]).await);
    assert_eq!(bystander.next_text().await, "failed");
    // More at once than any client can have taken.
    one.send_text("flood 20000").await;
    let (frames, code) = one.read_until_close().await;
    assert_eq!(code, Some(4413));
    assert!((256..20_000).contains(&frames.len()), "{}", frames.len());
    // The room also hears that the bystander's connection has ended.
    let numbers: Vec<u64> = frames.iter().filter_map(serde_json::Value::as_u64).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "no hole before the end");
}

#[tokio::test]
async fn what_others_publish_and_ask_over_http_reaches_the_room() {
    let host = host_with(setup().set("REDIS_PREFIX", PREFIX)).await;
    let (mut one, mut two) = (open(&host).await, open(&host).await);
    host.api().get("/echo?asked").await.expect_status(200);
    publish(&format!("{PREFIX}echo:a"), 1).await;
    publish(&format!("{PREFIX}other:a"), 0).await;
    publish(&format!("{PREFIX}echo:b:c"), 1).await;
    for socket in [&mut one, &mut two] {
        assert_eq!(socket.next_text().await, "asked");
        assert_eq!(socket.next_text().await, "published echo:a heard");
        assert_eq!(socket.next_text().await, "published echo:b:c heard");
    }
    one.expect_reply("present all none", "all").await;
}

#[tokio::test]
async fn a_new_version_takes_over_what_the_old_one_left() {
    let host = host().await;
    let mut sockets = Vec::new();
    for number in 0..5 {
        let mut socket = open(&host).await;
        socket.send_text(&format!("state {number}")).await;
        socket.send_text("number s 3").await;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        socket.expect_texts(1..=3).await;
        socket.send_text("timer 5000").await;
        socket.expect_reply("x", "x").await;
    }
    host.deploy("echo", &variant(&echo(), 1), "").await.expect_status(201);
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.send_text("state").await;
        let heard = [socket.next_text().await, socket.next_text().await];
        assert!(heard.contains(&number.to_string()) && heard.contains(&"timer".to_owned()), "{heard:?}");
    }
    sockets[0].send_text("number s 5").await;
    for socket in &mut sockets {
        socket.expect_texts(4..=5).await;
    }
}

/// As any other grant, a channel needs no restart.
#[tokio::test]
async fn a_channel_that_is_granted_later_is_heard_from_the_next_deploy_on() {
    const PREFIX: &str = "hub-later:";
    let host = host_with(setup().set("REDIS_PREFIX", PREFIX)).await;
    let mut one = open(&host).await;
    publish(&format!("{PREFIX}echo:a"), 1).await;
    publish(&format!("{PREFIX}later:a"), 0).await;
    assert_eq!(one.next_text().await, "published echo:a heard");
    let path = host.data_dir.join("host.toml");
    let file = fs::read_to_string(&path).expect("the file");
    fs::write(&path, file.replace("\"echo:*\"", "\"echo:*\", \"later:*\"")).expect("written");
    host.deploy("echo", &variant(&echo(), 1), "").await.expect_status(201);
    publish(&format!("{PREFIX}later:b"), 1).await;
    assert_eq!(one.next_text().await, "published later:b heard");
}

#[tokio::test]
async fn no_number_of_connections_shuts_requests_out() {
    let host = host_with(Setup { files: Some(320), ..setup() }).await;
    let mut lines = Vec::new();
    let refused = loop {
        match host.upgrade("/echo/plain", &[]).await {
            Ok((line, _)) => lines.push(line),
            Err(refused) => break refused,
        }
    };
    refused.expect_error(503, "SERVICE_UNAVAILABLE");
    // Of 320 files three quarters are for connections; fifteen of sixteen of those
    // for sockets. A few may come while others are on their way.
    assert!((225..235).contains(&lines.len()), "{}", lines.len());
    for _ in 0..50 {
        host.api().get("/echo?hello").await.expect_status(200);
    }
    // A place is free when its connection has ended.
    lines.truncate(100);
    for _ in 0..50 {
        let again = async || host.upgrade("/echo/plain", &[]).await.ok();
        lines.push(until("a place to be free", again).await.0);
    }
}

#[tokio::test]
async fn calls_for_connections_leave_places_for_requests() {
    // A deadline that nothing here reaches: what runs, runs until the end of the test.
    let few = "[components.echo.limits]\nmax_calls = 4\nmax_wait_ms = 60000\ndeadline_ms = 600000\n";
    let host = host_with(setup().config(few)).await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(open(&host).await);
    }
    for socket in &mut sockets {
        socket.send_text("spin").await;
    }
    // As many of them run as may, and the others wait in line.
    until("the calls to begin", async || (host.running("echo").await >= 6).then_some(())).await;
    for _ in 0..10 {
        host.api().get("/echo?hello").await.expect_status(200);
    }
    assert!(host.running("echo").await >= 6, "none of them has made room");
}
