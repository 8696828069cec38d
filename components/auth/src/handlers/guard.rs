//! Who may register an admin: the same for every way to register.

use crate::{
    domain::{self, Admission},
    store,
};
use sdk::{Call, Result, Role, database::Transaction, settings};

/// Why the caller may register; judged before the body.
pub fn admission(call: &Call) -> Result<Admission> {
    let token = settings::text("ADMIN_REGISTRATION_TOKEN");
    let admission = domain::admission(
        settings::flag("ALLOW_OPEN_ADMIN_REGISTRATION"),
        call.has_role(Role::Admin),
        token.as_deref(),
        call.header(domain::REGISTRATION_TOKEN),
    );
    let refused = match admission {
        Admission::Refused => true,
        Admission::FirstAdmin => store::admin_exists()?,
        Admission::Granted => false,
    };
    if refused { Err(call.forbidden()) } else { Ok(admission) }
}

/// Of several callers who found no admin only the first gets through: the others
/// wait for the lock and then find that admin.
pub fn still_first(transaction: &Transaction, call: &Call) -> Result<()> {
    store::lock_bootstrap(transaction)?;
    if store::admin_exists()? { Err(call.forbidden()) } else { Ok(()) }
}
