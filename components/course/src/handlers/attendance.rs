//! ATT-1 to ATT-4.

use super::check_teacher;
use crate::{
    domain::{
        BookingId, CourseId, ScheduleId, UserId,
        attendance::{self, Attendance, AttendanceChange, BookingAttendance, ClassAttendance, NewAttendance, Status},
        schedules,
    },
    store,
};
use sdk::{
    Body, Call, Created, Data, Error, Path, Result, Role,
    database::{Transaction, transaction},
    events::{self, Event},
};
use serde_json::json;

pub fn create(call: &Call, Body(new): Body<NewAttendance>) -> Result<Created<Attendance>> {
    let status = new.status.unwrap_or(Status::NotRecorded);
    transaction(|transaction| {
        let schedule = store::lock_schedule(transaction, &new.schedule_id)?.ok_or_else(schedules::not_found)?;
        check_teacher(call, &schedule.plan.instructor_id)?;
        let booking = store::find_booking(&new.booking_id)?.ok_or_else(booking_not_found)?;
        attendance::check_enrolled(&booking, &schedule)?;
        attendance::check_window(&schedule, status, call.has_role(Role::Admin))?;
        let marked = store::insert_attendance(transaction, &new, &booking, status, &call.user()?.user_id);
        let marked = marked.map_err(|error| match error {
            error if error.violates("schedule_attendees_pkey") => attendance::already_marked(),
            error if error.violates("enforce_class_capacity") => schedules::full(),
            error if error.violates("schedule_attendees_booking_id_fkey") => booking_not_found(),
            error => error.into(),
        })?;
        if status != Status::NotRecorded {
            announce(transaction, &marked, &schedule.plan.course_id)?;
        }
        Ok(Created(marked))
    })
}

pub fn of_schedule(_: &Call, Path(id): Path<ScheduleId>) -> Result<Data<ClassAttendance>> {
    let class = store::find_class(&id)?.ok_or_else(schedules::not_found)?;
    Ok(Data(ClassAttendance::new(class, store::list_attendees(&id)?)))
}

pub fn of_booking(call: &Call, Path(id): Path<BookingId>) -> Result<Data<BookingAttendance>> {
    store::find_booking(&id)?.ok_or_else(booking_not_found)?;
    let user = call.user()?;
    let instructor = (user.role != Role::Admin).then(|| UserId(user.user_id.clone()));
    let records = store::list_booking_attendance(&id, instructor.as_ref())?;
    Ok(Data(BookingAttendance::new(id, records)))
}

pub fn update(
    call: &Call,
    Path((schedule_id, booking_id)): Path<(ScheduleId, BookingId)>,
    Body(change): Body<AttendanceChange>,
) -> Result<Data<Attendance>> {
    transaction(|transaction| {
        let schedule = store::lock_schedule(transaction, &schedule_id)?.ok_or_else(attendance::not_found)?;
        let mark = store::lock_attendance(transaction, &schedule_id, &booking_id)?.ok_or_else(attendance::not_found)?;
        check_teacher(call, &schedule.plan.instructor_id)?;
        attendance::check_window(&schedule, change.status, call.has_role(Role::Admin))?;

        let notes = mark.notes_after(&change);
        if (change.status, &notes) == (mark.status, &mark.notes) {
            return store::find_attendance(&schedule_id, &booking_id)?.map(Data).ok_or_else(attendance::not_found);
        }
        let by = &call.user()?.user_id;
        let marked = store::update_attendance(transaction, &schedule_id, &booking_id, change.status, &notes, by)?;
        if change.status != mark.status {
            announce(transaction, &marked, &schedule.plan.course_id)?;
        }
        Ok(Data(marked))
    })
}

fn announce(transaction: &Transaction, marked: &Attendance, course: &CourseId) -> Result<()> {
    events::publish(
        transaction,
        Event {
            channel: "attendance.marked",
            key: format!("attendance:{}:{}", marked.schedule_id, marked.booking_id),
            kind: "ATTENDANCE_MARKED",
            fields: json!({
                "scheduleId": marked.schedule_id,
                "bookingId": marked.booking_id,
                "courseId": course,
                "status": marked.status,
            }),
        },
    )
}

fn booking_not_found() -> Error {
    Error::not_found("Booking")
}
