//! The rules of courses, without input or output; one file per noun, each with
//! what it is, what may be sent of it, and what is checked.

pub mod attendance;
pub mod courses;
pub mod rooms;
pub mod schedules;

use sdk::{Since, Until, id, problem::Problem};

id! {
    pub BookingId;
    pub CourseId;
    pub RoomId;
    pub ScheduleId;
    pub UserId;
}

/// A range of days or instants that ends before it begins is a mistake, not an
/// empty list.
fn is_period(start_date: &Option<Since>, end_date: &Option<Until>) -> Result<(), Problem> {
    match (start_date, end_date) {
        (Some(start), Some(end)) if start.0 > end.0 => {
            Err(Problem::custom("end_date", "must not be before start_date"))
        }
        _ => Ok(()),
    }
}
