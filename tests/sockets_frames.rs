//! Chat over WebSockets: what is said, by whom, and in which shape.

use crate::{
    harness::{Chat, Host, Socket, User, assert_has_keys, is_time, seq, setup, unknown_id, with},
    sockets::{CONNECTED, DESK, MESSAGE, SESSION, host},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// A guest and an admin who talk, each on a socket, and what they were told as
/// they connected.
pub struct Talk<'a> {
    pub chat: Chat<'a>,
    pub admin: User,
    pub guest: Socket,
    pub desk: Socket,
}

pub async fn talk(host: &Host) -> Talk<'_> {
    let (chat, admin) = (host.chat().await, host.user("admin").await);
    let (guest, _) = host.connect_guest(&chat).await;
    let (desk, _) = host.connect_admin(&admin).await;
    Talk { desk: desk.only(&chat.id), chat, admin, guest }
}

/// The frame's keys are the envelope's.
fn assert_envelope(frame: &Value) {
    let keys: Vec<_> = frame.as_object().expect("an object").keys().collect();
    assert!(keys.iter().all(|key| ["type", "data", "id", "eventId"].contains(&key.as_str())), "{frame}");
}

// Messages.

#[tokio::test]
async fn a_guests_message_reaches_everybody_in_the_shape_it_has_over_http() {
    let host = host();
    let Talk { chat, mut guest, mut desk, .. } = talk(host).await;
    let (mut tab, _) = host.connect_guest(&chat).await;
    let content = " <b>Hi</b>\n\t\u{202e}ä😀 ";
    let name = unknown_id();
    let frame =
        guest.request("send_message", json!({ "content": content, "client_message_id": name, "role": "admin" })).await;
    assert_envelope(&frame);
    let delivered = &frame["data"];
    assert_has_keys(delivered, "message_id seq client_message_id delivered_at");
    assert_eq!((&delivered["seq"], &delivered["client_message_id"]), (&json!(1), &json!(name)));
    assert!(is_time(&delivered["delivered_at"]), "{delivered}");

    let stored = chat.read_after(0).await;
    assert_has_keys(&stored[0], MESSAGE);
    let sent = json!({ "id": delivered["message_id"], "content": content, "sender_type": "guest", "role": "user", "sender_id": null });
    assert_eq!(with(&stored[0], sent), stored[0]);
    for socket in [&mut guest, &mut tab, &mut desk] {
        let frame = socket.next().await;
        assert_envelope(&frame);
        assert_eq!((&frame["type"], &frame["data"], &frame["id"]), (&json!("new_message"), &stored[0], &Value::Null));
        socket.expect_silence().await;
    }
    let unnamed = guest.send_message(json!({ "content": "without a name" })).await;
    assert_has_keys(&unnamed, "message_id seq delivered_at");
}

#[tokio::test]
async fn an_admins_first_message_takes_the_chat_and_guests_learn_a_name_only() {
    let host = host();
    let Talk { chat, admin, mut guest, mut desk } = talk(host).await;
    let (mut colleague, _) = host.connect_admin(&host.user("admin").await).await;
    colleague = colleague.only(&chat.id);
    let delivered =
        desk.send_message(json!({ "session_id": chat.id, "content": "Hello", "admin_id": unknown_id() })).await;
    let stored = chat.read_after(0).await;
    assert_eq!((&stored[0]["id"], &stored[0]["sender_id"]), (&delivered["message_id"], &json!(admin.id)));
    let full = json!({ "id": admin.id, "full_name": "Some admin" });
    for (socket, named) in
        [(&mut guest, json!({ "full_name": "Some admin" })), (&mut desk, full.clone()), (&mut colleague, full)]
    {
        let assigned = socket.expect_frame("session_assigned").await;
        assert_eq!(assigned, json!({ "session_id": chat.id, "admin": named }));
        assert_eq!(socket.expect_frame("new_message").await, stored[0]);
        socket.expect_silence().await;
    }
    let (_, data) = host.connect_guest(&chat).await;
    assert_eq!(data["session"]["assigned_admin"], json!({ "full_name": "Some admin" }));
    assert_eq!(data["messages"], json!(stored));
    // It is not taken a second time, and by nobody else.
    desk.send_message(json!({ "session_id": chat.id.to_uppercase(), "content": "How can I help?" })).await;
    assert_eq!(guest.expect_frame("new_message").await["seq"], 2);
    let taken = json!({ "session_id": chat.id, "content": "Me too" });
    colleague.expect_refusal("send_message", taken, "CHAT_ALREADY_ASSIGNED").await;
    guest.expect_silence().await;
}

