//! One file per route: request, domain, answer. Neither SQL nor rules.

pub mod firebase;
mod guard;
pub mod login;
pub mod logout;
pub mod me;
pub mod refresh;
pub mod register;

use crate::{
    domain::{NewSession, User},
    store,
};
use schemars::JsonSchema;
use sdk::{
    Call, Result, Timestamp,
    database::Transaction,
    events::{self, Event},
    tokens::{Subject, TokenPair, sessions},
};
use serde::Serialize;
use serde_json::json;

/// Both tokens and whose they are.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    access_token: String,
    refresh_token: String,
    user: User,
}

/// A session that is written, and its first tokens.
struct Opened {
    session: NewSession,
    pair: TokenPair,
    user: User,
}

/// Tells the rest of the system of a user whom the transaction has written.
fn announce(transaction: &Transaction, user: &User) -> Result<()> {
    events::publish(
        transaction,
        Event {
            channel: "user.registered",
            key: format!("user:{}", user.id),
            kind: "USER_REGISTERED",
            fields: json!({
                "userId": user.id, "email": user.email, "fullName": user.full_name, "role": user.role,
            }),
        },
    )
}

/// Writes a session for `user` in the transaction that found or made the user.
fn open_session(transaction: &Transaction, call: &Call, user: User) -> Result<Opened> {
    let session = store::draw_session()?;
    let pair = sign(&user.subject(&session.id), session.issued_at, &[]);
    store::insert_session(transaction, &session.id, &user.id, &pair, call.header("user-agent"))?;
    Ok(Opened { session, pair, user })
}

/// What follows the commit: the copy in Redis, and the answer.
fn signed_in(Opened { session, pair, user }: Opened) -> SignedIn {
    store::cache_session(&user.id, &session.id, &pair, session.issued_at);
    SignedIn { access_token: pair.access_token, refresh_token: pair.refresh_token, user }
}

/// Seconds for which a revoked session's last access token could be good.
fn sign(subject: &Subject, issued_at: Timestamp, previous_hash: &[u8]) -> TokenPair {
    // There are no logins from before 1970.
    sessions::issue(subject, u64::try_from(issued_at.seconds()).unwrap_or_default(), previous_hash)
}

fn access_lifetime() -> i64 {
    i64::try_from(sessions::access_lifetime()).unwrap_or(i64::MAX)
}
