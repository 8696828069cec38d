//! CS-1 to CS-10 over HTTP, and the closing of idle chats.

use crate::harness::{
    Answer, Api, Expect, Host, TIMEOUT, User, assert_has_keys, id_of, is_time, redis, setup, shared, unique,
    unknown_id, until, with, without,
};
use futures_util::{StreamExt, future::join_all};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::OnceLock};
use tokio::sync::{Mutex, MutexGuard};

const SESSION: &str = "id guest_name guest_email school class status assigned_admin message_count last_message_at \
                       created_at updated_at closed_at";
const MESSAGE: &str = "id session_id sender_type role sender_id content seq created_at";
const MANY: usize = 50;

/// A guest in a chat of their own.
struct Guest<'a> {
    host: &'a Host,
    id: String,
    token: String,
    /// With the token.
    api: Api,
    path: String,
}

async fn start<'a>(host: &'a Host, changes: Value) -> Guest<'a> {
    let answer = host.api().post("/api/cs/sessions", with(&new_session(), changes)).await;
    guest_of(host, answer.expect_data(201))
}

fn guest_of<'a>(host: &'a Host, data: &Value) -> Guest<'a> {
    let (id, token) = (id_of(&data["session"]), data["session_token"].as_str().expect("a token").to_owned());
    let api = host.api().with_header("x-session-token", &token);
    Guest { host, path: format!("/api/cs/sessions/{id}"), id, token, api }
}

fn new_session() -> Value {
    json!({ "guest_name": "Gita Guest", "guest_email": "gita@example.org" })
}

impl Guest<'_> {
    async fn send(&self, body: Value) -> Answer {
        self.api.post(&format!("{}/messages", self.path), body).await
    }

    async fn post_as_guest(&self, content: &str) -> Value {
        self.send(json!({ "content": content })).await.expect_data(201)["message"].clone()
    }

    async fn read(&self, query: &str) -> Answer {
        self.api.get(&format!("{}/messages?{query}", self.path)).await
    }

    /// The numbers of the messages that a query shows, and whether there are
    /// more.
    async fn seqs(&self, query: &str) -> (Vec<i64>, bool) {
        shown(&self.read(query).await)
    }

    async fn session(&self) -> Value {
        self.api.get(&self.path).await.expect_data(200)["session"].clone()
    }

    /// What went out, in order: frames by their type, events by their channel.
    async fn heard(&self) -> Vec<String> {
        let name = |event: &Value| match event["channel"].as_str() {
            Some(channel) if channel.starts_with("chat:session:") => event["payload"]["type"].clone(),
            _ => event["channel"].clone(),
        };
        let events = self.host.events(&format!("chat:{}", self.id)).await;
        events.iter().map(|event| name(event).as_str().expect("a name").to_owned()).collect()
    }

    /// The data of the last frame of a type.
    async fn frame(&self, kind: &str) -> Value {
        let events = self.host.events(&format!("chat:{}", self.id)).await;
        let last = events.iter().rev().find(|event| event["payload"]["type"] == kind).expect("a frame");
        assert_eq!(last["channel"], format!("chat:session:{}", self.id));
        assert_has_keys(&last["payload"], "data eventId type");
        last["payload"]["data"].clone()
    }

    /// Stores messages behind the API, for there to be many.
    async fn fill(&self, number: &str) {
        let statement = "insert into cs.messages (session_id, seq, sender_type, message)
             select $1::uuid, n, 'guest', 'message ' || n from generate_series(1, $2::int) n";
        self.host.run(statement, &[&self.id, number]).await;
        let statement = "update cs.sessions set last_seq = $2::int where id = $1::uuid";
        assert_eq!(self.host.run(statement, &[&self.id, number]).await, 1);
    }
}

fn shown(answer: &Answer) -> (Vec<i64>, bool) {
    let data = answer.expect_data(200);
    assert_has_keys(data, "has_more messages");
    let messages = data["messages"].as_array().expect("a list");
    let seqs = messages.iter().map(|message| message["seq"].as_i64().expect("a number")).collect();
    (seqs, data["has_more"].as_bool().expect("yes or no"))
}

impl User {
    async fn read_as_admin(&self, guest: &Guest<'_>) -> Answer {
        self.api.get(&format!("/api/cs/admin/sessions/{}", guest.id)).await
    }

    async fn replies(&self, guest: &Guest<'_>, body: Value) -> Answer {
        self.api.post(&format!("/api/cs/admin/sessions/{}/messages", guest.id), body).await
    }

    async fn assigns(&self, guest: &Guest<'_>, body: Value) -> Answer {
        self.api.post(&format!("/api/cs/admin/sessions/{}/assign", guest.id), body).await
    }

    async fn claims(&self, guest: &Guest<'_>) -> Answer {
        self.api.send(Method::POST, &format!("/api/cs/admin/sessions/{}/assign", guest.id), None).await
    }

    async fn set_status(&self, guest: &Guest<'_>, status: &str) -> Answer {
        let path = format!("/api/cs/admin/sessions/{}/status", guest.id);
        self.api.send(Method::PATCH, &path, Some(json!({ "status": status }))).await
    }
}

// Starting a session.

#[tokio::test]
async fn a_new_session_has_what_was_sent() {
    let host = shared();
    let body = json!({
        "guest_name": "  Gita ", "guest_email": "  Gita@Example.org ", "school": " SMA 1 ", "class": " XI ",
        "initial_message": "  <b>Hi</b>\n\tthere ", "status": "closed", "role": "admin", "session_token": "mine",
    });
    let answer = host.api().post("/api/cs/sessions", body).await;
    let data = answer.expect_data(201);
    assert_has_keys(data, "message session session_token");
    let (session, message) = (&data["session"], &data["message"]);
    assert_has_keys(session, SESSION);
    let sent = json!({
        "guest_name": "Gita", "guest_email": "Gita@Example.org", "school": "SMA 1", "class": "XI", "status": "open",
        "assigned_admin": null, "message_count": 1, "closed_at": null, "last_message_at": message["created_at"],
    });
    assert_eq!(with(session, sent), *session);
    assert!(is_time(&session["created_at"]) && is_time(&session["updated_at"]));
    assert_has_keys(message, MESSAGE);
    let said = json!({
        "session_id": session["id"], "sender_type": "guest", "role": "user", "sender_id": null,
        "content": "  <b>Hi</b>\n\tthere ", "seq": 1,
    });
    assert_eq!(with(message, said), *message);
    assert!(is_time(&message["created_at"]));

    let guest = guest_of(host, data);
    assert_eq!(guest.heard().await, ["chat.session.created", "session_created", "new_message"]);
    let events = host.events(&format!("chat:{}", guest.id)).await;
    assert_has_keys(&events[0]["payload"], "eventId eventType sessionId timestamp");
    assert_eq!(events[0]["payload"]["eventType"], "CHAT_SESSION_CREATED");
    assert_eq!(events[0]["payload"]["sessionId"], guest.id);
    assert_eq!(guest.frame("session_created").await, json!({ "session": session }));
    assert_eq!(guest.frame("new_message").await, *message);
}

#[tokio::test]
async fn a_session_may_begin_without_a_message() {
    let host = shared();
    for nothing_said in [json!({}), json!({ "initial_message": null, "school": null, "class": null })] {
        let answer = host.api().post("/api/cs/sessions", with(&new_session(), nothing_said)).await;
        let data = answer.expect_data(201);
        let silent = json!({ "school": null, "class": null, "message_count": 0, "last_message_at": null });
        assert_eq!(with(&data["session"], silent), data["session"]);
        assert_eq!(data["message"], Value::Null);
        assert_eq!(guest_of(host, data).heard().await, ["chat.session.created", "session_created"]);
    }
}