#[tokio::test]
async fn http_and_sockets_are_one_chat() {
    let host = host();
    let Talk { chat, admin, mut guest, mut desk } = talk(host).await;
    guest.send_message(json!({ "content": "by socket" })).await;
    let posted = chat.post_as_guest("by HTTP").await;
    let reply = chat.post_as_admin(&admin, "reply by HTTP").await;
    for socket in [&mut guest, &mut desk] {
        assert_eq!(socket.expect_frame("new_message").await["content"], "by socket");
        assert_eq!(socket.expect_frame("new_message").await, posted);
        assert_eq!(socket.expect_frame("session_assigned").await["session_id"], chat.id);
        assert_eq!(socket.expect_frame("new_message").await, reply);
    }
    // What admins do to the chat comes as well, in order.
    chat.set_status(&admin, "closed").await.expect_data(200);
    let (farewell, closed) = (chat.read_after(3).await, chat.session().await);
    let (frames, code) = guest.read_until_close().await;
    assert_eq!(code, Some(4409), "{frames:?}");
    let mut seen = frames;
    for _ in 0..3 {
        let frame = desk.next().await;
        assert_eq!((&seen[0]["type"], &seen[0]["data"]), (&frame["type"], &frame["data"]));
        seen.remove(0);
        match frame["type"].as_str() {
            Some("new_message") => assert_eq!(json!([frame["data"]]), json!(farewell)),
            Some("session_status_changed") => {
                assert_eq!(frame["data"], json!({ "session_id": chat.id, "status": "closed" }));
            }
            _ => {
                assert_eq!(frame["type"], "session_closed");
                let why =
                    json!({ "session_id": chat.id, "reason": "closed_by_admin", "closed_at": closed["closed_at"] });
                assert_eq!(frame["data"], why);
            }
        }
    }
    assert!(seen.is_empty(), "{seen:?}");
    desk.expect_refusal("send_message", json!({ "session_id": chat.id, "content": "Wait" }), "CHAT_SESSION_CLOSED")
        .await;
    chat.set_status(&admin, "open").await.expect_data(200);
    assert_eq!(desk.expect_frame("session_status_changed").await, json!({ "session_id": chat.id, "status": "open" }));
}

#[tokio::test]
async fn admins_hear_of_new_chats_and_have_them_at_once() {
    let host = host();
    let (mut desk, before) = host.connect_admin(&host.admin().await).await;
    assert_has_keys(&before, DESK);
    let body = json!({ "guest_name": "Gita", "guest_email": "gita@example.org", "initial_message": "Hi" });
    let answer = host.api().post("/api/cs/sessions", body).await;
    let data = answer.expect_data(201);
    let chat = Chat::of(host, data);
    assert!(before["seq"].get(&chat.id).is_none());
    let created =
        desk.take_until(|frame| frame["type"] == "session_created" && frame["data"]["session"]["id"] == chat.id).await;
    let created = &created[created.len() - 1];
    assert_envelope(created);
    assert_has_keys(&created["data"], "session");
    assert_has_keys(&created["data"]["session"], SESSION);
    assert_eq!(created["data"]["session"], data["session"]);
    desk = desk.only(&chat.id);
    assert_eq!(desk.expect_frame("new_message").await, data["message"]);
    // It is subscribed like the others.
    let (mut guest, connected) = host.connect_guest(&chat).await;
    assert_has_keys(&connected, CONNECTED);
    assert_eq!((&connected["seq"], &connected["messages"]), (&json!(1), &json!([data["message"]])));
    guest.send_message(json!({ "content": "anybody?" })).await;
    assert_eq!(desk.expect_frame("new_message").await["content"], "anybody?");
}

#[tokio::test]
async fn the_desk_is_told_how_far_every_open_chat_is() {
    let host = Host::start(setup());
    let admin = host.admin().await;
    let chats = host.chats(4).await;
    for (number, chat) in chats.iter().enumerate() {
        for _ in 0..number {
            chat.post_as_guest("Hi").await;
        }
    }
    chats[3].set_status(&admin, "closed").await.expect_data(200);
    let (_, data) = host.connect_admin(&admin).await;
    assert_has_keys(&data, DESK);
    assert_eq!(data["open_sessions"], 3);
    assert_eq!(data["seq"], json!({ &chats[0].id: 0, &chats[1].id: 1, &chats[2].id: 2 }));
}

