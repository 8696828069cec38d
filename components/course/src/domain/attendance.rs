//! Who sat in a class. A row is both the seat and the mark.

use super::{BookingId, CourseId, ScheduleId, UserId, schedules::LockedSchedule};
use schemars::JsonSchema;
use sdk::{Code, Error, Patch, Result, Text, Timestamp, choice, request, row};
use serde::Serialize;

pub const ATTENDANCE_STUDENT_NOT_ENROLLED: Code = Code::new(400, "ATTENDANCE_STUDENT_NOT_ENROLLED");
pub const ATTENDANCE_INVALID_TIME: Code = Code::new(400, "ATTENDANCE_INVALID_TIME");
pub const ATTENDANCE_WINDOW_CLOSED: Code = Code::new(403, "ATTENDANCE_WINDOW_CLOSED");
pub const ATTENDANCE_ALREADY_MARKED: Code = Code::new(409, "ATTENDANCE_ALREADY_MARKED");

/// Seconds after the end of a class in which its instructor may still mark.
const INSTRUCTOR_WINDOW: i64 = 24 * 3_600;

choice! {
    pub enum Status {
        Present = "present",
        Absent = "absent",
        Excused = "excused",
        NotRecorded = "not_recorded",
    }
}

row! {
    pub struct Attendance {
        pub schedule_id: ScheduleId,
        pub booking_id: BookingId,
        pub user_id: Option<UserId>,
        pub student_name: Option<String>,
        pub status: Status,
        pub attended: Option<bool>,
        pub attended_at: Option<Timestamp>,
        pub recorded_by: Option<UserId>,
        pub notes: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }

    /// A class, as briefly as it can be named.
    pub struct Class {
        pub id: ScheduleId,
        pub course_title: String,
        pub start_time: Timestamp,
        pub end_time: Timestamp,
    }

    /// A mark with its class.
    pub struct Record {
        #[serde(flatten)]
        pub attendance: Attendance as "",
        #[serde(rename = "schedule")]
        pub class: Class as "class_",
    }

    /// What a booking must be to take a seat.
    pub struct Booking {
        pub user_id: Option<UserId>,
        pub course_id: CourseId,
        pub status: String,
    }

    /// A mark's row, locked.
    pub struct Mark {
        pub status: Status,
        pub notes: Option<String>,
    }
}

pub type Notes = Text<0, 500>;

request! {
    pub struct NewAttendance {
        pub schedule_id: ScheduleId,
        pub booking_id: BookingId,
        pub status: Option<Status>,
        pub notes: Option<Notes>,
    }
}

request! {
    pub struct AttendanceChange {
        pub status: Status,
        pub notes: Patch<Option<Notes>>,
    }
}

/// ATT-2.
#[derive(JsonSchema, Serialize)]
pub struct ClassAttendance {
    schedule: Class,
    total_enrolled: usize,
    total_attended: usize,
    summary: Tally,
    attendees: Vec<Attendance>,
}

/// ATT-3.
#[derive(JsonSchema, Serialize)]
pub struct BookingAttendance {
    booking_id: BookingId,
    summary: BookingSummary,
    records: Vec<Record>,
}

/// How often each status occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
struct Tally {
    present: usize,
    absent: usize,
    excused: usize,
    not_recorded: usize,
}

#[derive(JsonSchema, Serialize)]
struct BookingSummary {
    total_classes: usize,
    attended: usize,
    absent: usize,
    excused: usize,
    not_recorded: usize,
    attendance_rate: Option<f64>,
}

impl ClassAttendance {
    pub fn new(schedule: Class, attendees: Vec<Attendance>) -> Self {
        let summary = Tally::of(attendees.iter().map(|attendance| attendance.status));
        Self { schedule, total_enrolled: attendees.len(), total_attended: summary.present, summary, attendees }
    }
}

impl BookingAttendance {
    pub fn new(booking_id: BookingId, records: Vec<Record>) -> Self {
        let tally = Tally::of(records.iter().map(|record| record.attendance.status));
        let summary = BookingSummary {
            total_classes: records.len(),
            attended: tally.present,
            absent: tally.absent,
            excused: tally.excused,
            not_recorded: tally.not_recorded,
            attendance_rate: tally.rate(),
        };
        Self { booking_id, summary, records }
    }
}