#[tokio::test]
async fn the_fields_of_a_new_session_are_validated() {
    let host = shared();
    let post = async |body| host.api().post("/api/cs/sessions", body).await;
    assert_eq!(post(json!({})).await.problems(), ["guest_email invalid_type", "guest_name invalid_type"]);
    assert_eq!(post(json!([])).await.problems(), [" invalid_type"]);
    for (changes, problem) in [
        (json!({ "guest_name": " x " }), "guest_name too_small"),
        (json!({ "guest_name": "x".repeat(256) }), "guest_name too_big"),
        (json!({ "guest_name": null }), "guest_name invalid_type"),
        (json!({ "guest_email": "gita" }), "guest_email invalid_string"),
        (json!({ "guest_email": 1 }), "guest_email invalid_type"),
        (json!({ "guest_email": format!("{}@example.org", "x".repeat(250)) }), "guest_email too_big"),
        (json!({ "school": "x".repeat(256) }), "school too_big"),
        (json!({ "class": "x".repeat(101) }), "class too_big"),
        (json!({ "initial_message": "" }), "initial_message too_small"),
        (json!({ "initial_message": " \n " }), "initial_message too_small"),
        (json!({ "initial_message": "x".repeat(1001) }), "initial_message too_big"),
        (json!({ "initial_message": "a\u{7}" }), "initial_message invalid_string"),
        (json!({ "initial_message": {} }), "initial_message invalid_type"),
    ] {
        assert_eq!(post(with(&new_session(), changes.clone())).await.problems(), [problem], "{changes}");
    }
    let longest = json!({
        "guest_name": "ü".repeat(255), "school": "ü".repeat(255), "class": "ü".repeat(100),
        "initial_message": format!(" {}\n", "😀".repeat(1000)),
    });
    post(with(&new_session(), longest)).await.expect_data(201);
}

#[tokio::test]
async fn the_token_is_random_and_only_its_hash_is_kept() {
    let host = shared();
    let (one, two) = (start(host, json!({})).await, start(host, json!({})).await);
    // The same person, and yet another chat.
    assert!(one.id != two.id && one.token != two.token);
    for guest in [&one, &two] {
        assert_eq!(guest.token.len(), 43, "256 bits in base64url");
        assert!(guest.token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        let query =
            "select (session_token_hash = sha256(convert_to($2, 'UTF8')))::text from cs.sessions where id = $1::uuid";
        assert_eq!(host.query_text(query, &[&guest.id, &guest.token]).await, "true");
    }
}

// The guest's credential.

#[tokio::test]
async fn the_chat_judges_id_session_token_request_and_state_in_this_order() {
    let host = shared();
    let (guest, admin) = (start(host, json!({})).await, host.admin().await);
    let (nobody, wrong) = (host.api(), host.api().with_header("x-session-token", &"A".repeat(43)));
    let bad = json!({ "content": 5 });
    for api in [&nobody, &wrong, &guest.api] {
        for path in ["/api/cs/sessions/x", "/api/cs/sessions/x/messages?limit=0"] {
            assert_eq!(api.get(path).await.problems(), ["sessionId invalid_string"]);
        }
        let answer = api.post("/api/cs/sessions/x/messages", bad.clone()).await;
        assert_eq!(answer.problems(), ["sessionId invalid_string"]);
        let unknown = format!("/api/cs/sessions/{}", unknown_id());
        api.get(&unknown).await.expect_error(404, "CHAT_SESSION_NOT_FOUND");
        api.get(&format!("{unknown}/messages?limit=0")).await.expect_error(404, "CHAT_SESSION_NOT_FOUND");
        api.post(&format!("{unknown}/messages"), bad.clone()).await.expect_error(404, "CHAT_SESSION_NOT_FOUND");
    }
    let messages = format!("{}/messages", guest.path);
    for (api, status, code) in [(&nobody, 401, "CHAT_TOKEN_MISSING"), (&wrong, 403, "CHAT_FORBIDDEN")] {
        api.get(&guest.path).await.expect_error(status, code);
        api.get(&format!("{messages}?limit=0")).await.expect_error(status, code);
        api.post(&messages, bad.clone()).await.expect_error(status, code);
    }
    admin.set_status(&guest, "closed").await.expect_data(200);
    assert_eq!(guest.send(bad).await.problems(), ["content invalid_type"]);
    guest.send(json!({ "content": "Hello?" })).await.expect_error(409, "CHAT_SESSION_CLOSED");
    assert_eq!(guest.read("limit=0").await.problems(), ["limit too_small"]);
    // Reading goes on.
    guest.read("").await.expect_data(200);
    let upper = format!("/api/cs/sessions/{}", guest.id.to_uppercase());
    assert_eq!(guest.api.get(&upper).await.expect_data(200)["session"]["id"], guest.id);
}

#[tokio::test]
async fn nobody_else_gets_into_a_chat() {
    let host = shared();
    let (guest, other) = (start(host, json!({ "initial_message": "secret" })).await, start(host, json!({})).await);
    let messages = format!("{}/messages", guest.path);
    let hash =
        "select translate(encode(session_token_hash, 'base64'), '+/=', '-_') from cs.sessions where id = $1::uuid";
    let hash = host.query_text(hash, &[&guest.id]).await;
    let name = json!({ "content": "It is me" });
    for token in [
        other.token.as_str(),
        &guest.id,
        &hash,
        &guest.token[1..],
        &format!("{}=", guest.token),
        &guest.token.to_lowercase(),
        "null",
    ] {
        let thief = host.api().with_header("x-session-token", token);
        thief.get(&guest.path).await.expect_error(403, "CHAT_FORBIDDEN");
        thief.get(&messages).await.expect_error(403, "CHAT_FORBIDDEN");
        thief.post(&messages, name.clone()).await.expect_error(403, "CHAT_FORBIDDEN");
    }
    // An empty token is none, and elsewhere than in the header it is nothing.
    for (api, query) in [
        (host.api().with_header("x-session-token", ""), String::new()),
        (host.api(), format!("?session_token={0}&token={0}", guest.token)),
        (host.api().with_header("cookie", &format!("session_token={}", guest.token)), String::new()),
    ] {
        api.get(&format!("{}{query}", guest.path)).await.expect_error(401, "CHAT_TOKEN_MISSING");
        api.get(&format!("{messages}{query}")).await.expect_error(401, "CHAT_TOKEN_MISSING");
        api.post(&format!("{messages}{query}"), name.clone()).await.expect_error(401, "CHAT_TOKEN_MISSING");
    }
    // Neither the desk nor the host's own errand opens to guests.
    guest.api.get("/api/cs/admin/sessions").await.expect_error(401, "AUTH_MISSING_TOKEN");
    guest.api.get(&format!("/api/cs/admin/sessions/{}", guest.id)).await.expect_error(401, "AUTH_MISSING_TOKEN");
    guest.api.post("/api/cs/tasks/close-idle", json!({})).await.expect_error(404, "ROUTE_NOT_FOUND");
    assert_eq!(guest.session().await["message_count"], 1);
}

#[tokio::test]
async fn an_admin_reads_by_bearer_and_everybody_elses_bearer_is_refused() {
    let host = shared();
    let guest = start(host, json!({ "initial_message": "Hi" })).await;
    let (admin, messages) = (host.admin().await, format!("{}/messages", guest.path));
    admin.claims(&guest).await.expect_data(200);
    let full = json!({ "id": admin.id, "full_name": "Some admin" });
    assert_eq!(admin.api.get(&guest.path).await.expect_data(200)["session"]["assigned_admin"], full);
    assert_eq!(shown(&admin.api.get(&messages).await), (vec![1], false));
    assert_eq!(guest.session().await["assigned_admin"], json!({ "full_name": "Some admin" }));

    for role in ["instructor", "student"] {
        let user = host.user(role).await;
        for path in [&guest.path, &messages] {
            let error = user.api.get(path).await;
            assert_eq!(error.expect_error(403, "AUTH_FORBIDDEN")["details"], json!({ "userRole": role }));
        }
    }
    let gone = host.user("admin").await;
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&gone.id]).await;
    let ended = host.user("admin").await;
    ended.api.post("/api/auth/logout", json!({})).await.expect_status(200);
    for (bearer, code) in [
        ("Bearer", "AUTH_INVALID_FORMAT"),
        ("Basic YTpi", "AUTH_INVALID_FORMAT"),
        ("Bearer forged", "AUTH_INVALID_TOKEN"),
        (&format!("Bearer {}", admin.refresh), "AUTH_INVALID_TOKEN"),
        (&format!("Bearer {}", gone.access), "AUTH_UNAUTHORIZED"),
        (&format!("Bearer {}", ended.access), "AUTH_INVALID_TOKEN"),
        (&format!("Bearer {}", guest.token), "AUTH_INVALID_TOKEN"),
    ] {
        for path in [&guest.path, &messages] {
            host.api().with_header("authorization", bearer).get(path).await.expect_error(401, code);
            // The guest's token goes before it, good or bad.
            guest.api.with_header("authorization", bearer).get(path).await.expect_data(200);
        }
        // Judged after the session is known, and not at all where it does not count.
        let bearer = host.api().with_header("authorization", bearer);
        bearer.get(&format!("/api/cs/sessions/{}", unknown_id())).await.expect_error(404, "CHAT_SESSION_NOT_FOUND");
        bearer.post(&messages, json!({ "content": "Hi" })).await.expect_error(401, "CHAT_TOKEN_MISSING");
    }
    let both = admin.api.with_header("x-session-token", "wrong");
    both.get(&guest.path).await.expect_error(403, "CHAT_FORBIDDEN");
    both.get(&messages).await.expect_error(403, "CHAT_FORBIDDEN");
    // Who sends the guest's token is the guest, whoever else.
    let both = admin.api.with_header("x-session-token", &guest.token);
    assert_eq!(
        both.get(&guest.path).await.expect_data(200)["session"]["assigned_admin"],
        json!({ "full_name": "Some admin" })
    );
    assert_eq!(both.get(&format!("{messages}?limit=101")).await.problems(), ["limit too_big"]);
    // An admin is no guest, and a client does not speak for the host.
    admin.api.post(&messages, json!({ "content": "Hi" })).await.expect_error(401, "CHAT_TOKEN_MISSING");
    let forged = admin.api.with_header("x-shema-refusal", "AUTH_TOKEN_EXPIRED");
    forged.get(&guest.path).await.expect_data(200);
}

