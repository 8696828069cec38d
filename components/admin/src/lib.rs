//! People: users of every role, and what instructors say of themselves.
//!
//! PostgreSQL keeps emails unique, credentials fitting and profiles with their
//! roles, and ends the sessions of who is deleted or gets another role. The
//! rules made here are those across rows: an admin is always left, and nobody
//! is taken away from classes to come. Redis holds copies of users, for readers
//! alone; no right is ever judged by one of the caller.

mod domain;
mod handlers;
mod store;

use domain::{
    instructors::INSTRUCTOR_HAS_SCHEDULES,
    users::{USER_LAST_ADMIN, USER_SELF_DELETE},
};
use handlers::{instructors, users};
use sdk::{
    Role::Admin,
    codes::{AUTH_FORBIDDEN, DB_DUPLICATE_ENTRY, INVALID_USER_ROLE, NOT_FOUND},
    route::{
        Access::{OwnerOr, Roles, Service, User, UserOrService},
        Route, delete, get, post, put,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    let admin = Roles(&[Admin]);
    vec![
        post("/api/users", Service, users::create).fails(&[DB_DUPLICATE_ENTRY]),
        get("/api/users", admin, users::list),
        get("/api/users/me", User, users::me).fails(&[NOT_FOUND]),
        get("/api/users/stats", admin, users::statistics),
        get("/api/users/by-email", Service, users::by_email),
        get("/api/users/:id", UserOrService, users::show).fails(&[AUTH_FORBIDDEN, NOT_FOUND]),
        put("/api/users/:id", OwnerOr("id", &[Admin]), users::update).fails(&[
            NOT_FOUND,
            DB_DUPLICATE_ENTRY,
            USER_LAST_ADMIN,
            INSTRUCTOR_HAS_SCHEDULES,
        ]),
        delete("/api/users/:id", admin, users::delete).fails(&[
            NOT_FOUND,
            USER_SELF_DELETE,
            USER_LAST_ADMIN,
            INSTRUCTOR_HAS_SCHEDULES,
        ]),
        post("/api/users/:id/last-login", Service, users::touch_login).fails(&[NOT_FOUND]),
        post("/api/instructors", admin, instructors::create).fails(&[INVALID_USER_ROLE, NOT_FOUND, DB_DUPLICATE_ENTRY]),
        get("/api/instructors", User, instructors::list),
        get("/api/instructors/:userId", User, instructors::show).fails(&[NOT_FOUND]),
        put("/api/instructors/:userId", OwnerOr("userId", &[Admin]), instructors::update).fails(&[NOT_FOUND]),
        delete("/api/instructors/:userId", admin, instructors::delete).fails(&[NOT_FOUND, INSTRUCTOR_HAS_SCHEDULES]),
    ]
}
