//! Chat over WebSockets: who is let in, how, and who is not.

use crate::{
    auth::{claims, hs256},
    harness::{
        ACCESS_SECRET, Chat, Expect, Host, Socket, User, assert_has_keys, error_code, production, setup, unique,
        unknown_id, with,
    },
};
use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

pub const WS: &str = "/api/cs/ws";
pub const ALIAS: &str = "/api/chat/connect";
pub const SESSION: &str = "id guest_name guest_email school class status assigned_admin message_count last_message_at \
                           created_at updated_at closed_at";
pub const MESSAGE: &str = "id session_id sender_type role sender_id content seq created_at";
pub const CONNECTED: &str = "session seq messages";
pub const DESK: &str = "admin open_sessions seq";

/// The host that tests of sockets share: the other tests' chats do not get here.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::start(setup()))
}

/// With the limits of the operator's file, in longer windows than a test takes.
fn limited() -> Host {
    let setup = setup().set("RATE_LIMIT_ENABLED", "true").set("TRUSTED_PROXIES", "127.0.0.1");
    Host::start(setup.replace("window_seconds = 60", "window_seconds = 600"))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn encoded(value: &Value) -> String {
    percent_encoding::utf8_percent_encode(&value.to_string(), percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Opens, and is refused with an `error` and this close code.
async fn refused(host: &Host, path: &str, headers: &[(&str, &str)], code: &str, close: u16) {
    let (frames, ended) = host.open(path, headers).await.read_until_close().await;
    let codes: Vec<_> = frames.iter().map(error_code).collect();
    assert_eq!((codes, ended), (vec![code.to_owned()], Some(close)), "{path} {headers:?}");
}

/// The same by the first frame.
async fn refused_frame(host: &Host, data: Value, code: &str, close: u16) {
    let (frames, ended) = host.open_with_auth(data.clone()).await.read_until_close().await;
    let codes: Vec<_> = frames.iter().map(error_code).collect();
    assert_eq!((codes, ended), (vec![code.to_owned()], Some(close)), "{data}");
}

// The upgrade.

#[tokio::test]
async fn both_addresses_are_upgraded_and_nothing_else_is() {
    let host = host();
    let admin = host.admin().await;
    for path in [WS, ALIAS, "/api/cs/ws/"] {
        let (line, headers) = host.upgrade(path, &[("x-request-id", "request-12345")]).await.expect("an upgrade");
        assert_eq!(headers.get("x-request-id").expect("an id"), "request-12345");
        assert!(headers.get("sec-websocket-protocol").is_none());
        let mut socket = Socket::over(line);
        socket.send("auth", json!({ "token": admin.access })).await;
        socket.expect_frame("connected").await;

        let plain = host.api().get(path).await;
        assert_eq!(plain.expect_error(400, "VALIDATION_ERROR")["code"], "VALIDATION_ERROR");
        let posted = host.api().post(path, json!({})).await;
        posted.expect_error(405, "METHOD_NOT_ALLOWED");
        assert!(posted.header("allow").contains("GET"));
    }
    for path in ["/api/cs/socket", "/api/chat", "/api/cs/ws/x", "/api/chat/connect/x", "/ws"] {
        let refused = host.upgrade(path, &[]).await.expect_err("no upgrade");
        refused.expect_error(404, "ROUTE_NOT_FOUND");
    }
    // An upgrade of a route that has none is a request like any other.
    let refused = host.upgrade("/api/courses", &[]).await.expect_err("no upgrade");
    assert_eq!(refused.status, 200);
    assert_eq!(host.api().get("/api/cs/sessions").await.status, 405);
}

#[tokio::test]
async fn only_allowed_origins_open_connections() {
    let host = host();
    let chat = host.chat().await;
    for headers in [&[][..], &[("origin", "http://localhost:3000")], &[("origin", "http://localhost:5173")]] {
        let mut socket = host.open(WS, headers).await;
        socket.send("auth", chat.auth()).await;
        socket.expect_frame("connected").await;
    }
    let admin = host.admin().await;
    for origin in [
        "http://evil.example",
        "https://localhost:3000",
        "http://localhost:3000.evil.example",
        "http://localhost:3001",
        "http://LOCALHOST:3000/",
        "null",
        "",
    ] {
        for path in [WS, ALIAS] {
            let headers = [("origin", origin), ("authorization", &bearer(&admin.access))];
            let refused = host.upgrade(path, &headers).await.err().unwrap_or_else(|| panic!("`{origin}` got in"));
            refused.expect_error(403, "AUTH_FORBIDDEN");
        }
    }
    // Of the host's own pages in development, under whichever name.
    let own = host.url.as_str();
    host.open(WS, &[("origin", own)]).await;
    let other = own.replace("127.0.0.1", "localhost");
    let refused = host.upgrade(WS, &[("origin", &other)]).await.expect_err("no upgrade");
    refused.expect_error(403, "AUTH_FORBIDDEN");
    // The request itself is answered to any page, as elsewhere.
    let page = host.api().with_header("origin", "http://evil.example");
    page.get("/api/courses").await.expect_status(200);
}

#[tokio::test]
async fn in_production_the_list_of_origins_alone_counts() {
    let host = Host::start(production().set("CORS_ALLOWED_ORIGINS", "https://academy.example"));
    let refused = host.upgrade(WS, &[("origin", &host.url)]).await.expect_err("no upgrade");
    refused.expect_error(403, "AUTH_FORBIDDEN");
    host.open(WS, &[("origin", "https://academy.example")]).await;
    host.open(WS, &[]).await;
}

#[tokio::test]
async fn an_upgrade_counts_as_one_request() {
    let few = ("key = \"ip\"\nmax = 100", "key = \"ip\"\nmax = 6");
    let host = Host::start(
        setup().set("RATE_LIMIT_ENABLED", "true").set("TRUSTED_PROXIES", "127.0.0.1").replace(few.0, few.1),
    );
    let (chat, admin) = (host.chat().await, host.admin().await);
    let from = |address: &'static str| ("x-forwarded-for", address);
    let mut open = Vec::new();
    for left in (1..=5).rev() {
        let path = if left % 2 == 0 { WS } else { ALIAS };
        let (line, headers) = host.upgrade(path, &[from("203.0.113.7")]).await.expect("an upgrade");
        assert_eq!(headers.get("x-ratelimit-remaining").expect("a number"), &left.to_string());
        open.push(Socket::over(line));
    }
    let api = host.api().with_header("x-forwarded-for", "203.0.113.7");
    assert_eq!(api.get("/api/courses").await.header("x-ratelimit-remaining"), "0");
    let refused = host.upgrade(WS, &[from("203.0.113.7")]).await.expect_err("no upgrade");
    refused.expect_error(429, "RATE_LIMIT_EXCEEDED");
    assert!((1..=900).contains(&refused.header("retry-after").parse::<u64>().expect("seconds")));
    // Who is let in already goes on, and an admin is counted as one.
    open[0].send("auth", chat.auth()).await;
    open[0].expect_frame("connected").await;
    for _ in 0..30 {
        open[0].request("ping", json!({})).await;
    }
    let headers = [from("203.0.113.7"), ("authorization", &bearer(&admin.access))];
    let (_line, headers) = host.upgrade(WS, &headers).await.expect("an upgrade");
    assert_eq!(headers.get("x-ratelimit-limit").expect("a number"), "1000");
}

// Being let in.

#[tokio::test]
async fn every_credential_lets_in() {
    let host = host();
    let (chat, admin) = (host.chat().await, host.admin().await);
    chat.post_as_guest("Hi").await;
    let (id, token, header) = (&chat.id, &chat.token, bearer(&admin.access));
    for path in [WS, ALIAS] {
        let guest = format!("{path}?session_id={id}");
        for mut socket in [
            host.open(&guest, &[("x-session-token", token)]).await,
            host.open(&format!("{guest}&token={token}"), &[]).await,
            host.open(&format!("{path}?token={token}&session_id={}", id.to_uppercase()), &[]).await,
        ] {
            let data = socket.expect_frame("connected").await;
            assert_has_keys(&data, CONNECTED);
            assert_has_keys(&data["session"], SESSION);
            assert_eq!((&data["session"]["id"], &data["seq"]), (&json!(id), &json!(1)));
            assert_eq!(data["messages"].as_array().expect("a list").len(), 1);
        }
        for mut socket in [
            host.open(path, &[("authorization", &header)]).await,
            host.open(&format!("{path}?token={}", admin.access), &[]).await,
        ] {
            let data = socket.expect_frame("connected").await;
            assert_has_keys(&data, DESK);
            assert_eq!(data["admin"], json!({ "id": admin.id, "full_name": "Some admin" }));
            assert_eq!(data["seq"][id], 1);
        }
        for (auth, keys) in [(chat.auth(), CONNECTED), (json!({ "token": admin.access }), DESK)] {
            let mut socket = host.open(path, &[]).await;
            socket.send_text(&json!({ "type": "auth", "data": auth, "id": "first" }).to_string()).await;
            let frame = socket.next().await;
            assert_eq!((&frame["type"], &frame["id"]), (&json!("connected"), &json!("first")));
            assert_has_keys(&frame["data"], keys);
        }
    }
}

#[tokio::test]
async fn credentials_in_the_upgrade_may_come_with_what_was_seen() {
    let host = host();
    let (chat, admin) = (host.chat().await, host.admin().await);
    for number in 1..=5 {
        chat.post_as_guest(&number.to_string()).await;
    }
    let guest = format!("{WS}?session_id={}&after_seq=3", chat.id);
    let after = encoded(&json!({ &chat.id: 3 }));
    for mut socket in [
        host.open(&guest, &[("x-session-token", &chat.token)]).await,
        host.open(&format!("{guest}&token={}", chat.token), &[]).await,
        host.open(&format!("{WS}?after={after}"), &[("authorization", &bearer(&admin.access))]).await.only(&chat.id),
        host.open(&format!("{ALIAS}?after={after}&token={}", admin.access), &[]).await.only(&chat.id),
    ] {
        let data = socket.expect_frame("connected").await;
        assert!(data["seq"] == 5 && data["messages"] == json!([]) || data["seq"][&chat.id] == 5, "{data}");
        assert_eq!(socket.seqs_until(5).await, [4, 5]);
        socket.expect_silence().await;
    }
    for (query, headers) in [
        (format!("{guest}x"), ("x-session-token", chat.token.as_str())),
        (format!("{WS}?session_id={}&token={}&after_seq=-1", chat.id, chat.token), ("x-y", "z")),
        (format!("{WS}?after=%7B&token={}", admin.access), ("x-y", "z")),
        (format!("{WS}?after={}", encoded(&json!({ "x": 1 }))), ("authorization", bearer(&admin.access).as_str())),
        (format!("{WS}?after={}", encoded(&json!([1]))), ("authorization", bearer(&admin.access).as_str())),
    ] {
        refused(host, &query, &[headers], "VALIDATION_ERROR", 4400).await;
    }
}

/// Tokens that let nobody in, with what is said of them.
async fn bad_tokens(host: &Host) -> Vec<(String, &'static str, u16)> {
    let admin = host.user("admin").await;
    let gone = host.user("admin").await;
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&gone.id]).await;
    let ended = host.user("admin").await;
    ended.api.post("/api/auth/logout", json!({})).await.expect_status(200);
    let good = claims(&admin.access);
    let past = with(&good, json!({ "exp": Utc::now().timestamp() - 1 }));
    let mut bad = vec![
        ("forged".to_owned(), "AUTH_INVALID_TOKEN", 4401),
        (hs256(&good, "another-secret-of-the-tests-0123456789"), "AUTH_INVALID_TOKEN", 4401),
        (admin.refresh.clone(), "AUTH_INVALID_TOKEN", 4401),
        (ended.access, "AUTH_INVALID_TOKEN", 4401),
        (hs256(&past, ACCESS_SECRET), "AUTH_TOKEN_EXPIRED", 4401),
        (gone.access, "AUTH_UNAUTHORIZED", 4401),
    ];
    for role in ["student", "instructor"] {
        bad.push((host.user(role).await.access, "AUTH_FORBIDDEN", 4403));
    }
    bad
}

#[tokio::test]
async fn every_bad_token_is_refused_with_its_code() {
    let host = host();
    for (token, code, close) in bad_tokens(host).await {
        refused(host, WS, &[("authorization", &bearer(&token))], code, close).await;
        refused(host, &format!("{WS}?token={token}"), &[], code, close).await;
        refused_frame(host, json!({ "token": token }), code, close).await;
    }
    for header in ["Bearer", "Basic YTpi", "x", ""] {
        refused(host, WS, &[("authorization", header)], "AUTH_INVALID_FORMAT", 4401).await;
    }
}

#[tokio::test]
async fn nobody_else_gets_into_a_chat() {
    let host = host();
    let (chat, other, admin) = (host.chat().await, host.chat().await, host.admin().await);
    let by_all = async |id: &str, token: &str, code: &str, close: u16| {
        let path = format!("{WS}?session_id={id}");
        refused(host, &path, &[("x-session-token", token)], code, close).await;
        refused(host, &format!("{path}&token={token}"), &[], code, close).await;
        refused_frame(host, json!({ "session_id": id, "session_token": token }), code, close).await;
    };
    for token in [&other.token, &chat.id, &chat.token[1..], &chat.token.to_lowercase(), &admin.access] {
        by_all(&chat.id, token, "CHAT_FORBIDDEN", 4403).await;
    }
    by_all(&unknown_id(), &chat.token, "CHAT_SESSION_NOT_FOUND", 4404).await;
    by_all("x", &chat.token, "VALIDATION_ERROR", 4400).await;
    refused_frame(host, json!({ "session_id": chat.id }), "CHAT_TOKEN_MISSING", 4401).await;
}

#[tokio::test]
async fn malformed_first_frames_end_the_connection() {
    let host = host();
    let (chat, admin) = (host.chat().await, host.admin().await);
    for data in [
        json!({ "token": 1 }),
        json!({ "session_id": 1, "session_token": "x" }),
        json!({ "session_id": chat.id, "session_token": 1 }),
        with(&chat.auth(), json!({ "after_seq": -1 })),
        with(&chat.auth(), json!({ "after_seq": 1.5 })),
        with(&chat.auth(), json!({ "after_seq": "1" })),
        with(&chat.auth(), json!({ "after_seq": [] })),
        json!({ "token": admin.access, "after": [] }),
        json!({ "token": admin.access, "after": "x" }),
        json!({ "token": admin.access, "after": { "x": 1 } }),
        json!({ "token": admin.access, "after": { &chat.id: -1 } }),
        json!({ "token": admin.access, "after": { &chat.id: 0.5 } }),
        json!({ "token": admin.access, "after": { &chat.id: null } }),
    ] {
        refused_frame(host, data, "VALIDATION_ERROR", 4400).await;
    }
    // The id of the frame comes back with the refusal as well.
    let mut socket = host.open(WS, &[]).await;
    socket.send_text(&json!({ "type": "auth", "data": { "token": 1 }, "id": "mine" }).to_string()).await;
    assert_eq!(socket.next().await["id"], "mine");
    socket.expect_close(4400).await;
}

#[tokio::test]
async fn before_authentication_nothing_else_is_heard() {
    let host = host();
    let chat = host.chat().await;
    for frame in [
        json!({ "type": "ping", "data": {} }),
        json!({ "type": "send_message", "data": { "content": "Hi" } }),
        json!({ "type": "send_message", "data": { "session_id": chat.id, "content": "Hi" } }),
        json!({ "type": "subscribe", "data": { "session_id": chat.id } }),
        json!({ "type": "typing", "data": { "session_id": chat.id } }),
        json!({ "type": "connected", "data": {} }),
    ] {
        let mut socket = host.open(&format!("{WS}?session_id={}", chat.id), &[]).await;
        socket.send_text(&frame.to_string()).await;
        // A good credential comes too late.
        socket.send("auth", chat.auth()).await;
        socket.expect_error_and_close("AUTH_MISSING_TOKEN", 4401).await;
    }
    assert_eq!(chat.session().await["message_count"], 0);
}

#[tokio::test]
async fn of_two_credentials_the_first_decides() {
    let host = host();
    let (chat, other, admin) = (host.chat().await, host.chat().await, host.admin().await);
    let (good, bad) = (bearer(&admin.access), bearer("forged"));
    let query = format!("{WS}?token={}", admin.access);
    refused(host, &query, &[("authorization", &bad)], "AUTH_INVALID_TOKEN", 4401).await;
    let path = format!("{WS}?session_id={}&token={}", chat.id, chat.token);
    refused(host, &path, &[("x-session-token", &other.token)], "CHAT_FORBIDDEN", 4403).await;
    let mut socket = host.open(WS, &[("authorization", &bad)]).await;
    socket.send("auth", json!({ "token": admin.access })).await;
    socket.expect_error_and_close("AUTH_INVALID_TOKEN", 4401).await;
    // What is not tried does no harm.
    for (path, header) in [
        (format!("{WS}?token=forged"), ("authorization", good.as_str())),
        (format!("{WS}?session_id={}&token=x", chat.id), ("x-session-token", chat.token.as_str())),
        (format!("{ALIAS}?name=Gita&email=gita@example.org&token={}", admin.access), ("x-y", "z")),
    ] {
        let (_socket, data) = host.open(&path, &[header]).await.connected().await;
        assert!(data.get("session_token").is_none());
    }
    // Once let in, always the same.
    let (mut socket, _) = host.connect_guest(&chat).await;
    let frame = socket.request("auth", other.auth()).await;
    assert_eq!(frame["type"], "error");
    assert_eq!(socket.send_message(json!({ "content": "mine" })).await["seq"], 1);
    assert_eq!(
        (chat.session().await["message_count"].clone(), other.session().await["message_count"].clone()),
        (1.into(), 0.into())
    );
}

#[tokio::test]
async fn whoever_says_nothing_is_shown_out_after_ten_seconds() {
    let host = host();
    let chat = host.chat().await;
    let started = Instant::now();
    let (mut silent, mut stranger) =
        (host.open(WS, &[]).await, host.open(&format!("{WS}?name=Gita&email=gita@example.org"), &[]).await);
    let (mut seated, _) = host.connect_guest(&chat).await;
    for socket in [&mut silent, &mut stranger] {
        let (frames, code) = socket.read_until_close().await;
        assert_eq!(code, Some(4408), "{frames:?}");
        assert!(frames.iter().all(|frame| frame["type"] == "error"), "only the alias makes chats: {frames:?}");
    }
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    seated.expect_silence().await;
}

#[tokio::test]
async fn the_operator_may_do_without_session_tokens() {
    let host = Host::start(setup().set("CS_REQUIRE_SESSION_TOKEN", "false"));
    let chat = host.chat().await;
    let (_socket, data) = host.open_with_auth(json!({ "session_id": chat.id })).await.connected().await;
    assert_eq!(data["session"]["id"], chat.id);
    refused_frame(&host, with(&chat.auth(), json!({ "session_token": "x" })), "CHAT_FORBIDDEN", 4403).await;
}

// The alias makes chats.

#[tokio::test]
async fn the_alias_starts_a_new_chat_and_never_an_old_one() {
    let host = host();
    let admin = host.admin().await;
    let (mut desk, _) = host.connect_admin(&admin).await;
    let name = unique("Gita");
    let path = format!("{ALIAS}?name={}&email=Gita%2Bws%40Example.org", name.replace(' ', "%20"));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (mut socket, data) = host.open(&path, &[]).await.connected().await;
        assert_has_keys(&data, "session seq messages session_token");
        assert_has_keys(&data["session"], SESSION);
        assert_eq!((&data["seq"], &data["messages"]), (&json!(0), &json!([])));
        let sent =
            json!({ "guest_name": name, "guest_email": "Gita+ws@Example.org", "status": "open", "school": null });
        assert_eq!(with(&data["session"], sent), data["session"]);
        assert_eq!(socket.send_message(json!({ "content": "Hi" })).await["seq"], 1);
        // The token opens this chat, and no other.
        let chat = Chat::of(host, &data);
        assert_eq!(chat.session().await["message_count"], 1);
        assert!(!ids.contains(&chat.id));
        let told = desk
            .take_until(|frame| frame["type"] == "session_created" && frame["data"]["session"]["id"] == chat.id)
            .await;
        assert_has_keys(&told[told.len() - 1]["data"], "session");
        let events: Vec<_> = host
            .events(&format!("chat:{}", chat.id))
            .await
            .iter()
            .map(|event| event["payload"]["type"].clone())
            .collect();
        assert_eq!(events, [Value::Null, json!("session_created"), json!("new_message")]);
        host.connect_guest(&chat).await;
        ids.push(chat.id);
    }
}

