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

use handlers::{booking, decision, enrollments, lists, tasks};
use sdk::{
    Role::Admin,
    route::{
        Access::{Internal, OwnerOr, Public, Roles, User},
        Route, delete, get, post, put,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    let admin = Roles(&[Admin]);
    vec![
        post("/api/booking/register-course", Public, booking::register),
        post("/api/booking/create", User, booking::create),
        get("/api/booking/pending", admin, lists::pending),
        get("/api/booking/user/:userId", OwnerOr("userId", &[Admin]), lists::of_user),
        delete("/api/booking/:id", admin, decision::delete),
        post("/api/booking/:id/confirm", admin, decision::confirm),
        post("/api/booking/:id/reject", admin, decision::reject),
        post("/api/booking/enrollments", admin, enrollments::create),
        get("/api/booking/enrollments", admin, enrollments::list),
        get("/api/booking/enrollments/:id", admin, enrollments::show),
        put("/api/booking/enrollments/:id", admin, enrollments::update),
        get("/api/booking/internal/enrollments/:studentId", Internal, enrollments::of_student),
        post("/api/booking/tasks/expire", Internal, tasks::expire),
    ]
}
