//! Signing in and staying signed in: registration of admins, login, refresh,
//! logout; by a password of ours or by a login at Firebase.
//!
//! The row of `refresh_sessions` decides everything; what this component puts
//! into Redis are copies that spare others a look at it. Keys and hashing stay
//! with the host. Counting failed logins is the host's as well. What Firebase
//! says of a user is worth as much as the signature under it.

mod domain;
mod handlers;
mod provider;
mod store;

use handlers::{firebase, login, logout, me, refresh, register};
use sdk::route::{
    Access::{Optional, Public, User},
    Route, get, post,
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![
        post("/api/auth/firebase/register", Optional, firebase::register::register),
        post("/api/auth/firebase/login", Public, firebase::login::login),
        get("/api/auth/firebase/verify/:token", Public, firebase::verify::of_path),
        post("/api/auth/firebase/verify", Public, firebase::verify::of_body),
        post("/api/auth/firebase/reset-password", Public, firebase::reset_password::reset_password),
        post("/api/auth/register", Optional, register::register).deprecated(),
        post("/api/auth/login", Public, login::login),
        post("/api/auth/refresh", Public, refresh::refresh),
        post("/api/auth/logout", User, logout::logout),
        get("/api/auth/me", User, me::me),
    ]
}
