//! Signs and reads the tokens of login sessions (contract 1.6), and reads those
//! by which services show who they are (contract 1.7).

use super::AuthError;
use crate::crypto::{hmac_sha256_of, unix_time};
use config::Config;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

const ISSUER: &str = "shema-music-auth";
const AUDIENCE: &str = "shema-music-api";

/// Whom a pair of tokens is for.
pub struct Subject {
    pub user_id: String,
    pub email: String,
    pub role: String,
    pub session_id: String,
}

pub struct TokenPair {
    pub access_token: String,
    pub refresh_token: String,
    /// SHA-256 of the refresh token: what may be stored of it.
    pub refresh_hash: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub refresh_expires_at: i64,
}

pub struct RefreshClaims {
    pub user_id: String,
    pub session_id: String,
    /// SHA-256 of the token that was read.
    pub hash: Vec<u8>,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    Expired,
    Invalid,
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

#[derive(Deserialize)]
struct ServiceClaims {
    service: String,
    r#type: String,
    /// Has to be there, whatever it says.
    #[serde(rename = "iat")]
    _issued_at: i64,
    exp: i64,
}

/// Of an access token.
pub struct AccessClaims {
    pub user_id: Uuid,
    pub session_id: Uuid,
    /// Seconds since the Unix epoch.
    pub expires_at: i64,
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

    /// How long an access token counts.
    pub fn access_lifetime(&self) -> Duration {
        self.access_lifetime
    }

    fn read(&self, token: &str, keys: &Keys) -> Result<ReadClaims, TokenError> {
        let read = jsonwebtoken::decode::<ReadClaims>(token, &keys.decoding, &self.validation);
        let claims = read.map_err(|_| TokenError::Invalid)?.claims;
        if claims.exp <= unix_time() { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// Deterministic: HMAC of what tells this pair from every other.
    fn jti(keys: &Keys, session_id: &str, previous_hash: &[u8]) -> String {
        let bytes = hmac_sha256_of(&keys.secret, &[b"jti ", session_id.as_bytes(), previous_hash]);
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        uuid::Builder::from_random_bytes(id).into_uuid().to_string()
    }

    /// The same arguments give the same pair, byte for byte, on every host with
    /// the same secrets. `issued_at`: seconds since the Unix epoch.
    /// `previous_hash`: of the refresh token that this pair replaces, or empty.
    pub fn issue(
        &self,
        subject: &Subject,
        issued_at: i64,
        previous_hash: &[u8],
    ) -> Result<TokenPair, jsonwebtoken::errors::Error> {
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
        let sign = |claims: &Claims<'_>, keys: &Keys| {
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &keys.encoding)
        };
        let refresh_token = sign(&refresh, &self.refresh)?;
        Ok(TokenPair {
            access_token: sign(&access, &self.access)?,
            refresh_hash: Sha256::digest(refresh_token.as_bytes()).to_vec(),
            refresh_token,
            refresh_expires_at,
        })
    }

    /// Checks signature, algorithm, issuer, audience, expiry and claims; not
    /// whether the session still lives.
    pub fn read_refresh(&self, token: &str) -> Result<RefreshClaims, TokenError> {
        let claims = self.read(token, &self.refresh)?;
        let (Some(user_id), Some(session_id)) = (canonical_uuid(claims.user_id), canonical_uuid(claims.sid)) else {
            return Err(TokenError::Invalid);
        };
        Ok(RefreshClaims { user_id, session_id, hash: Sha256::digest(token.as_bytes()).to_vec() })
    }
}

fn canonical_uuid(text: Option<String>) -> Option<String> {
    Some(Uuid::parse_str(&text?).ok()?.to_string())
}

impl Signer {
    /// A token by which another service shows who it is, made for one component
    /// (contract 1.7). `name`: what it says of itself, if it does.
    pub fn verify_service(&self, token: &[u8], name: Option<&[u8]>, component: &str) -> Result<String, AuthError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[component]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        validation.leeway = 0;
        let token = std::str::from_utf8(token).map_err(|_| AuthError::ServiceInvalid)?;
        let read = jsonwebtoken::decode::<ServiceClaims>(token, &self.service, &validation);
        let claims = read.map_err(|_| AuthError::ServiceInvalid)?.claims;
        let good = claims.r#type == "service-to-service"
            && !claims.service.is_empty()
            && claims.exp > unix_time()
            && name.is_none_or(|name| name == claims.service.as_bytes());
        if good { Ok(claims.service) } else { Err(AuthError::ServiceInvalid) }
    }

    /// In the order of the contract: signature, algorithm, issuer, audience;
    /// then the expiry; then the claims, the role first.
    pub fn read_access(&self, token: &str) -> Result<AccessClaims, AuthError> {
        let claims = self.read(token, &self.access).map_err(|error| match error {
            TokenError::Expired => AuthError::Expired,
            TokenError::Invalid => AuthError::Invalid,
        })?;
        if claims.role.is_none_or(|role| role.is_empty()) {
            return Err(AuthError::NoRole);
        }
        let uuid = |claim: Option<String>| Uuid::parse_str(&claim?).ok();
        match (uuid(claims.user_id), uuid(claims.sid)) {
            (Some(user_id), Some(session_id)) => Ok(AccessClaims { user_id, session_id, expires_at: claims.exp }),
            _ => Err(AuthError::Invalid),
        }
    }
}
