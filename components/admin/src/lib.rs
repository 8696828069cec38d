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

use handlers::{instructors, users};
use sdk::{
    Role::Admin,
    route::{
        Access::{OwnerOr, Roles, Service, User, UserOrService},
        Route, delete, get, post, put,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    let admin = Roles(&[Admin]);
    vec![
        post("/api/users", Service, users::create),
        get("/api/users", admin, users::list),
        get("/api/users/me", User, users::me),
        get("/api/users/stats", admin, users::statistics),
        get("/api/users/by-email", Service, users::by_email),
        get("/api/users/:id", UserOrService, users::show),
        put("/api/users/:id", OwnerOr("id", &[Admin]), users::update),
        delete("/api/users/:id", admin, users::delete),
        post("/api/users/:id/last-login", Service, users::touch_login),
        post("/api/instructors", admin, instructors::create),
        get("/api/instructors", User, instructors::list),
        get("/api/instructors/:userId", User, instructors::show),
        put("/api/instructors/:userId", OwnerOr("userId", &[Admin]), instructors::update),
        delete("/api/instructors/:userId", admin, instructors::delete),
    ]
}
