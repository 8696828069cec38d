//! AUTH-5: the end of the caller's session.

use super::access_lifetime;
use crate::{
    domain::{SessionId, UserId},
    store,
};
use sdk::{Ack, Call, OptionalBody, Result, Uuid, Verbatim, field::NO_MAX, request, tokens::sessions};

request! {
    pub struct Logout {
        pub refresh_token as refreshToken: Option<Verbatim<0, NO_MAX>>,
    }
}

pub fn logout(call: &Call, OptionalBody(request): OptionalBody<Logout>) -> Result<Ack> {
    let caller = call.user()?;
    let user_id = UserId(caller.user_id.clone());
    let mut ended = vec![SessionId(caller.session_id.clone())];

    // A token that does not verify is as good as none: the access token is
    // enough to log out.
    let claims = request.refresh_token.and_then(|token| sessions::read_refresh(token.as_str()).ok());
    if let Some(claims) = claims {
        if Uuid::parse(&claims.user_id).as_ref() != Some(&caller.user_id) {
            return Err(call.forbidden());
        }
        ended.extend(Uuid::parse(&claims.session_id).map(SessionId));
    }

    store::revoke_sessions(&user_id, &ended)?;
    if let Some(token) = sessions::presented() {
        store::blacklist_token(&token.hash, token.expires_at - call.received_at().seconds());
    }
    for session in &ended {
        store::blacklist_session(&user_id, session, access_lifetime());
    }
    Ok(Ack::new("Logged out successfully"))
}
