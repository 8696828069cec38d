//! The statements and keys of this component; no other file names one.

use crate::domain::{
    NewSession, Phone, Registration, Session, SessionId, User, UserId,
    firebase::{Candidate, IdToken},
};
use sdk::{
    Email, Role, Timestamp,
    database::{self, Error, Transaction, Value},
    params, redis, row,
    tokens::TokenPair,
};

/// No copy of a session outlives this, however long refresh tokens live.
const CACHE_SECONDS: i64 = 7 * 86_400;

/// Of a user who logs in at Firebase.
pub struct NewUser<'a> {
    pub email: &'a Email,
    pub firebase_uid: &'a str,
    pub full_name: &'a str,
    pub phone_number: Option<&'a Phone>,
    pub role: Role,
    pub provider: Option<&'a str>,
    pub email_verified: bool,
    pub is_logged_in: bool,
}

row! {
    /// What a login is checked against. Never leaves this component.
    pub struct Credentials {
        pub id: UserId,
        pub password_hash: Option<String>,
    }
}

pub fn find_credentials(email: &Email) -> Result<Option<Credentials>, Error> {
    database::first(include_str!("../sql/find_credentials.sql"), &params![email])
}

pub fn find_user(id: &UserId) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/find_user.sql"), &params![id])
}

/// The row, which stays locked.
pub fn touch_login(_: &Transaction, id: &UserId) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/touch_login.sql"), &params![id])
}

pub fn insert_admin(_: &Transaction, new: &Registration, password_hash: &str) -> Result<User, Error> {
    database::one(
        include_str!("../sql/insert_admin.sql"),
        &params![new.email, password_hash, new.full_name, new.phone_number],
    )
}

pub fn email_exists(email: &Email) -> Result<bool, Error> {
    database::scalar(include_str!("../sql/email_exists.sql"), &params![email])
}

pub fn find_user_by_firebase_uid(uid: &str) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/find_user_by_firebase_uid.sql"), &params![uid])
}

/// Deleted users only by their uid.
pub fn find_candidates(uid: &str, email: &Email) -> Result<Vec<Candidate>, Error> {
    database::all(include_str!("../sql/find_candidates.sql"), &params![uid, email])
}

pub fn insert_firebase_user(_: &Transaction, new: &NewUser<'_>) -> Result<User, Error> {
    let params = params![
        new.email,
        new.firebase_uid,
        new.full_name,
        new.phone_number,
        new.role,
        new.provider,
        new.email_verified,
        new.is_logged_in,
    ];
    database::one(include_str!("../sql/insert_firebase_user.sql"), &params)
}

/// None if the user is not free any more.
pub fn link_user(_: &Transaction, id: &UserId, email: &Email, token: &IdToken) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/link_user.sql"), &params![id, email, token.uid, token.provider])
}

/// None if the user was deleted meanwhile.
pub fn touch_firebase_login(id: &UserId, email_verified: bool) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/touch_firebase_login.sql"), &params![id, email_verified])
}

pub fn admin_exists() -> Result<bool, Error> {
    database::scalar(include_str!("../sql/admin_exists.sql"), &[])
}

pub fn lock_bootstrap(_: &Transaction) -> Result<(), Error> {
    database::execute(include_str!("../sql/lock_bootstrap.sql"), &[]).map(drop)
}

pub fn draw_session() -> Result<NewSession, Error> {
    database::one(include_str!("../sql/draw_session.sql"), &[])
}

pub fn insert_session(
    _: &Transaction,
    id: &SessionId,
    user: &UserId,
    pair: &TokenPair,
    user_agent: Option<&str>,
) -> Result<(), Error> {
    let expires_at = Timestamp::from_seconds(pair.refresh_expires_at);
    let params = params![id, user, pair.refresh_hash, expires_at, user_agent];
    database::execute(include_str!("../sql/insert_session.sql"), &params).map(drop)
}

pub fn lock_session(_: &Transaction, id: &SessionId, user: &UserId) -> Result<Option<Session>, Error> {
    database::first(include_str!("../sql/lock_session.sql"), &params![id, user])
}

pub fn rotate_session(_: &Transaction, id: &SessionId, pair: &TokenPair, now: Timestamp) -> Result<(), Error> {
    let expires_at = Timestamp::from_seconds(pair.refresh_expires_at);
    let params = params![id, pair.refresh_hash, now, expires_at];
    database::execute(include_str!("../sql/rotate_session.sql"), &params).map(drop)
}

pub fn revoke_sessions(user: &UserId, sessions: &[SessionId]) -> Result<(), Error> {
    let ids = Value::UuidArray(sessions.iter().map(SessionId::to_string).collect());
    database::execute(include_str!("../sql/revoke_sessions.sql"), &params![user, ids]).map(drop)
}

/// The copy of a session's refresh token, as its hash, for as long as it lives.
pub fn cache_session(user: &UserId, session: &SessionId, pair: &TokenPair, now: Timestamp) {
    let lifetime = pair.refresh_expires_at.saturating_sub(now.seconds()).min(CACHE_SECONDS);
    redis::set(&refresh_key(user, session), &hex(&pair.refresh_hash), lifetime);
}

/// Tells every node, sooner than the row would, that a session is revoked.
pub fn blacklist_session(user: &UserId, session: &SessionId, seconds: i64) {
    redis::set(&format!("blacklist:session:{session}"), "1", seconds);
    redis::delete(&refresh_key(user, session));
}

/// `hash` is the SHA-256 of an access token, in hex.
pub fn blacklist_token(hash: &str, seconds: i64) {
    redis::set(&format!("blacklist:{hash}"), "1", seconds);
}

/// A hint for others; nothing here relies on it.
pub fn cache_firebase_uid(uid: &str, user: &UserId) {
    redis::set(&format!("firebase_uid:{uid}"), user.0.as_str(), CACHE_SECONDS);
}

/// Drops the cached user, whose row has changed.
pub fn forget_user(user: &UserId) {
    redis::delete(&format!("user:{user}"));
}

fn refresh_key(user: &UserId, session: &SessionId) -> String {
    format!("refresh_token:{user}:{session}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
