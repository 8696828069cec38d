//! ADM-1 to ADM-8, ADM-14.

use super::{check_leaving, insert_user, lock_user, taken};
use crate::{
    domain::{
        UserId,
        users::{self, ByEmail, NewUser, Statistics, UserChanges, UserDetail, UserFilter, View},
    },
    store,
};
use schemars::JsonSchema;
use sdk::{
    Ack, Body, Call, Created, Data, Id, Listing, Page, Path, Query, Result, Role, Timestamp, Unread, WithMeta,
    database::{Transaction, transaction},
    settings,
};
use serde::Serialize;

/// Seconds, unless the operator says otherwise.
const CACHE_TTL: i64 = 300;

/// Whether the answer came from the copy in Redis.
#[derive(JsonSchema, Serialize)]
pub struct Cached {
    cached: bool,
}

/// ADM-7.
#[derive(JsonSchema, Serialize)]
pub struct LastLogin {
    last_login_at: Timestamp,
}

pub fn create(_: &Call, Body(new): Body<NewUser>) -> Result<Created<UserDetail>> {
    transaction(|transaction| insert_user(transaction, &new)).map(Created)
}

pub fn show(call: &Call, id: Unread<Path<UserId>>) -> Result<WithMeta<Data<View>, Cached>> {
    // Students see themselves alone: the path decides, whatever it names.
    if let Some(caller) = call.caller()
        && caller.role == Role::Student
        && !call.param("id").is_some_and(|id| id.eq_ignore_ascii_case(caller.user_id.as_str()))
    {
        return Err(call.forbidden());
    }
    let Path(id) = id.read(call)?;
    view(call, &id)
}

pub fn me(call: &Call) -> Result<WithMeta<Data<View>, Cached>> {
    view(call, &UserId(call.user()?.user_id.clone()))
}

/// The copy in Redis or else the row, and whether it was the copy. Either is
/// shown by the same rules.
fn view(call: &Call, id: &UserId) -> Result<WithMeta<Data<View>, Cached>> {
    let copy = store::cached_user(id);
    let cached = copy.is_some();
    let detail = match copy {
        Some(detail) => detail,
        None => {
            let detail = store::find_user(id)?.ok_or_else(users::not_found)?;
            store::cache_user(&detail, settings::integer("USER_CACHE_TTL").unwrap_or(CACHE_TTL));
            detail
        }
    };
    let view = detail.seen_by(call.caller()).ok_or_else(|| call.forbidden())?;
    Ok(Data(view).with_meta(Cached { cached }))
}

pub fn update(call: &Call, Path(id): Path<UserId>, Body(changes): Body<UserChanges>) -> Result<Data<UserDetail>> {
    if !changes.are_allowed_to(call.user()?.role) {
        return Err(call.forbidden());
    }
    let updated = transaction(|transaction| {
        let role = changes.role.as_option().copied();
        let former = role.map(|_| lock_user(transaction, &id)).transpose()?.map(|held| held.role);
        let change = former.zip(role).filter(|(former, role)| former != role);
        if let Some((former, _)) = change {
            check_leaving(transaction, &id, former)?;
        }
        let updated = store::update_user(transaction, &id, &changes).map_err(|error| {
            if error.violates("users_admin_credential_check") { users::no_credential() } else { taken(error) }
        })?;
        if let Some((_, role)) = change {
            ensure_profile(transaction, &id, role)?;
        }
        updated.ok_or_else(users::not_found)
    })?;
    store::forget_user(&id);
    Ok(Data(updated))
}

/// Who comes back to a role finds the profile as it was.
fn ensure_profile(transaction: &Transaction, id: &UserId, role: Role) -> Result<()> {
    match role {
        Role::Instructor => Ok(store::ensure_instructor_profile(transaction, id)?),
        Role::Student => Ok(store::ensure_student_profile(transaction, id)?),
        Role::Admin => Ok(()),
    }
}

pub fn list(_: &Call, Query(filter): Query<UserFilter>, page: Page) -> Result<Data<Listing<UserDetail>>> {
    let listing = Listing::read(page, || store::list_users(&filter, page), || store::count_users(&filter))?;
    Ok(Data(listing))
}

pub fn delete(call: &Call, Path(id): Path<UserId>) -> Result<Ack<Id<UserId>>> {
    if call.user()?.user_id == id.0 {
        return Err(users::self_delete());
    }
    let deleted = transaction(|transaction| {
        let held = lock_user(transaction, &id)?;
        check_leaving(transaction, &id, held.role)?;
        store::delete_user(transaction, &id)?;
        Ok(held)
    })?;
    store::forget_user(&id);
    if let Some(uid) = deleted.firebase_uid {
        store::forget_firebase_uid(&uid);
    }
    Ok(Ack::new("User deleted").with(Id { id }))
}

pub fn by_email(_: &Call, Query(query): Query<ByEmail>) -> Result<Data<Option<UserDetail>>> {
    Ok(Data(store::find_user_by_email(&query.email)?))
}

pub fn touch_login(_: &Call, Path(id): Path<UserId>) -> Result<Ack<LastLogin>> {
    let last_login_at = store::touch_login(&id)?.ok_or_else(users::not_found)?;
    store::forget_user(&id);
    Ok(Ack::new("Last login updated").with(LastLogin { last_login_at }))
}

pub fn statistics(_: &Call) -> Result<Data<Statistics>> {
    Ok(Data(store::count_roles()?))
}
