//! AUTH-4: a new pair of tokens for a refresh token.

use super::{access_lifetime, sign};
use crate::{
    domain::{self, SessionId, UserId, Verdict},
    store,
};
use schemars::JsonSchema;
use sdk::{
    Body, Call, Data, Result, Timestamp, Uuid, Verbatim,
    database::{self, Transaction},
    field::NO_MAX,
    request,
    tokens::{
        TokenPair,
        sessions::{self, RefreshClaims},
    },
};
use serde::Serialize;

request! {
    pub struct Refresh {
        pub refresh_token as refreshToken: Verbatim<0, NO_MAX>,
    }
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    access_token: String,
    refresh_token: String,
}

/// How a refresh ended. All three commit: a refusal that revokes is a change.
enum Outcome {
    Rotated(TokenPair, Timestamp),
    Repeated(TokenPair),
    Refused { revoked: bool },
}

pub fn refresh(_: &Call, Body(request): Body<Refresh>) -> Result<Data<Pair>> {
    let claims = sessions::read_refresh(request.refresh_token.as_str()).map_err(domain::refused)?;
    let (Some(user_id), Some(session_id)) = (Uuid::parse(&claims.user_id), Uuid::parse(&claims.session_id)) else {
        return Err(domain::invalid_token());
    };
    let (user_id, session_id) = (UserId(user_id), SessionId(session_id));

    let outcome = database::transaction(|transaction| exchange(transaction, &claims, &user_id, &session_id))?;
    let pair = match outcome {
        Outcome::Rotated(pair, now) => {
            store::cache_session(&user_id, &session_id, &pair, now);
            pair
        }
        Outcome::Repeated(pair) => pair,
        Outcome::Refused { revoked } => {
            if revoked {
                store::blacklist_session(&user_id, &session_id, access_lifetime());
            }
            return Err(domain::invalid_token());
        }
    };
    Ok(Data(Pair { access_token: pair.access_token, refresh_token: pair.refresh_token }))
}

/// Under the lock of the session's row.
fn exchange(
    transaction: &Transaction,
    claims: &RefreshClaims,
    user_id: &UserId,
    session_id: &SessionId,
) -> Result<Outcome> {
    // Locked first and judged second: the user is read after the wait, and a
    // deletion, which revokes the session as well, is seen in both.
    let session = store::lock_session(transaction, session_id, user_id)?;
    let user = store::find_user(user_id)?.ok_or_else(domain::user_gone)?;
    let Some(session) = session else { return Ok(Outcome::Refused { revoked: false }) };

    Ok(match domain::judge(&session, &claims.hash) {
        Verdict::Ended => Outcome::Refused { revoked: false },
        Verdict::Reused => {
            store::revoke_sessions(user_id, std::slice::from_ref(session_id))?;
            Outcome::Refused { revoked: true }
        }
        Verdict::Current => {
            let pair = sign(&user.subject(session_id), session.now, &claims.hash);
            store::rotate_session(transaction, session_id, &pair, session.now)?;
            Outcome::Rotated(pair, session.now)
        }
        Verdict::Repeated { issued_at } => {
            let pair = sign(&user.subject(session_id), issued_at, &claims.hash);
            // Another pair comes out if the user's email has changed since;
            // that pair was never stored, and would be taken for reuse later.
            if pair.refresh_hash == session.token_hash {
                Outcome::Repeated(pair)
            } else {
                Outcome::Refused { revoked: false }
            }
        }
    })
}