#[tokio::test]
async fn the_operator_may_do_without_tokens_and_with_shorter_messages() {
    let setup = setup().set("CS_REQUIRE_SESSION_TOKEN", "false").set("CHAT_MESSAGE_MAX_LENGTH", "5");
    let host = Host::start(setup);
    let guest = start(&host, json!({ "initial_message": " 12345 " })).await;
    let (nobody, messages) = (host.api(), format!("{}/messages", guest.path));
    nobody.get(&guest.path).await.expect_data(200);
    nobody.post(&messages, json!({ "content": "Hi" })).await.expect_data(201);
    assert_eq!(shown(&nobody.get(&messages).await), (vec![1, 2], false));
    assert_eq!(nobody.get(&format!("{messages}?limit=101")).await.problems(), ["limit too_big"]);
    let wrong = host.api().with_header("x-session-token", "wrong");
    wrong.get(&guest.path).await.expect_error(403, "CHAT_FORBIDDEN");
    host.user("student").await.api.get(&guest.path).await.expect_error(403, "AUTH_FORBIDDEN");

    let both = json!({ "content": "123456", "client_message_id": "x" });
    assert_eq!(guest.send(both).await.problems(), ["client_message_id invalid_string", "content too_big"]);
    let answer =
        host.api().post("/api/cs/sessions", with(&new_session(), json!({ "initial_message": "123456" }))).await;
    assert_eq!(answer.problems(), ["initial_message too_big"]);
    let answer = host.admin().await.replies(&guest, json!({ "content": "123456" })).await;
    assert_eq!(answer.problems(), ["content too_big"]);
}

// Messages.

#[tokio::test]
async fn a_guests_message_is_stored_as_sent_and_goes_out_live() {
    let host = shared();
    let guest = start(host, json!({})).await;
    let before = guest.session().await;
    let content = " <script>alert(1)</script>\n\t\u{202e}ä😀 ";
    let body =
        json!({ "content": content, "role": "admin", "sender_type": "system", "sender_id": unknown_id(), "seq": 7 });
    let answer = guest.send(body).await;
    assert_has_keys(answer.expect_data(201), "message");
    let message = &answer.data()["message"];
    assert_has_keys(message, MESSAGE);
    let stored = json!({
        "session_id": guest.id, "sender_type": "guest", "role": "user", "sender_id": null, "content": content, "seq": 1,
    });
    assert_eq!(with(message, stored), *message);
    assert_eq!(guest.frame("new_message").await, *message);

    let alias = guest.send(json!({ "message": "by its other name" })).await;
    assert_eq!(alias.expect_data(201)["message"]["content"], "by its other name");
    assert_eq!(alias.data()["message"]["seq"], 2);
    let after = guest.session().await;
    assert_eq!(
        (&after["message_count"], &after["last_message_at"]),
        (&json!(2), &alias.data()["message"]["created_at"])
    );
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str(), "{before} {after}");
    let read = guest.read("").await;
    assert_eq!(read.data()["messages"][0], *message);
    assert_eq!(guest.heard().await[2..], ["new_message", "new_message"]);
}

#[tokio::test]
async fn the_fields_of_a_message_are_validated() {
    let host = shared();
    let (guest, admin) = (start(host, json!({})).await, host.admin().await);
    for (body, problem) in [
        (json!({}), "content invalid_type"),
        (json!({ "content": null }), "content invalid_type"),
        (json!({ "content": 1 }), "content invalid_type"),
        (json!({ "content": "" }), "content too_small"),
        (json!({ "content": " \n\t\u{3000}" }), "content too_small"),
        (json!({ "content": "x".repeat(1001) }), "content too_big"),
        (json!({ "content": format!("x{}", " ".repeat(4000)) }), "content too_big"),
        (json!({ "content": "a\u{0}b" }), "content invalid_string"),
        (json!({ "content": "a\rb" }), "content invalid_string"),
        (json!({ "content": "a\u{1b}[2J" }), "content invalid_string"),
        (json!({ "content": "a\u{9f}" }), "content invalid_string"),
        (json!({ "message": "" }), "message too_small"),
        (json!({ "content": "a", "client_message_id": "1" }), "client_message_id invalid_string"),
        (json!({ "content": "a", "client_message_id": 1 }), "client_message_id invalid_type"),
    ] {
        assert_eq!(guest.send(body.clone()).await.problems(), [problem], "{body}");
        assert_eq!(admin.replies(&guest, body.clone()).await.problems(), [problem], "{body}");
    }
    let two = guest.send(json!({ "content": "", "client_message_id": "x" })).await;
    assert_eq!(two.problems(), ["client_message_id invalid_string", "content too_small"]);
    for content in ["x".repeat(1000), format!("  {}\n", "ü".repeat(1000)), format!("x{}", " ".repeat(999))] {
        assert_eq!(guest.post_as_guest(&content).await["content"], content);
    }
    let answer = guest.send(json!({ "content": "a", "client_message_id": null })).await;
    assert_eq!(answer.expect_data(201)["message"]["seq"], 4);
    for (path, api) in [(&guest.path, &guest.api), (&format!("/api/cs/admin/sessions/{}", guest.id), &admin.api)] {
        let request = api.request(Method::POST, &format!("{path}/messages")).body("content=a");
        let form = api.finish(request.header("content-type", "text/plain"), "a form").await.expect("an answer");
        assert_eq!(form.problems(), [" invalid_type"]);
    }
}

