//! A guest's chat: what is done in it over HTTP, and directly in the database.

use super::{Answer, Api, Host, User, id_of};
use reqwest::Method;
use serde_json::{Value, json};

/// A guest in a chat of their own.
#[derive(Clone)]
pub struct Chat<'a> {
    pub host: &'a Host,
    pub id: String,
    pub token: String,
    /// With the token.
    pub api: Api,
}

impl Host {
    pub async fn chat(&self) -> Chat<'_> {
        let body = json!({ "guest_name": "Gita Guest", "guest_email": "gita@example.org" });
        let answer = self.api().post("/api/cs/sessions", body).await;
        Chat::of(self, answer.expect_data(201))
    }

    pub async fn chats(&self, number: usize) -> Vec<Chat<'_>> {
        let mut chats = Vec::new();
        for _ in 0..number {
            chats.push(self.chat().await);
        }
        chats
    }
}

impl<'a> Chat<'a> {
    /// From `data` of the answer to a new session.
    pub fn of(host: &'a Host, data: &Value) -> Chat<'a> {
        let token = data["session_token"].as_str().expect("a token").to_owned();
        Chat { host, id: id_of(&data["session"]), api: host.api().with_header("x-session-token", &token), token }
    }

    /// The same guest, as a client of another host.
    pub fn at<'b>(&self, host: &'b Host) -> Chat<'b> {
        let api = host.api().with_header("x-session-token", &self.token);
        Chat { host, id: self.id.clone(), token: self.token.clone(), api }
    }

    pub fn path(&self) -> String {
        format!("/api/cs/sessions/{}", self.id)
    }

    /// `data` of the `auth` frame that the guest sends first.
    pub fn auth(&self) -> Value {
        json!({ "session_id": self.id, "session_token": self.token })
    }

    /// Stores a message of the guest over HTTP.
    pub async fn post_as_guest(&self, content: &str) -> Value {
        let answer = self.api.post(&format!("{}/messages", self.path()), json!({ "content": content })).await;
        answer.expect_data(201)["message"].clone()
    }

    /// Stores a message of the admin over HTTP.
    pub async fn post_as_admin(&self, admin: &User, content: &str) -> Value {
        let path = format!("/api/cs/admin/sessions/{}/messages", self.id);
        admin.api.post(&path, json!({ "content": content })).await.expect_data(201)["message"].clone()
    }

    pub async fn session(&self) -> Value {
        self.api.get(&self.path()).await.expect_data(200)["session"].clone()
    }

    /// All messages after `seq`, read page by page.
    pub async fn read_after(&self, mut seq: u64) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let answer = self.api.get(&format!("{}/messages?limit=100&after_seq={seq}", self.path())).await;
            let data = answer.expect_data(200);
            messages.extend(data["messages"].as_array().expect("a list").clone());
            seq = messages.last().map_or(seq, |message| message["seq"].as_u64().expect("a number"));
            if data["has_more"] == false {
                return messages;
            }
        }
    }

    pub async fn set_status(&self, admin: &User, status: &str) -> Answer {
        let path = format!("/api/cs/admin/sessions/{}/status", self.id);
        admin.api.send(Method::PATCH, &path, Some(json!({ "status": status }))).await
    }

    /// Inserts so many messages directly into the database.
    pub async fn fill(&self, number: u64) {
        let (first, number) = (self.session().await["message_count"].to_string(), number.to_string());
        let statement = "insert into cs.messages (session_id, seq, sender_type, message)
             select $1::uuid, $2::int + n, 'guest', 'message ' || $2::int + n from generate_series(1, $3::int) n";
        self.host.run(statement, &[&self.id, &first, &number]).await;
        let statement = "update cs.sessions set last_seq = last_seq + $2::int where id = $1::uuid";
        assert_eq!(self.host.run(statement, &[&self.id, &number]).await, 1);
    }
}
