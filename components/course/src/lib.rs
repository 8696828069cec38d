//! Courses, the rooms and times in which they are taught, and who was there.
//!
//! PostgreSQL keeps what must hold under concurrency: no overlap of classes, no
//! seat too many, nothing deleted that others refer to. The checks made here
//! before it say in words what it would refuse. Nothing is cached: a change
//! shows in the next read.

mod domain;
mod handlers;
mod store;

use domain::{
    attendance::{
        ATTENDANCE_ALREADY_MARKED, ATTENDANCE_INVALID_TIME, ATTENDANCE_STUDENT_NOT_ENROLLED, ATTENDANCE_WINDOW_CLOSED,
    },
    courses::{COURSE_IN_USE, COURSE_NOT_FOUND},
    rooms::ROOM_IN_USE,
    schedules::{
        COURSE_INACTIVE, SCHEDULE_CANNOT_DELETE, SCHEDULE_CONFLICT, SCHEDULE_FULL, SCHEDULE_INVALID_TIME,
        SCHEDULE_NOT_FOUND, SCHEDULE_PAST_TIME,
    },
};
use handlers::{attendance, courses, rooms, schedules};
use sdk::{
    Role::{Admin, Instructor},
    codes::{DB_DUPLICATE_ENTRY, INVALID_USER_ROLE, NOT_FOUND},
    route::{
        Access::{Optional, Public, Roles, User},
        Route, delete, get, post, put,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    let staff = Roles(&[Admin, Instructor]);
    let admin = Roles(&[Admin]);
    vec![
        get("/api/courses", Optional, courses::list),
        get("/api/courses/active", Optional, courses::list_active),
        get("/api/courses/:id", Public, courses::show).fails(&[COURSE_NOT_FOUND]),
        post("/api/courses", staff, courses::create),
        put("/api/courses/:id", staff, courses::update).fails(&[COURSE_NOT_FOUND]),
        delete("/api/courses/:id", admin, courses::delete).fails(&[COURSE_NOT_FOUND, COURSE_IN_USE]),
        get("/api/schedules/available", Optional, schedules::list_available),
        post("/api/schedules", staff, schedules::create).fails(&[
            SCHEDULE_INVALID_TIME,
            SCHEDULE_PAST_TIME,
            COURSE_INACTIVE,
            INVALID_USER_ROLE,
            COURSE_NOT_FOUND,
            NOT_FOUND,
            SCHEDULE_CONFLICT,
        ]),
        get("/api/schedules", staff, schedules::list),
        get("/api/schedules/:id", staff, schedules::show).fails(&[SCHEDULE_NOT_FOUND]),
        put("/api/schedules/:id", staff, schedules::update).fails(&[
            SCHEDULE_INVALID_TIME,
            SCHEDULE_PAST_TIME,
            COURSE_INACTIVE,
            INVALID_USER_ROLE,
            SCHEDULE_NOT_FOUND,
            COURSE_NOT_FOUND,
            NOT_FOUND,
            SCHEDULE_CONFLICT,
            SCHEDULE_FULL,
            SCHEDULE_CANNOT_DELETE,
        ]),
        delete("/api/schedules/:id", admin, schedules::delete).fails(&[SCHEDULE_NOT_FOUND, SCHEDULE_CANNOT_DELETE]),
        post("/api/attendance", staff, attendance::create).fails(&[
            ATTENDANCE_STUDENT_NOT_ENROLLED,
            ATTENDANCE_INVALID_TIME,
            ATTENDANCE_WINDOW_CLOSED,
            SCHEDULE_NOT_FOUND,
            NOT_FOUND,
            ATTENDANCE_ALREADY_MARKED,
            SCHEDULE_FULL,
        ]),
        get("/api/attendance/schedule/:scheduleId", staff, attendance::of_schedule).fails(&[SCHEDULE_NOT_FOUND]),
        get("/api/attendance/booking/:bookingId", staff, attendance::of_booking).fails(&[NOT_FOUND]),
        put("/api/attendance/:scheduleId/:bookingId", staff, attendance::update).fails(&[
            ATTENDANCE_INVALID_TIME,
            ATTENDANCE_WINDOW_CLOSED,
            NOT_FOUND,
        ]),
        get("/api/rooms", User, rooms::list),
        get("/api/rooms/:id", User, rooms::show).fails(&[NOT_FOUND]),
        post("/api/rooms", admin, rooms::create).fails(&[DB_DUPLICATE_ENTRY]),
        put("/api/rooms/:id", admin, rooms::update).fails(&[NOT_FOUND, DB_DUPLICATE_ENTRY, ROOM_IN_USE]),
        delete("/api/rooms/:id", admin, rooms::delete).fails(&[NOT_FOUND, ROOM_IN_USE]),
    ]
}
