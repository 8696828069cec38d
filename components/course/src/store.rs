//! The statements of this component; no other file names one.
//!
//! A function that takes a [`Transaction`] has to run inside one: it locks rows,
//! or its change belongs together with others.

use crate::domain::{
    BookingId, CourseId, RoomId, ScheduleId, UserId,
    attendance::{Attendance, Booking, Class, Mark, NewAttendance, Record, Status},
    courses::{Course, CourseChanges, CourseFilter, NewCourse, References},
    rooms::{Capacity, NewRoom, Room, RoomChanges, RoomClass},
    schedules::{AvailableFilter, Conflict, LockedSchedule, Placement, Plan, Schedule, ScheduleFilter},
};
use sdk::{
    Int, Page, Uuid,
    database::{self, Error, Transaction, Value},
    params,
};

/// The parameters of a filter, followed by those of the page.
fn paged(filter: &[Value], page: Page) -> Vec<Value> {
    [filter, &[page.limit(), page.offset()]].concat()
}

fn course_filter(filter: &CourseFilter) -> [Value; 6] {
    params![
        filter.level,
        filter.is_active,
        filter.min_price,
        filter.max_price,
        filter.instrument,
        filter.search_pattern(),
    ]
}

pub fn list_courses(filter: &CourseFilter, page: Page) -> Result<Vec<Course>, Error> {
    database::all(include_str!("../sql/list_courses.sql"), &paged(&course_filter(filter), page))
}

pub fn count_courses(filter: &CourseFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_courses.sql"), &course_filter(filter))
}

pub fn find_course(id: &CourseId) -> Result<Option<Course>, Error> {
    database::first(include_str!("../sql/find_course.sql"), &params![id])
}

pub fn insert_course(new: &NewCourse) -> Result<Course, Error> {
    let params = params![
        new.title,
        new.description,
        new.level,
        new.price_per_session,
        new.duration_minutes,
        new.max_students.map_or(1, Int::get),
        new.instrument,
        new.is_active.unwrap_or(true),
    ];
    database::one(include_str!("../sql/insert_course.sql"), &params)
}

pub fn update_course(id: &CourseId, changes: &CourseChanges) -> Result<Option<Course>, Error> {
    let params = params![
        id,
        changes.title,
        changes.description.is_set(),
        changes.description,
        changes.level,
        changes.price_per_session,
        changes.duration_minutes,
        changes.max_students,
        changes.instrument.is_set(),
        changes.instrument,
        changes.is_active,
    ];
    database::first(include_str!("../sql/update_course.sql"), &params)
}

/// False if there is no such course.
pub fn delete_course(id: &CourseId) -> Result<bool, Error> {
    Ok(database::execute(include_str!("../sql/delete_course.sql"), &params![id])? > 0)
}

pub fn count_course_references(id: &CourseId) -> Result<References, Error> {
    database::one(include_str!("../sql/count_course_references.sql"), &params![id])
}

/// The next 20.
pub fn list_course_schedules(id: &CourseId) -> Result<Vec<Schedule>, Error> {
    database::all(include_str!("../sql/list_course_schedules.sql"), &params![id])
}

fn available_filter(filter: &AvailableFilter) -> [Value; 5] {
    params![filter.course_id, filter.instructor_id, filter.level, filter.start_date, filter.end_date]
}

pub fn list_available_schedules(filter: &AvailableFilter, page: Page) -> Result<Vec<Schedule>, Error> {
    database::all(include_str!("../sql/list_available_schedules.sql"), &paged(&available_filter(filter), page))
}

pub fn count_available_schedules(filter: &AvailableFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_available_schedules.sql"), &available_filter(filter))
}

fn schedule_filter(filter: &ScheduleFilter) -> [Value; 5] {
    params![filter.course_id, filter.instructor_id, filter.room_id, filter.start_date, filter.end_date]
}

pub fn list_schedules(filter: &ScheduleFilter, page: Page) -> Result<Vec<Schedule>, Error> {
    database::all(include_str!("../sql/list_schedules.sql"), &paged(&schedule_filter(filter), page))
}

pub fn count_schedules(filter: &ScheduleFilter) -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_schedules.sql"), &schedule_filter(filter))
}

pub fn find_schedule(id: &ScheduleId) -> Result<Option<Schedule>, Error> {
    database::first(include_str!("../sql/find_schedule.sql"), &params![id])
}

pub fn lock_schedule(_: &Transaction, id: &ScheduleId) -> Result<Option<LockedSchedule>, Error> {
    database::first(include_str!("../sql/lock_schedule.sql"), &params![id])
}

/// Waits until nobody else plans for the room or the instructor.
pub fn lock_calendars(_: &Transaction, plan: &Plan) -> Result<(), Error> {
    let params = params![plan.room_id, plan.instructor_id];
    database::execute(include_str!("../sql/lock_calendars.sql"), &params).map(drop)
}

pub fn lock_placement(_: &Transaction, plan: &Plan) -> Result<Placement, Error> {
    let params = params![plan.course_id, plan.instructor_id, plan.room_id];
    database::one(include_str!("../sql/lock_placement.sql"), &params)
}

