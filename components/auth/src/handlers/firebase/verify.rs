//! AUTH-3 and AUTH-3b: what an ID token says, for whoever holds it.

use super::verified;
use crate::{
    domain::{User, firebase::Presented},
    store,
};
use schemars::JsonSchema;
use sdk::{Body, Call, Data, Path, Result, Timestamp, Verbatim, field::NO_MAX};
use serde::Serialize;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    valid: bool,
    firebase_uid: String,
    email: Option<String>,
    email_verified: bool,
    provider: Option<String>,
    expires_at: Timestamp,
    user: Option<User>,
}

pub fn of_path(call: &Call, Path(token): Path<Verbatim<0, NO_MAX>>) -> Result<Data<Verified>> {
    verify(call, token.as_str())
}

pub fn of_body(call: &Call, Body(presented): Body<Presented>) -> Result<Data<Verified>> {
    verify(call, presented.id_token.as_str())
}

fn verify(call: &Call, token: &str) -> Result<Data<Verified>> {
    let token = verified(call, token)?;
    let user = store::find_user_by_firebase_uid(&token.uid)?;
    Ok(Data(Verified {
        valid: true,
        firebase_uid: token.uid,
        email: token.email,
        email_verified: token.email_verified,
        provider: token.provider,
        expires_at: token.expires_at,
        user,
    }))
}
