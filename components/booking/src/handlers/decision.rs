//! BKG-3, BKG-6 and BKG-7: what an admin makes of a booking.

use crate::{
    domain::{
        BookingId, ScheduleId,
        bookings::{self, Booking},
        enrollments::{self, Enrollment, StudentRef},
        requests::{Confirmation, Rejection},
        slots,
        students::{self, User},
    },
    events, store,
};
use schemars::JsonSchema;
use sdk::{
    Ack, Call, Data, Error, Id, OptionalBody, Patch, Path, Result, Stored, Uuid, WithMeta,
    database::{self, Transaction, transaction},
};
use serde::Serialize;

/// BKG-6.
#[derive(JsonSchema, Serialize)]
pub struct Confirmed {
    booking: Booking,
    enrollment: Enrollment,
    student: StudentRef,
    message: &'static str,
}

/// Whether the confirmation made the user.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    student_created: bool,
}

/// A student, and whether the confirmation made the user.
struct Student {
    user: User,
    is_new: bool,
}

pub fn delete(_: &Call, Path(id): Path<BookingId>) -> Result<Ack<Id<BookingId>>> {
    if store::delete_booking(&id)? {
        return Ok(Ack::new("Booking deleted").with(Id { id }));
    }
    Err(match store::find_booking(&id)? {
        Some(booking) => bookings::invalid_status(booking.status),
        None => bookings::not_found(),
    })
}

pub fn reject(
    call: &Call,
    Path(id): Path<BookingId>,
    OptionalBody(rejection): OptionalBody<Rejection>,
) -> Result<Data<Booking>> {
    decide(&id, |transaction, _| {
        let booking = store::reject_booking(transaction, &id, &call.user()?.user_id, &rejection)?;
        events::booking_rejected(transaction, &booking)?;
        Ok(booking)
    })
    .map(Data)
}

pub fn confirm(
    call: &Call,
    Path(id): Path<BookingId>,
    OptionalBody(confirmation): OptionalBody<Confirmation>,
) -> Result<WithMeta<Data<Confirmed>, Provenance>> {
    let by = &call.user()?.user_id;
    let slot = confirmation.schedule_id.as_ref();
    let (confirmed, is_new) = decide(&id, |transaction, booking| {
        let Student { user, is_new } = student(transaction, booking)?;
        let enrollment = enroll(transaction, booking, &user)?;
        if let Some(slot) = slot {
            seat(transaction, booking, &user, slot)?;
        }
        let booking = mark_confirmed(transaction, booking, by, &user, slot)?;
        if is_new {
            events::user_registered(transaction, &user)?;
        }
        events::booking_confirmed(transaction, &booking, &enrollment.id)?;
        events::enrollment_created(transaction, &enrollment)?;
        let student = enrollment.student.clone();
        Ok((Confirmed { booking, enrollment, student, message: "Booking confirmed" }, is_new))
    })?;
    store::forget_user(&confirmed.enrollment.student_id);
    Ok(Data(confirmed).with_meta(Provenance { student_created: is_new }))
}

/// Runs `decision` on a pending booking, whose row is locked. An overdue one is
/// set to expired instead and refused; the refusal commits, so that it stays so.
fn decide<T>(id: &BookingId, mut decision: impl FnMut(&Transaction, &Booking) -> Result<T>) -> Result<T> {
    transaction(|transaction| {
        let held = store::lock_booking(transaction, id)?.ok_or_else(bookings::not_found)?;
        held.check_open()?;
        if held.is_overdue {
            store::expire_booking(transaction, id)?;
            events::booking_expired(transaction, id, &held.booking.course_id)?;
            return Ok(Err(bookings::expired()));
        }
        decision(transaction, &held.booking).map(Ok)
    })?
}

/// The booking's user, else whoever has the applicant's email, else somebody
/// new.
fn student(transaction: &Transaction, booking: &Booking) -> Result<Student> {
    let named = booking.user_id.as_ref().map(store::find_user).transpose()?.flatten();
    let student = match named {
        Some(user) => Student { user, is_new: false },
        None => applicant(transaction, booking)?,
    };
    student.user.check_student()?;
    store::complete_profile(transaction, &student.user.id, booking).map_err(|error| {
        // The role changed, or the user was deleted, since it was read.
        if error.violates("enforce_profile_role_student") { students::not_a_student() } else { error.into() }
    })?;
    Ok(student)
}

fn applicant(transaction: &Transaction, booking: &Booking) -> Result<Student> {
    let (Some(name), Some(email)) = (&booking.applicant_full_name, &booking.applicant_email) else {
        return Err(students::not_found());
    };
    if let Some(user) = store::find_user_by_email(email)? {
        return Ok(Student { user, is_new: false });
    }
    match store::insert_student(transaction, name, email, booking.applicant_wa_number.as_deref())? {
        Some(user) => Ok(Student { user, is_new: true }),
        // Another confirmation has just created the user with this email.
        None => {
            let user = store::find_user_by_email(email)?;
            user.map(|user| Student { user, is_new: false }).ok_or_else(students::not_found)
        }
    }
}

fn enroll(transaction: &Transaction, booking: &Booking, student: &User) -> Result<Enrollment> {
    let draft = enrollments::Draft {
        student_id: &student.id,
        course_id: &booking.course_id,
        booking_id: Some(&booking.id),
        status: enrollments::Status::Active,
        notes: Patch::Keep,
    };
    let (Stored::New(id) | Stored::Known(id)) =
        store::enroll(transaction, &draft)?.ok_or_else(enrollments::already_exists)?;
    store::find_enrollment(&id)?.ok_or_else(enrollments::not_found)
}

fn seat(transaction: &Transaction, booking: &Booking, student: &User, slot: &ScheduleId) -> Result<()> {
    check_seat(booking, slot)?;
    store::take_seat(transaction, slot, &booking.id, &student.id).map_err(|error| match error {
        error if error.violates("enforce_class_capacity") => slots::full(),
        error => no_class(error),
    })?;
    // Again, now that the seat keeps the class from changing: it may have moved
    // to another course or time in between.
    check_seat(booking, slot)
}

fn check_seat(booking: &Booking, slot: &ScheduleId) -> Result<()> {
    let found = store::list_slots(&[slot])?;
    found.first().ok_or_else(slots::not_found)?.check_seat(&booking.course_id, &booking.choices())
}

fn mark_confirmed(
    transaction: &Transaction,
    booking: &Booking,
    by: &Uuid,
    student: &User,
    slot: Option<&ScheduleId>,
) -> Result<Booking> {
    store::confirm_booking(transaction, &booking.id, by, &student.id, slot).map_err(no_class)
}

/// A class that was deleted after it was checked.
fn no_class(error: database::Error) -> Error {
    let keys = ["schedule_attendees_schedule_id_fkey", "bookings_confirmed_slot_id_fkey"];
    if keys.iter().any(|key| error.violates(key)) { slots::not_found() } else { error.into() }
}
