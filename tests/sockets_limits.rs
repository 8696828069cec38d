//! Chat over WebSockets: frames that are none, too large, or too many.

use crate::{
    harness::{Expect, Host, Socket, error_code, setup, unknown_id},
    sockets::{WS, host},
    sockets_frames::{Talk, talk},
};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

/// A frame of exactly so many bytes.
fn sized(kind: &str, data: &Value, bytes: usize) -> String {
    let frame = json!({ "type": kind, "data": data }).to_string();
    let blanks = " ".repeat(bytes - frame.len());
    frame.replacen('{', &format!("{{{blanks}"), 1)
}

// Frames that are none.

#[tokio::test]
async fn unknown_types_are_answered_and_do_no_harm() {
    let host = host();
    let Talk { mut guest, mut desk, .. } = talk(host).await;
    for _ in 0..10 {
        for kind in ["shout", "", "connected", "new_message", "Ping", "send_message "] {
            guest.expect_refusal(kind, json!({}), "UNKNOWN_TYPE").await;
            desk.expect_refusal(kind, json!({}), "UNKNOWN_TYPE").await;
        }
    }
    guest.expect_silence().await;
}

#[tokio::test]
async fn the_third_frame_that_is_none_ends_the_connection() {
    let host = host();
    let chat = host.chat().await;
    for text in [
        "",
        "Hello",
        "{",
        "[]",
        "\"ping\"",
        "null",
        "1",
        "{}",
        "{\"type\":1,\"data\":{}}",
        "{\"data\":{}}",
        "{\"type\":\"ping\",\"data\":[]}",
        &"[".repeat(16_000),
    ] {
        let (mut socket, _) = host.connect_guest(&chat).await;
        for _ in 0..2 {
            socket.send_text(text).await;
            let frame = socket.next().await;
            assert_eq!(error_code(&frame), "INVALID_FRAME", "{text}");
            // What is right in between takes nothing back.
            socket.expect_silence().await;
            socket.expect_refusal("shout", json!({}), "UNKNOWN_TYPE").await;
        }
        socket.send_frame(Message::binary(vec![0, 1, 2])).await;
        let (frames, code) = socket.read_until_close().await;
        assert!(frames.iter().all(|frame| error_code(frame) == "INVALID_FRAME"), "{text} {frames:?}");
        assert_eq!(code, Some(4400), "{text}");
    }
    // A frame that is one but has a bad order in it is not among them.
    let (mut socket, _) = host.connect_guest(&chat).await;
    for _ in 0..5 {
        socket.expect_refusal("send_message", json!({ "content": "" }), "VALIDATION_ERROR").await;
    }
    socket.expect_silence().await;
}

#[tokio::test]
async fn frames_have_a_size() {
    let host = host();
    let Talk { chat, admin, mut guest, mut desk } = talk(host).await;
    let data = json!({ "content": "long", "session_id": chat.id });
    for socket in [&mut guest, &mut desk] {
        let before = chat.session().await["message_count"].as_u64().expect("a number");
        socket.send_text(&sized("send_message", &data, 16 * 1024)).await;
        socket.skip_to("message_delivered").await;
        socket.send_text(&sized("send_message", &data, 16 * 1024 + 1)).await;
        socket.expect_close(1009).await;
        assert_eq!(chat.session().await["message_count"], before + 1);
    }
    // The first one may be longer, and only the first.
    for (bytes, opens) in [(16 * 1024 + 1, true), (256 * 1024, true), (256 * 1024 + 1, false)] {
        for auth in [chat.auth(), json!({ "token": admin.access })] {
            let mut socket = host.open(WS, &[]).await;
            socket.send_text(&sized("auth", &auth, bytes)).await;
            if opens {
                socket.expect_frame("connected").await;
                socket.send_text(&sized("ping", &json!({}), 16 * 1024 + 1)).await;
            }
            socket.expect_close(1009).await;
        }
    }
    // In pieces, too.
    for (pieces, fits) in [(16, true), (17, false)] {
        let (mut line, _) =
            host.upgrade(&format!("{WS}?session_id={}&token={}", chat.id, chat.token), &[]).await.expect("an upgrade");
        let text = sized("ping", &json!({}), pieces * 1024);
        for (number, piece) in text.as_bytes().chunks(1024).enumerate() {
            let kind = if number == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), number + 1 == pieces);
            let _ = line.send(Message::Frame(frame)).await;
        }
        let (mut socket, _) = Socket::over(line).connected().await;
        match fits {
            true => drop(socket.expect_frame("pong").await),
            false => socket.expect_close(1009).await,
        }
    }
}

// Limits.

#[tokio::test]
async fn guests_send_twenty_messages_a_minute_by_all_ways_together() {
    // All of this has to lie in one window.
    let window = ("window_seconds = 60", "window_seconds = 600");
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true").replace(window.0, window.1));
    let (chat, other, admin) = (host.chat().await, host.chat().await, host.admin().await);
    let (mut guest, _) = host.connect_guest(&chat).await;
    let (mut tab, _) = host.connect_guest(&chat).await;
    let (mut desk, _) = host.connect_admin(&admin).await;
    let named = json!({ "content": "named", "client_message_id": unknown_id() });
    for _ in 0..5 {
        chat.post_as_guest("by HTTP").await;
        guest.send_message(json!({ "content": "by socket" })).await;
        // Repeats and refusals count.
        tab.send_message(named.clone()).await;
        tab.expect_refusal("send_message", json!({ "content": "" }), "VALIDATION_ERROR").await;
    }
    let body = json!({ "content": "one too many" });
    guest.expect_refusal("send_message", body.clone(), "RATE_LIMIT_EXCEEDED").await;
    let path = format!("{}/messages", chat.path());
    chat.api.post(&path, body.clone()).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    // Other frames, chats and admins are not limited by it.
    assert_eq!(guest.request("ping", json!({})).await["type"], "pong");
    let (mut neighbour, _) = host.connect_guest(&other).await;
    neighbour.send_message(json!({ "content": "Hi" })).await;
    for _ in 0..25 {
        desk.send_message(json!({ "session_id": other.id, "content": "Hi" })).await;
    }
    // Who does not stop is shown out after twenty refusals.
    for _ in 2..20 {
        guest.expect_refusal("send_message", body.clone(), "RATE_LIMIT_EXCEEDED").await;
    }
    guest.send("send_message", body).await;
    guest.expect_close(4429).await;
    // The other tab has got everything, and stays.
    assert_eq!(tab.seqs_until(11).await, (1..=11).collect::<Vec<_>>());
    tab.expect_silence().await;
}
