//! Chat over WebSockets on several hosts, with Redis and without, and what ends
//! the connections of those who may not have them any more.

use crate::{
    auth::claims,
    harness::{Chat, Expect, Host, Redis, Setup, Socket, User, seqs, setup, unknown_id, until},
    sockets::WS,
};
use chrono::Utc;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Two hosts of one cluster.
fn nodes(first: Setup) -> (Host, Host) {
    let (environment, config) = (first.environment.clone(), first.config.clone());
    let one = Host::start(first);
    (one, Host::start(Setup { environment, config, ..setup() }))
}

fn nodes_with(redis: &Redis) -> (Host, Host) {
    nodes(setup().set("REDIS_URL", redis.url()))
}

async fn redis_is(host: &Host, state: &str) {
    let control = host.control();
    until(state, async || (control.get("/health").await.body["redis"] == state).then_some(())).await;
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

#[tokio::test]
async fn guest_and_admin_talk_over_two_hosts() {
    let (one, two) = nodes(setup());
    let (chat, admin) = (one.chat().await, one.admin().await);
    let (mut guest, _) = one.connect_guest(&chat).await;
    let (mut tab, _) = two.connect_guest(&chat).await;
    let (desk, data) = two.connect_admin(&admin).await;
    assert_eq!(data["seq"][&chat.id], 0);
    let mut desk = desk.only(&chat.id);
    for number in 1..=20_u64 {
        if number % 2 == 0 {
            guest.send_message(json!({ "content": number.to_string() })).await;
        } else {
            desk.send_message(json!({ "content": number.to_string(), "session_id": chat.id })).await;
        }
        for socket in [&mut guest, &mut tab, &mut desk] {
            assert_eq!(socket.skip_to("new_message").await["seq"], number);
        }
    }
    guest.send("typing", json!({})).await;
    assert_eq!(desk.expect_frame("typing").await["session_id"], chat.id);
    desk.send("typing", json!({ "session_id": chat.id })).await;
    assert_eq!(guest.expect_frame("typing").await["session_id"], chat.id);
    // What is not numbered comes once as well, from either host.
    let (mut all, _) = two.connect_admin(&admin).await;
    let body = json!({ "guest_name": "Gita", "guest_email": "gita@example.org", "initial_message": "Hi" });
    let answer = one.api().post("/api/cs/sessions", body).await;
    let new = Chat::of(&one, answer.expect_data(201));
    new.set_status(&admin, "closed").await.expect_data(200);
    let seen = all.take_until(|frame| frame["type"] == "session_closed").await;
    let of_new = seen.iter().filter(|frame| frame["data"]["session_id"] != chat.id);
    let kinds: Vec<_> = of_new.map(|frame| frame["type"].clone()).collect();
    assert_eq!(kinds, ["session_created", "new_message", "new_message", "session_status_changed", "session_closed"]);
    for node in [&one, &two] {
        let path = format!("/api/cs/admin/sessions/{}/status", chat.id);
        let api = node.api().with_token(&admin.access);
        api.send(reqwest::Method::PATCH, &path, Some(json!({ "status": "closed" }))).await.expect_data(200);
    }
    for socket in [&mut guest, &mut tab] {
        let (frames, code) = socket.read_until_close().await;
        let kinds: Vec<_> = frames.iter().map(|frame| &frame["type"]).filter(|kind| **kind != "typing").collect();
        assert_eq!(kinds, ["new_message", "session_status_changed", "session_closed"]);
        assert_eq!(code, Some(4409));
    }
}

#[tokio::test]
async fn one_message_by_two_hosts_at_once_is_stored_once() {
    let (one, two) = nodes(setup());
    let chat = one.chat().await;
    let (mut a, mut b) = (one.connect_guest(&chat).await.0, two.connect_guest(&chat).await.0);
    for round in 1..=10_u64 {
        let data = json!({ "content": "once", "client_message_id": unknown_id() });
        futures_util::join!(a.send("send_message", data.clone()), b.send("send_message", data.clone()));
        for socket in [&mut a, &mut b] {
            let (mut delivered, mut heard) = (false, false);
            while !(delivered && heard) {
                let frame = socket.next().await;
                assert_eq!(frame["data"]["seq"], round, "{frame}");
                match frame["type"].as_str() {
                    Some("message_delivered") if !delivered => delivered = true,
                    Some("new_message") if !heard => heard = true,
                    _ => panic!("again: {frame}"),
                }
            }
        }
    }
    futures_util::join!(a.expect_silence(), b.expect_silence());
}

// Redis.

#[tokio::test]
async fn without_redis_messages_are_delivered_here_at_once_and_there_by_the_database() {
    let redis = Redis::start();
    let (one, two) = nodes_with(&redis);
    let (chat, admin) = (one.chat().await, one.admin().await);
    let (mut guest, _) = one.connect_guest(&chat).await;
    let (near, far) = (one.connect_admin(&admin).await.0, two.connect_admin(&admin).await.0);
    let (mut near, mut far) = (near.only(&chat.id), far.only(&chat.id));
    let mut last = 0;
    for round in 0..3 {
        match round {
            0 => redis.kill(),
            // The second time it is alive, but mute.
            1 => redis.pause(),
            _ => redis.kill(),
        }
        for _ in 0..20 {
            last += 1;
            assert_eq!(guest.send_message(json!({ "content": "without Redis" })).await["seq"], last);
            for socket in [&mut guest, &mut near] {
                // At once: it has come before the answer to what is sent now.
                let before = socket.received_so_far().await;
                assert_eq!(seqs(&before), [last]);
            }
        }
        // The other host finds them by itself.
        assert_eq!(far.seqs_until(last).await, range(last - 19, last));
        // Whoever comes now gets everything as well.
        let (mut late, _) = two.connect_guest_after(&chat, 0).await;
        assert_eq!(late.seqs_until(last).await, range(1, last));
        // And back: nothing comes a second time.
        match round {
            1 => redis.resume(),
            _ => redis.run(),
        }
        redis_is(&one, "up").await;
        redis_is(&two, "up").await;
        let unpublished = "select count(*) from public.outbox where published_at is null";
        until("the outbox to be empty", async || (one.count(unpublished).await == 0).then_some(())).await;
        last += 1;
        chat.at(&two).post_as_guest("with Redis").await;
        for socket in [&mut guest, &mut near, &mut far, &mut late] {
            assert_eq!(socket.seqs_until(last).await, [last]);
            socket.expect_silence().await;
        }
    }
}

#[tokio::test]
async fn a_redis_that_comes_and_goes_costs_no_message() {
    let redis = Redis::start();
    let (one, two) = nodes_with(&redis);
    let (chat, admin) = (one.chat().await, one.admin().await);
    let desk = two.connect_admin(&admin).await.0;
    let (mut guest, mut desk) = (two.connect_guest(&chat).await.0, desk.only(&chat.id));
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let writing = async {
        while !stop.load(Ordering::Relaxed) {
            chat.post_as_guest("on and on").await;
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let breaking = async {
        for _ in 0..4 {
            let goal = sent.load(Ordering::Relaxed) + 15;
            until("messages", async || (sent.load(Ordering::Relaxed) >= goal).then_some(())).await;
            redis.kill();
            until("messages", async || (sent.load(Ordering::Relaxed) >= goal + 15).then_some(())).await;
            redis.run();
        }
        stop.store(true, Ordering::Relaxed);
    };
    futures_util::join!(writing, breaking);
    let last = sent.load(Ordering::Relaxed);
    assert_eq!(guest.seqs_until(last).await, range(1, last));
    assert_eq!(desk.seqs_until(last).await, range(1, last));
    guest.expect_silence().await;
}

// A host dies.

#[tokio::test]
async fn a_client_of_a_host_that_dies_resumes_on_the_other() {
    let (one, two) = nodes(setup());
    let chat = one.chat().await;
    let on_two = chat.at(&two);
    let (mut socket, _) = one.connect_guest(&chat).await;
    let total = 150;
    let writing = async {
        for number in 1..=total {
            on_two.post_as_guest("from the other host").await;
            if number == 50 {
                one.kill();
            }
        }
    };
    let reading = async {
        let mut all = Vec::new();
        let (frames, code) = socket.read_until_close().await;
        assert_eq!(code, None, "it died without a word");
        all.extend(seqs(&frames));
        let seen = all.last().copied().unwrap_or(0);
        let (mut socket, _) = two.connect_guest_after(&chat, seen).await;
        all.extend(socket.seqs_until(total).await);
        all
    };
    let ((), all) = futures_util::join!(writing, reading);
    assert_eq!(all, range(1, total));
}

#[tokio::test]
async fn a_stopping_host_sends_its_clients_to_the_other() {
    let (one, two) = nodes(setup());
    let (chat, admin) = (one.chat().await, one.admin().await);
    let mut sockets =
        vec![one.connect_guest(&chat).await.0, one.connect_admin(&admin).await.0, one.open(WS, &[]).await];
    chat.post_as_guest("before").await;
    assert_eq!(one.stop(), Some(0));
    for socket in &mut sockets {
        socket.expect_close(1001).await;
    }
    let on_two = chat.at(&two);
    on_two.post_as_guest("meanwhile").await;
    let (mut socket, data) = two.connect_guest_after(&chat, 1).await;
    assert_eq!((&data["seq"], socket.seqs_until(2).await), (&json!(2), vec![2]));
}

// Who may not be here any more.

async fn desks(nodes: [&Host; 2], user: &User) -> Vec<Socket> {
    let header = format!("Bearer {}", user.access);
    let [one, two] = nodes;
    let by_header = two.open(WS, &[("authorization", &header)]).await.connected().await.0;
    vec![one.connect_admin(user).await.0, two.connect_admin(user).await.0, by_header]
}

async fn revocations(one: &Host, two: &Host, redis: &Redis, down: bool) {
    let chief = one.user("admin").await;
    let mut bystanders = desks([one, two], &chief).await;
    if down {
        redis.kill();
        redis_is(one, "down").await;
    }
    let logout = one.user("admin").await;
    let elsewhere = one.login(&logout.email).await;
    bystanders.extend(desks([one, two], &elsewhere).await);
    let mut sockets = desks([one, two], &logout).await;
    logout.api.post("/api/auth/logout", json!({})).await.expect_status(200);
    for socket in &mut sockets {
        socket.expect_close(4401).await;
    }

    let demoted = one.user("admin").await;
    let mut sockets = desks([one, two], &demoted).await;
    chief.api.put(&format!("/api/users/{}", demoted.id), json!({ "role": "instructor" })).await.expect_status(200);
    for socket in &mut sockets {
        socket.expect_close(4403).await;
    }

    let deleted = one.user("admin").await;
    let mut sockets = desks([one, two], &deleted).await;
    chief.api.delete(&format!("/api/users/{}", deleted.id)).await.expect_status(200);
    for socket in &mut sockets {
        socket.expect_close(4401).await;
    }
    // They do not come back, and nobody else has gone.
    for (user, code) in [(&logout, 4401), (&demoted, 4403), (&deleted, 4401)] {
        two.open_with_auth(json!({ "token": user.access })).await.expect_close(code).await;
    }
    for socket in &mut bystanders {
        assert_eq!(socket.request("ping", json!({})).await["type"], "pong");
    }
}

#[tokio::test]
async fn whoever_may_not_be_at_the_desk_any_more_is_off_it_everywhere() {
    let redis = Redis::start();
    let (one, two) = nodes_with(&redis);
    revocations(&one, &two, &redis, false).await;
    revocations(&one, &two, &redis, true).await;
}

#[tokio::test]
async fn a_refresh_ends_nothing_and_a_stolen_token_everything() {
    let (one, two) = nodes(setup());
    let user = one.user("admin").await;
    let refresh = async || {
        let answer = one.api().post("/api/auth/refresh", json!({ "refreshToken": user.refresh })).await;
        answer.status
    };
    let mut sockets = desks([&one, &two], &user).await;
    assert_eq!(refresh().await, 200);
    let back_dated =
        "update public.refresh_sessions set rotated_at = rotated_at - interval '20 seconds' where user_id = $1::uuid";
    assert_eq!(one.run(back_dated, &[&user.id]).await, 1);
    for socket in &mut sockets {
        assert_eq!(socket.request("ping", json!({})).await["type"], "pong");
    }
    assert_eq!(refresh().await, 401);
    for socket in &mut sockets {
        socket.expect_close(4401).await;
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_token_and_the_next_goes_on() {
    let host = Host::start(setup().set("JWT_EXPIRES_IN", "15s"));
    let (chat, admin) = (host.chat().await, host.admin().await);
    let header = format!("Bearer {}", admin.access);
    let (mut guest, _) = host.connect_guest(&chat).await;
    let mut sockets = vec![
        host.connect_admin(&admin).await.0,
        host.open(WS, &[("authorization", &header)]).await.connected().await.0,
    ];
    chat.post_as_guest("before").await;
    let exp = claims(&admin.access)["exp"].as_i64().expect("a time");
    for socket in &mut sockets {
        let (frames, code) = socket.read_until_close().await;
        assert_eq!((seqs(&frames), code), (vec![1], Some(4401)));
        let late = Utc::now().timestamp_millis() - exp * 1000;
        assert!((-100..60_000).contains(&late), "{late} ms late");
    }
    chat.post_as_guest("meanwhile").await;
    let answer = host.api().post("/api/auth/refresh", json!({ "refreshToken": admin.refresh })).await;
    let access = answer.expect_data(200)["accessToken"].as_str().expect("a token").to_owned();
    let first = json!({ "token": access, "after": { &chat.id: 1 } });
    let (mut desk, _) = host.open_with_auth(first).await.connected().await;
    assert_eq!(desk.seqs_until(2).await, [2]);
    // Guests have no token that ends.
    assert_eq!(guest.seqs_until(2).await, [1, 2]);
    guest.expect_silence().await;
}

// Chats in which nobody writes.

#[tokio::test]
async fn a_chat_with_its_guest_on_any_host_is_not_closed_for_silence() {
    let every_second = "[[components.cs.tasks]]\npath = \"/api/cs/tasks/close-idle\"\nevery_seconds = 1\n";
    let (one, two) = nodes(setup().config(every_second));
    let admin = one.admin().await;
    let chats = one.chats(3).await;
    let mut desks = vec![one.connect_admin(&admin).await.0, two.connect_admin(&admin).await.0];
    let guests = [one.connect_guest(&chats[0]).await.0, two.connect_guest(&chats[1]).await.0];
    // The other host knows it a moment later.
    let told =
        async || (one.count("select count(*) from deploy.rooms where room like 'guest:%'").await == 2).then_some(());
    until("the presence of the guests to be told", told).await;
    let age = async |chat: &Chat<'_>| {
        let statement = "update cs.sessions set last_activity_at = now() - interval '31 minutes' where id = $1::uuid";
        assert_eq!(one.run(statement, &[&chat.id]).await, 1);
    };
    for chat in chats.iter().rev() {
        age(chat).await;
    }
    let closed = async |chat: &Chat<'_>| (chat.session().await["status"] == "closed").then_some(());
    until("the chat without a guest to be closed", || closed(&chats[2])).await;
    let another = one.chat().await;
    age(&another).await;
    until("another round", || closed(&another)).await;
    for chat in &chats[..2] {
        assert_eq!(chat.session().await["status"], "open");
    }
    for guest in guests {
        guest.disconnect();
    }
    for chat in &chats[..2] {
        until("the chat that its guest has left to be closed", || closed(chat)).await;
    }
    for desk in &mut desks {
        let mut left = 4;
        while left > 0 {
            let data = desk.skip_to("session_closed").await;
            assert_eq!(data["reason"], "idle_timeout");
            left -= 1;
        }
    }
    // A guest's leaving alone closes nothing.
    let chat = one.chat().await;
    let (socket, _) = one.connect_guest(&chat).await;
    socket.disconnect();
    let (mut socket, _) = two.connect_guest(&chat).await;
    socket.expect_silence().await;
    assert_eq!(chat.session().await["status"], "open");
}
