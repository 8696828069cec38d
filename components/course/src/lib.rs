//! Courses, the rooms and times in which they are taught, and who was there.
//!
//! PostgreSQL keeps what must hold under concurrency: no overlap of classes, no
//! seat too many, nothing deleted that others refer to. The checks made here
//! before it say in words what it would refuse. Nothing is cached: a change
//! shows in the next read.

mod domain;
mod handlers;
mod store;

use handlers::{attendance, courses, rooms, schedules};
use sdk::{
    Role::{Admin, Instructor},
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
        get("/api/courses/:id", Public, courses::show),
        post("/api/courses", staff, courses::create),
        put("/api/courses/:id", staff, courses::update),
        delete("/api/courses/:id", admin, courses::delete),
        get("/api/schedules/available", Optional, schedules::list_available),
        post("/api/schedules", staff, schedules::create),
        get("/api/schedules", staff, schedules::list),
        get("/api/schedules/:id", staff, schedules::show),
        put("/api/schedules/:id", staff, schedules::update),
        delete("/api/schedules/:id", admin, schedules::delete),
        post("/api/attendance", staff, attendance::create),
        get("/api/attendance/schedule/:scheduleId", staff, attendance::of_schedule),
        get("/api/attendance/booking/:bookingId", staff, attendance::of_booking),
        put("/api/attendance/:scheduleId/:bookingId", staff, attendance::update),
        get("/api/rooms", User, rooms::list),
        get("/api/rooms/:id", User, rooms::show),
        post("/api/rooms", admin, rooms::create),
        put("/api/rooms/:id", admin, rooms::update),
        delete("/api/rooms/:id", admin, rooms::delete),
    ]
}
