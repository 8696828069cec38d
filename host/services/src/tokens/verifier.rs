//! From an `Authorization` header to a verified identity.
//!
//! The session's row in PostgreSQL decides, read for each request, so that a
//! revocation holds on every host at once, with or without Redis. The entry
//! that a logout leaves in Redis can only refuse sooner. Nothing here fails
//! open: what cannot be looked up is an error.

use super::{Signer, login::Login, signer::AccessClaims};
use crate::{crypto::sha256_hex, database::Pool, redis::Store};
use std::{sync::Arc, time::Duration};

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nobody is known to be asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
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

impl AuthError {
    /// The code of the contract's register.
    pub fn code(self) -> &'static str {
        match self {
            AuthError::Missing => "AUTH_MISSING_TOKEN",
            AuthError::Format => "AUTH_INVALID_FORMAT",
            AuthError::Invalid => "AUTH_INVALID_TOKEN",
            AuthError::Expired => "AUTH_TOKEN_EXPIRED",
            AuthError::Unauthorized => "AUTH_UNAUTHORIZED",
            AuthError::NoRole => "AUTH_NO_ROLE",
            AuthError::Unavailable => "DB_CONNECTION_ERROR",
            AuthError::ServiceMissing => "SERVICE_AUTH_MISSING",
            AuthError::ServiceInvalid => "SERVICE_AUTH_INVALID",
        }
    }
}

/// Who is asking, verified.
#[derive(Clone, Debug)]
pub enum Identity {
    User(User),
    /// Another service or component, by name.
    Service(String),
}

impl Identity {
    pub fn user(&self) -> Option<&User> {
        match self {
            Identity::User(user) => Some(user),
            Identity::Service(_) => None,
        }
    }
}

/// A user, by the access token that was shown.
#[derive(Clone, Debug)]
pub struct User {
    pub principal: Principal,
    pub token: PresentedToken,
}

#[derive(Clone, Debug)]
pub struct Principal {
    pub user_id: String,
    pub email: String,
    /// Of the user's row now, not of the token.
    pub role: String,
    pub session_id: String,
}

/// The access token of a request, by its hash.
#[derive(Clone, Debug)]
pub struct PresentedToken {
    /// SHA-256, lower-case hex.
    pub hash: String,
    /// Seconds since the Unix epoch.
    pub expires_at: i64,
}

pub struct Verifier {
    pub signer: Arc<Signer>,
    pub pool: Pool,
    pub redis: Arc<Store>,
}

impl Verifier {
    /// Verifies the value of an `Authorization` header.
    pub async fn verify(&self, authorization: Option<&[u8]>) -> Result<User, AuthError> {
        let token = bearer(authorization.ok_or(AuthError::Missing)?)?;
        let claims = self.signer.read_access(token)?;
        let hash = sha256_hex(token.as_bytes());
        let keys = [format!("blacklist:{hash}"), format!("blacklist:session:{}", claims.session_id)];
        let (login, listed) = tokio::join!(self.look_up(&claims), self.redis.any_exists(&keys));
        // Redis can refuse, but its silence proves nothing.
        let listed = matches!(listed, Ok(true));
        let login = match login {
            Ok(login) => login.ok_or(AuthError::Unauthorized)?,
            Err(_) if listed => return Err(AuthError::Invalid),
            Err(error) => {
                tracing::warn!("a token could not be looked up: {error:#}");
                return Err(AuthError::Unavailable);
            }
        };
        if login.is_deleted {
            return Err(AuthError::Unauthorized);
        }
        if listed || !login.session_lives {
            return Err(AuthError::Invalid);
        }
        Ok(User {
            principal: Principal {
                user_id: claims.user_id.to_string(),
                email: login.email,
                role: login.role,
                session_id: claims.session_id.to_string(),
            },
            token: PresentedToken { hash, expires_at: claims.expires_at },
        })
    }

    async fn look_up(&self, claims: &AccessClaims) -> anyhow::Result<Option<Login>> {
        let mut lease = self.pool.get().await?;
        let read = Login::find(lease.connection(), claims.user_id, claims.session_id);
        let login = match tokio::time::timeout(LOOK_UP_TIMEOUT, read).await {
            Ok(Ok(login)) => login,
            // The lease is dropped, which closes the connection.
            Ok(Err(error)) => {
                self.pool.lost_one();
                return Err(error.into());
            }
            Err(elapsed) => return Err(elapsed.into()),
        };
        lease.give_back();
        Ok(login)
    }
}

fn bearer(header: &[u8]) -> Result<&str, AuthError> {
    let header = std::str::from_utf8(header).map_err(|_| AuthError::Format)?;
    let mut parts = header.split(' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("Bearer"), Some(token), None) if !token.is_empty() => Ok(token),
        _ => Err(AuthError::Format),
    }
}
