//! The live chat of the customer service: guests without an account on one
//! side, admins at a desk on the other.
//!
//! Each message of a session has the next number, without holes, and goes out
//! live from the transaction that stored it; so whoever knows the last number
//! can tell what is missing, and ask for it. `chat` is what can happen to a
//! session, whoever asks: a request here, a frame of a socket elsewhere. Who may
//! ask is the handlers' to judge. Nothing is kept between two calls.

mod chat;
mod domain;
mod handlers;
mod live;
mod settings;
mod store;

use handlers::{desk, guest, tasks};
use sdk::{
    Role::Admin,
    route::{
        Access::{Internal, Optional, Public, Roles},
        Route, get, patch, post,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    let admin = Roles(&[Admin]);
    vec![
        post("/api/cs/sessions", Public, guest::start),
        // Optional, for the credential is the guest's token or an admin's.
        get("/api/cs/sessions/:sessionId", Optional, guest::show),
        post("/api/cs/sessions/:sessionId/messages", Public, guest::send),
        get("/api/cs/sessions/:sessionId/messages", Optional, guest::messages),
        get("/api/cs/admin/sessions", admin, desk::list),
        get("/api/cs/admin/my-sessions", admin, desk::list_mine),
        get("/api/cs/admin/sessions/:sessionId", admin, desk::show),
        post("/api/cs/admin/sessions/:sessionId/assign", admin, desk::assign),
        post("/api/cs/admin/sessions/:sessionId/messages", admin, desk::send),
        patch("/api/cs/admin/sessions/:sessionId/status", admin, desk::set_status),
        post("/api/cs/tasks/close-idle", Internal, tasks::close_idle),
    ]
}
