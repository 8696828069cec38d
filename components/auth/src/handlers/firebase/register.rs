//! AUTH-1: registration of an admin at Firebase and here.

use super::{failed, provider, with_flow_code};
use crate::{
    domain::{
        self, Admission, User, UserId,
        firebase::{self, REGISTER_ERROR, Registration},
    },
    handlers::{announce, guard},
    provider::{Account, Provider, report},
    store::{self, NewUser},
};
use schemars::JsonSchema;
use sdk::{Body, Call, Created, Error, Result, Role, Unread, database};
use serde::Serialize;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    user: Registrant,
    firebase_uid: String,
    message: &'static str,
}

#[derive(JsonSchema, Serialize)]
pub struct Registrant {
    id: UserId,
    email: String,
    full_name: String,
    role: Role,
    phone_number: Option<String>,
}

pub fn register(call: &Call, body: Unread<Body<Registration>>) -> Result<Created<Registered>> {
    let admission = guard::admission(call)?;
    let Body(registration) = body.read(call)?;
    domain::check_strength(&registration.password)?;
    let provider = provider()?;

    let mut account = None;
    let user = match enroll(call, admission, &registration, &provider, &mut account) {
        Ok(user) => user,
        Err(error) => {
            // An account without a row here would keep its email for ever.
            if let Some(Err(failure)) = account.map(|account| provider.delete(&account)) {
                report("an account is left over at the provider", &failure);
            }
            return Err(with_flow_code(error, REGISTER_ERROR));
        }
    };
    let account = account.ok_or_else(|| Error::internal("somebody is enrolled without an account"))?;
    if let Err(failure) = provider.request_verification(&account) {
        report("no verification mail", &failure);
    }
    let User { id, email, full_name, role, phone_number, .. } = user;
    Ok(Created(Registered {
        user: Registrant { id, email, full_name, role, phone_number },
        firebase_uid: account.uid,
        message: "Registered. Please verify your email before you log in.",
    }))
}

/// `account` holds what has been created at the provider, whatever comes after.
fn enroll(
    call: &Call,
    admission: Admission,
    registration: &Registration,
    provider: &Provider,
    account: &mut Option<Account>,
) -> Result<User> {
    // Nothing is locked while the provider works, except by the first admin:
    // the others have to wait until it is known whether there is one.
    if admission == Admission::Granted {
        sign_up(registration, provider, account)?;
    }
    database::transaction(|transaction| {
        if admission == Admission::FirstAdmin {
            guard::still_first(transaction, call)?;
        }
        let uid = match account {
            Some(account) => &account.uid,
            None => &sign_up(registration, provider, account)?.uid,
        };
        let new = NewUser {
            email: &registration.email,
            firebase_uid: uid,
            full_name: registration.full_name.as_str(),
            phone_number: registration.phone_number.as_ref(),
            role: Role::Admin,
            provider: Some("password"),
            email_verified: false,
            is_logged_in: false,
        };
        let user = store::insert_firebase_user(transaction, &new).map_err(|error| {
            if error.violates("users_email_key") {
                firebase::email_exists()
            } else {
                with_flow_code(error.into(), firebase::DB_CREATE_ERROR)
            }
        })?;
        announce(transaction, &user)?;
        Ok(user)
    })
}

fn sign_up<'a>(
    registration: &Registration,
    provider: &Provider,
    account: &'a mut Option<Account>,
) -> Result<&'a Account> {
    let Registration { email, password, full_name, .. } = registration;
    if store::email_exists(email)? {
        return Err(firebase::email_exists());
    }
    let created = provider.sign_up(email, password, full_name.as_str());
    let account = account.insert(created.map_err(|failure| failed(failure, REGISTER_ERROR))?);
    provider.set_admin(account).map_err(|failure| failed(failure, REGISTER_ERROR))?;
    Ok(account)
}
