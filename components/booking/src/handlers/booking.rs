//! BKG-1 and BKG-4: a booking is made, by an applicant or by a user.

use crate::{
    captcha,
    domain::{
        self, UserId,
        bookings::{self, Booking},
        enrollments,
        requests::{Draft, NewBooking, OnBehalfOf, Registration},
        slots, students,
    },
    events,
    idempotency::{Key, once},
    store,
};
use sdk::{
    Body, Call, Created, Error, Result, Uuid, codes,
    database::{Transaction, transaction},
    settings,
};
use serde_json::{Value, json};

pub fn register(_: &Call, Body(sent): Body<Registration>) -> Result<Created<Booking>> {
    let key = Key::registration(&sent.idempotency_key);
    let work = || {
        check_unused(Some(&sent.idempotency_key), None)?;
        captcha::check(&sent.captcha_token)?;
        book(&sent.into())
    };
    once(Some(&key), work, outcome).map(Created)
}

pub fn create(call: &Call, Body(sent): Body<NewBooking>, OnBehalfOf(student): OnBehalfOf) -> Result<Created<Booking>> {
    let caller = UserId(call.user()?.user_id.clone());
    let key = sent.idempotency_key.as_ref().map(|key| Key::booking(&caller, key));
    let work = || {
        check_unused(sent.idempotency_key.as_ref(), Some(student.as_ref().unwrap_or(&caller)))?;
        let user = match &student {
            Some(student) => {
                let user = store::find_user(student)?.ok_or_else(students::not_found)?;
                user.check_student().map(|()| user)?
            }
            None => store::find_user(&caller)?.ok_or_else(|| Error::new(codes::AUTH_UNAUTHORIZED, "Please log in"))?,
        };
        book(&Draft::of_user(user, sent))
    };
    once(key.as_ref(), work, outcome).map(Created)
}

fn outcome(booking: &Booking) -> Value {
    json!({ "booking_id": booking.id, "user_id": booking.user_id, "course_id": booking.course_id })
}

/// The unique column knows the keys that Redis has forgotten or never got.
fn check_unused(key: Option<&Uuid>, user: Option<&UserId>) -> Result<()> {
    let Some(key) = key else { return Ok(()) };
    match store::find_booking_by_key(key)? {
        Some(made) => Err(made.duplicate(user)),
        None => Ok(()),
    }
}

fn book(draft: &Draft) -> Result<Booking> {
    let max = settings::integer("BOOKING_MAX_PENDING_PER_EMAIL").unwrap_or(3);
    let hours = settings::integer("BOOKING_EXPIRY_HOURS").unwrap_or(72);
    let booked = transaction(|transaction| {
        store::lock_person(transaction, draft)?;
        // Again: a request with the same key may have held the lock before.
        check_unused(draft.idempotency_key.as_ref(), draft.user_id.as_ref())?;
        check_wishes(draft)?;
        for stale in store::expire_stale_bookings(transaction, draft)? {
            events::booking_expired(transaction, &stale.id, &stale.course_id)?;
        }
        store::count_pending(transaction, draft)?.check_another(max)?;
        insert(transaction, draft, max, hours)
    });
    booked.map_err(|error| refused(error, draft))
}

fn check_wishes(draft: &Draft) -> Result<()> {
    match store::find_course(&draft.course_id)? {
        Some(true) => {}
        Some(false) => return Err(domain::course_inactive()),
        None => return Err(domain::course_not_found()),
    }
    let choices = draft.choices();
    if !choices.is_empty() {
        let slots = store::list_slots(&choices)?;
        slots::check_choices(draft.first_choice.as_ref(), draft.second_choice.as_ref(), &draft.course_id, &slots)?;
    }
    match &draft.user_id {
        Some(user) if store::is_enrolled(user, &draft.course_id)? => Err(enrollments::already_exists()),
        _ => Ok(()),
    }
}

fn insert(transaction: &Transaction, draft: &Draft, max: i64, hours: i64) -> Result<Booking> {
    store::limit_pending(transaction, max)?;
    let booking = store::insert_booking(transaction, draft, hours).map_err(bookings::not_created)?;
    events::booking_created(transaction, &booking)?;
    Ok(booking)
}

/// Answers what PostgreSQL refused after the checks had passed as the checks
/// would have. The transaction is over, so this may query again.
fn refused(error: Error, draft: &Draft) -> Error {
    let Some(cause) = error.database() else { return error };
    let violates = |constraint| cause.violates(constraint);
    if violates("bookings_idempotency_key_key") {
        let made = check_unused(draft.idempotency_key.as_ref(), draft.user_id.as_ref());
        // None: that booking has been deleted in between.
        return made.err().unwrap_or_else(bookings::duplicate);
    }
    match () {
        () if violates("bookings_one_pending_per_course") => bookings::pending_exists(),
        () if violates("check_pending_bookings_limit") => bookings::too_many_pending(),
        () if violates("bookings_course_id_fkey") => domain::course_not_found(),
        () if violates("bookings_first_choice_slot_id_fkey") => slots::is_gone("first_choice_slot_id"),
        () if violates("bookings_second_choice_slot_id_fkey") => slots::is_gone("second_choice_slot_id"),
        () => error,
    }
}