#[tokio::test]
async fn messages_are_judged_as_over_http() {
    let host = host();
    let Talk { chat, mut guest, mut desk, .. } = talk(host).await;
    for data in [
        json!({}),
        json!({ "content": null }),
        json!({ "content": 1 }),
        json!({ "content": "" }),
        json!({ "content": " \n\t\u{3000}" }),
        json!({ "content": "x".repeat(1001) }),
        json!({ "content": "a\u{0}b" }),
        json!({ "content": "a\rb" }),
        json!({ "content": "a\u{1b}[2J" }),
        json!({ "content": "a", "client_message_id": "1" }),
        json!({ "content": "a", "client_message_id": 1 }),
    ] {
        guest.expect_refusal("send_message", data.clone(), "VALIDATION_ERROR").await;
        desk.expect_refusal("send_message", with(&data, json!({ "session_id": chat.id })), "VALIDATION_ERROR").await;
    }
    for (data, code) in [
        (json!({ "content": "a" }), "VALIDATION_ERROR"),
        (json!({ "content": "a", "session_id": 1 }), "VALIDATION_ERROR"),
        (json!({ "content": "a", "session_id": "x" }), "VALIDATION_ERROR"),
        (json!({ "content": "a", "session_id": unknown_id() }), "CHAT_SESSION_NOT_FOUND"),
    ] {
        desk.expect_refusal("send_message", data, code).await;
    }
    assert_eq!(guest.send_message(json!({ "content": "😀".repeat(1000) })).await["seq"], 1);
    // A guest writes into no other chat, whatever the frame says.
    let other = host.chat().await;
    assert_eq!(guest.send_message(json!({ "content": "mine", "session_id": other.id })).await["seq"], 2);
    assert_eq!(other.session().await["message_count"], 0);
    let contents: Vec<_> = chat.read_after(0).await.iter().map(|message| message["sender_type"].clone()).collect();
    assert_eq!(contents, ["guest", "guest"]);
}

#[tokio::test]
async fn a_repeated_message_is_delivered_again_to_its_sender_alone() {
    let host = host();
    let Talk { chat, admin, mut guest, mut desk } = talk(host).await;
    let name = unknown_id();
    let named = |content: &str| json!({ "content": content, "client_message_id": name, "session_id": chat.id });
    let first = guest.send_message(named("once")).await;
    let (mut tab, _) = host.connect_guest(&chat).await;
    for socket in [&mut guest, &mut tab] {
        let again = socket.send_message(named("something else")).await;
        for key in ["message_id", "seq", "client_message_id"] {
            assert_eq!(again[key], first[key]);
        }
    }
    let path = format!("{}/messages", chat.path());
    assert_eq!(chat.api.post(&path, named("by HTTP")).await.expect_data(200)["message"]["id"], first["message_id"]);
    desk.expect_refusal("send_message", named("not mine"), "VALIDATION_ERROR").await;
    // And what was sent by HTTP is known here.
    let other = unknown_id();
    let posted = chat.api.post(&path, json!({ "content": "HTTP", "client_message_id": other })).await;
    let again = guest.send_message(json!({ "content": "HTTP", "client_message_id": other })).await;
    assert_eq!(again["message_id"], posted.expect_data(201)["message"]["id"]);
    for socket in [&mut guest, &mut desk] {
        assert_eq!(socket.seqs_until(2).await, [1, 2]);
        socket.expect_silence().await;
    }
    assert_eq!(tab.seqs_until(2).await, [2]);
    // An admin's repeat is answered when the chat is closed, too.
    let mine = json!({ "content": "yes", "client_message_id": unknown_id(), "session_id": chat.id });
    let first = desk.send_message(mine.clone()).await;
    chat.set_status(&admin, "closed").await.expect_data(200);
    assert_eq!(desk.send_message(mine).await["message_id"], first["message_id"]);
}

#[tokio::test]
async fn one_message_sent_by_many_sockets_at_once_is_stored_once() {
    let host = host();
    let chat = host.chat().await;
    let data = json!({ "content": "once", "client_message_id": unknown_id() });
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(host.connect_guest(&chat).await.0);
    }
    for socket in &mut sockets {
        socket.send("send_message", data.clone()).await;
    }
    for socket in &mut sockets {
        let (mut delivered, mut heard) = (0, 0);
        while (delivered, heard) != (1, 1) {
            let frame = socket.next().await;
            delivered += usize::from(frame["type"] == "message_delivered");
            heard += usize::from(seq(&frame) == Some(1));
        }
        socket.expect_silence().await;
    }
    assert_eq!(chat.session().await["message_count"], 1);
}

// Subscriptions.

