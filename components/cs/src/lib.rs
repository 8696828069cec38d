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
mod rooms;
mod settings;
mod sockets;
mod store;

use domain::{
    sessions::{CHAT_ALREADY_ASSIGNED, CHAT_SESSION_CLOSED, CHAT_SESSION_NOT_FOUND},
    token::{CHAT_FORBIDDEN, CHAT_TOKEN_MISSING, HEADER},
};
use handlers::{demo, desk, guest, tasks};
use sdk::{
    Code,
    Role::Admin,
    codes::{self, INVALID_USER_ROLE, NOT_FOUND},
    route::{
        Access::{Internal, Optional, Public, Roles},
        Route, get, patch, post,
    },
};

/// What a request to read a session is refused with, as its guest or as an admin.
const READER_REFUSALS: [Code; 9] = [
    codes::AUTH_INVALID_FORMAT,
    codes::AUTH_INVALID_TOKEN,
    codes::AUTH_TOKEN_EXPIRED,
    codes::AUTH_UNAUTHORIZED,
    codes::AUTH_NO_ROLE,
    codes::AUTH_FORBIDDEN,
    CHAT_TOKEN_MISSING,
    CHAT_FORBIDDEN,
    CHAT_SESSION_NOT_FOUND,
];

sdk::component!(routes, sockets = sockets);

fn routes() -> Vec<Route> {
    let mut routes = chat_routes();
    if settings::demo() {
        routes.extend(demo_routes());
    }
    routes
}

fn demo_routes() -> [Route; 3] {
    [
        get("/chat-demo", Public, demo::page),
        get("/chat-demo/chat.js", Public, demo::script),
        get("/chat-demo/chat.css", Public, demo::style),
    ]
}

fn chat_routes() -> Vec<Route> {
    let admin = Roles(&[Admin]);
    vec![
        post("/api/cs/sessions", Public, guest::start),
        // Optional, for the credential is the guest's token or an admin's.
        get("/api/cs/sessions/:sessionId", Optional, guest::show).needs_token(HEADER).fails(&READER_REFUSALS),
        post("/api/cs/sessions/:sessionId/messages", Public, guest::send).needs_token(HEADER).fails(&[
            CHAT_TOKEN_MISSING,
            CHAT_FORBIDDEN,
            CHAT_SESSION_NOT_FOUND,
            CHAT_SESSION_CLOSED,
        ]),
        get("/api/cs/sessions/:sessionId/messages", Optional, guest::messages)
            .needs_token(HEADER)
            .fails(&READER_REFUSALS),
        get("/api/cs/admin/sessions", admin, desk::list),
        get("/api/cs/admin/my-sessions", admin, desk::list_mine),
        get("/api/cs/admin/sessions/:sessionId", admin, desk::show).fails(&[CHAT_SESSION_NOT_FOUND]),
        post("/api/cs/admin/sessions/:sessionId/assign", admin, desk::assign).fails(&[
            INVALID_USER_ROLE,
            CHAT_SESSION_NOT_FOUND,
            NOT_FOUND,
            CHAT_ALREADY_ASSIGNED,
            CHAT_SESSION_CLOSED,
        ]),
        post("/api/cs/admin/sessions/:sessionId/messages", admin, desk::send).fails(&[
            CHAT_SESSION_NOT_FOUND,
            CHAT_ALREADY_ASSIGNED,
            CHAT_SESSION_CLOSED,
        ]),
        patch("/api/cs/admin/sessions/:sessionId/status", admin, desk::set_status).fails(&[CHAT_SESSION_NOT_FOUND]),
        post("/api/cs/tasks/close-idle", Internal, tasks::close_idle),
    ]
}
