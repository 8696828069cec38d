//! ADM-9 to ADM-13.

use super::{check_leaving, insert_user, lock_user};
use crate::{
    domain::{
        UserId,
        instructors::{self, Candidate, Instructor, InstructorFilter, NewInstructor, NewProfile, ProfileChanges},
        users::NewUser,
    },
    store,
};
use schemars::JsonSchema;
use sdk::{
    Ack, Body, Call, Created, Data, Error, Listing, Page, Path, Query, Result, Role,
    database::{Transaction, transaction},
};
use serde::Serialize;

/// ADM-13.
#[derive(JsonSchema, Serialize)]
pub struct DeletedProfile {
    user_id: UserId,
}

pub fn create(call: &Call, Body(new): Body<NewInstructor>) -> Result<Created<Instructor>> {
    let viewer = call.user()?;
    let NewInstructor { candidate, profile } = new;
    let entry = match candidate {
        Candidate::User(id) => transaction(|transaction| {
            if lock_user(transaction, &id)?.role != Role::Instructor {
                return Err(instructors::wrong_role());
            }
            insert_profile(transaction, &id, &profile)
        })?,
        Candidate::Person(person) => {
            let new = NewUser::from(person);
            transaction(|transaction| {
                let detail = insert_user(transaction, &new)?;
                insert_profile(transaction, &detail.user.id, &profile)
            })?
        }
    };
    Ok(Created(entry.seen_by(viewer)))
}

fn insert_profile(transaction: &Transaction, id: &UserId, new: &NewProfile) -> Result<instructors::Entry> {
    store::insert_profile(transaction, id, new).map_err(|error| {
        if error.violates("instructor_profiles_pkey") { Error::duplicate("user_id") } else { error.into() }
    })
}

pub fn list(call: &Call, Query(filter): Query<InstructorFilter>, page: Page) -> Result<Data<Listing<Instructor>>> {
    let viewer = call.user()?;
    let seen = |entries: Vec<instructors::Entry>| entries.into_iter().map(|entry| entry.seen_by(viewer)).collect();
    let listing =
        Listing::read(page, || store::list_instructors(&filter, page).map(seen), || store::count_instructors(&filter))?;
    Ok(Data(listing))
}

pub fn show(call: &Call, Path(id): Path<UserId>) -> Result<Data<Instructor>> {
    let entry = store::find_instructor(&id)?.ok_or_else(instructors::not_found)?;
    Ok(Data(entry.seen_by(call.user()?)))
}

pub fn update(call: &Call, Path(id): Path<UserId>, Body(changes): Body<ProfileChanges>) -> Result<Data<Instructor>> {
    // Their own id does not make instructors of students.
    if call.has_role(Role::Student) {
        return Err(call.forbidden());
    }
    let updated = store::update_profile(&id, &changes).map_err(|error| {
        if error.violates("enforce_profile_role_instructor") { instructors::not_found() } else { error.into() }
    })?;
    Ok(Data(updated.ok_or_else(instructors::not_found)?.seen_by(call.user()?)))
}

pub fn delete(_: &Call, Path(id): Path<UserId>) -> Result<Ack<DeletedProfile>> {
    transaction(|transaction| {
        let held = store::lock_user(transaction, &id)?.filter(|held| held.role == Role::Instructor);
        if held.is_none() || !store::delete_profile(transaction, &id)? {
            return Err(instructors::not_found());
        }
        check_leaving(transaction, &id, Role::Instructor)
    })?;
    Ok(Ack::new("Instructor profile deleted").with(DeletedProfile { user_id: id }))
}