#[tokio::test]
async fn an_admin_leaves_a_chat_and_comes_back_to_it() {
    let host = host();
    let Talk { chat, admin, mut guest, mut desk } = talk(host).await;
    chat.post_as_guest("one").await;
    assert_eq!(desk.seqs_until(1).await, [1]);
    let id = json!({ "session_id": chat.id });
    desk.send("unsubscribe", id.clone()).await;
    desk.expect_silence().await;
    for number in 2..=60 {
        chat.post_as_guest(&number.to_string()).await;
    }
    guest.send("typing", json!({})).await;
    chat.post_as_admin(&admin, "sixty-one").await;
    guest.skip_to("session_assigned").await;
    // Every frame of it is kept away, and of no other chat.
    let other = host.chat().await;
    let (mut both, _) = host.connect_admin(&admin).await;
    both = both.only(&other.id);
    other.post_as_guest("Hi").await;
    assert_eq!(both.seqs_until(1).await, [1]);
    desk.expect_silence().await;

    desk.send("subscribe", with(&id, json!({ "after_seq": 1 }))).await;
    assert_eq!(desk.seqs_until(61).await, (2..=61).collect::<Vec<_>>());
    chat.post_as_guest("live").await;
    assert_eq!(desk.seqs_until(62).await, [62]);
    // Without a number it goes on from here.
    desk.send("unsubscribe", id.clone()).await;
    desk.expect_silence().await;
    chat.post_as_guest("unheard").await;
    desk.send("subscribe", id.clone()).await;
    desk.expect_silence().await;
    chat.post_as_guest("heard").await;
    assert_eq!(desk.seqs_until(64).await, [64]);
    desk.expect_silence().await;

    for kind in ["subscribe", "unsubscribe"] {
        desk.expect_refusal(kind, json!({}), "VALIDATION_ERROR").await;
        desk.expect_refusal(kind, json!({ "session_id": "x" }), "VALIDATION_ERROR").await;
    }
    desk.expect_refusal("subscribe", json!({ "session_id": unknown_id() }), "CHAT_SESSION_NOT_FOUND").await;
    for after_seq in [json!(-1), json!(1.5), json!("1")] {
        desk.expect_refusal("subscribe", with(&id, json!({ "after_seq": after_seq })), "VALIDATION_ERROR").await;
    }
    for kind in ["subscribe", "unsubscribe"] {
        assert_eq!(guest.request(kind, id.clone()).await["type"], "error", "these are the desk's");
    }
}

// Typing and pings.

/// The first of the frames says that somebody types, and for every two seconds
/// since `started` one more may; returns its data.
fn typing_every_other_second(frames: &[Value], started: Instant) -> Value {
    let typing = frames.iter().filter(|frame| frame["type"] == "typing").count() as u64;
    assert!((1..=1 + started.elapsed().as_secs() / 2).contains(&typing), "{frames:?}");
    assert_eq!(frames[0]["type"], "typing", "{frames:?}");
    frames[0]["data"].clone()
}

#[tokio::test]
async fn typing_is_relayed_every_other_second_and_never_stored() {
    let host = host();
    let Talk { chat, mut guest, mut desk, .. } = talk(host).await;
    let (mut other, _) = host.connect_guest(&host.chat().await).await;
    let started = Instant::now();
    for _ in 0..5 {
        guest.send("typing", json!({ "session_id": unknown_id() })).await;
    }
    guest.send_message(json!({ "content": "typed" })).await;
    let heard = desk.take_until(|frame| seq(frame) == Some(1)).await;
    let typing = typing_every_other_second(&heard, started);
    assert_has_keys(&typing, "role session_id");
    assert_eq!(typing["session_id"], chat.id);
    let by_guest = typing["role"].clone();

    let (mut guest, _) = host.connect_guest(&chat).await;
    let started = Instant::now();
    for _ in 0..5 {
        desk.send("typing", json!({ "session_id": chat.id })).await;
    }
    desk.send_message(json!({ "session_id": chat.id, "content": "typed" })).await;
    let heard = guest.take_until(|frame| seq(frame) == Some(2)).await;
    let typing = typing_every_other_second(&heard, started);
    assert_has_keys(&typing, "role session_id");
    assert_eq!(typing["session_id"], chat.id);
    assert!(typing["role"].is_string() && typing["role"] != by_guest, "{typing} {by_guest}");
    // The next one is let through when its time has come.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    desk.send("typing", json!({ "session_id": chat.id })).await;
    assert_eq!(guest.expect_frame("typing").await, typing);
    other.expect_silence().await;
    assert_eq!(chat.session().await["message_count"], 2);
    let stored = host.events(&format!("chat:{}", chat.id)).await;
    assert!(stored.iter().all(|event| event["payload"]["type"] != "typing"));
}

#[tokio::test]
async fn pings_are_answered() {
    let host = host();
    let Talk { mut guest, mut desk, .. } = talk(host).await;
    for socket in [&mut guest, &mut desk] {
        let pong = socket.request("ping", json!({})).await;
        assert_envelope(&pong);
        assert_eq!((&pong["type"], &pong["data"]), (&json!("pong"), &json!({})));
        socket.send("ping", json!({})).await;
        let pong = socket.next().await;
        assert_has_keys(&pong, "data type");
        // One of the protocol is not for the component.
        socket.send_frame(Message::Ping(vec![1, 2].into())).await;
        socket.expect_silence().await;
    }
}
