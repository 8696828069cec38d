//! Chat over WebSockets: a client comes back and gets what it has missed, once
//! and in order, however much it is and whatever happens meanwhile.

use crate::{
    harness::{Chat, Host, Socket, assert_has_keys, seq, seqs, setup, unknown_id},
    sockets::{CONNECTED, DESK, SESSION, WS, host},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// More than a page, a queue and a window of a transport hold.
const MANY: u64 = 3000;

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

/// Sends over HTTP and sockets at once until so many messages are stored.
async fn chatter(chat: &Chat<'_>, number: u64) {
    let sent = AtomicU64::new(0);
    let next = || sent.fetch_add(1, Ordering::Relaxed);
    let by_http = async || {
        while next() < number {
            chat.post_as_guest("by HTTP").await;
        }
    };
    let by_socket = async || {
        let (mut socket, _) = chat.host.connect_guest(chat).await;
        while next() < number {
            socket.send_message(json!({ "content": "by socket" })).await;
        }
    };
    futures_util::join!(by_http(), by_http(), by_socket(), by_socket());
}

// Guests.

#[tokio::test]
async fn a_guest_gets_exactly_what_came_after_what_it_has_seen() {
    let host = host();
    let chat = host.chat().await;
    chat.fill(120).await;
    for seen in [0, 1, 69, 70, 119, 120] {
        let (mut socket, data) = host.connect_guest_after(&chat, seen).await;
        assert_has_keys(&data, CONNECTED);
        assert_eq!((&data["seq"], &data["messages"]), (&json!(120), &json!([])));
        if seen < 120 {
            assert_eq!(socket.seqs_until(120).await, range(seen + 1, 120));
        }
        socket.expect_silence().await;
    }
    // A number above the head counts as the head.
    let mut sockets = Vec::new();
    for beyond in [121, 122, 9_007_199_254_740_991, 9_223_372_036_854_775_807] {
        let (mut socket, data) = host.connect_guest_after(&chat, beyond).await;
        assert_eq!(data["seq"], 120);
        socket.expect_silence().await;
        sockets.push(socket);
    }
    for next in [121, 122] {
        chat.post_as_guest("after it").await;
        for socket in &mut sockets {
            assert_eq!(socket.seqs_until(next).await, [next]);
        }
    }
}

#[tokio::test]
async fn without_a_number_there_are_the_latest_fifty_and_then_what_comes() {
    let host = host();
    let chat = host.chat().await;
    let (mut early, data) = host.connect_guest(&chat).await;
    assert_eq!((&data["seq"], &data["messages"]), (&json!(0), &json!([])));
    chat.fill(60).await;
    let (mut socket, data) = host.connect_guest(&chat).await;
    assert_eq!(data["seq"], 60);
    let messages = data["messages"].as_array().expect("a list");
    assert_eq!(
        messages.iter().map(|message| message["seq"].as_u64().expect("a number")).collect::<Vec<_>>(),
        range(11, 60)
    );
    assert_eq!(data["messages"], json!(chat.read_after(10).await));
    socket.expect_silence().await;
    chat.post_as_guest("live").await;
    assert_eq!(socket.seqs_until(61).await, [61]);
    // Whoever has not been told of the sixty is told now: a jump is filled.
    assert_eq!(early.seqs_until(61).await, range(1, 61));
}

#[tokio::test]
async fn a_gap_of_thousands_is_filled_while_others_write() {
    let host = host();
    let chat = host.chat().await;
    chat.fill(MANY).await;
    let last = MANY + 200;
    let resume = async |seen: u64| {
        let (mut socket, data) = host.connect_guest_after(&chat, seen).await;
        let head = data["seq"].as_u64().expect("a number");
        assert!((MANY..=last).contains(&head), "{head}");
        let frames = socket.take_until(|frame| seq(frame) == Some(last)).await;
        assert_eq!(seqs(&frames), range(seen + 1, last), "from {seen}");
        socket.expect_silence().await;
        frames
    };
    let (_, frames) = futures_util::join!(chatter(&chat, 200), join_all([0, 1, 1000, MANY - 1, MANY].map(resume)));
    // It is what everybody else reads.
    let read: Vec<Value> = chat.read_after(0).await;
    let sent: Vec<_> =
        frames[0].iter().filter(|frame| seq(frame).is_some()).map(|frame| frame["data"].clone()).collect();
    assert_eq!(sent, read);
}

#[tokio::test]
async fn a_guest_who_comes_and_goes_misses_nothing() {
    let host = host();
    let chat = host.chat().await;
    let last = 300;
    let visit = async || {
        let (mut seen, mut visits, mut all) = (0, 0, Vec::new());
        while seen < last {
            let (mut socket, data) = host.connect_guest_after(&chat, seen).await;
            // Leaves in the middle of whatever comes.
            let until = (seen + 1 + visits % 7).max(data["seq"].as_u64().expect("a number").min(seen + 13)).min(last);
            if until > seen {
                all.extend(socket.seqs_until(until).await);
            }
            seen = until;
            visits += 1;
            socket.disconnect();
        }
        all
    };
    let (_, all) = futures_util::join!(chatter(&chat, last), visit());
    assert_eq!(all, range(1, last));
}

#[tokio::test]
async fn a_closed_chat_is_told_to_its_end() {
    let host = host();
    let (chat, admin) = (host.chat().await, host.admin().await);
    chat.fill(70).await;
    chat.set_status(&admin, "closed").await.expect_data(200);
    let session = chat.session().await;
    let closed = json!({ "session_id": chat.id, "reason": "closed_by_admin", "closed_at": session["closed_at"] });
    for (seen, replayed) in [(Some(0), range(1, 71)), (Some(70), vec![71]), (Some(71), vec![]), (None, vec![])] {
        let (mut socket, data) = match seen {
            Some(seen) => host.connect_guest_after(&chat, seen).await,
            None => host.connect_guest(&chat).await,
        };
        assert_eq!((&data["session"], &data["seq"]), (&session, &json!(71)));
        let (mut frames, code) = socket.read_until_close().await;
        let last = frames.pop().expect("a frame");
        assert_eq!((&last["type"], &last["data"]), (&json!("session_closed"), &closed));
        assert_eq!((seqs(&frames), code), (replayed, Some(4409)));
        assert_eq!(seqs(&frames).len(), frames.len(), "{frames:?}");
    }
    // It ends on all sockets, and not before they have heard everything.
    chat.set_status(&admin, "open").await.expect_data(200);
    let mut sockets = [
        host.connect_guest_after(&chat, 0).await.0,
        host.connect_guest_after(&chat, 71).await.0,
        host.connect_guest(&chat).await.0,
    ];
    chat.post_as_guest("bye").await;
    chat.set_status(&admin, "closed").await.expect_data(200);
    for (socket, first) in sockets.iter_mut().zip([1, 72, 72]) {
        let (frames, code) = socket.read_until_close().await;
        assert_eq!((seqs(&frames), code), (range(first, 73), Some(4409)));
        assert_eq!(frames[frames.len() - 1]["type"], "session_closed");
    }
}

#[tokio::test]
async fn without_sockets_the_same_is_read() {
    let host = host();
    let chat = host.chat().await;
    chat.fill(1000).await;
    let (messages, ()) = futures_util::join!(chat.read_after(0), chatter(&chat, 50));
    let read: Vec<_> = messages.iter().map(|message| message["seq"].as_u64().expect("a number")).collect();
    assert!((1000..=1050).contains(&read.len()));
    assert_eq!(read, range(1, read.len() as u64));
    let (mut socket, _) = host.connect_guest_after(&chat, 0).await;
    let frames = socket.take_until(|frame| seq(frame) == Some(1050)).await;
    let replayed: Vec<_> = frames.iter().map(|frame| frame["data"].clone()).collect();
    assert_eq!(json!(replayed), json!(chat.read_after(0).await));
}

// The desk.

#[tokio::test]
async fn the_desk_gets_every_chat_it_has_not_heard_of() {
    let host = Host::start(setup());
    let admin = host.admin().await;
    let chats = host.chats(5).await;
    for (chat, number) in chats.iter().zip([130, 60, 0, 5, 70]) {
        if number > 0 {
            chat.fill(number).await;
        }
    }
    // Two are closed: one that the admin knows, and one that they do not.
    for chat in &chats[3..] {
        chat.set_status(&admin, "closed").await.expect_data(200);
    }
    let id = |number: usize| chats[number].id.clone();
    let after = json!({ id(0): 100, id(4): 60, unknown_id(): 5 });
    let (mut desk, data) = host.connect_admin_after(&admin, after.clone()).await;
    assert_has_keys(&data, &format!("{DESK} sessions"));
    assert_eq!(data["open_sessions"], 3);
    assert_eq!(data["seq"], json!({ id(0): 130, id(1): 60, id(2): 0, id(4): 71 }));
    let sessions = data["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 4);
    for session in sessions {
        assert_has_keys(session, SESSION);
        let chat = chats.iter().find(|chat| session["id"] == chat.id).expect("one of these");
        assert_eq!(session["status"], if chat.id == id(4) { "closed" } else { "open" });
    }
    let mut frames = Vec::new();
    while frames.len() < 30 + 60 + 11 {
        let frame = desk.next().await;
        assert_eq!(frame["type"], "new_message");
        frames.push(frame);
    }
    desk.expect_silence().await;
    let of = |number: usize| {
        let own: Vec<Value> =
            frames.iter().filter(|frame| frame["data"]["session_id"] == chats[number].id).cloned().collect();
        seqs(&own)
    };
    assert_eq!((of(0), of(1), of(4)), (range(101, 130), range(1, 60), range(61, 71)));

    // An empty map is one; without any, nothing is replayed.
    let (mut desk, data) = host.connect_admin_after(&admin, json!({})).await;
    assert_eq!(data["sessions"].as_array().expect("a list").len(), 3);
    let mut got = 0;
    while got < 130 + 60 {
        got += usize::from(desk.next().await["type"] == "new_message");
    }
    desk.expect_silence().await;
    let (mut desk, data) = host.connect_admin(&admin).await;
    assert_has_keys(&data, DESK);
    desk.expect_silence().await;
    chats[1].post_as_guest("live").await;
    assert_eq!(desk.seqs_until(61).await, [61]);
    // What lies ahead counts as the head.
    let (mut desk, _) =
        host.connect_admin_after(&admin, json!({ id(0): 999, id(1): 61, id(2): 9_007_199_254_740_991_u64 })).await;
    desk.expect_silence().await;
    chats[2].post_as_guest("first").await;
    assert_eq!(desk.seqs_until(1).await, [1]);
}

#[tokio::test]
async fn a_chat_that_is_opened_again_goes_on_where_it_was() {
    let host = host();
    let (chat, admin) = (host.chat().await, host.admin().await);
    chat.fill(30).await;
    chat.set_status(&admin, "closed").await.expect_data(200);
    let aged = "update cs.messages set created_at = created_at - interval '1 minute' where session_id = $1::uuid";
    assert_eq!(host.run(aged, &[&chat.id]).await, 31);
    // Who did not say what was seen has not asked for what is old.
    let (desk, data) = host.connect_admin(&admin).await;
    assert!(data["seq"].get(&chat.id).is_none());
    let mut desk = desk.only(&chat.id);
    chat.set_status(&admin, "open").await.expect_data(200);
    desk.expect_frame("session_status_changed").await;
    for seq in [32, 33] {
        chat.post_as_guest("there again").await;
        assert_eq!(desk.seqs_until(seq).await, [seq]);
    }
    // And gets it on request.
    desk.send("subscribe", json!({ "session_id": chat.id, "after_seq": 0 })).await;
    assert_eq!(desk.seqs_until(33).await, range(1, 33));
    desk.expect_silence().await;
}

#[tokio::test]
async fn the_desk_misses_nothing_of_many_chats_while_they_go_on() {
    let host = Host::start(setup());
    let admin = host.admin().await;
    let chats = host.chats(6).await;
    for chat in &chats {
        chat.fill(500).await;
    }
    let after: Value = chats
        .iter()
        .enumerate()
        .map(|(number, chat)| (chat.id.clone(), json!(number * 100)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let writing = join_all(chats.iter().map(|chat| chatter(chat, 40)));
    let reading = async {
        let (desk, data) = host.connect_admin_after(&admin, after.clone()).await;
        let mut heard = vec![Vec::new(); chats.len()];
        let mut desk: Socket = desk;
        while heard.iter().any(|seqs| seqs.last() != Some(&540)) {
            let frame = desk.next().await;
            if let Some(seq) = seq(&frame) {
                let number =
                    chats.iter().position(|chat| frame["data"]["session_id"] == chat.id).expect("one of these");
                heard[number].push(seq);
            }
        }
        desk.expect_silence().await;
        (heard, data)
    };
    let (_, (heard, data)) = futures_util::join!(writing, reading);
    for (number, (heard, chat)) in heard.iter().zip(&chats).enumerate() {
        assert!(data["seq"][&chat.id].as_u64() >= Some(500), "{data}");
        assert_eq!(*heard, range(number as u64 * 100 + 1, 540), "chat {number}");
    }
}

#[tokio::test]
async fn a_desk_of_thousands_of_chats_comes_back_with_one_frame() {
    let host = Host::start(setup());
    let admin = host.admin().await;
    let statement = "with new as (
             insert into cs.sessions (guest_name, guest_email, session_token_hash, last_seq)
             select 'Guest ' || n, 'g@example.org', sha256(n::text::bytea), 2 from generate_series(1, 4000) n returning id)
         insert into cs.messages (session_id, seq, sender_type, message)
         select id, n, 'guest', 'message' from new, generate_series(1, 2) n";
    assert_eq!(host.run(statement, &[]).await, 8000);
    let ids = host.rows("select id::text as id from cs.sessions", &[]).await;
    let after: Value = ids
        .iter()
        .map(|row| (row["id"].as_str().expect("an id").to_owned(), json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert!(after.to_string().len() > 100 * 1024, "more than any other frame may have");
    let (mut desk, data) = host.connect_admin_after(&admin, after).await;
    assert_eq!(data["open_sessions"], 4000);
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 4000 {
        let frame = desk.next().await;
        assert_eq!(seq(&frame), Some(2));
        assert!(heard.insert(frame["data"]["session_id"].to_string()), "twice: {frame}");
    }
    desk.expect_silence().await;
}

#[tokio::test]
async fn a_socket_that_resumes_may_write_at_once() {
    let host = host();
    let chat = host.chat().await;
    chat.fill(MANY).await;
    let (mut socket, _) = host
        .open(&format!("{WS}?session_id={}&token={}&after_seq=0", chat.id, chat.token), &[])
        .await
        .connected()
        .await;
    let delivered = socket.send_message(json!({ "content": "in the middle of it" })).await;
    assert_eq!(delivered["seq"], MANY + 1);
    assert_eq!(socket.seqs_until(MANY + 1).await, range(1, MANY + 1));
}

#[tokio::test]
async fn a_replay_may_take_longer_than_a_client_may_be_silent() {
    let silence = Duration::from_secs(3);
    let timeouts = setup().set("WS_HEARTBEAT_INTERVAL", "500");
    let host = Host::start(timeouts.set("WS_CONNECTION_TIMEOUT", silence.as_millis().to_string()));
    let chat = host.chat().await;
    let mut many = 0;
    loop {
        chat.fill(40_000).await;
        many += 40_000;
        let started = Instant::now();
        // It answers pings, which is all that is asked of it.
        let (mut socket, _) = host.connect_guest_after(&chat, 0).await;
        assert_eq!(socket.seqs_until(many).await, range(1, many));
        socket.expect_silence().await;
        // A fast machine needs more of them.
        if started.elapsed() > silence {
            break;
        }
    }
}
