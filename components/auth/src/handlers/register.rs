//! AUTH-6: registration of an admin by password.

use super::{SignedIn, open_session, signed_in};
use crate::{
    domain::{self, Admission, Registration},
    store,
};
use sdk::{
    Body, Call, Created, Error, Result, Role, Unread,
    database::{self, Transaction},
    events::{self, Event},
    settings,
    tokens::passwords,
};
use serde_json::json;

pub fn register(call: &Call, body: Unread<Body<Registration>>) -> Result<Created<SignedIn>> {
    let admission = admission(call)?;
    let Body(registration) = body.read(call)?;
    domain::check_strength(&registration.password)?;
    // Before the transaction: hashing takes long, and a lock would wait for it.
    let hash = passwords::hash(registration.password.as_str());

    let opened = database::transaction(|transaction| {
        if admission == Admission::FirstAdmin {
            still_first(transaction, call)?;
        }
        let user = store::insert_admin(transaction, &registration, &hash).map_err(|error| {
            if error.violates("users_email_key") { Error::duplicate("email") } else { error.into() }
        })?;
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
        )?;
        open_session(transaction, call, user)
    })?;
    Ok(Created(signed_in(opened)))
}

/// On what ground the caller may register, judged before the body.
fn admission(call: &Call) -> Result<Admission> {
    let token = settings::text("ADMIN_REGISTRATION_TOKEN");
    let admission = domain::admission(
        settings::flag("ALLOW_OPEN_ADMIN_REGISTRATION"),
        call.has_role(Role::Admin),
        token.as_deref(),
        call.header("x-admin-registration-token"),
    );
    let refused = match admission {
        Admission::Refused => true,
        Admission::FirstAdmin => store::admin_exists()?,
        Admission::Granted => false,
    };
    if refused { Err(Error::forbidden(call)) } else { Ok(admission) }
}

/// Of several who found no admin only the first one is let through: the others
/// wait here and then find it.
fn still_first(transaction: &Transaction, call: &Call) -> Result<()> {
    store::lock_bootstrap(transaction)?;
    if store::admin_exists()? { Err(Error::forbidden(call)) } else { Ok(()) }
}
