//! Chat over WebSockets while the component behind it is exchanged, or fails.

use crate::{
    harness::{Chat, Expect, Host, Socket, components, error_code, seq, seqs, setup, until, variant},
    sockets::WS,
};
use futures_util::future::join_all;
use host::runtime::version_id::VersionId;
use serde_json::json;
use sqlx::Connection;
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

fn chat_component() -> Vec<u8> {
    fs::read(components().join("cs.wasm")).expect("the chat")
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

/// A guest who writes by socket and by HTTP until told to stop; every message
/// is acknowledged with the number that it comes back with.
async fn writes(chat: &Chat<'_>, stop: &AtomicBool, written: &AtomicU64) -> (Socket, Vec<u64>) {
    let (mut socket, _) = chat.host.connect_guest(chat).await;
    let mut heard = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let delivered = socket.send_message(json!({ "content": "by socket" })).await["seq"].as_u64().expect("a number");
        heard.extend(seqs(&socket.take_until(|frame| seq(frame) == Some(delivered)).await));
        let posted = chat.post_as_guest("by HTTP").await["seq"].as_u64().expect("a number");
        heard.extend(seqs(&socket.take_until(|frame| seq(frame) == Some(posted)).await));
        written.fetch_add(2, Ordering::Relaxed);
    }
    (socket, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_versions_go_live_under_open_chats() {
    let host = Host::start(setup());
    let (chats, admin) = (host.chats(4).await, host.admin().await);
    let mut idle = Vec::new();
    for number in 0..20 {
        idle.push(host.connect_guest(&chats[number % 4]).await.0);
    }
    let unnamed = host.open(WS, &[]).await;
    let (mut desk, _) = host.connect_admin(&admin).await;
    let (stop, written, came) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let wasm = chat_component();
    let versions: Vec<_> = (1..=3).map(|number| variant(&wasm, number)).collect();
    let swapping = async {
        // New ones under traffic, and then one after the other.
        for wasm in &versions {
            host.deploy("cs", wasm, "").await.expect_status(201);
        }
        // Until something has happened meanwhile.
        let mut turns = 0;
        while turns < 100 || written.load(Ordering::Relaxed) < 50 || came.load(Ordering::Relaxed) < 5 {
            let body = json!({ "version": VersionId::of(&versions[turns % 3]).to_string() });
            host.control().post("/v1/components/cs/activate", body).await.expect_status(200);
            turns += 1;
            // A moment for those who write.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    // One admin hears all chats meanwhile, and new clients keep coming.
    let coming = async {
        while !stop.load(Ordering::Relaxed) {
            let (mut socket, data) = host.connect_guest_after(&chats[0], 0).await;
            let head = data["seq"].as_u64().expect("a number");
            if head > 0 {
                assert_eq!(socket.seqs_until(head).await, range(1, head));
            }
            came.fetch_add(1, Ordering::Relaxed);
        }
    };
    let writing = join_all(chats.iter().map(|chat| writes(chat, &stop, &written)));
    let (talks, (), ()) = futures_util::join!(writing, coming, swapping);
    let mut missing = chats.len();
    let mut of_desk = vec![Vec::new(); chats.len()];
    while missing > 0 {
        let frame = desk.next().await;
        if let Some(seq) = seq(&frame) {
            let number = chats.iter().position(|chat| frame["data"]["session_id"] == chat.id).expect("one of these");
            of_desk[number].push(seq);
            missing -= usize::from(talks[number].1.last() == Some(&seq));
        }
    }
    for ((chat, (mut socket, heard)), of_desk) in chats.iter().zip(talks).zip(of_desk) {
        let last = chat.session().await["message_count"].as_u64().expect("a number");
        assert_eq!((&heard, &of_desk), (&range(1, last), &range(1, last)));
        socket.expect_silence().await;
    }
    for (number, socket) in idle.iter_mut().enumerate() {
        let last = chats[number % 4].session().await["message_count"].as_u64().expect("a number");
        assert_eq!(socket.seqs_until(last).await, range(1, last));
        socket.expect_silence().await;
    }
    drop(unnamed);
}

#[tokio::test]
async fn the_component_may_go_and_come_back_under_open_chats() {
    let host = Host::start(setup());
    let chat = host.chat().await;
    let (mut socket, _) = host.connect_guest(&chat).await;
    socket.send_message(json!({ "content": "one" })).await;
    host.control().delete("/v1/components/cs").await.expect_status(200);
    socket.send("ping", json!({})).await;
    let heard = socket.take_until(|frame| frame["type"] == "error").await;
    assert_eq!(seqs(&heard), [1]);
    assert_eq!(error_code(&heard[heard.len() - 1]), "SERVICE_UNAVAILABLE");
    host.deploy("cs", &chat_component(), "").await;
    assert_eq!(socket.request("ping", json!({})).await["type"], "pong");
    assert_eq!(socket.send_message(json!({ "content": "two" })).await["seq"], 2);
    assert_eq!(socket.seqs_until(2).await, [2]);
}

#[tokio::test]
async fn a_call_that_fails_costs_its_frame_alone() {
    let host = Host::start(setup().replace("[components.cs.limits]\n", "[components.cs.limits]\ndeadline_ms = 4000\n"));
    let (chat, other) = (host.chat().await, host.chat().await);
    let (mut socket, _) = host.connect_guest(&chat).await;
    let (mut tab, _) = host.connect_guest(&chat).await;
    let (mut neighbour, _) = host.connect_guest(&other).await;
    for round in 1..=2_u64 {
        // The session's row is held, so that a message of it waits in vain.
        let mut sql = host.sql().await;
        let mut held = sql.begin().await.expect("a transaction");
        sqlx::query("select from cs.sessions where id = $1::uuid for update")
            .bind(chat.id.clone())
            .execute(&mut *held)
            .await
            .expect("the row is held");
        socket.send("send_message", json!({ "content": "in vain" })).await;
        // What is sent behind it waits for it, and then goes on.
        socket.send("ping", json!({})).await;
        let frame = socket.next().await;
        assert!(
            ["SERVICE_UNAVAILABLE", "REQUEST_TIMEOUT", "INTERNAL_SERVER_ERROR"].contains(&error_code(&frame).as_str()),
            "{frame}"
        );
        socket.expect_frame("pong").await;
        neighbour.send_message(json!({ "content": "Hi" })).await;
        neighbour.expect_frame("new_message").await;
        held.rollback().await.expect("let go");
        assert_eq!(socket.send_message(json!({ "content": "now" })).await["seq"], round, "nothing of it was kept");
        for socket in [&mut socket, &mut tab] {
            assert_eq!(socket.seqs_until(round).await, [round]);
        }
    }
    socket.expect_silence().await;
    tab.expect_silence().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_told_and_waited_for() {
    let dir = crate::harness::scratch_dir("sockets-postgres");
    let host = Host::start(crate::harness::Setup { data_dir: Some(dir.clone()), ..setup().unset("DATABASE_URL") });
    let chat = host.chat().await;
    let (mut socket, _) = host.connect_guest(&chat).await;
    let postmaster = || {
        let text = fs::read_to_string(dir.join("postgres/data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse::<u32>().ok()
    };
    let (mut sent, mut failed) = (0_u64, 0);
    for _ in 0..2 {
        let old = postmaster().expect("a postmaster");
        crate::harness::signal(old, nix::sys::signal::Signal::SIGKILL);
        let before = sent;
        // The old one's sessions serve on for a moment.
        while sent < before + 5 || postmaster().is_none_or(|new| new == old) {
            let frame = socket.request("send_message", json!({ "content": "Hi" })).await;
            match frame["type"].as_str() {
                Some("message_delivered") => sent += 1,
                _ => {
                    assert_eq!(error_code(&frame), "DB_CONNECTION_ERROR");
                    failed += 1;
                }
            }
        }
    }
    assert!(failed > 0, "the outage was seen");
    // A message whose acknowledgement was lost may be stored: none is lost. The
    // first to notice that an old session has ended may be this request.
    let stored = async || {
        let answer = chat.api.get(&chat.path()).await;
        answer.body["data"]["session"]["message_count"].as_u64()
    };
    let last = until("the session to be read", stored).await;
    assert!(last >= sent);
    assert_eq!(socket.seqs_until(last).await, range(1, last));
    socket.expect_silence().await;
}
