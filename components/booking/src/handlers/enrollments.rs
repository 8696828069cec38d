//! BKG-8 to BKG-11, and the host's own look at a student's enrollments.

use crate::{
    domain::{
        self, EnrollmentId, UserId, bookings,
        enrollments::{
            self, Attendance, Enrollment, EnrollmentChanges, EnrollmentDetail, EnrollmentFilter, NewEnrollment,
        },
        students,
    },
    events,
    idempotency::{Key, once},
    store,
};
use schemars::JsonSchema;
use sdk::{Body, Call, Data, Listing, Page, Path, Query, Result, Stored, database::transaction};
use serde::Serialize;
use serde_json::{Value, json};

/// How many enrollments the host's dashboard shows of a student.
const DASHBOARD_LIMIT: i64 = 100;

#[derive(JsonSchema, Serialize)]
pub struct StudentEnrollments {
    enrollments: Vec<Enrollment>,
}

pub fn create(call: &Call, Body(new): Body<NewEnrollment>) -> Result<Stored<Enrollment>> {
    let caller = UserId(call.user()?.user_id.clone());
    let key = new.idempotency_key.as_ref().map(|key| Key::enrollment(&caller, key));
    once(key.as_ref(), || enroll(&new), outcome)
}

fn outcome(stored: &Stored<Enrollment>) -> Value {
    let (Stored::New(enrollment) | Stored::Known(enrollment)) = stored;
    json!({
        "booking_id": enrollment.booking_id,
        "user_id": enrollment.student_id,
        "course_id": enrollment.course_id,
        "enrollment_id": enrollment.id,
    })
}

/// Admins may enroll in inactive courses, too.
fn enroll(new: &NewEnrollment) -> Result<Stored<Enrollment>> {
    transaction(|transaction| {
        let student = store::find_user(&new.student_id)?.ok_or_else(students::not_found)?;
        store::find_course(&new.course_id)?.ok_or_else(domain::course_not_found)?;
        let booking = match &new.booking_id {
            Some(id) => Some(store::find_booking(id)?.ok_or_else(bookings::not_found)?),
            None => None,
        };
        student.check_student()?;
        if let Some(booking) = &booking {
            new.check_booking(booking)?;
        }
        let stored = store::enroll(transaction, &new.draft())?.ok_or_else(enrollments::already_exists)?;
        let (Stored::New(id) | Stored::Known(id)) = &stored;
        let enrollment = store::find_enrollment(id)?.ok_or_else(enrollments::not_found)?;
        events::enrollment_created(transaction, &enrollment)?;
        Ok(match stored {
            Stored::New(_) => Stored::New(enrollment),
            Stored::Known(_) => Stored::Known(enrollment),
        })
    })
}

pub fn list(_: &Call, Query(filter): Query<EnrollmentFilter>, page: Page) -> Result<Data<Listing<Enrollment>>> {
    let listing = Listing::read(page, || store::list_enrollments(&filter, page), || store::count_enrollments(&filter))?;
    Ok(Data(listing))
}

pub fn show(_: &Call, Path(id): Path<EnrollmentId>) -> Result<Data<EnrollmentDetail>> {
    let enrollment = store::find_enrollment(&id)?.ok_or_else(enrollments::not_found)?;
    let attendance = enrollment.booking_id.as_ref().map(store::count_attendance).transpose()?;
    let attendance_rate = attendance.as_ref().and_then(Attendance::rate);
    Ok(Data(EnrollmentDetail { enrollment, attendance_rate }))
}

pub fn update(
    _: &Call,
    Path(id): Path<EnrollmentId>,
    Body(changes): Body<EnrollmentChanges>,
) -> Result<Data<Enrollment>> {
    transaction(|transaction| {
        let before = store::lock_enrollment(transaction, &id)?.ok_or_else(enrollments::not_found)?;
        let after = before.with(&changes);
        if after != before {
            store::update_enrollment(transaction, &id, &after)?;
        }
        let enrollment = store::find_enrollment(&id)?.ok_or_else(enrollments::not_found)?;
        if after != before {
            events::enrollment_updated(transaction, &enrollment)?;
        }
        Ok(Data(enrollment))
    })
}

pub fn of_student(_: &Call, Path(student): Path<UserId>) -> Result<Data<StudentEnrollments>> {
    Ok(Data(StudentEnrollments { enrollments: store::list_student_enrollments(&student, DASHBOARD_LIMIT)? }))
}
