//! Signing and password hashing by the host, which keeps the keys. Only the
//! component that logs people in is granted these.

pub use crate::bindings::shema::tokens::{
    passwords,
    sessions::{self, Refusal, Subject, TokenPair},
};
