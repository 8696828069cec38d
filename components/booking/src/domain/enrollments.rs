//! Who is taught what.

use super::{
    BookingId, CourseId, EnrollmentId, Level, UserId, bookings,
    requests::{Notes, invalid},
};
use schemars::JsonSchema;
use sdk::{Code, Error, Item, Patch, Result, Timestamp, Uuid, choice, request, row};
use serde::Serialize;

pub const ENROLLMENT_NOT_FOUND: Code = Code::new(404, "ENROLLMENT_NOT_FOUND");
pub const ENROLLMENT_ALREADY_EXISTS: Code = Code::new(409, "ENROLLMENT_ALREADY_EXISTS");

choice! {
    pub enum Status {
        Pending = "pending",
        Active = "active",
        Completed = "completed",
        Cancelled = "cancelled",
    }
}

row! {
    pub struct Enrollment {
        pub id: EnrollmentId,
        pub student_id: UserId,
        pub course_id: CourseId,
        pub booking_id: Option<BookingId>,
        pub status: Status,
        pub enrolled_at: Timestamp,
        pub completed_at: Option<Timestamp>,
        pub notes: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub student: StudentRef as "student_",
        pub course: CourseRef as "course_",
    }

    pub struct StudentRef {
        id: UserId,
        full_name: String,
        email: String,
    }

    pub struct CourseRef {
        id: CourseId,
        title: String,
        level: Level,
    }

    /// What an enrollment's row says, locked.
    #[derive(PartialEq)]
    pub struct State {
        pub status: Status,
        pub notes: Option<String>,
    }

    /// How often the student was there and was not.
    pub struct Attendance {
        present: i64,
        absent: i64,
    }
}

impl Item for Enrollment {
    const PLURAL: &'static str = "enrollments";
}

/// BKG-10.
#[derive(JsonSchema, Serialize)]
pub struct EnrollmentDetail {
    #[serde(flatten)]
    pub enrollment: Enrollment,
    pub attendance_rate: Option<f64>,
}

request! {
    pub struct NewEnrollment {
        pub student_id: UserId,
        pub course_id: CourseId,
        pub booking_id: Option<BookingId>,
        pub status: Option<Status>,
        pub notes: Option<Notes>,
        pub idempotency_key: Option<Uuid>,
    }
}

request! {
    pub struct EnrollmentFilter {
        pub student_id: Option<UserId>,
        pub course_id: Option<CourseId>,
        pub status: Option<Status>,
    }
}

request! {
    pub partial struct EnrollmentChanges {
        pub status: Patch<Status>,
        pub notes: Patch<Option<Notes>>,
    }
}

/// What an enrollment is made of.
pub struct Draft<'a> {
    pub student_id: &'a UserId,
    pub course_id: &'a CourseId,
    pub booking_id: Option<&'a BookingId>,
    pub status: Status,
    pub notes: Patch<Option<&'a str>>,
}

impl NewEnrollment {
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            student_id: &self.student_id,
            course_id: &self.course_id,
            booking_id: self.booking_id.as_ref(),
            status: self.status.unwrap_or(Status::Active),
            notes: Patch::Set(self.notes.as_ref().map(Notes::as_str)),
        }
    }

    /// An enrollment names only the booking that it has come of.
    pub fn check_booking(&self, booking: &bookings::Booking) -> Result<()> {
        if booking.status != bookings::Status::Confirmed {
            return Err(bookings::invalid_status(booking.status));
        }
        if booking.course_id != self.course_id {
            return Err(invalid("course_id", "is not the booking's"));
        }
        if booking.user_id.as_ref() != Some(&self.student_id) {
            return Err(invalid("student_id", "is not the booking's"));
        }
        Ok(())
    }
}

impl State {
    pub fn with(&self, changes: &EnrollmentChanges) -> Self {
        Self {
            status: changes.status.as_option().copied().unwrap_or(self.status),
            notes: match &changes.notes {
                Patch::Keep => self.notes.clone(),
                Patch::Set(notes) => notes.as_ref().map(|notes| notes.as_str().to_owned()),
            },
        }
    }
}

impl Attendance {
    /// Excused and unmarked classes say nothing about attendance.
    pub fn rate(&self) -> Option<f64> {
        let judged = self.present + self.absent;
        (judged > 0).then(|| self.present as f64 / judged as f64)
    }
}

pub fn not_found() -> Error {
    Error::new(ENROLLMENT_NOT_FOUND, "Enrollment not found")
}

pub fn already_exists() -> Error {
    Error::new(ENROLLMENT_ALREADY_EXISTS, "The student is in this course already")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_present_and_absent_alone() {
        assert_eq!(Attendance { present: 3, absent: 1 }.rate(), Some(0.75));
        assert_eq!(Attendance { present: 0, absent: 2 }.rate(), Some(0.0));
        assert_eq!(Attendance { present: 0, absent: 0 }.rate(), None);
    }

    #[test]
    fn changes_keep_what_they_do_not_name() {
        let state = State { status: Status::Active, notes: Some("a".into()) };
        let with = |status, notes| state.with(&EnrollmentChanges { status, notes });
        assert_eq!(with(Patch::Set(Status::Active), Patch::Keep), state);
        assert_eq!(with(Patch::Set(Status::Completed), Patch::Keep).notes, Some("a".into()));
        assert_eq!(with(Patch::Keep, Patch::Set(None)), State { notes: None, ..state.clone() });
    }
}
