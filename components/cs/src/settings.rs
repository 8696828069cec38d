//! The operator's settings; the defaults are those of the host's file.

use sdk::settings;

/// Characters of a message, 1 to 1000.
pub fn max_message_length() -> usize {
    let length = settings::integer("CHAT_MESSAGE_MAX_LENGTH").and_then(|length| usize::try_from(length).ok());
    length.unwrap_or(1_000)
}

/// Seconds without a message after which a session is closed.
pub fn idle_timeout() -> i64 {
    settings::integer("CHAT_SESSION_IDLE_TIMEOUT").unwrap_or(1_800)
}

/// Whether the id of a session is not enough to enter it. Anything but a clear
/// no means yes.
pub fn token_required() -> bool {
    settings::text("CS_REQUIRE_SESSION_TOKEN").is_none_or(|value| value != "false")
}

/// What guests are told when they connect; None: nothing.
pub fn greeting() -> Option<String> {
    settings::text("CHAT_GREETING")
}

/// When somebody is at the desk, in the operator's words.
pub fn office_hours() -> Option<String> {
    settings::text("CHAT_OFFICE_HOURS")
}

/// Whether there is a page to try the chat with.
pub fn demo() -> bool {
    settings::flag("CHAT_DEMO")
}