#[tokio::test]
async fn a_repeated_message_is_answered_with_the_one_stored_first() {
    let host = shared();
    let (guest, admin) = (start(host, json!({})).await, host.admin().await);
    let (mine, theirs) = (unknown_id(), unknown_id());
    let first = guest.send(json!({ "content": "once", "client_message_id": mine })).await;
    let reply = admin.replies(&guest, json!({ "content": "yes", "client_message_id": theirs })).await;
    let (first, reply) = (first.expect_data(201).clone(), reply.expect_data(201).clone());
    assert_has_keys(&first["message"], MESSAGE);
    let heard = guest.heard().await;

    let again = json!({ "content": "something else", "client_message_id": mine.to_uppercase() });
    assert_eq!(*guest.send(again.clone()).await.expect_data(200), first);
    let answer = admin.replies(&guest, json!({ "content": "no", "client_message_id": theirs })).await;
    assert_eq!(*answer.expect_data(200), reply);
    // The id of somebody else's message is a mistake.
    for stolen in [
        guest.send(json!({ "content": "a", "client_message_id": theirs })).await,
        admin.replies(&guest, json!({ "content": "a", "client_message_id": mine })).await,
        host.user("admin").await.replies(&guest, json!({ "content": "a", "client_message_id": theirs })).await,
    ] {
        assert_eq!(stolen.problems(), ["client_message_id custom"]);
    }
    // What has happened since does not matter, but what is wrong with it does.
    let second = host.user("admin").await;
    admin.assigns(&guest, json!({ "admin_id": second.id })).await.expect_data(200);
    let answer = admin.replies(&guest, json!({ "content": "no", "client_message_id": theirs })).await;
    assert_eq!(*answer.expect_data(200), reply);
    admin.set_status(&guest, "closed").await.expect_data(200);
    assert_eq!(*guest.send(again).await.expect_data(200), first);
    let answer = admin.replies(&guest, json!({ "content": "no", "client_message_id": theirs })).await;
    assert_eq!(*answer.expect_data(200), reply);
    let closed = guest.send(json!({ "content": "a", "client_message_id": theirs })).await;
    assert_eq!(closed.problems(), ["client_message_id custom"]);
    guest
        .send(json!({ "content": "a", "client_message_id": unknown_id() }))
        .await
        .expect_error(409, "CHAT_SESSION_CLOSED");
    assert_eq!(guest.send(json!({ "content": "", "client_message_id": mine })).await.problems(), ["content too_small"]);
    let closing =
        ["session_assigned", "new_message", "session_status_changed", "session_closed", "chat.session.closed"];
    assert_eq!(guest.heard().await, [heard.iter().map(String::as_str).collect(), closing.to_vec()].concat());
    assert_eq!(guest.session().await["message_count"], 3);

    // In another session the same id is another message.
    let other = start(host, json!({})).await;
    other.send(json!({ "content": "mine", "client_message_id": mine })).await.expect_data(201);
}

// Reading.

#[tokio::test]
async fn messages_are_read_in_windows() {
    let host = shared();
    let (guest, admin) = (start(host, json!({})).await, host.admin().await);
    assert_eq!(guest.seqs("").await, (vec![], false));
    assert_eq!(guest.seqs("after_seq=0").await, (vec![], false));
    guest.fill("120").await;
    let range = |from: i64, to: i64| (from..=to).collect::<Vec<_>>();
    let all = shown(&admin.api.get(&format!("{}/messages?limit=1000", guest.path)).await);
    assert_eq!(all, (range(1, 120), false));
    let ids = admin.api.get(&format!("{}/messages?limit=1000", guest.path)).await;
    let id = |seq: usize| id_of(&ids.data()["messages"][seq - 1]);

    for (query, from, to, more) in [
        ("", 71, 120, true),
        ("limit=1", 120, 120, true),
        ("limit=100", 21, 120, true),
        ("after_seq=0", 1, 50, true),
        ("after_seq=0&limit=100", 1, 100, true),
        ("after_seq=70", 71, 120, false),
        ("after_seq=69", 70, 119, true),
        ("after_seq=119", 120, 120, false),
        ("after_seq=120", 1, 0, false),
        ("after_seq=121", 1, 0, false),
        ("after_seq=9223372036854775807", 1, 0, false),
    ] {
        assert_eq!(guest.seqs(query).await, (range(from, to), more), "{query}");
    }
    for (cursor, query, from, to, more) in [
        ("before", "", 1, 49, false),
        ("before", "&limit=10", 40, 49, true),
        ("before", "&limit=49", 1, 49, false),
        ("before", "&limit=48", 2, 49, true),
        ("after", "", 51, 100, true),
        ("after", "&limit=70", 51, 120, false),
        ("after", "&limit=69", 51, 119, true),
    ] {
        let shown = guest.seqs(&format!("{cursor}={}{query}", id(50))).await;
        assert_eq!(shown, (range(from, to), more), "{cursor}{query}");
    }
    assert_eq!(guest.seqs(&format!("before={}", id(1))).await, (vec![], false));
    assert_eq!(guest.seqs(&format!("after={}", id(120))).await, (vec![], false));
    assert_eq!(guest.seqs(&format!("before={}", id(2).to_uppercase())).await, (vec![1], false));

    // A session comes with the latest fifty.
    for api in [&guest.api, &admin.api] {
        let answer = api.get(&guest.path).await;
        assert_has_keys(answer.expect_data(200), "messages session");
        let messages = answer.data()["messages"].as_array().expect("a list");
        let seqs: Vec<_> = messages.iter().map(|message| message["seq"].as_i64().expect("a number")).collect();
        assert_eq!(seqs, range(71, 120));
        assert_has_keys(&messages[0], MESSAGE);
        assert_has_keys(&answer.data()["session"], SESSION);
        assert_eq!(answer.data()["session"]["message_count"], 120);
    }
}

#[tokio::test]
async fn cursors_are_validated() {
    let host = shared();
    let guest = start(host, json!({ "initial_message": "Hi" })).await;
    let other = start(host, json!({ "initial_message": "Hi" })).await;
    let admin = host.admin().await;
    let foreign = id_of(&other.read("").await.data()["messages"][0]);
    let own = id_of(&guest.read("").await.data()["messages"][0]);
    for (query, problem) in [
        ("limit=0", "limit too_small"),
        ("limit=x", "limit invalid_type"),
        ("limit=", "limit invalid_type"),
        ("before=x", "before invalid_string"),
        ("after=x", "after invalid_string"),
        ("after_seq=-1", "after_seq too_small"),
        ("after_seq=x", "after_seq invalid_type"),
        ("after_seq=1.5", "after_seq invalid_type"),
        (&format!("before={foreign}"), "before custom"),
        (&format!("after={foreign}"), "after custom"),
        (&format!("before={}", unknown_id()), "before custom"),
        (&format!("after={}", unknown_id()), "after custom"),
        (&format!("before={own}&after={own}"), "after custom"),
        (&format!("before={own}&after_seq=0"), "after_seq custom"),
        (&format!("after={own}&after_seq=0"), "after_seq custom"),
        (&format!("before={own}&after={own}&after_seq=0"), "after_seq custom"),
    ] {
        assert_eq!(guest.read(query).await.problems(), [problem], "{query}");
        let answer = admin.api.get(&format!("{}/messages?{query}", guest.path)).await;
        assert_eq!(answer.problems(), [problem], "{query}");
    }
    assert_eq!(guest.read("limit=0&before=x").await.problems(), ["before invalid_string", "limit too_small"]);
    assert_eq!(guest.read("limit=101").await.problems(), ["limit too_big"]);
    guest.read("limit=100").await.expect_data(200);
    admin.api.get(&format!("{}/messages?limit=1000", guest.path)).await.expect_data(200);
    let answer = admin.api.get(&format!("{}/messages?limit=1001", guest.path)).await;
    assert_eq!(answer.problems(), ["limit too_big"]);
}

