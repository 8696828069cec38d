//! One file per noun: request, domain, answer. Neither SQL nor rules.

pub mod instructors;
pub mod users;

use crate::{
    domain::{
        UserId, instructors as instructor,
        users::{self as user, LockedUser, NewUser, User, UserDetail},
    },
    store,
};
use sdk::{
    Error, Result, Role,
    database::{self, Transaction},
    events::{self, Event},
};
use serde_json::json;

/// Writes a user and tells the rest of the system.
fn insert_user(transaction: &Transaction, new: &NewUser) -> Result<UserDetail> {
    let detail = store::insert_user(transaction, new).map_err(taken)?;
    let User { id, email, full_name, role, .. } = &detail.user;
    events::publish(
        transaction,
        Event {
            channel: "user.registered",
            key: format!("user:{id}"),
            kind: "USER_REGISTERED",
            fields: json!({ "userId": id, "email": email, "fullName": full_name, "role": role }),
        },
    )?;
    Ok(detail)
}

/// Locks a user, so that nobody plans a class with somebody who is about to
/// leave the role.
fn lock_user(transaction: &Transaction, id: &UserId) -> Result<LockedUser> {
    store::lock_user(transaction, id)?.ok_or_else(user::not_found)
}

/// Whether a locked user may leave the role, for another one or for good.
fn check_leaving(transaction: &Transaction, id: &UserId, role: Role) -> Result<()> {
    match role {
        Role::Admin => {
            store::lock_admins(transaction)?;
            if store::other_admin_exists(id)? { Ok(()) } else { Err(user::last_admin()) }
        }
        Role::Instructor if store::has_future_classes(id)? => Err(instructor::has_schedules()),
        Role::Instructor | Role::Student => Ok(()),
    }
}

fn taken(error: database::Error) -> Error {
    match error {
        error if error.violates("users_email_key") => Error::duplicate("email"),
        error if error.violates("users_firebase_uid_key") => Error::duplicate("firebase_uid"),
        error => error.into(),
    }
}
