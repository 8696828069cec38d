//! Signing and password hashing by the host, which keeps the keys. Only the
//! component that logs people in is granted these.

pub use crate::bindings::shema::tokens::{
    certificates, passwords, service_account,
    sessions::{self, Subject, TokenError, TokenPair},
};
