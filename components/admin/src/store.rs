//! The statements and keys of this component; no other file names one.

use crate::domain::{
    UserId,
    instructors::{Entry, InstructorFilter, NewProfile, ProfileChanges},
    users::{LockedUser, NewUser, Statistics, UserChanges, UserDetail, UserFilter},
};
use sdk::{
    Email, Page, Text, Timestamp,
    database::{self, Error, Transaction, Value},
    params, redis,
};

/// The parameters of a filter, followed by those of the page.
fn paged(filter: &[Value], page: Page) -> Vec<Value> {
    [filter, &[page.limit(), page.offset()]].concat()
}

pub fn insert_user(_: &Transaction, new: &NewUser) -> Result<UserDetail, Error> {
    let params = params![
        new.email,
        new.full_name,
        new.role,
        new.firebase_uid,
        new.phone_number,
        new.wa_number,
        new.address,
        new.avatar_url,
        new.provider,
        new.auth_provider(),
        new.email_verified.unwrap_or(false),
    ];
    database::one(include_str!("../sql/insert_user.sql"), &params)
}

pub fn find_user(id: &UserId) -> Result<Option<UserDetail>, Error> {
    database::first(include_str!("../sql/find_user.sql"), &params![id])
}

pub fn find_user_by_email(email: &Email) -> Result<Option<UserDetail>, Error> {
    database::first(include_str!("../sql/find_user_by_email.sql"), &params![email])
}

fn user_filter(filter: &UserFilter) -> [Value; 3] {
    let pattern = |text: &Option<Text<0, 100>>| text.as_ref().map(Text::like_pattern);
    params![filter.role, pattern(&filter.search), pattern(&filter.email)]
}

pub fn list_users(filter: &UserFilter, page: Page) -> Result<Vec<UserDetail>, Error> {
    database::all(include_str!("../sql/list_users.sql"), &paged(&user_filter(filter), page))
}

pub fn count_users(filter: &UserFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_users.sql"), &user_filter(filter))
}

pub fn count_roles() -> Result<Statistics, Error> {
    database::one(include_str!("../sql/count_roles.sql"), &[])
}

pub fn lock_user(_: &Transaction, id: &UserId) -> Result<Option<LockedUser>, Error> {
    database::first(include_str!("../sql/lock_user.sql"), &params![id])
}

/// Waits until no other transaction demotes or deletes an admin.
pub fn lock_admins(_: &Transaction) -> Result<(), Error> {
    database::execute(include_str!("../sql/lock_admins.sql"), &[]).map(drop)
}

pub fn other_admin_exists(id: &UserId) -> Result<bool, Error> {
    database::scalar(include_str!("../sql/other_admin_exists.sql"), &params![id])
}

pub fn has_future_classes(instructor: &UserId) -> Result<bool, Error> {
    database::scalar(include_str!("../sql/has_future_classes.sql"), &params![instructor])
}

pub fn update_user(_: &Transaction, id: &UserId, changes: &UserChanges) -> Result<Option<UserDetail>, Error> {
    let params = params![
        id,
        changes.full_name,
        changes.phone_number.is_set(),
        changes.phone_number,
        changes.wa_number.is_set(),
        changes.wa_number,
        changes.address.is_set(),
        changes.address,
        changes.avatar_url.is_set(),
        changes.avatar_url,
        changes.email,
        changes.role,
        changes.email_verified,
    ];
    database::first(include_str!("../sql/update_user.sql"), &params)
}

pub fn delete_user(_: &Transaction, id: &UserId) -> Result<(), Error> {
    database::execute(include_str!("../sql/delete_user.sql"), &params![id]).map(drop)
}

/// The time of the login; None if there is no such user.
pub fn touch_login(id: &UserId) -> Result<Option<Timestamp>, Error> {
    sdk::row! {
        struct Touched { last_login_at: Timestamp }
    }
    let touched = database::first::<Touched>(include_str!("../sql/touch_login.sql"), &params![id])?;
    Ok(touched.map(|touched| touched.last_login_at))
}

pub fn ensure_instructor_profile(_: &Transaction, id: &UserId) -> Result<(), Error> {
    database::execute(include_str!("../sql/ensure_instructor_profile.sql"), &params![id]).map(drop)
}

pub fn ensure_student_profile(_: &Transaction, id: &UserId) -> Result<(), Error> {
    database::execute(include_str!("../sql/ensure_student_profile.sql"), &params![id]).map(drop)
}

pub fn insert_profile(_: &Transaction, id: &UserId, new: &NewProfile) -> Result<Entry, Error> {
    let params = params![id, new.bio, new.specialization, new.experience_years];
    database::execute(include_str!("../sql/insert_profile.sql"), &params)?;
    database::one(include_str!("../sql/find_instructor.sql"), &params![id])
}

pub fn find_instructor(id: &UserId) -> Result<Option<Entry>, Error> {
    database::first(include_str!("../sql/find_instructor.sql"), &params![id])
}

fn instructor_filter(filter: &InstructorFilter) -> [Value; 2] {
    params![filter.search.as_ref().map(Text::like_pattern), filter.specialization]
}

pub fn list_instructors(filter: &InstructorFilter, page: Page) -> Result<Vec<Entry>, Error> {
    database::all(include_str!("../sql/list_instructors.sql"), &paged(&instructor_filter(filter), page))
}

pub fn count_instructors(filter: &InstructorFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_instructors.sql"), &instructor_filter(filter))
}

pub fn update_profile(id: &UserId, changes: &ProfileChanges) -> Result<Option<Entry>, Error> {
    let params = params![
        id,
        changes.bio.is_set(),
        changes.bio,
        changes.specialization,
        changes.experience_years.is_set(),
        changes.experience_years,
    ];
    database::first(include_str!("../sql/update_profile.sql"), &params)
}

/// False if there is none.
pub fn delete_profile(_: &Transaction, id: &UserId) -> Result<bool, Error> {
    Ok(database::execute(include_str!("../sql/delete_profile.sql"), &params![id])? > 0)
}

/// None if there is no copy, or none that this version can read.
pub fn cached_user(id: &UserId) -> Option<UserDetail> {
    let user: UserDetail = serde_json::from_str(&redis::get(&user_key(id))?).ok()?;
    (user.user.id == *id).then_some(user)
}

pub fn cache_user(user: &UserDetail, ttl_seconds: i64) {
    if let Ok(text) = serde_json::to_string(user) {
        redis::set(&user_key(&user.user.id), &text, ttl_seconds);
    }
}

/// Drops the copy of a user whose row has changed.
pub fn forget_user(id: &UserId) {
    redis::delete(&user_key(id));
}

pub fn forget_firebase_uid(uid: &str) {
    redis::delete(&format!("firebase_uid:{uid}"));
}

fn user_key(id: &UserId) -> String {
    format!("user:{id}")
}
