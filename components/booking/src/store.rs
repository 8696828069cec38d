//! The statements of this component; no other file names one.
//!
//! A function that takes a [`Transaction`] has to run inside one: it locks rows,
//! or its change belongs together with others.

use crate::domain::{
    BookingId, CourseId, EnrollmentId, ScheduleId, UserId,
    bookings::{Booking, ExistingBooking, Expired, ListedBooking, LockedBooking, Pending, PendingFilter, StatusFilter},
    enrollments::{self, Attendance, Enrollment, EnrollmentFilter, State},
    requests::{Draft, Guardian, Rejection},
    slots::Slot,
    students::User,
};
use sdk::{
    Page, Stored, Uuid,
    database::{self, Error, Transaction, Value},
    params, redis,
};

/// The parameters of a filter, followed by those of the page.
fn paged(filter: &[Value], page: Page) -> Vec<Value> {
    [filter, &[page.limit(), page.offset()]].concat()
}

// Making a booking.

/// Waits until nobody else books for the person. Email before user, as in the
/// trigger, so that two cannot wait for each other.
pub fn lock_person(_: &Transaction, draft: &Draft) -> Result<(), Error> {
    let user = draft.user_id.as_ref().map(UserId::to_string);
    for owner in [Some(&draft.email), user.as_ref()].into_iter().flatten() {
        database::execute(include_str!("../sql/lock_person.sql"), &params![owner])?;
    }
    Ok(())
}

pub fn find_booking_by_key(key: &Uuid) -> Result<Option<ExistingBooking>, Error> {
    database::first(include_str!("../sql/find_booking_by_key.sql"), &params![key])
}

/// Whether the course is active.
pub fn find_course(id: &CourseId) -> Result<Option<bool>, Error> {
    sdk::row! {
        struct Course { is_active: bool }
    }
    let course: Option<Course> = database::first(include_str!("../sql/find_course.sql"), &params![id])?;
    Ok(course.map(|course| course.is_active))
}

/// Those that exist.
pub fn list_slots(ids: &[&ScheduleId]) -> Result<Vec<Slot>, Error> {
    let ids = Value::UuidArray(ids.iter().map(|id| id.to_string()).collect());
    database::all(include_str!("../sql/list_slots.sql"), &params![ids])
}

pub fn is_enrolled(student: &UserId, course: &CourseId) -> Result<bool, Error> {
    database::scalar(include_str!("../sql/is_enrolled.sql"), &params![student, course])
}

/// Those of the person that are overdue.
pub fn expire_stale_bookings(_: &Transaction, draft: &Draft) -> Result<Vec<Expired>, Error> {
    database::all(include_str!("../sql/expire_stale_bookings.sql"), &params![draft.email, draft.user_id])
}

pub fn count_pending(_: &Transaction, draft: &Draft) -> Result<Pending, Error> {
    database::one(include_str!("../sql/count_pending.sql"), &params![draft.email, draft.user_id, draft.course_id])
}

/// How many pending bookings of a person the trigger lets through.
pub fn limit_pending(_: &Transaction, max: i64) -> Result<(), Error> {
    database::execute(include_str!("../sql/limit_pending.sql"), &params![max.to_string()]).map(drop)
}

pub fn insert_booking(_: &Transaction, draft: &Draft, hours: i64) -> Result<Booking, Error> {
    let params = params![
        draft.user_id,
        draft.course_id,
        draft.full_name,
        draft.email,
        draft.wa_number,
        draft.experience_level,
        draft.time_preferences,
        draft.preferred_days,
        draft.preferred_time_range,
        draft.start_date_target,
        draft.guardian.as_ref().map(Guardian::name),
        draft.guardian.as_ref().map(Guardian::wa_number),
        draft.instrument_owned,
        draft.notes,
        draft.referral_source,
        draft.first_choice,
        draft.second_choice,
        draft.idempotency_key,
        draft.has_consented,
        hours,
    ];
    let id: BookingId = database::scalar(include_str!("../sql/insert_booking.sql"), &params)?;
    database::one(include_str!("../sql/find_booking.sql"), &params![id])
}

// Bookings that are there.

pub fn list_pending_bookings(filter: &PendingFilter, page: Page) -> Result<Vec<ListedBooking>, Error> {
    database::all(include_str!("../sql/list_pending_bookings.sql"), &paged(&params![filter.course_id], page))
}

pub fn count_pending_bookings(filter: &PendingFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_pending_bookings.sql"), &params![filter.course_id])
}

pub fn list_user_bookings(user: &UserId, filter: &StatusFilter, page: Page) -> Result<Vec<ListedBooking>, Error> {
    database::all(include_str!("../sql/list_user_bookings.sql"), &paged(&params![user, filter.status], page))
}

pub fn count_user_bookings(user: &UserId, filter: &StatusFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_user_bookings.sql"), &params![user, filter.status])
}

pub fn find_booking(id: &BookingId) -> Result<Option<Booking>, Error> {
    database::first(include_str!("../sql/find_booking.sql"), &params![id])
}

/// False if there is no such booking, or if it is confirmed.
pub fn delete_booking(id: &BookingId) -> Result<bool, Error> {
    Ok(database::execute(include_str!("../sql/delete_booking.sql"), &params![id])? > 0)
}

