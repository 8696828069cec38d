//! One file per route that has to do with Firebase.

pub mod login;
pub mod register;
pub mod reset_password;
pub mod verify;

use crate::{
    domain::firebase::{self, IdToken, Proof, Unverified},
    provider::{Failure, Provider},
};
use sdk::{
    Call, Code, Error, Result, codes, settings,
    tokens::certificates::{self, Error::Unavailable},
};

/// Verifies an ID token. Its times are checked last, so that nobody is told of a
/// forged token that it has expired.
fn verified(call: &Call, token: &str) -> Result<IdToken> {
    let project = settings::text("FIREBASE_PROJECT_ID").ok_or_else(not_configured)?;
    let token_read = Unverified::read(token)?;
    let emulator = settings::text("FIREBASE_AUTH_EMULATOR_HOST").is_some();
    match token_read.proof(&project, emulator)? {
        Proof::Emulator => {}
        Proof::Certificate => {
            let url = settings::text("FIREBASE_CERTS_URL").ok_or_else(not_configured)?;
            certificates::verify(token, &url).map_err(|error| match error {
                Unavailable => firebase::unavailable("no certificates to check ID tokens with"),
                _ => firebase::verification_failed(),
            })?;
        }
    }
    token_read.verified(call.received_at())
}

fn provider() -> Result<Provider> {
    Provider::configured().ok_or_else(not_configured)
}

fn not_configured() -> Error {
    firebase::unavailable("the settings of Firebase are not complete")
}

/// The answer to a failure of the provider; `other` is the flow's code for one
/// that is not expected.
fn failed(failure: Failure, other: Code) -> Error {
    match failure {
        Failure::EmailExists => firebase::email_exists(),
        Failure::Unavailable(cause) => firebase::unavailable(&cause),
        Failure::Other(cause) => with_flow_code(Error::internal(cause), other),
    }
}

/// Gives an unexpected error, a 500, the code of the flow.
fn with_flow_code(error: Error, code: Code) -> Error {
    if [codes::DB_QUERY_ERROR, codes::INTERNAL_SERVER_ERROR].contains(&error.code()) {
        error.with_code(code, "Something went wrong")
    } else {
        error
    }
}
