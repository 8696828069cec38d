//! Requests to the outside. Where they may go is checked by whoever sends them.

use anyhow::Context;
use reqwest::{Method, header::HeaderMap, redirect};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct Client(reqwest::Client);

pub struct Request {
    /// `GET`, `POST`, ….
    pub method: String,
    /// Absolute.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub struct Response {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL, method or header.
    #[error("{0}")]
    Invalid(String),
    /// No connection, no answer in time, or one that broke off.
    #[error("{0}")]
    Unavailable(String),
    #[error("the answer is over {MAX_BYTES} bytes")]
    TooLarge,
}

impl Client {
    pub fn new() -> anyhow::Result<Client> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // A redirect could lead from a granted origin to any other.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build();
        Ok(Client(client.context("cannot set up the HTTP client")?))
    }

    /// Follows no redirects and tries nothing twice; bounded in time and size.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let invalid = |error: &dyn std::fmt::Display| Error::Invalid(error.to_string());
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| invalid(&error))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name: reqwest::header::HeaderName = name.parse().map_err(|error| invalid(&error))?;
            headers.append(name, value.parse().map_err(|error| invalid(&error))?);
        }
        let sent = self.0.request(method, &request.url).headers(headers).body(request.body).send().await;
        let mut response = sent.map_err(unavailable)?;
        let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers = response.headers().iter().filter_map(header).collect();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(Error::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }

    /// Sends a request whose body streams, and returns the answer as it comes.
    /// For whoever bounds what it reads; whether it may be sent is checked before.
    pub async fn forward(&self, request: reqwest::Request) -> reqwest::Result<reqwest::Response> {
        self.0.execute(request).await
    }
}

/// The URL may hold a key, so it is left out.
fn unavailable(error: reqwest::Error) -> Error {
    Error::Unavailable(error.without_url().to_string())
}
