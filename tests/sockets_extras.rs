//! Chat over WebSockets: what goes beyond the API contract, for those who ask.

use crate::{
    harness::{Host, Setup, setup, until},
    sockets::CONNECTED,
    sockets_frames::{Talk, talk},
};
use serde_json::{Value, json};
use std::time::Instant;

fn presence(session: &str, online: bool) -> Value {
    json!({ "session_id": session, "online": online })
}

#[tokio::test]
async fn whoever_watches_hears_which_guests_come_and_go() {
    let first = setup();
    let (environment, config) = (first.environment.clone(), first.config.clone());
    let one = Host::start(first);
    let two = Host::start(Setup { environment, config, ..setup() });
    let (chats, admin) = (one.chats(3).await, one.admin().await);
    let (mut early, _) = one.connect_guest(&chats[0]).await;
    let ((mut watcher, _), (mut other, _)) = (one.connect_admin(&admin).await, one.connect_admin(&admin).await);
    let frame = watcher.request("watch_presence", json!({})).await;
    let there = json!({ "session_ids": [chats[0].id] });
    assert_eq!((&frame["type"], &frame["data"]), (&json!("online_guests"), &there));
    // Of several sockets of one guest the first and the last count.
    let (tab, _) = one.connect_guest(&chats[1]).await;
    assert_eq!(watcher.expect_frame("presence").await, presence(&chats[1].id, true));
    let (last, _) = one.connect_guest(&chats[1]).await;
    tab.disconnect();
    watcher.expect_silence().await;
    last.disconnect();
    assert_eq!(watcher.expect_frame("presence").await, presence(&chats[1].id, false));
    // On the other host, once it knows that somebody watches.
    let known = "select count(*) from deploy.rooms where room = 'watchers'";
    until("the watcher to be known", async || (one.count(known).await == 1).then_some(())).await;
    let (away, _) = two.connect_guest(&chats[2]).await;
    assert_eq!(watcher.expect_frame("presence").await, presence(&chats[2].id, true));
    away.disconnect();
    assert_eq!(watcher.expect_frame("presence").await, presence(&chats[2].id, false));
    // Nobody else hears of it.
    early.expect_refusal("watch_presence", json!({}), "AUTH_FORBIDDEN").await;
    early.expect_silence().await;
    other.expect_silence().await;
}

#[tokio::test]
async fn what_was_read_is_told_to_the_other_side() {
    let host = crate::sockets::host();
    let Talk { chat, mut guest, mut desk, .. } = talk(host).await;
    let (mut tab, _) = host.connect_guest(&chat).await;
    guest.send("mark_read", json!({ "seq": 3 })).await;
    let mark = |role: &str, seq: u64| json!({ "session_id": chat.id, "role": role, "seq": seq });
    assert_eq!(desk.expect_frame("messages_read").await, mark("user", 3));
    desk.send("mark_read", json!({ "session_id": chat.id, "seq": 4 })).await;
    for socket in [&mut guest, &mut tab] {
        assert_eq!(socket.expect_frame("messages_read").await, mark("assistant", 4));
    }
    for data in [json!({}), json!({ "seq": -1 }), json!({ "seq": "1" }), json!({ "seq": 1.5 })] {
        guest.expect_refusal("mark_read", data, "VALIDATION_ERROR").await;
    }
    desk.expect_refusal("mark_read", json!({ "seq": 1 }), "VALIDATION_ERROR").await;
    // More than twenty in ten seconds are passed over.
    let started = Instant::now();
    for _ in 0..30 {
        guest.send("mark_read", json!({ "seq": 5 })).await;
    }
    guest.expect_silence().await;
    chat.post_as_guest("the end").await;
    let heard = desk.take_until(|frame| frame["type"] == "new_message").await.len() - 1;
    let admitted = 20 * (1 + started.elapsed().as_secs() / 10);
    assert!((1..=admitted).contains(&(heard as u64)), "{heard}");
}

#[tokio::test]
async fn guests_are_greeted_by_an_operator_who_wants_to() {
    let host = Host::start(setup().set("CHAT_GREETING", "Selamat datang!").set("CHAT_OFFICE_HOURS", "09:00 – 17:00"));
    let chat = host.chat().await;
    let (_, data) = host.connect_guest(&chat).await;
    crate::harness::assert_has_keys(&data, &format!("{CONNECTED} greeting office_hours"));
    assert_eq!((&data["greeting"], &data["office_hours"]), (&json!("Selamat datang!"), &json!("09:00 – 17:00")));
}
