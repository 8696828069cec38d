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

use domain::{
    AUTH_INVALID_CREDENTIALS, REGISTRATION_TOKEN, VALIDATION_PASSWORD_WEAK,
    firebase::{
        DB_CREATE_ERROR, EMAIL_ALREADY_EXISTS, EMAIL_NOT_VERIFIED, LOGIN_ERROR, PROVIDER_UNAVAILABLE, REGISTER_ERROR,
        RESET_ERROR, TOKEN_EXPIRED, TOKEN_INVALID, VERIFICATION_FAILED,
    },
};
use handlers::{firebase, login, logout, me, refresh, register};
use sdk::{
    codes::{AUTH_FORBIDDEN, AUTH_INVALID_TOKEN, AUTH_TOKEN_EXPIRED, AUTH_UNAUTHORIZED, DB_DUPLICATE_ENTRY},
    route::{
        Access::{Optional, Public, User},
        Route, get, post,
    },
};

sdk::component!(routes);

fn routes() -> Vec<Route> {
    vec![
        post("/api/auth/firebase/register", Optional, firebase::register::register)
            .takes_token(REGISTRATION_TOKEN)
            .fails(&[
                VALIDATION_PASSWORD_WEAK,
                AUTH_FORBIDDEN,
                EMAIL_ALREADY_EXISTS,
                DB_CREATE_ERROR,
                REGISTER_ERROR,
                PROVIDER_UNAVAILABLE,
            ]),
        post("/api/auth/firebase/login", Public, firebase::login::login).fails(&[
            TOKEN_EXPIRED,
            TOKEN_INVALID,
            VERIFICATION_FAILED,
            AUTH_UNAUTHORIZED,
            EMAIL_NOT_VERIFIED,
            EMAIL_ALREADY_EXISTS,
            DB_CREATE_ERROR,
            LOGIN_ERROR,
            PROVIDER_UNAVAILABLE,
        ]),
        get("/api/auth/firebase/verify/:token", Public, firebase::verify::of_path).fails(&[
            TOKEN_EXPIRED,
            TOKEN_INVALID,
            VERIFICATION_FAILED,
            PROVIDER_UNAVAILABLE,
        ]),
        post("/api/auth/firebase/verify", Public, firebase::verify::of_body).fails(&[
            TOKEN_EXPIRED,
            TOKEN_INVALID,
            VERIFICATION_FAILED,
            PROVIDER_UNAVAILABLE,
        ]),
        post("/api/auth/firebase/reset-password", Public, firebase::reset_password::reset_password)
            .fails(&[RESET_ERROR, PROVIDER_UNAVAILABLE]),
        post("/api/auth/register", Optional, register::register).deprecated().takes_token(REGISTRATION_TOKEN).fails(&[
            VALIDATION_PASSWORD_WEAK,
            AUTH_FORBIDDEN,
            DB_DUPLICATE_ENTRY,
        ]),
        post("/api/auth/login", Public, login::login).fails(&[AUTH_INVALID_CREDENTIALS]),
        post("/api/auth/refresh", Public, refresh::refresh).fails(&[
            AUTH_TOKEN_EXPIRED,
            AUTH_INVALID_TOKEN,
            AUTH_UNAUTHORIZED,
        ]),
        post("/api/auth/logout", User, logout::logout).fails(&[AUTH_FORBIDDEN]),
        get("/api/auth/me", User, me::me),
    ]
}