#[tokio::test]
async fn a_thousand_of_the_longest_messages_fit_into_one_answer() {
    let host = shared();
    let (guest, admin) = (start(host, json!({})).await, host.admin().await);
    guest.fill("1000").await;
    // A thousand characters of four bytes, and as many blanks of three; all but
    // one of them behind the API.
    let longest = format!("😀{}", "\u{3000}".repeat(1000));
    assert_eq!(guest.post_as_guest(&longest).await["content"], longest);
    let statement = "update cs.messages set message = repeat('😀', 1000) || repeat(U&'\\3000', 1000)
         where session_id = $1::uuid";
    assert_eq!(host.run(statement, &[&guest.id]).await, 1001);
    let answer = admin.api.get(&format!("{}/messages?limit=1000", guest.path)).await;
    assert_eq!(shown(&answer), ((2..=1001).collect(), true));
}

// The desk.

#[tokio::test]
async fn only_admins_work_the_desk() {
    let host = shared();
    let guest = start(host, json!({})).await;
    let one = format!("/api/cs/admin/sessions/{}", guest.id);
    let routes = [
        (Method::GET, "/api/cs/admin/sessions".to_owned()),
        (Method::GET, "/api/cs/admin/my-sessions".to_owned()),
        (Method::GET, one.clone()),
        (Method::GET, "/api/cs/admin/sessions/x".to_owned()),
        (Method::POST, format!("{one}/assign")),
        (Method::POST, format!("{one}/messages")),
        (Method::PATCH, format!("{one}/status")),
    ];
    let (instructor, student) = (host.user("instructor").await, host.user("student").await);
    for (method, path) in routes {
        let body = (method != Method::GET).then(|| json!({ "content": 1, "status": 1, "admin_id": 1 }));
        for user in [&instructor, &student] {
            user.api.send(method.clone(), &path, body.clone()).await.expect_error(403, "AUTH_FORBIDDEN");
        }
        host.api().send(method.clone(), &path, body.clone()).await.expect_error(401, "AUTH_MISSING_TOKEN");
        guest.api.with_token("x").send(method, &path, body).await.expect_error(401, "AUTH_INVALID_TOKEN");
    }
    assert_eq!(guest.session().await["status"], "open");
}

#[tokio::test]
async fn the_desk_judges_ids_and_bodies_before_it_looks() {
    let host = shared();
    let admin = host.admin().await;
    let (good, bad) =
        (json!({ "content": "a", "status": "closed" }), json!({ "content": 1, "status": 1, "admin_id": 1 }));
    for (method, path, problem) in [
        (Method::GET, "", None),
        (Method::POST, "/assign", Some("admin_id invalid_type")),
        (Method::POST, "/messages", Some("content invalid_type")),
        (Method::PATCH, "/status", Some("status invalid_type")),
    ] {
        let send = async |id: &str, body: &Value| {
            let body = (method != Method::GET).then(|| body.clone());
            admin.api.send(method.clone(), &format!("/api/cs/admin/sessions/{id}{path}"), body).await
        };
        assert_eq!(send("x", &good).await.problems(), ["sessionId invalid_string"]);
        let mut both: Vec<_> = problem.into_iter().chain(["sessionId invalid_string"]).collect();
        both.sort_unstable();
        assert_eq!(send("x", &bad).await.problems(), both);
        send(&unknown_id(), &good).await.expect_error(404, "CHAT_SESSION_NOT_FOUND");
        if let Some(problem) = problem {
            assert_eq!(send(&unknown_id(), &bad).await.problems(), [problem]);
        }
    }
    let guest = start(host, json!({})).await;
    assert_eq!(admin.set_status(&guest, "Closed").await.problems(), ["status invalid_enum_value"]);
    assert_eq!(admin.assigns(&guest, json!({ "admin_id": "x" })).await.problems(), ["admin_id invalid_string"]);
    assert_eq!(admin.assigns(&guest, json!([])).await.problems(), [" invalid_type"]);
}

#[tokio::test]
async fn sessions_are_listed_for_the_desk() {
    let host = shared();
    let (admin, name) = (host.admin().await, unique("Listed"));
    let mut guests = Vec::new();
    for (index, message) in [json!("first"), json!("second"), Value::Null, json!("fourth")].into_iter().enumerate() {
        let (name, email) = (format!("{name} {index}"), format!("g{index}.{}@example.org", name.replace(' ', "-")));
        let changes = json!({ "guest_name": name, "guest_email": email, "initial_message": message });
        guests.push(start(host, changes).await);
    }
    let find = async |query: &str| {
        let answer =
            admin.api.get(&format!("/api/cs/admin/sessions?search={}&{query}", name.replace(' ', "%20"))).await;
        let found = answer.expect_list("sessions").iter().map(|session| {
            assert_has_keys(session, &format!("{SESSION} last_message"));
            guests.iter().position(|guest| session["id"] == guest.id).expect("one of these").to_string()
        });
        found.collect::<String>()
    };
    assert_eq!(find("").await, "3210");
    // What happens to a session brings it to the top.
    guests[1].post_as_guest("still there?").await;
    assert_eq!(find("").await, "1320");
    admin.claims(&guests[0]).await.expect_data(200);
    admin.set_status(&guests[2], "closed").await.expect_data(200);
    assert_eq!(find("").await, "2013");
    for (query, found) in [
        ("status=open", "013"),
        ("status=closed", "2"),
        ("assigned=true", "0"),
        ("assigned=false", "213"),
        ("assigned=false&status=open", "13"),
        ("status=closed&assigned=true", ""),
        ("limit=2", "20"),
        ("limit=2&page=2", "13"),
        ("limit=2&page=3", ""),
    ] {
        assert_eq!(find(query).await, found, "{query}");
    }
    let list = admin.api.get(&format!("/api/cs/admin/sessions?search={}&limit=3", name.replace(' ', "%20"))).await;
    assert_eq!(list.data()["pagination"], json!({ "page": 1, "limit": 3, "total": 4, "total_pages": 2 }));
    let sessions = list.expect_list("sessions");
    assert_has_keys(&sessions[0]["last_message"], MESSAGE);
    assert_eq!(sessions[0]["last_message"]["sender_type"], "system");
    assert_eq!(sessions[1]["last_message"]["content"], "first");
    assert_eq!(sessions[1]["assigned_admin"], json!({ "id": admin.id, "full_name": "Some admin" }));
    assert_eq!(sessions[2]["last_message"]["content"], "still there?");
    assert_eq!(sessions[2]["last_message_at"], sessions[2]["last_message"]["created_at"]);

    // The search looks into name and email, whatever their case, and knows no
    // wildcards.
    let search = async |text: &str| {
        let answer = admin.api.get(&format!("/api/cs/admin/sessions?search={text}")).await;
        answer.expect_list("sessions").iter().map(id_of).collect::<Vec<_>>()
    };
    let email = format!("G3.{}@EXAMPLE", name.replace(' ', "-").to_uppercase());
    assert_eq!(search(&email).await, [guests[3].id.clone()]);
    assert!(search(&name.replace(' ', "%25")).await.is_empty());
    assert!(search(&name.replace(' ', "_")).await.is_empty());
    assert!(search(&unknown_id()).await.is_empty());
    let silent = start(host, json!({ "guest_name": unique("Silent") })).await;
    let silent = silent.session().await;
    let answer = admin
        .api
        .get(&format!(
            "/api/cs/admin/sessions?search={}",
            silent["guest_name"].as_str().expect("a name").replace(' ', "%20")
        ))
        .await;
    assert_eq!(answer.expect_list("sessions")[0]["last_message"], Value::Null);
    for (query, problem) in [
        ("status=new", "status invalid_enum_value"),
        ("assigned=yes", "assigned invalid_type"),
        ("page=0", "page too_small"),
        ("limit=1001", "limit too_big"),
    ] {
        assert_eq!(admin.api.get(&format!("/api/cs/admin/sessions?{query}")).await.problems(), [problem]);
    }
}

