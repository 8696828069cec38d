//! AUTH-7: login by password.

use super::{SignedIn, open_session, signed_in};
use crate::{domain, store};
use sdk::{Body, Call, Data, Email, Result, Verbatim, database, field::NO_MAX, request, tokens::passwords};

request! {
    pub struct Login {
        pub email: Email,
        pub password: Verbatim<1, NO_MAX>,
    }
}

pub fn login(call: &Call, Body(login): Body<Login>) -> Result<Data<SignedIn>> {
    let found = store::find_credentials(&login.email)?;
    let (id, hash) = found.map_or((None, None), |found| (Some(found.id), found.password_hash));
    // Verified even without a user: the time must not reveal whether there is one.
    let fits = passwords::verify(login.password.as_str(), hash.as_deref());
    let Some(id) = id.filter(|_| fits) else { return Err(domain::invalid_credentials()) };

    let opened = database::transaction(|transaction| {
        let user = store::touch_login(transaction, &id)?.ok_or_else(domain::invalid_credentials)?;
        open_session(transaction, call, user)
    })?;
    store::forget_user(&id);
    Ok(Data(signed_in(opened)))
}