/// What overlaps the plan, but for one schedule.
pub fn list_conflicts(plan: &Plan, except: Option<&ScheduleId>) -> Result<Vec<Conflict>, Error> {
    let params = params![plan.room_id, plan.instructor_id, plan.start_time, plan.end_time, except];
    database::all(include_str!("../sql/list_conflicts.sql"), &params)
}

pub fn insert_schedule(_: &Transaction, plan: &Plan, seats: i64, by: &Uuid) -> Result<Schedule, Error> {
    let params = params![plan.course_id, plan.instructor_id, plan.room_id, plan.start_time, plan.end_time, seats, by];
    let id: ScheduleId = database::scalar(include_str!("../sql/insert_schedule.sql"), &params)?;
    database::one(include_str!("../sql/find_schedule.sql"), &params![id])
}

pub fn update_schedule(_: &Transaction, id: &ScheduleId, plan: &Plan, seats: i64) -> Result<Schedule, Error> {
    let params = params![id, plan.course_id, plan.instructor_id, plan.room_id, plan.start_time, plan.end_time, seats];
    database::execute(include_str!("../sql/update_schedule.sql"), &params)?;
    database::one(include_str!("../sql/find_schedule.sql"), &params![id])
}

/// False if there is no such schedule, or if somebody sits in it.
pub fn delete_schedule(id: &ScheduleId) -> Result<bool, Error> {
    Ok(database::execute(include_str!("../sql/delete_schedule.sql"), &params![id])? > 0)
}

pub fn list_attendees(id: &ScheduleId) -> Result<Vec<Attendance>, Error> {
    database::all(include_str!("../sql/list_attendees.sql"), &params![id])
}

pub fn find_class(id: &ScheduleId) -> Result<Option<Class>, Error> {
    database::first(include_str!("../sql/find_class.sql"), &params![id])
}

/// All of a booking, or those in the classes of one instructor.
pub fn list_booking_attendance(id: &BookingId, instructor: Option<&UserId>) -> Result<Vec<Record>, Error> {
    database::all(include_str!("../sql/list_booking_attendance.sql"), &params![id, instructor])
}

pub fn find_booking(id: &BookingId) -> Result<Option<Booking>, Error> {
    database::first(include_str!("../sql/find_booking.sql"), &params![id])
}

pub fn insert_attendance(
    _: &Transaction,
    new: &NewAttendance,
    booking: &Booking,
    status: Status,
    by: &Uuid,
) -> Result<Attendance, Error> {
    let params = params![new.schedule_id, new.booking_id, booking.user_id, status, new.notes, by];
    database::execute(include_str!("../sql/insert_attendance.sql"), &params)?;
    database::one(include_str!("../sql/find_attendance.sql"), &params![new.schedule_id, new.booking_id])
}

pub fn lock_attendance(_: &Transaction, schedule: &ScheduleId, booking: &BookingId) -> Result<Option<Mark>, Error> {
    database::first(include_str!("../sql/lock_attendance.sql"), &params![schedule, booking])
}

pub fn find_attendance(schedule: &ScheduleId, booking: &BookingId) -> Result<Option<Attendance>, Error> {
    database::first(include_str!("../sql/find_attendance.sql"), &params![schedule, booking])
}

pub fn update_attendance(
    _: &Transaction,
    schedule: &ScheduleId,
    booking: &BookingId,
    status: Status,
    notes: &Option<String>,
    by: &Uuid,
) -> Result<Attendance, Error> {
    database::execute(include_str!("../sql/update_attendance.sql"), &params![schedule, booking, status, notes, by])?;
    database::one(include_str!("../sql/find_attendance.sql"), &params![schedule, booking])
}

pub fn list_rooms(page: Page) -> Result<Vec<Room>, Error> {
    database::all(include_str!("../sql/list_rooms.sql"), &paged(&[], page))
}

pub fn count_rooms() -> Result<i64, Error> {
    database::scalar(include_str!("../sql/count_rooms.sql"), &[])
}

pub fn find_room(id: &RoomId) -> Result<Option<Room>, Error> {
    database::first(include_str!("../sql/find_room.sql"), &params![id])
}

/// The next 20.
pub fn list_room_classes(id: &RoomId) -> Result<Vec<RoomClass>, Error> {
    database::all(include_str!("../sql/list_room_classes.sql"), &params![id])
}

pub fn insert_room(new: &NewRoom) -> Result<Room, Error> {
    let params = params![new.name, new.capacity, new.description, new.location, new.instruments];
    database::one(include_str!("../sql/insert_room.sql"), &params)
}

pub fn update_room(_: &Transaction, id: &RoomId, changes: &RoomChanges) -> Result<Option<Room>, Error> {
    let params = params![
        id,
        changes.name,
        changes.capacity,
        changes.description.is_set(),
        changes.description,
        changes.location.is_set(),
        changes.location,
        changes.instruments,
    ];
    database::first(include_str!("../sql/update_room.sql"), &params)
}

/// Whether a class to come has more seats than that.
pub fn room_is_too_small(_: &Transaction, id: &RoomId, capacity: Capacity) -> Result<bool, Error> {
    database::scalar(include_str!("../sql/room_is_too_small.sql"), &params![id, capacity])
}

/// False if there is no such room.
pub fn delete_room(id: &RoomId) -> Result<bool, Error> {
    Ok(database::execute(include_str!("../sql/delete_room.sql"), &params![id])? > 0)
}