#[tokio::test]
async fn an_admin_finds_their_own_sessions() {
    let host = shared();
    let (admin, other) = (host.user("admin").await, host.user("admin").await);
    let guests = [start(host, json!({})).await, start(host, json!({})).await, start(host, json!({})).await];
    for guest in &guests[..2] {
        admin.claims(guest).await.expect_data(200);
    }
    other.claims(&guests[2]).await.expect_data(200);
    let mine = async |query: &str| {
        let answer = admin.api.get(&format!("/api/cs/admin/my-sessions?{query}")).await;
        answer.expect_list("sessions").iter().map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(mine("").await, [guests[1].id.clone(), guests[0].id.clone()]);
    assert_eq!(mine("status=open&limit=1&page=2").await, [guests[0].id.clone()]);
    let answer = admin.api.get("/api/cs/admin/my-sessions").await;
    assert_has_keys(&answer.expect_list("sessions")[0], &format!("{SESSION} last_message"));
    // Closing takes the session from its admin.
    admin.set_status(&guests[1], "closed").await.expect_data(200);
    assert_eq!(mine("").await, [guests[0].id.clone()]);
    assert!(mine("status=closed").await.is_empty());
    let wrong = admin.api.get("/api/cs/admin/my-sessions?status=x&page=x").await;
    assert_eq!(wrong.problems(), ["page invalid_type", "status invalid_enum_value"]);
}

#[tokio::test]
async fn a_claim_is_for_one_and_an_assignment_for_the_latest() {
    let host = shared();
    let guest = start(host, json!({})).await;
    let (one, two) = (host.user("admin").await, host.user("admin").await);
    assert_has_keys(one.read_as_admin(&guest).await.expect_data(200), "assignment messages session");
    assert_eq!(one.read_as_admin(&guest).await.data()["assignment"], Value::Null);

    let claimed = one.claims(&guest).await;
    assert_has_keys(claimed.expect_data(200), "assignment session");
    assert_has_keys(&claimed.data()["session"], SESSION);
    let assignment = &claimed.data()["assignment"];
    assert_has_keys(assignment, "admin_id admin_name assigned_at session_id");
    let expected = json!({ "session_id": guest.id, "admin_id": one.id, "admin_name": "Some admin" });
    assert_eq!(with(assignment, expected), *assignment);
    assert!(is_time(&assignment["assigned_at"]));
    let holder = json!({ "id": one.id, "full_name": "Some admin" });
    assert_eq!(claimed.data()["session"]["assigned_admin"], holder);
    assert_eq!(guest.frame("session_assigned").await, json!({ "session_id": guest.id, "admin": holder }));
    let seen = two.read_as_admin(&guest).await;
    assert_eq!(seen.expect_data(200)["assignment"], without(assignment, "session_id"));

    // Once more is the same; somebody else's is not to be had; `{}` is a claim, too.
    for again in [
        one.claims(&guest).await,
        one.assigns(&guest, json!({})).await,
        one.assigns(&guest, json!({ "admin_id": null })).await,
        two.assigns(&guest, json!({ "admin_id": one.id })).await,
    ] {
        assert_eq!(again.expect_data(200)["assignment"], *assignment);
    }
    let refused = two.claims(&guest).await;
    assert_eq!(refused.expect_error(409, "CHAT_ALREADY_ASSIGNED")["details"]["admin_id"], one.id);
    assert_eq!(guest.heard().await, ["chat.session.created", "session_created", "session_assigned"]);

    // Whoever names an admin, gives it to that one.
    let given = one.assigns(&guest, json!({ "admin_id": two.id.to_uppercase() })).await;
    assert_eq!(given.expect_data(200)["assignment"]["admin_id"], two.id);
    assert_eq!(given.data()["session"]["assigned_admin"]["id"], two.id);
    assert_eq!(guest.frame("session_assigned").await["admin"]["id"], two.id);
    assert_eq!(one.claims(&guest).await.expect_error(409, "CHAT_ALREADY_ASSIGNED")["details"]["admin_id"], two.id);

    one.assigns(&guest, json!({ "admin_id": unknown_id() })).await.expect_error(404, "NOT_FOUND");
    for role in ["instructor", "student"] {
        let user = host.user(role).await;
        one.assigns(&guest, json!({ "admin_id": user.id })).await.expect_error(400, "INVALID_USER_ROLE");
    }
    let gone = host.user("admin").await;
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&gone.id]).await;
    one.assigns(&guest, json!({ "admin_id": gone.id })).await.expect_error(404, "NOT_FOUND");
    one.set_status(&guest, "closed").await.expect_data(200);
    one.claims(&guest).await.expect_error(409, "CHAT_SESSION_CLOSED");
    one.assigns(&guest, json!({ "admin_id": one.id })).await.expect_error(409, "CHAT_SESSION_CLOSED");
    // Who is asked for is judged first.
    one.assigns(&guest, json!({ "admin_id": unknown_id() })).await.expect_error(404, "NOT_FOUND");
    assert_eq!(
        host.rows("select id from cs.admin_assignments where session_id = $1::uuid", &[&guest.id]).await.len(),
        0
    );
}

#[tokio::test]
async fn the_first_reply_takes_the_session() {
    let host = shared();
    let guest = start(host, json!({ "initial_message": "Hi" })).await;
    let (one, two) = (host.user("admin").await, host.user("admin").await);
    let reply = one.replies(&guest, json!({ "content": " Hello ", "admin_id": two.id, "role": "system" })).await;
    assert_has_keys(reply.expect_data(201), "message");
    let message = &reply.data()["message"];
    assert_has_keys(message, MESSAGE);
    let expected = json!({
        "session_id": guest.id, "sender_type": "admin", "role": "assistant", "sender_id": one.id, "content": " Hello ",
        "seq": 2,
    });
    assert_eq!(with(message, expected), *message);
    one.replies(&guest, json!({ "message": "How are you?" })).await.expect_data(201);
    let refused = two.replies(&guest, json!({ "content": "Me, too" })).await;
    assert_eq!(refused.expect_error(409, "CHAT_ALREADY_ASSIGNED")["details"]["admin_id"], one.id);
    assert_eq!(guest.heard().await[2..], ["new_message", "session_assigned", "new_message", "new_message"]);
    assert_eq!(two.read_as_admin(&guest).await.expect_data(200)["assignment"]["admin_id"], one.id);
    assert_eq!(guest.session().await["message_count"], 3);
    assert_eq!(guest.read("after_seq=1&limit=1").await.data()["messages"][0], *message);
    one.set_status(&guest, "closed").await.expect_data(200);
    one.replies(&guest, json!({ "content": "Bye" })).await.expect_error(409, "CHAT_SESSION_CLOSED");
    two.replies(&guest, json!({ "content": "Bye" })).await.expect_error(409, "CHAT_SESSION_CLOSED");
}