#[tokio::test]
async fn the_alias_goes_by_the_rules_of_new_chats() {
    let host = host();
    let before = host.count("select count(*) from cs.sessions where guest_email = 'rules@example.org'").await;
    let long = "x".repeat(256);
    for query in [
        "name=x&email=rules@example.org",
        &format!("name={long}&email=rules@example.org"),
        "name=Gita&email=rules",
        "name=%20&email=rules@example.org",
    ] {
        refused(host, &format!("{ALIAS}?{query}"), &[], "VALIDATION_ERROR", 4400).await;
    }
    assert_eq!(host.count("select count(*) from cs.sessions where guest_email = 'rules@example.org'").await, before);
}

#[tokio::test]
async fn chats_of_the_alias_count_with_the_others() {
    let host = limited();
    let from = ("x-forwarded-for", "203.0.113.9");
    let path = format!("{ALIAS}?name=Gita&email=gita@example.org");
    let api = host.api().with_header(from.0, from.1);
    for number in 0..5 {
        if number % 2 == 0 {
            host.open(&path, &[from]).await.connected().await;
        } else {
            let body = json!({ "guest_name": "Gita", "guest_email": "gita@example.org" });
            api.post("/api/cs/sessions", body).await.expect_status(201);
        }
    }
    refused(&host, &path, &[from], "RATE_LIMIT_EXCEEDED", 4429).await;
    api.post("/api/cs/sessions", json!({})).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    host.open(&path, &[("x-forwarded-for", "203.0.113.10")]).await.connected().await;
    assert_eq!(host.count("select count(*) from cs.sessions").await, 6);
}

// What is not told to anybody.

#[tokio::test]
async fn no_credential_and_no_word_gets_into_the_log() {
    let host = Host::start(setup().set("RUST_LOG", "debug"));
    let (chat, admin): (Chat<'_>, User) = (host.chat().await, host.admin().await);
    let guest = format!("{WS}?session_id={}&token={}", chat.id, chat.token);
    let (mut socket, _) = host.open(&guest, &[]).await.connected().await;
    socket.send_message(json!({ "content": "between us alone" })).await;
    host.open(&format!("{WS}?token={}", admin.access), &[]).await.connected().await;
    host.open(&format!("{ALIAS}?name=Gitanjali&email=gita.secret@example.org"), &[]).await.connected().await;
    host.connect_admin(&admin).await;
    host.api().send(Method::GET, &guest, None).await;
    let wrong = format!("{WS}?token=not-quite-a-token-0123");
    refused(&host, &wrong, &[], "AUTH_INVALID_TOKEN", 4401).await;
    let secrets =
        [&chat.token, &admin.access, "between us alone", "gita.secret", "Gitanjali", "not-quite-a-token-0123"];
    assert_eq!(host.stop(), Some(0));
    for secret in secrets {
        let log = host.log();
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
