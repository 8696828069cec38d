//! Access tokens of the operator's service account at a cloud provider, by a
//! signed assertion (RFC 7523). The private key stays here.

use crate::{
    crypto::unix_time,
    http_client::{Client, Request},
};
use anyhow::Context;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const LIFETIME_SECONDS: i64 = 3600;
/// A token is not handed out in its last minute.
const MARGIN: Duration = Duration::from_secs(60);

pub struct ServiceAccount {
    email: String,
    token_uri: String,
    key: EncodingKey,
    client: Client,
    tokens: Mutex<HashMap<String, (String, Instant)>>,
}

#[derive(Deserialize)]
struct File {
    client_email: String,
    private_key: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl ServiceAccount {
    pub fn read(path: &Path, client: Client) -> anyhow::Result<ServiceAccount> {
        let name = || format!("GOOGLE_APPLICATION_CREDENTIALS: {}", path.display());
        let text = std::fs::read(path).with_context(name)?;
        // The error would repeat parts of the file.
        let file: File = serde_json::from_slice(&text)
            .ok()
            .with_context(|| format!("{} is not the JSON file of a service account", name()))?;
        let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes())
            .ok()
            .with_context(|| format!("{} holds no RSA key in PEM", name()))?;
        Ok(ServiceAccount {
            email: file.client_email,
            token_uri: file.token_uri,
            key,
            client,
            tokens: Mutex::default(),
        })
    }

    /// A bearer token for `scope`, cached until shortly before its end. The error
    /// is for the log.
    pub async fn token(&self, scope: &str) -> Result<String, String> {
        let mut tokens = self.tokens.lock().await;
        if let Some((token, _)) = tokens.get(scope).filter(|(_, end)| *end > Instant::now() + MARGIN) {
            return Ok(token.clone());
        }
        let now = unix_time();
        let claims = serde_json::json!({
            "iss": self.email, "scope": scope, "aud": self.token_uri, "iat": now, "exp": now + LIFETIME_SECONDS,
        });
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key);
        let assertion = assertion.map_err(|error| error.to_string())?;
        // A JWT has no character that a form would have to escape.
        let grant_type = GRANT_TYPE.replace(':', "%3A");
        let request = Request {
            method: "POST".into(),
            url: self.token_uri.clone(),
            headers: vec![("content-type".into(), "application/x-www-form-urlencoded".into())],
            body: format!("grant_type={grant_type}&assertion={assertion}").into_bytes(),
        };
        let response = self.client.send(request).await.map_err(|error| format!("{error:?}"))?;
        if response.status != 200 {
            return Err(format!("the provider answered {}", response.status));
        }
        let granted: Granted = serde_json::from_slice(&response.body).map_err(|_| "the answer is not understood")?;
        let end = Instant::now() + Duration::from_secs(granted.expires_in.min(86_400));
        tokens.insert(scope.to_owned(), (granted.access_token.clone(), end));
        Ok(granted.access_token)
    }
}
