//! What the rest of the system is told, each thing in the transaction that does
//! it.

use crate::domain::{BookingId, CourseId, EnrollmentId, bookings::Booking, enrollments::Enrollment, students::User};
use sdk::{
    Result,
    database::Transaction,
    events::{Event, publish},
};
use serde_json::{Value, json};

pub fn booking_created(transaction: &Transaction, booking: &Booking) -> Result<()> {
    let fields = json!({
        "bookingId": booking.id,
        "userId": booking.user_id,
        "courseId": booking.course_id,
        "experienceLevel": booking.experience_level,
        "preferredDays": booking.preferred_days,
    });
    of_booking(transaction, "booking.created", "BOOKING_CREATED", &booking.id, fields)
}

pub fn booking_confirmed(transaction: &Transaction, booking: &Booking, enrollment: &EnrollmentId) -> Result<()> {
    let fields = json!({
        "bookingId": booking.id,
        "userId": booking.user_id,
        "courseId": booking.course_id,
        "enrollmentId": enrollment,
        "confirmedSlotId": booking.confirmed_slot_id,
    });
    of_booking(transaction, "booking.confirmed", "BOOKING_CONFIRMED", &booking.id, fields)
}

pub fn booking_rejected(transaction: &Transaction, booking: &Booking) -> Result<()> {
    let fields = json!({ "bookingId": booking.id, "courseId": booking.course_id, "reason": booking.rejection_reason });
    of_booking(transaction, "booking.rejected", "BOOKING_REJECTED", &booking.id, fields)
}

pub fn booking_expired(transaction: &Transaction, id: &BookingId, course: &CourseId) -> Result<()> {
    let fields = json!({ "bookingId": id, "courseId": course });
    of_booking(transaction, "booking.expired", "BOOKING_EXPIRED", id, fields)
}

pub fn enrollment_created(transaction: &Transaction, enrollment: &Enrollment) -> Result<()> {
    of_enrollment(transaction, "enrollment.created", "ENROLLMENT_CREATED", enrollment)
}

pub fn enrollment_updated(transaction: &Transaction, enrollment: &Enrollment) -> Result<()> {
    of_enrollment(transaction, "enrollment.updated", "ENROLLMENT_UPDATED", enrollment)
}

pub fn user_registered(transaction: &Transaction, user: &User) -> Result<()> {
    let fields = json!({ "userId": user.id, "email": user.email, "fullName": user.full_name, "role": user.role });
    publish(
        transaction,
        Event { channel: "user.registered", key: format!("user:{}", user.id), kind: "USER_REGISTERED", fields },
    )
}

fn of_booking(transaction: &Transaction, channel: &str, kind: &str, id: &BookingId, fields: Value) -> Result<()> {
    publish(transaction, Event { channel, key: format!("booking:{id}"), kind, fields })
}

fn of_enrollment(transaction: &Transaction, channel: &str, kind: &str, enrollment: &Enrollment) -> Result<()> {
    let fields = json!({
        "enrollmentId": enrollment.id,
        "studentId": enrollment.student_id,
        "courseId": enrollment.course_id,
        "status": enrollment.status,
    });
    publish(transaction, Event { channel, key: format!("enrollment:{}", enrollment.id), kind, fields })
}
