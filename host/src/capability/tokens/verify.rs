//! From a bearer token to a verified principal.
//!
//! The session's row in PostgreSQL decides, read for each request, so that a
//! revocation holds on every host at once, with or without Redis. The entry
//! that a logout leaves in Redis can only refuse sooner. Nothing here fails
//! open: what cannot be looked up is an error.

use super::{Presented, Signer, unix_time};
use crate::capability::{
    Shared,
    bindings::{http::Principal, sessions::Refusal},
};
use jsonwebtoken::{Algorithm, Validation};
use sha2::{Digest, Sha256};
use sqlx::Row;
use std::time::Duration;
use uuid::Uuid;

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a caller is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no `Authorization` header.
    Missing,
    /// It is not `Bearer <token>`.
    Format,
    /// The token is bad, or its session unknown or revoked.
    Invalid,
    Expired,
    /// The user is gone.
    Unauthorized,
    /// The token has no role.
    NoRole,
    /// PostgreSQL cannot tell.
    Unavailable,
    /// There is no service token.
    ServiceMissing,
    ServiceInvalid,
}

impl Refused {
    /// The code of the contract's register.
    pub fn code(self) -> &'static str {
        match self {
            Refused::Missing => "AUTH_MISSING_TOKEN",
            Refused::Format => "AUTH_INVALID_FORMAT",
            Refused::Invalid => "AUTH_INVALID_TOKEN",
            Refused::Expired => "AUTH_TOKEN_EXPIRED",
            Refused::Unauthorized => "AUTH_UNAUTHORIZED",
            Refused::NoRole => "AUTH_NO_ROLE",
            Refused::Unavailable => "DB_CONNECTION_ERROR",
            Refused::ServiceMissing => "SERVICE_AUTH_MISSING",
            Refused::ServiceInvalid => "SERVICE_AUTH_INVALID",
        }
    }
}

/// Somebody whose word for who they are was checked.
#[derive(Clone, Debug)]
pub enum Known {
    User(Verified),
    /// Another service or component, by name.
    Service(String),
}

impl Known {
    pub fn user(&self) -> Option<&Verified> {
        match self {
            Known::User(user) => Some(user),
            Known::Service(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Verified {
    pub principal: Principal,
    pub presented: Presented,
}

/// The user's row, and whether the session lives.
struct Found {
    email: String,
    role: String,
    deleted: bool,
    session_lives: bool,
}

impl Shared {
    /// Verifies the value of an `Authorization` header.
    pub async fn verify(&self, authorization: Option<&[u8]>) -> Result<Verified, Refused> {
        let token = bearer(authorization.ok_or(Refused::Missing)?)?;
        let claims = self.signer.read_access(token)?;
        let hash: String = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let keys = [format!("blacklist:{hash}"), format!("blacklist:session:{}", claims.session_id)];
        let (row, listed) = tokio::join!(self.look_up(&claims), self.redis.any_exists(&keys));
        // Redis can refuse, but its silence proves nothing.
        let listed = matches!(listed, Ok(true));
        let row = match row {
            Ok(row) => row.ok_or(Refused::Unauthorized)?,
            Err(_) if listed => return Err(Refused::Invalid),
            Err(error) => {
                tracing::warn!("a token could not be looked up: {error:#}");
                return Err(Refused::Unavailable);
            }
        };
        if row.deleted {
            return Err(Refused::Unauthorized);
        }
        if listed || !row.session_lives {
            return Err(Refused::Invalid);
        }
        Ok(Verified {
            principal: Principal {
                user_id: claims.user_id.to_string(),
                email: row.email,
                role: row.role,
                session_id: claims.session_id.to_string(),
            },
            presented: Presented { hash, expires_at: claims.expires_at },
        })
    }

    async fn look_up(&self, claims: &AccessClaims) -> anyhow::Result<Option<Found>> {
        let query = sqlx::query(
            "select u.email::text as email, u.role::text as role, u.deleted_at is not null as deleted,
                    exists (select from public.refresh_sessions s
                            where s.id = $2 and s.user_id = u.id and s.revoked_at is null) as session_lives
             from public.users u
             where u.id = $1",
        );
        let mut lease = self.owner.get().await?;
        let read = query.bind(claims.user_id).bind(claims.session_id).fetch_optional(lease.connection());
        let row = match tokio::time::timeout(LOOK_UP_TIMEOUT, read).await {
            Ok(Ok(row)) => row,
            // The lease is dropped, which closes the connection.
            Ok(Err(error)) => {
                self.owner.lost_one();
                return Err(error.into());
            }
            Err(elapsed) => return Err(elapsed.into()),
        };
        lease.give_back();
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Found {
            email: row.try_get("email")?,
            role: row.try_get("role")?,
            deleted: row.try_get("deleted")?,
            session_lives: row.try_get("session_lives")?,
        }))
    }
}

fn bearer(header: &[u8]) -> Result<&str, Refused> {
    let header = std::str::from_utf8(header).map_err(|_| Refused::Format)?;
    let mut parts = header.split(' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("Bearer"), Some(token), None) if !token.is_empty() => Ok(token),
        _ => Err(Refused::Format),
    }
}

#[derive(serde::Deserialize)]
struct ServiceClaims {
    service: String,
    r#type: String,
    /// Has to be there, whatever it says.
    #[serde(rename = "iat")]
    _issued_at: i64,
    exp: i64,
}

struct AccessClaims {
    user_id: Uuid,
    session_id: Uuid,
    expires_at: i64,
}

impl Signer {
    /// A token by which another service shows who it is, made for one component
    /// (contract 1.7). `name`: what it says of itself, if it does.
    pub fn verify_service(&self, token: &[u8], name: Option<&[u8]>, component: &str) -> Result<String, Refused> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[component]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        validation.leeway = 0;
        let token = std::str::from_utf8(token).map_err(|_| Refused::ServiceInvalid)?;
        let read = jsonwebtoken::decode::<ServiceClaims>(token, &self.service, &validation);
        let claims = read.map_err(|_| Refused::ServiceInvalid)?.claims;
        let good = claims.r#type == "service-to-service"
            && !claims.service.is_empty()
            && claims.exp > unix_time()
            && name.is_none_or(|name| name == claims.service.as_bytes());
        if good { Ok(claims.service) } else { Err(Refused::ServiceInvalid) }
    }

    /// In the order of the contract: signature, algorithm, issuer, audience;
    /// then the expiry; then the claims, the role first.
    fn read_access(&self, token: &str) -> Result<AccessClaims, Refused> {
        let claims = self.read(token, &self.access).map_err(|refusal| match refusal {
            Refusal::Expired => Refused::Expired,
            Refusal::Invalid => Refused::Invalid,
        })?;
        if claims.role.is_none_or(|role| role.is_empty()) {
            return Err(Refused::NoRole);
        }
        let uuid = |claim: Option<String>| Uuid::parse_str(&claim?).ok();
        match (uuid(claims.user_id), uuid(claims.sid)) {
            (Some(user_id), Some(session_id)) => Ok(AccessClaims { user_id, session_id, expires_at: claims.exp }),
            _ => Err(Refused::Invalid),
        }
    }
}