#[tokio::test]
async fn an_admin_who_is_gone_or_demoted_holds_no_session() {
    let host = shared();
    let next = host.user("admin").await;
    for change in [
        "update public.users set deleted_at = now() where id = $1::uuid",
        "update public.users set role = 'student' where id = $1::uuid",
    ] {
        let (guest, admin) = (start(host, json!({})).await, host.user("admin").await);
        let (name, other) = (unknown_id(), start(host, json!({})).await);
        admin.replies(&guest, json!({ "content": "Hi", "client_message_id": name })).await.expect_data(201);
        admin.claims(&other).await.expect_data(200);
        assert_eq!(host.run(change, &[&admin.id]).await, 1);
        assert_eq!(guest.session().await["assigned_admin"], Value::Null);
        let seen = next.read_as_admin(&guest).await;
        assert_eq!(
            (&seen.data()["assignment"], &seen.data()["session"]["assigned_admin"]),
            (&Value::Null, &Value::Null)
        );
        let free = next.api.get("/api/cs/admin/sessions?assigned=false&limit=1000").await;
        assert!(free.expect_list("sessions").iter().any(|session| session["id"] == guest.id));
        // By a claim or by a reply, the next one has it.
        assert_eq!(next.claims(&guest).await.expect_data(200)["assignment"]["admin_id"], next.id);
        next.replies(&other, json!({ "content": "Hi" })).await.expect_data(201);
        for guest in [&guest, &other] {
            assert_eq!(guest.frame("session_assigned").await["admin"]["id"], next.id);
            assert_eq!(next.read_as_admin(guest).await.data()["session"]["assigned_admin"]["id"], next.id);
        }
    }
}

#[tokio::test]
async fn closing_says_goodbye_and_opening_starts_unassigned() {
    let host = shared();
    let guest = start(host, json!({ "initial_message": "Hi" })).await;
    let (admin, other) = (host.user("admin").await, host.user("admin").await);
    admin.claims(&guest).await.expect_data(200);
    let before = guest.heard().await.len();
    admin.set_status(&guest, "open").await.expect_data(200);
    assert_eq!(guest.heard().await.len(), before, "nothing has changed, nothing is said");

    // Any admin closes.
    let closed = other.set_status(&guest, "closed").await;
    assert_has_keys(closed.expect_data(200), "session");
    let session = &closed.data()["session"];
    assert_has_keys(session, SESSION);
    assert_eq!((&session["status"], &session["assigned_admin"]), (&json!("closed"), &Value::Null));
    assert_eq!(session["message_count"], 2);
    assert!(is_time(&session["closed_at"]));
    let farewell = guest.read("after_seq=1").await.data()["messages"][0].clone();
    let expected = json!({ "sender_type": "system", "role": "system", "sender_id": null, "seq": 2 });
    assert_eq!(with(&farewell, expected), farewell);
    let events = ["new_message", "session_status_changed", "session_closed", "chat.session.closed"];
    assert_eq!(guest.heard().await[before..], events);
    assert_eq!(guest.frame("new_message").await, farewell);
    let status = json!({ "session_id": guest.id, "status": "closed" });
    assert_eq!(guest.frame("session_status_changed").await, status);
    let why = json!({ "session_id": guest.id, "reason": "closed_by_admin", "closed_at": session["closed_at"] });
    assert_eq!(guest.frame("session_closed").await, why);
    let told = host.events(&format!("chat:{}", guest.id)).await.pop().expect("an event");
    assert_eq!(
        (&told["payload"]["eventType"], &told["payload"]["sessionId"]),
        (&json!("CHAT_SESSION_CLOSED"), &json!(guest.id))
    );

    let again = admin.set_status(&guest, "closed").await;
    assert_eq!(again.expect_data(200)["session"], *session);
    assert_eq!(guest.heard().await.len(), before + events.len());

    let opened = admin.set_status(&guest, "open").await;
    let session = &opened.expect_data(200)["session"];
    assert_eq!((&session["status"], &session["closed_at"]), (&json!("open"), &Value::Null));
    assert_eq!((&session["assigned_admin"], &session["message_count"]), (&Value::Null, &json!(2)));
    assert_eq!(session["last_message_at"], farewell["created_at"]);
    assert_eq!(guest.heard().await[before + events.len()..], ["session_status_changed"]);
    assert_eq!(guest.frame("session_status_changed").await["status"], "open");
    assert_eq!(guest.post_as_guest("Hello again").await["seq"], 3);
    other.claims(&guest).await.expect_data(200);
}

// What nobody asks for.

#[tokio::test]
async fn chats_in_which_nobody_writes_are_closed() {
    let every_second = "[[components.cs.tasks]]\npath = \"/api/cs/tasks/close-idle\"\nevery_seconds = 1\n";
    let host = Host::start(setup().config(every_second));
    let admin = host.admin().await;
    let [quiet, busy, reopened, closed] = [
        start(&host, json!({ "initial_message": "Hi" })).await,
        start(&host, json!({})).await,
        start(&host, json!({})).await,
        start(&host, json!({})).await,
    ];
    admin.replies(&quiet, json!({ "content": "Hi" })).await.expect_data(201);
    admin.set_status(&closed, "closed").await.expect_data(200);
    let age = async |guest: &Guest<'_>, age: &'static str| {
        let statement = "update cs.sessions set last_activity_at = now() - $2::interval where id = $1::uuid";
        assert_eq!(host.run(statement, &[&guest.id, age]).await, 1);
    };
    age(&busy, "29 minutes 30 seconds").await;
    age(&closed, "3 hours").await;
    let heard = closed.heard().await;
    age(&quiet, "30 minutes 1 second").await;
    until("the quiet chat to be closed", async || (quiet.session().await["status"] == "closed").then_some(())).await;
    let session = quiet.session().await;
    assert_eq!((&session["message_count"], &session["assigned_admin"]), (&json!(3), &Value::Null));
    let farewell = quiet.read("after_seq=2").await.data()["messages"][0].clone();
    assert_eq!((&farewell["sender_type"], &farewell["seq"]), (&json!("system"), &json!(3)));
    let events = ["new_message", "session_status_changed", "session_closed", "chat.session.closed"];
    assert_eq!(quiet.heard().await[5..], events);
    let why = json!({ "session_id": quiet.id, "reason": "idle_timeout", "closed_at": session["closed_at"] });
    assert_eq!(quiet.frame("session_closed").await, why);
    quiet.send(json!({ "content": "Wait!" })).await.expect_error(409, "CHAT_SESSION_CLOSED");

    // Being opened again counts as activity, or it would not last.
    admin.set_status(&reopened, "closed").await.expect_data(200);
    age(&reopened, "3 hours").await;
    admin.set_status(&reopened, "open").await.expect_data(200);
    age(&busy, "31 minutes").await;
    until("another round", async || (busy.session().await["status"] == "closed").then_some(())).await;
    assert_eq!(reopened.session().await["status"], "open");
    assert_eq!(closed.heard().await, heard, "what is closed is left alone");
    assert_eq!(quiet.session().await["message_count"], 3);
}

#[tokio::test]
async fn guests_are_kept_from_flooding_the_desk() {
    let window = ("window_seconds = 60", "window_seconds = 600");
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true").replace(window.0, window.1));
    let guests = [start(&host, json!({})).await, start(&host, json!({})).await];
    for _ in 2..5 {
        host.api().post("/api/cs/sessions", json!({})).await.expect_status(400);
    }
    let refused = host.api().post("/api/cs/sessions", new_session()).await;
    let wait = refused.expect_error(429, "RATE_LIMIT_EXCEEDED")["details"]["retry_after"].as_u64().expect("seconds");
    assert!((1..=600).contains(&wait), "{wait}");

    // Repeats and refusals count, and so does every way to write the id.
    let [guest, other] = &guests;
    let name = unknown_id();
    let body = json!({ "content": "Hi", "client_message_id": name });
    let first = guest.send(body.clone()).await;
    assert_eq!((first.status, first.header("x-ratelimit-limit")), (201, "20"));
    assert_eq!(first.header("x-ratelimit-remaining"), "19");
    for _ in 1..10 {
        guest.send(body.clone()).await.expect_data(200);
    }
    let upper = format!("/api/cs/sessions/{}/messages", guest.id.to_uppercase());
    for _ in 10..19 {
        guest.api.post(&upper, json!({ "content": "" })).await.expect_status(400);
    }
    guest.post_as_guest("the twentieth").await;
    guest.send(body).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    guest.api.post(&upper, json!({ "content": "Hi" })).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(guest.session().await["message_count"], 2);
    // It is a limit of that chat's messages, and of its guest's alone.
    other.post_as_guest("Hi").await;
    host.admin().await.replies(guest, json!({ "content": "Slowly, please" })).await.expect_data(201);
}

