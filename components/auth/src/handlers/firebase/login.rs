//! AUTH-2: login with a Firebase ID token.

use super::{verified, with_flow_code};
use crate::{
    domain::{
        User, UserId,
        firebase::{DB_CREATE_ERROR, IdToken, LOGIN_ERROR, Login, Presented},
        user_gone,
    },
    handlers::{Opened, SignedIn, announce, open_session, signed_in},
    store::{self, NewUser},
};
use schemars::JsonSchema;
use sdk::{Body, Call, Data, Email, Error, Result, Role, database, log, settings};
use serde::Serialize;

/// How often a login is tried that meets a concurrent one of the same user.
const ATTEMPTS: u32 = 5;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FirebaseSignedIn {
    user: Profile,
    firebase_uid: String,
    provider: Option<String>,
    access_token: String,
    refresh_token: String,
}

#[derive(JsonSchema, Serialize)]
struct Profile {
    id: UserId,
    email: String,
    full_name: String,
    role: Role,
    phone_number: Option<String>,
    avatar_url: Option<String>,
    #[serde(rename = "emailVerified")]
    email_verified: bool,
}

pub fn login(call: &Call, Body(presented): Body<Presented>) -> Result<Data<FirebaseSignedIn>> {
    let token = verified(call, presented.id_token.as_str())?;
    let email = token.login_email()?;

    let opened = sign_in(call, &token, &email).map_err(|error| with_flow_code(error, LOGIN_ERROR))?;
    store::forget_user(&opened.user.id);
    store::cache_firebase_uid(&token.uid, &opened.user.id);
    let SignedIn { access_token, refresh_token, user } = signed_in(opened);
    let User { id, email, full_name, role, phone_number, avatar_url, .. } = user;
    let email_verified = token.email_verified;
    Ok(Data(FirebaseSignedIn {
        user: Profile { id, email, full_name, role, phone_number, avatar_url, email_verified },
        firebase_uid: token.uid,
        provider: token.provider,
        access_token,
        refresh_token,
    }))
}

/// Of several concurrent first logins a unique index lets one create the user;
/// the others try again and find it.
fn sign_in(call: &Call, token: &IdToken, email: &Email) -> Result<Opened> {
    let need_verified = settings::flag("REQUIRE_VERIFIED_EMAIL");
    for _ in 0..ATTEMPTS {
        let login = token.recognise(&store::find_candidates(&token.uid, email)?, need_verified)?;
        let opened = match &login {
            Login::Known(id) => sign_in_known(call, token, id).map(Some),
            Login::Link(id) => database::transaction(|transaction| {
                let linked = store::link_user(transaction, id, email, token)?;
                linked.map(|user| open_session(transaction, call, user)).transpose()
            }),
            Login::Create(role) => sign_in_new(call, token, email, *role).map(Some),
        };
        match opened {
            Ok(Some(opened)) => return Ok(opened),
            // The row has changed since it was read: try again.
            Ok(None) => {}
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::internal("other logins were always faster"))
}

fn sign_in_known(call: &Call, token: &IdToken, id: &UserId) -> Result<Opened> {
    // Outside the transaction: a login must not fail because its time cannot be
    // stored.
    let user = match store::touch_firebase_login(id, token.email_verified) {
        Ok(user) => user,
        Err(error) => {
            log::warn(&format!("the time of a login is not noted: {error}"));
            store::find_user(id)?
        }
    };
    let user = user.ok_or_else(user_gone)?;
    database::transaction(|transaction| open_session(transaction, call, user.clone()))
}

fn sign_in_new(call: &Call, token: &IdToken, email: &Email, role: Role) -> Result<Opened> {
    let (local_part, _) = email.as_str().split_once('@').unwrap_or((email.as_str(), ""));
    let new = NewUser {
        email,
        firebase_uid: &token.uid,
        full_name: local_part,
        phone_number: None,
        role,
        provider: token.provider.as_deref(),
        email_verified: token.email_verified,
        is_logged_in: true,
    };
    database::transaction(|transaction| {
        let user = store::insert_firebase_user(transaction, &new)
            .map_err(|error| with_flow_code(error.into(), DB_CREATE_ERROR))?;
        announce(transaction, &user)?;
        open_session(transaction, call, user)
    })
}

fn is_taken(error: &Error) -> bool {
    let violates = |name| error.database().is_some_and(|cause| cause.violates(name));
    violates("users_firebase_uid_key") || violates("users_email_key")
}
