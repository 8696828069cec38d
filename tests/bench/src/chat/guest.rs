//! A guest with a chat of their own.

use crate::load::{Connection, Request};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};

#[derive(Clone)]
pub struct Guest {
    pub session: String,
    pub token: String,
}

impl Guest {
    pub async fn start(connection: &mut Connection) -> Result<Guest> {
        let request = Request {
            method: "POST",
            path: "/api/cs/sessions".into(),
            token: None,
            body: Some(Arc::new(|_| json!({ "guest_name": "Guest", "guest_email": "guest@example.org" }).to_string())),
            expect: 201,
        };
        let answer = connection.exchange(&request.bytes(0)).await?;
        ensure!(answer.status == 201, "no session: {}", String::from_utf8_lossy(answer.body));
        let body: Value = serde_json::from_slice(answer.body)?;
        let text = |value: &Value| value.as_str().map(String::from).context("a new session has an id and a token");
        Ok(Guest { session: text(&body["data"]["session"]["id"])?, token: text(&body["data"]["session_token"])? })
    }

    /// So many guests.
    pub async fn many(address: SocketAddr, number: usize) -> Result<Vec<Guest>> {
        let mut connection = Connection::open(address).await?;
        let mut guests = Vec::with_capacity(number);
        for _ in 0..number {
            guests.push(Guest::start(&mut connection).await?);
        }
        Ok(guests)
    }

    /// The first frame: to go on after a message, or from now on.
    pub fn auth(&self, after_seq: Option<u64>) -> Value {
        let mut data = json!({ "session_id": self.session, "session_token": self.token });
        if let Some(seq) = after_seq {
            data["after_seq"] = json!(seq);
        }
        data
    }
}
