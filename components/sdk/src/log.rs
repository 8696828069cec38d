//! Lines in the host's log, which knows component and request.

use crate::bindings::shema::log::log::{Level, write};

pub fn info(message: &str) {
    write(Level::Info, message);
}

pub fn warn(message: &str) {
    write(Level::Warn, message);
}

pub fn error(message: &str) {
    write(Level::Error, message);
}