// Many at once.

/// One host for the races of chats, one race at a time.
async fn race_host() -> (&'static Host, MutexGuard<'static, ()>) {
    static HOST: OnceLock<Host> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    (HOST.get_or_init(|| Host::start(setup().set("REDIS_PREFIX", "chat-races:"))), turn)
}

/// How many answers have that status.
fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// All messages of a session, with what must hold of them whatever happened.
async fn check_messages(guest: &Guest<'_>, admin: &User) -> Vec<Value> {
    let answer = admin.api.get(&format!("{}/messages?limit=1000", guest.path)).await;
    let messages = answer.expect_data(200)["messages"].as_array().expect("a list").clone();
    let seqs: Vec<_> = messages.iter().map(|message| message["seq"].as_i64().expect("a number")).collect();
    let whole: Vec<i64> = (1..).take(seqs.len()).collect();
    assert_eq!(seqs, whole, "no holes, no repeats");
    let times: Vec<_> = messages.iter().map(|message| message["created_at"].as_str()).collect();
    assert!(times.is_sorted(), "the order of numbers is the order of time");
    assert_eq!(guest.session().await["message_count"], messages.len());
    // Each went out once, in this order.
    let events = guest.host.events(&format!("chat:{}", guest.id)).await;
    let live = events.iter().filter(|event| event["payload"]["type"] == "new_message");
    let live: Vec<_> = live.map(|event| event["payload"]["data"].clone()).collect();
    assert_eq!(live, messages);
    messages
}

#[tokio::test]
async fn many_senders_in_one_chat_leave_no_holes() {
    let (host, _turn) = race_host().await;
    let (guest, admin) = (start(host, json!({ "initial_message": "0" })).await, host.user("admin").await);
    let mut channel = redis().client().get_async_pubsub().await.expect("Redis");
    channel.subscribe(format!("chat-races:chat:session:{}", guest.id)).await.expect("subscribed");
    let answers = join_all((0..2 * MANY).map(async |number| {
        let body = json!({ "content": number.to_string() });
        if number % 2 == 0 { guest.send(body).await } else { admin.replies(&guest, body).await }
    }))
    .await;
    assert_eq!(count(&answers, 201), 2 * MANY);
    let messages = check_messages(&guest, &admin).await;
    assert_eq!(messages.len(), 2 * MANY + 1);
    let contents: BTreeSet<_> = messages.iter().map(|message| message["content"].as_str()).collect();
    assert_eq!(contents.len(), 2 * MANY, "each was stored, and the first number twice");
    let assigned = guest.heard().await.iter().filter(|name| *name == "session_assigned").count();
    assert_eq!(assigned, 1, "the session was taken once");
    let answered: BTreeSet<_> = answers.iter().map(|answer| id_of(&answer.data()["message"])).collect();
    assert_eq!(answered, messages[1..].iter().map(id_of).collect());

    // Whoever listens hears them in their order; the first may have gone before.
    let mut heard = channel.on_message();
    let mut next = None;
    while next != Some(2 * MANY + 2) {
        let frame = tokio::time::timeout(TIMEOUT, heard.next()).await.expect("in time").expect("it goes on");
        let frame: Value = serde_json::from_slice(frame.get_payload_bytes()).expect("a frame");
        if frame["type"] == "new_message" {
            let seq = usize::try_from(frame["data"]["seq"].as_u64().expect("a number")).expect("a small number");
            assert!(next.is_none_or(|next| next == seq), "{next:?} {seq}");
            next = Some(seq + 1);
        }
    }
}

#[tokio::test]
async fn a_message_sent_many_times_at_once_is_stored_once() {
    let (host, _turn) = race_host().await;
    let (guest, admin) = (start(host, json!({})).await, host.user("admin").await);
    let name = unknown_id();
    let answers = join_all(
        (0..MANY)
            .map(async |number| guest.send(json!({ "content": number.to_string(), "client_message_id": name })).await),
    )
    .await;
    assert_eq!((count(&answers, 201), count(&answers, 200)), (1, MANY - 1));
    let messages = check_messages(&guest, &admin).await;
    assert_eq!(messages.len(), 1);
    assert!(answers.iter().all(|answer| answer.data()["message"] == messages[0]));
}

#[tokio::test]
async fn one_of_many_admins_gets_the_chat() {
    let (host, _turn) = race_host().await;
    let guest = start(host, json!({})).await;
    let mut admins = Vec::new();
    for _ in 0..MANY {
        admins.push(host.user("admin").await);
    }
    let answers = join_all(admins.iter().map(|admin| admin.claims(&guest))).await;
    assert_eq!((count(&answers, 200), count(&answers, 409)), (1, MANY - 1));
    let holder = admins[0].read_as_admin(&guest).await.data()["assignment"]["admin_id"].clone();
    for (admin, answer) in admins.iter().zip(&answers) {
        if answer.status == 200 {
            assert_eq!(holder, admin.id);
        } else {
            assert_eq!(answer.expect_error(409, "CHAT_ALREADY_ASSIGNED")["details"]["admin_id"], holder);
        }
    }
    // By their first replies it is the same.
    let guest = start(host, json!({})).await;
    let answers = join_all(admins.iter().map(|admin| admin.replies(&guest, json!({ "content": "Hi" })))).await;
    assert_eq!((count(&answers, 201), count(&answers, 409)), (1, MANY - 1));
    assert_eq!(check_messages(&guest, &admins[0]).await.len(), 1);
    assert_eq!(guest.heard().await[2..], ["session_assigned", "new_message"]);
}

#[tokio::test]
async fn nothing_is_said_after_the_chat_is_closed() {
    let (host, _turn) = race_host().await;
    let admin = host.user("admin").await;
    for _ in 0..3 {
        let guest = start(host, json!({})).await;
        let sending = join_all((0..MANY).map(|number| guest.send(json!({ "content": number.to_string() }))));
        let closing = join_all((0..5).map(|_| admin.set_status(&guest, "closed")));
        let (sent, closed) = futures_util::future::join(sending, closing).await;
        assert_eq!(count(&closed, 200), 5);
        let messages = check_messages(&guest, &admin).await;
        assert_eq!(count(&sent, 201) + count(&sent, 409), MANY);
        assert_eq!(messages.len(), count(&sent, 201) + 1);
        assert_eq!(messages.last().expect("a farewell")["sender_type"], "system");
        let heard = guest.heard().await;
        let events = ["new_message", "session_status_changed", "session_closed", "chat.session.closed"];
        assert_eq!(heard[heard.len() - events.len()..], events, "closed once, and then silence");
    }
}

#[tokio::test]
async fn claims_and_assignments_at_once_leave_one_admin() {
    let (host, _turn) = race_host().await;
    let (one, two) = (host.user("admin").await, host.user("admin").await);
    let guest = start(host, json!({})).await;
    let answers = join_all((0..MANY).map(async |number| match number % 3 {
        0 => one.claims(&guest).await,
        1 => one.assigns(&guest, json!({ "admin_id": two.id })).await,
        _ => two.assigns(&guest, json!({ "admin_id": one.id })).await,
    }))
    .await;
    assert_eq!(count(&answers, 200) + count(&answers, 409), MANY);
    let holder = one.read_as_admin(&guest).await.data()["assignment"]["admin_id"].clone();
    assert_eq!(guest.frame("session_assigned").await["admin"]["id"], holder, "the last word is what holds");
    // No-ops are not announced: each announcement names somebody else.
    let events = host.events(&format!("chat:{}", guest.id)).await;
    let named: Vec<_> = events[2..].iter().map(|event| event["payload"]["data"]["admin"]["id"].clone()).collect();
    assert!(named.windows(2).all(|pair| pair[0] != pair[1]), "{named:?}");
}
