//! `GET /chat-demo`: a page to try the chat with, as a guest and as an admin.
//!
//! It is an ordinary client: all that it knows it has from the API. It may load
//! nothing but its own files and reach nothing but this host.

use sdk::{Call, File, Result};

const PAGE: &str = include_str!("../../demo/index.html");
const STYLE: &str = include_str!("../../demo/chat.css");
/// One script of several files, in the order in which they build on each other.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("../../demo/page.js"),
    include_str!("../../demo/line.js"),
    include_str!("../../demo/talk.js"),
    include_str!("../../demo/thread.js"),
    include_str!("../../demo/guest.js"),
    include_str!("../../demo/account.js"),
    include_str!("../../demo/desk.js"),
    include_str!("../../demo/start.js"),
);

/// The headers of a file of this kind.
macro_rules! headers {
    ($kind:literal) => {
        &[
            ("content-type", concat!($kind, "; charset=utf-8")),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ]
    };
}

pub fn page(_: &Call) -> Result<File> {
    Ok(File { headers: headers!("text/html"), text: PAGE })
}

pub fn script(_: &Call) -> Result<File> {
    Ok(File { headers: headers!("text/javascript"), text: SCRIPT })
}

pub fn style(_: &Call) -> Result<File> {
    Ok(File { headers: headers!("text/css"), text: STYLE })
}
