//! Signing in and staying signed in: registration of admins, login, refresh,
//! logout.
//!
//! The row of `refresh_sessions` decides everything; what this component puts
//! into Redis are copies that spare others a look at it. Keys and hashing stay
//! with the host. Counting failed logins is the host's as well.

mod domain;
mod handlers;
mod store;

use handlers::{login, logout, me, refresh, register};
use sdk::route::{
    Access::{Optional, Public, User},
    Route, get, post,
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![
        post("/api/auth/register", Optional, register::register).deprecated(),
        post("/api/auth/login", Public, login::login),
        post("/api/auth/refresh", Public, refresh::refresh),
        post("/api/auth/logout", User, logout::logout),
        get("/api/auth/me", User, me::me),
    ]
}