impl Tally {
    fn of(statuses: impl Iterator<Item = Status>) -> Self {
        let mut tally = Self::default();
        for status in statuses {
            *match status {
                Status::Present => &mut tally.present,
                Status::Absent => &mut tally.absent,
                Status::Excused => &mut tally.excused,
                Status::NotRecorded => &mut tally.not_recorded,
            } += 1;
        }
        tally
    }

    /// Excused and unmarked classes say nothing about attendance.
    fn rate(self) -> Option<f64> {
        let judged = self.present + self.absent;
        (judged > 0).then(|| self.present as f64 / judged as f64)
    }
}

impl Mark {
    /// The notes after the change.
    pub fn notes_after(&self, change: &AttendanceChange) -> Option<String> {
        match &change.notes {
            Patch::Keep => self.notes.clone(),
            Patch::Set(notes) => notes.as_ref().map(|notes| notes.as_str().to_owned()),
        }
    }
}

/// Only who has a confirmed booking of that course sits in its classes.
pub fn check_enrolled(booking: &Booking, schedule: &LockedSchedule) -> Result<()> {
    if booking.status == "confirmed" && booking.course_id == schedule.plan.course_id {
        return Ok(());
    }
    Err(Error::new(ATTENDANCE_STUDENT_NOT_ENROLLED, "The booking is not confirmed for this course"))
}

/// A class can be marked once it has started: by its instructor until a day after
/// its end, by admins without limit.
pub fn check_window(schedule: &LockedSchedule, status: Status, by_admin: bool) -> Result<()> {
    if status != Status::NotRecorded && schedule.now < schedule.plan.start_time {
        return Err(Error::new(ATTENDANCE_INVALID_TIME, "The class has not started yet"));
    }
    if !by_admin && schedule.now > schedule.plan.end_time.plus_seconds(INSTRUCTOR_WINDOW) {
        return Err(Error::new(ATTENDANCE_WINDOW_CLOSED, "The class ended more than 24 hours ago"));
    }
    Ok(())
}

pub fn not_found() -> Error {
    Error::not_found("Attendance record")
}

pub fn already_marked() -> Error {
    Error::new(ATTENDANCE_ALREADY_MARKED, "The booking has a seat in this class already")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RoomId, schedules::Plan};
    use sdk::Uuid;

    fn schedule(now: i64) -> LockedSchedule {
        let id = || Uuid::parse("00000000-0000-4000-8000-000000000001").unwrap();
        let plan = Plan {
            course_id: CourseId(id()),
            instructor_id: UserId(id()),
            room_id: RoomId(id()),
            start_time: Timestamp::from_seconds(1_000),
            end_time: Timestamp::from_seconds(4_600),
        };
        LockedSchedule { plan, max_attendees: 1, current_attendees: 0, now: Timestamp::from_seconds(now) }
    }

    fn code(result: Result<()>) -> Option<&'static str> {
        result.err().map(|error| error.code().name)
    }

    #[test]
    fn nobody_is_marked_before_the_class() {
        assert_eq!(code(check_window(&schedule(999), Status::Absent, true)), Some("ATTENDANCE_INVALID_TIME"));
        assert_eq!(code(check_window(&schedule(999), Status::NotRecorded, false)), None);
        assert_eq!(code(check_window(&schedule(1_000), Status::Present, false)), None);
    }

    #[test]
    fn instructors_have_a_day_and_admins_for_ever() {
        let end = 4_600 + 86_400;
        assert_eq!(code(check_window(&schedule(end), Status::Present, false)), None);
        assert_eq!(code(check_window(&schedule(end + 1), Status::Present, false)), Some("ATTENDANCE_WINDOW_CLOSED"));
        assert_eq!(
            code(check_window(&schedule(end + 1), Status::NotRecorded, false)),
            Some("ATTENDANCE_WINDOW_CLOSED")
        );
        assert_eq!(code(check_window(&schedule(end + 1), Status::Present, true)), None);
    }

    #[test]
    fn the_rate_is_of_present_and_absent_alone() {
        use Status::{Absent, Excused, NotRecorded, Present};
        let tally = Tally::of([Present, Present, Present, Absent, Excused, NotRecorded].into_iter());
        assert_eq!(tally, Tally { present: 3, absent: 1, excused: 1, not_recorded: 1 });
        assert_eq!(tally.rate(), Some(0.75));
        assert_eq!(Tally::of([Excused, NotRecorded].into_iter()).rate(), None);
    }
}
