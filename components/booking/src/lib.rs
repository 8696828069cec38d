//! Requests for lessons, what becomes of them, and the enrollments that follow.
//!
//! PostgreSQL keeps what must hold under concurrency: one booking per key, one
//! pending booking per person and course and so many in all, one enrollment per
//! student and course, no seat too many. The checks made here before it say in
//! words what it would refuse. A confirmation writes tables of other domains
//! itself, because only one transaction can do all of it or nothing.

mod captcha;
mod domain;
mod events;
mod handlers;
mod idempotency;
mod store;

use captcha::{CAPTCHA_INVALID, CAPTCHA_VERIFICATION_FAILED};
use domain::{
    COURSE_INACTIVE, COURSE_NOT_FOUND,
    bookings::{
        BOOKING_CREATION_FAILED, BOOKING_EXPIRED, BOOKING_INVALID_STATUS, DUPLICATE_REQUEST, PENDING_BOOKING_EXISTS,
        PENDING_BOOKING_LIMIT,
    },
    enrollments::{ENROLLMENT_ALREADY_EXISTS, ENROLLMENT_NOT_FOUND},
    slots::{BOOKING_INVALID_SLOTS, SCHEDULE_FULL, SCHEDULE_NOT_FOUND},
};
use handlers::{booking, decision, enrollments, lists, tasks};
use sdk::{
    Role::Admin,
    codes::{INVALID_USER_ROLE, NOT_FOUND},
    route::{
        Access::{Internal, OwnerOr, Public, Roles, User},
        Route, delete, get, post, put,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    let admin = Roles(&[Admin]);
    vec![
        post("/api/booking/register-course", Public, booking::register).fails(&[
            CAPTCHA_INVALID,
            COURSE_INACTIVE,
            BOOKING_INVALID_SLOTS,
            COURSE_NOT_FOUND,
            DUPLICATE_REQUEST,
            PENDING_BOOKING_EXISTS,
            PENDING_BOOKING_LIMIT,
            BOOKING_CREATION_FAILED,
            CAPTCHA_VERIFICATION_FAILED,
        ]),
        post("/api/booking/create", User, booking::create).fails(&[
            COURSE_INACTIVE,
            BOOKING_INVALID_SLOTS,
            INVALID_USER_ROLE,
            COURSE_NOT_FOUND,
            NOT_FOUND,
            DUPLICATE_REQUEST,
            PENDING_BOOKING_EXISTS,
            PENDING_BOOKING_LIMIT,
            ENROLLMENT_ALREADY_EXISTS,
            BOOKING_CREATION_FAILED,
        ]),
        get("/api/booking/pending", admin, lists::pending),
        get("/api/booking/user/:userId", OwnerOr("userId", &[Admin]), lists::of_user),
        delete("/api/booking/:id", admin, decision::delete).fails(&[NOT_FOUND, BOOKING_INVALID_STATUS]),
        post("/api/booking/:id/confirm", admin, decision::confirm).fails(&[
            INVALID_USER_ROLE,
            BOOKING_INVALID_SLOTS,
            NOT_FOUND,
            SCHEDULE_NOT_FOUND,
            BOOKING_INVALID_STATUS,
            BOOKING_EXPIRED,
            ENROLLMENT_ALREADY_EXISTS,
            SCHEDULE_FULL,
        ]),
        post("/api/booking/:id/reject", admin, decision::reject).fails(&[
            NOT_FOUND,
            BOOKING_INVALID_STATUS,
            BOOKING_EXPIRED,
        ]),
        post("/api/booking/enrollments", admin, enrollments::create).fails(&[
            INVALID_USER_ROLE,
            NOT_FOUND,
            COURSE_NOT_FOUND,
            BOOKING_INVALID_STATUS,
            ENROLLMENT_ALREADY_EXISTS,
            DUPLICATE_REQUEST,
        ]),
        get("/api/booking/enrollments", admin, enrollments::list),
        get("/api/booking/enrollments/:id", admin, enrollments::show).fails(&[ENROLLMENT_NOT_FOUND]),
        put("/api/booking/enrollments/:id", admin, enrollments::update).fails(&[ENROLLMENT_NOT_FOUND]),
        get("/api/booking/internal/enrollments/:studentId", Internal, enrollments::of_student),
        post("/api/booking/tasks/expire", Internal, tasks::expire),
    ]
}
