//! `shema:tokens`: signing, password hashing and the verification of tokens.
//! The keys stay here.
//!
//! - `verify`: from an `Authorization` header to a verified principal.
//! - `passwords`: hashing, off the threads that serve requests.
//! - `certificates`: signatures of other issuers.
//! - `service_account`: tokens of a cloud provider.

pub mod certificates;
mod passwords;
pub mod service_account;
pub mod verify;

pub use passwords::hash as hash_password;

use super::{
    Call,
    bindings::sessions::{Host, PresentedToken, RefreshClaims, Refusal, Subject, TokenPair},
};
use crate::config::Config;
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const ISSUER: &str = "shema-music-auth";
const AUDIENCE: &str = "shema-music-api";

/// The access token of a request, by its hash.
#[derive(Clone, Debug)]
pub struct Presented {
    /// SHA-256, lower-case hex.
    pub hash: String,
    /// Seconds since the Unix epoch.
    pub expires_at: i64,
}

/// The keys, and what they are used with.
pub struct Signer {
    access: Keys,
    refresh: Keys,
    service: DecodingKey,
    access_lifetime: Duration,
    refresh_lifetime: Duration,
    validation: Validation,
}

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    secret: Vec<u8>,
}

impl Keys {
    fn new(secret: &str) -> Keys {
        let secret = secret.as_bytes();
        Keys {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            secret: secret.to_vec(),
        }
    }
}

/// Claims as the host signs them (contract 1.6).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    user_id: &'a str,
    email: &'a str,
    /// Only in access tokens, as is `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    sid: &'a str,
    iss: &'static str,
    aud: &'static str,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Claims as they are read: whatever may be missing is optional, because the
/// contract answers each lack in its own way.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadClaims {
    user_id: Option<String>,
    role: Option<String>,
    sid: Option<String>,
    exp: i64,
}

impl Signer {
    pub fn new(config: &Config) -> Signer {
        // RFC 8725 3.1: the algorithm is ours to choose, never the token's.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Judged by us, after everything else: an expired token with a bad
        // issuer is a bad token, not an expired one.
        validation.validate_exp = false;
        Signer {
            access: Keys::new(&config.secrets.access),
            refresh: Keys::new(&config.secrets.refresh),
            service: DecodingKey::from_secret(config.secrets.service.as_bytes()),
            access_lifetime: config.access_lifetime,
            refresh_lifetime: config.refresh_lifetime,
            validation,
        }
    }

    fn read(&self, token: &str, keys: &Keys) -> Result<ReadClaims, Refusal> {
        let read = jsonwebtoken::decode::<ReadClaims>(token, &keys.decoding, &self.validation);
        let claims = read.map_err(|_| Refusal::Invalid)?.claims;
        if claims.exp <= unix_time() { Err(Refusal::Expired) } else { Ok(claims) }
    }

    /// Deterministic: HMAC of what tells this pair from every other.
    fn jti(keys: &Keys, session_id: &str, previous_hash: &[u8]) -> String {
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(&keys.secret)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(b"jti ");
        mac.update(session_id.as_bytes());
        mac.update(previous_hash);
        let bytes = mac.finalize().into_bytes();
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        uuid::Builder::from_random_bytes(id).into_uuid().to_string()
    }

    fn issue(&self, subject: &Subject, issued_at: i64, previous_hash: &[u8]) -> wasmtime::Result<TokenPair> {
        let lifetime = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let refresh_expires_at = issued_at.saturating_add(lifetime(self.refresh_lifetime));
        let claims = |keys: &Keys, exp: i64| Claims {
            user_id: &subject.user_id,
            email: &subject.email,
            role: None,
            sub: None,
            sid: &subject.session_id,
            iss: ISSUER,
            aud: AUDIENCE,
            iat: issued_at,
            exp,
            jti: Signer::jti(keys, &subject.session_id, previous_hash),
        };
        let access_expires_at = issued_at.saturating_add(lifetime(self.access_lifetime));
        let access = Claims {
            role: Some(&subject.role),
            sub: Some(&subject.user_id),
            ..claims(&self.access, access_expires_at)
        };
        let refresh = claims(&self.refresh, refresh_expires_at);
        let sign = |claims: &Claims, keys: &Keys| {
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &keys.encoding).map_err(wasmtime::Error::new)
        };
        let refresh_token = sign(&refresh, &self.refresh)?;
        Ok(TokenPair {
            access_token: sign(&access, &self.access)?,
            refresh_hash: Sha256::digest(refresh_token.as_bytes()).to_vec(),
            refresh_token,
            refresh_expires_at,
        })
    }

    fn read_refresh(&self, token: &str) -> Result<RefreshClaims, Refusal> {
        let claims = self.read(token, &self.refresh)?;
        let (Some(user_id), Some(session_id)) = (canonical_uuid(claims.user_id), canonical_uuid(claims.sid)) else {
            return Err(Refusal::Invalid);
        };
        Ok(RefreshClaims { user_id, session_id, hash: Sha256::digest(token.as_bytes()).to_vec() })
    }
}

fn canonical_uuid(text: Option<String>) -> Option<String> {
    Some(Uuid::parse_str(&text?).ok()?.to_string())
}

fn unix_time() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl Host for Call {
    async fn issue(&mut self, subject: Subject, issued_at: i64, previous_hash: Vec<u8>) -> wasmtime::Result<TokenPair> {
        self.held.signer.issue(&subject, issued_at, &previous_hash)
    }

    async fn read_refresh(&mut self, token: String) -> wasmtime::Result<Result<RefreshClaims, Refusal>> {
        Ok(self.held.signer.read_refresh(&token))
    }

    async fn presented(&mut self) -> wasmtime::Result<Option<PresentedToken>> {
        let presented = self.context.as_ref().and_then(|context| context.presented.clone());
        Ok(presented.map(|token| PresentedToken { hash: token.hash, expires_at: token.expires_at }))
    }

    async fn access_lifetime(&mut self) -> wasmtime::Result<u64> {
        Ok(self.held.signer.access_lifetime.as_secs())
    }
}
