//! The rules of bookings and enrollments, without input or output.

pub mod bookings;
pub mod enrollments;
pub mod fields;
pub mod requests;
pub mod slots;
pub mod students;

use sdk::{Code, Error, choice, id};

pub const COURSE_INACTIVE: Code = Code::new(400, "COURSE_INACTIVE");
pub const COURSE_NOT_FOUND: Code = Code::new(404, "COURSE_NOT_FOUND");

id! {
    pub BookingId;
    pub CourseId;
    pub EnrollmentId;
    pub ScheduleId;
    pub UserId;
}

choice! {
    /// Of a course.
    pub enum Level {
        Beginner = "beginner",
        Intermediate = "intermediate",
        Advanced = "advanced",
        AllLevels = "all_levels",
    }
}

pub fn course_not_found() -> Error {
    Error::new(COURSE_NOT_FOUND, "Course not found")
}

pub fn course_inactive() -> Error {
    Error::new(COURSE_INACTIVE, "The course is not active")
}
