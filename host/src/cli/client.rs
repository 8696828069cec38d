//! A client of the control API, for the commands of `shema`.
//!
//! What the host refuses becomes one sentence, the host's own; what goes wrong
//! on the way to it is said here, with what to do about it. `print` shows
//! answers to people.

pub mod print;

use crate::{config::Access, deploy::Change, services::crypto};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The host bounds each step of a deploy by itself; this is for one that hangs.
const TIMEOUT: Duration = Duration::from_secs(600);
/// So that progress can be told while an artifact is on its way.
const CHUNK: usize = 64 << 10;
/// What stands in a path as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

pub struct Client {
    access: Access,
    http: reqwest::Client,
}

/// An artifact, and what is to become of it.
pub struct Upload {
    pub name: String,
    pub wasm: Bytes,
    pub activate: bool,
    /// Share of the traffic, in percent; 0: all of it.
    pub canary: u8,
    pub shadow: bool,
    pub mounts: Vec<String>,
    /// Base64.
    pub signature: Option<String>,
}

impl Client {
    /// Of the host that this environment or directory names.
    pub fn find() -> Result<Client> {
        Client::new(Access::find()?)
    }

    pub fn new(access: Access) -> Result<Client> {
        crypto::install_tls_provider();
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().build();
        Ok(Client { access, http: http.context("cannot set up the HTTP client")? })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.request(Method::GET, path).timeout(TIMEOUT);
        self.json(self.send(request).await?).await
    }

    /// `/health` answers 503 with the same body while something is missing.
    pub async fn health(&self) -> Result<Value> {
        let request = self.request(Method::GET, "/health").timeout(TIMEOUT);
        self.json(self.reach(request).await?).await
    }

    pub async fn activate(&self, name: &str, body: &Value) -> Result<Change> {
        let path = format!("/v1/components/{}/activate", segment(name));
        let request = self.request(Method::POST, &path).timeout(TIMEOUT);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        self.json(self.send(request).await?).await
    }

    pub async fn rollback(&self, name: &str) -> Result<Change> {
        let path = format!("/v1/components/{}/rollback", segment(name));
        self.json(self.send(self.request(Method::POST, &path).timeout(TIMEOUT)).await?).await
    }

    /// `sent` is told how many bytes have gone out so far.
    pub async fn deploy(&self, upload: Upload, sent: impl Fn(usize) + Send + Sync + 'static) -> Result<Change> {
        let mut query: Vec<(&str, String)> = vec![("activate", upload.activate.to_string())];
        if upload.canary > 0 {
            query.push(("canary", upload.canary.to_string()));
        }
        if upload.shadow {
            query.push(("shadow", "true".into()));
        }
        query.extend(upload.mounts.into_iter().map(|mount| ("mount", mount)));
        let path = format!("/v1/components/{}/versions", segment(&upload.name));
        let mut request = self.request(Method::POST, &path).query(&query).timeout(TIMEOUT);
        request = request.header(header::CONTENT_TYPE, "application/wasm");
        request = request.header(header::CONTENT_LENGTH, upload.wasm.len());
        if let Some(signature) = upload.signature {
            request = request.header("x-shema-signature", signature);
        }
        let wasm = upload.wasm;
        let chunks = (0..wasm.len()).step_by(CHUNK).map(move |start| {
            let end = wasm.len().min(start.saturating_add(CHUNK));
            sent(end);
            Ok::<Bytes, std::io::Error>(wasm.slice(start..end))
        });
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        self.json(self.send(request.body(body)).await?).await
    }

    /// An answer that comes in pieces, without end if it is asked for so.
    pub async fn stream(&self, path: &str) -> Result<Response> {
        self.send(self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.access.url));
        request.bearer_auth(&self.access.token).header("x-shema-actor", actor())
    }

    /// An answer of success, or the host's sentence.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = self.reach(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let message = body.pointer("/error/message").and_then(Value::as_str);
        match message {
            _ if status == StatusCode::UNAUTHORIZED => {
                bail!("the host at {} refuses the control token of {}", self.access.url, self.access.token_from)
            }
            Some(message) => bail!("{}", sentence(message)),
            None => bail!(
                "{} answers {status}, and not as the control API does: is SHEMA_CONTROL_URL the control listener's?",
                self.access.url
            ),
        }
    }

    async fn reach(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|error| {
            let Access { url, url_from, .. } = &self.access;
            if error.is_connect() {
                return anyhow::anyhow!("no host answers at {url}, which is the address in {url_from}: has it ended?");
            }
            if error.is_timeout() {
                return anyhow::anyhow!("the host at {url} has not answered for {} s", TIMEOUT.as_secs());
            }
            anyhow::Error::from(error.without_url()).context(format!("the host at {url} was cut off"))
        })
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let answer = response.bytes().await.with_context(|| format!("the host at {} was cut off", self.access.url))?;
        serde_json::from_slice(&answer)
            .with_context(|| format!("{} answers what this version of shema does not understand", self.access.url))
    }
}

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Messages of the API end in a full stop, those of a command do not; and what
/// a component has put into one must not steer a terminal.
fn sentence(message: &str) -> String {
    message.strip_suffix('.').unwrap_or(message).replace(|character: char| character.is_control(), " ")
}

/// Who did it, for the host's book of changes.
fn actor() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let plain = |text: Option<String>| {
        let text = text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
        text.unwrap_or_else(|| "unknown".into())
    };
    format!("{}@{}", plain(user), plain(host))
}
