//! An HTTP client for the public API. A failed expectation shows the answer.

use super::TIMEOUT;
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone)]
pub struct Api {
    url: String,
    client: Client,
    token: Option<String>,
    headers: Vec<(String, String)>,
}

/// Status, headers and body of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
    pub(super) path: String,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub email: String,
    pub api: Api,
    pub access: String,
    pub refresh: String,
}

impl Api {
    pub fn new(url: &str) -> Api {
        // The first call in the process installs it, and later ones fail.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        host::services::crypto::install_tls_provider();
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a client");
        Api { url: url.to_owned(), client, token: None, headers: Vec::new() }
    }

    /// The same client with an access token.
    pub fn with_token(&self, token: &str) -> Api {
        Api { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn with_header(&self, name: &str, value: &str) -> Api {
        let mut api = self.clone();
        api.headers.push((name.to_owned(), value.to_owned()));
        api
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        self.finish(request, path).await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// For requests that are not plain JSON.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// Sends the request. An error means that there was no answer, which some tests
    /// allow.
    pub async fn finish(&self, request: reqwest::RequestBuilder, path: &str) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, text, path: path.to_owned() })
    }

    /// Runs steps in the probe and returns their outcomes.
    pub async fn probe(&self, steps: Value) -> Vec<Value> {
        let answer = self.post("/probe/run", steps).await;
        answer.expect_status(200).as_array().expect("a list of outcomes").clone()
    }

    /// The first admin of a new host.
    pub async fn first_admin(&self) -> User {
        let body = json!({
            "email": "admin@example.org", "password": "Passw0rd-of-admin", "full_name": "The Admin", "role": "admin",
        });
        let answer = self.post("/api/auth/register", body).await;
        self.user_of(answer.expect_status(201))
    }

    pub fn user_of(&self, body: &Value) -> User {
        let data = &body["data"];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        User {
            id: text(&data["user"]["id"]),
            email: text(&data["user"]["email"]),
            access: text(&data["accessToken"]),
            refresh: text(&data["refreshToken"]),
            api: self.with_token(&text(&data["accessToken"])),
        }
    }
}

impl super::Host {
    /// An admin of this host, the same for all tests that share it.
    pub async fn admin(&self) -> User {
        let mut sql = self.sql().await;
        let exists: bool =
            sqlx::query_scalar("select exists (select from public.users where email = 'admin@example.org')")
                .fetch_one(&mut sql)
                .await
                .expect("an answer");
        if !exists {
            self.add_user("admin", "admin@example.org").await;
        }
        self.login("admin@example.org").await
    }

    /// A new user of a role, logged in. The API makes no instructors and students
    /// with a password, so the user is inserted into the table.
    pub async fn user(&self, role: &str) -> User {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let email = format!("{role}-{}@example.org", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.add_user(role, &email).await;
        self.login(&email).await
    }

    async fn add_user(&self, role: &str, email: &str) {
        static HASH: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| host::services::tokens::passwords::hash_blocking(PASSWORD).expect("a hash"));
        let mut sql = self.sql().await;
        sqlx::query(
            "insert into public.users (full_name, email, password_hash, role, email_verified)
             values ($1, $2, $3, $4::public.user_role, true) on conflict do nothing",
        )
        .bind(format!("Some {role}"))
        .bind(email)
        .bind(HASH.as_str())
        .bind(role)
        .execute(&mut sql)
        .await
        .expect("a user");
    }

    pub async fn login(&self, email: &str) -> User {
        let api = self.api();
        let answer = api.post("/api/auth/login", json!({ "email": email, "password": PASSWORD })).await;
        api.user_of(answer.expect_status(200))
    }
}

pub const PASSWORD: &str = "Passw0rd-of-tests";

/// Assertions about an answer.
pub trait Expect {
    /// It has this status; returns the body.
    fn expect_status(&self, status: u16) -> &Value;
    /// It is the API's error envelope with this status and code; returns `error`.
    fn expect_error(&self, status: u16, code: &str) -> &Value;
}

impl Expect for Answer {
    #[track_caller]
    fn expect_status(&self, status: u16) -> &Value {
        assert_eq!(self.status, status, "{} answered {}", self.path, self.text);
        &self.body
    }

    #[track_caller]
    fn expect_error(&self, status: u16, code: &str) -> &Value {
        let body = self.expect_status(status);
        let error = &body["error"];
        assert_eq!(error["code"], code, "{} answered {}", self.path, self.text);
        assert_eq!(body["success"], false);
        assert!(error["message"].is_string() && body["message"] == error["message"], "{}", self.text);
        assert!(body.get("data").is_none(), "an error has no data: {}", self.text);
        error
    }
}

impl Answer {
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    /// The details of a `VALIDATION_ERROR`, each as `field code`, sorted.
    #[track_caller]
    pub fn problems(&self) -> Vec<String> {
        let details = self.expect_error(400, "VALIDATION_ERROR")["details"].as_array().expect("a list").clone();
        let problem = |detail: &Value| {
            format!("{} {}", detail["field"].as_str().expect("a field"), detail["code"].as_str().expect("a code"))
        };
        let mut problems: Vec<String> = details.iter().map(problem).collect();
        problems.sort();
        problems
    }
}
