//! AUTH-6: registration of an admin by password.

use super::{SignedIn, announce, guard, open_session, signed_in};
use crate::{
    domain::{self, Admission, Registration},
    store,
};
use sdk::{Body, Call, Created, Error, Result, Unread, database, tokens::passwords};

pub fn register(call: &Call, body: Unread<Body<Registration>>) -> Result<Created<SignedIn>> {
    let admission = guard::admission(call)?;
    let Body(registration) = body.read(call)?;
    domain::check_strength(&registration.password)?;
    // Before the transaction: hashing takes long, and a lock would wait for it.
    let hash = passwords::hash(registration.password.as_str());

    let opened = database::transaction(|transaction| {
        if admission == Admission::FirstAdmin {
            guard::still_first(transaction, call)?;
        }
        let user = store::insert_admin(transaction, &registration, &hash).map_err(|error| {
            if error.violates("users_email_key") { Error::duplicate("email") } else { error.into() }
        })?;
        announce(transaction, &user)?;
        open_session(transaction, call, user)
    })?;
    Ok(Created(signed_in(opened)))
}