pub fn lock_booking(_: &Transaction, id: &BookingId) -> Result<Option<LockedBooking>, Error> {
    database::first(include_str!("../sql/lock_booking.sql"), &params![id])
}

pub fn expire_booking(_: &Transaction, id: &BookingId) -> Result<(), Error> {
    database::execute(include_str!("../sql/expire_booking.sql"), &params![id]).map(drop)
}

pub fn reject_booking(_: &Transaction, id: &BookingId, by: &Uuid, rejection: &Rejection) -> Result<Booking, Error> {
    database::execute(include_str!("../sql/reject_booking.sql"), &params![id, by, rejection.reason])?;
    database::one(include_str!("../sql/find_booking.sql"), &params![id])
}

pub fn confirm_booking(
    _: &Transaction,
    id: &BookingId,
    by: &Uuid,
    student: &UserId,
    slot: Option<&ScheduleId>,
) -> Result<Booking, Error> {
    database::execute(include_str!("../sql/confirm_booking.sql"), &params![id, by, student, slot])?;
    database::one(include_str!("../sql/find_booking.sql"), &params![id])
}

/// At most `batch` overdue bookings, which are then expired.
pub fn sweep_bookings(_: &Transaction, batch: i64) -> Result<Vec<Expired>, Error> {
    database::all(include_str!("../sql/sweep_bookings.sql"), &params![batch])
}

pub fn take_seat(_: &Transaction, slot: &ScheduleId, booking: &BookingId, student: &UserId) -> Result<(), Error> {
    database::execute(include_str!("../sql/take_seat.sql"), &params![slot, booking, student]).map(drop)
}

// Students.

pub fn find_user(id: &UserId) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/find_user.sql"), &params![id])
}

pub fn find_user_by_email(email: &str) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/find_user_by_email.sql"), &params![email])
}

/// None if somebody has the email.
pub fn insert_student(
    _: &Transaction,
    full_name: &str,
    email: &str,
    wa_number: Option<&str>,
) -> Result<Option<User>, Error> {
    database::first(include_str!("../sql/insert_student.sql"), &params![full_name, email, wa_number])
}

/// Puts what the booking says of the student where the profile has gaps.
pub fn complete_profile(_: &Transaction, student: &UserId, booking: &Booking) -> Result<(), Error> {
    let params = params![
        student,
        booking.guardian_name,
        booking.guardian_wa_number,
        booking.experience_level,
        booking.time_preferences,
    ];
    database::execute(include_str!("../sql/complete_profile.sql"), &params).map(drop)
}

/// Drops the cached user, whose row has changed.
pub fn forget_user(id: &UserId) {
    redis::delete(&format!("user:{id}"));
}

// Enrollments.

/// Known: a cancelled enrollment that goes on. None: there is one already.
pub fn enroll(_: &Transaction, draft: &enrollments::Draft<'_>) -> Result<Option<Stored<EnrollmentId>>, Error> {
    sdk::row! {
        struct Row { id: EnrollmentId }
    }
    let notes = draft.notes.as_option().copied().flatten();
    let common = params![draft.student_id, draft.course_id, draft.booking_id, draft.status, notes];
    let known = [&common[..], &params![draft.notes.is_set()]].concat();
    if let Some(row) = database::first::<Row>(include_str!("../sql/reactivate_enrollment.sql"), &known)? {
        return Ok(Some(Stored::Known(row.id)));
    }
    let new = database::first::<Row>(include_str!("../sql/insert_enrollment.sql"), &common)?;
    Ok(new.map(|row| Stored::New(row.id)))
}

pub fn find_enrollment(id: &EnrollmentId) -> Result<Option<Enrollment>, Error> {
    database::first(include_str!("../sql/find_enrollment.sql"), &params![id])
}

pub fn list_enrollments(filter: &EnrollmentFilter, page: Page) -> Result<Vec<Enrollment>, Error> {
    let filter = params![filter.student_id, filter.course_id, filter.status];
    database::all(include_str!("../sql/list_enrollments.sql"), &paged(&filter, page))
}

pub fn count_enrollments(filter: &EnrollmentFilter) -> Result<i64, Error> {
    let filter = params![filter.student_id, filter.course_id, filter.status];
    database::scalar(include_str!("../sql/count_enrollments.sql"), &filter)
}

/// The newest `limit` of a student.
pub fn list_student_enrollments(student: &UserId, limit: i64) -> Result<Vec<Enrollment>, Error> {
    let params = params![student, None::<CourseId>, None::<enrollments::Status>, limit, 0];
    database::all(include_str!("../sql/list_enrollments.sql"), &params)
}

pub fn lock_enrollment(_: &Transaction, id: &EnrollmentId) -> Result<Option<State>, Error> {
    database::first(include_str!("../sql/lock_enrollment.sql"), &params![id])
}

pub fn update_enrollment(_: &Transaction, id: &EnrollmentId, state: &State) -> Result<(), Error> {
    database::execute(include_str!("../sql/update_enrollment.sql"), &params![id, state.status, state.notes]).map(drop)
}

pub fn count_attendance(booking: &BookingId) -> Result<Attendance, Error> {
    database::one(include_str!("../sql/count_attendance.sql"), &params![booking])
}
