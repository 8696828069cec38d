//! What a connection has not got, read from the table in pages and sent with its
//! numbers. The host asks for the next page when the client has taken the last,
//! so it does not matter how much there is.

use super::{refusal::close, state::Who};
use crate::{
    domain::{SessionId, sessions::Status},
    live,
    rooms::{self, DESK, Kind},
    store,
};
use sdk::{
    Result, Timestamp, Uuid, log,
    sockets::{Connection, Gap, advance as advance_room},
};
use serde_json::json;

/// Messages of one page: as much as is sent at once, and less than the host's
/// queue for a client holds.
const PAGE: i64 = 100;
/// Seconds: a message may be stored a little later than it was written.
const MARGIN: i64 = 30;

/// From when on a message is news to an admin who connected at `seen_at` and has
/// never heard of its session.
pub fn news_since(seen_at: Timestamp) -> i64 {
    seen_at.plus_seconds(-MARGIN).micros()
}

/// Sends what is missing, or the first of it.
///
/// # Panics
///
/// If the database does not say: a call that ended well without a message would
/// mean that there is none, and after a trap the host asks again.
pub fn fill(connection: &Connection, who: &Who, gap: &Gap) {
    let Some(session) = Uuid::parse(&gap.stream).map(SessionId) else {
        return log::error(&format!("a connection is behind in {}, which is no session", gap.stream));
    };
    let after = i64::try_from(gap.after).unwrap_or(i64::MAX);
    let filled = match who {
        Who::Guest { .. } => fill_guest(connection, &session, after),
        Who::Admin { since } => fill_admin(connection, &session, after, *since),
    };
    filled.unwrap_or_else(|error| panic!("{} is not filled: {error:?}", gap.stream));
}

fn fill_guest(connection: &Connection, session: &SessionId, after: i64) -> Result<()> {
    // Before the messages: if it is closed now, the last one is among them.
    let standing = store::find_standing(session)?;
    let sent = send_page(connection, session, after)?;
    let Some(standing) = standing.filter(|_| sent < PAGE) else { return Ok(()) };
    if standing.status == Status::Closed {
        let data = live::ending(session, standing.close_reason, standing.closed_at);
        connection.send(&rooms::frame(Kind::SessionClosed.word(), &data, None));
    }
    // Nothing to send to one who is behind: the session was closed, which puts
    // its guests there, and is open again. It ends for this connection as well.
    if standing.status == Status::Closed || sent == 0 {
        connection.close(close::SESSION_CLOSED, "the chat is closed");
    }
    Ok(())
}

fn fill_admin(connection: &Connection, session: &SessionId, after: i64, since: Option<i64>) -> Result<()> {
    let mut after = after;
    if let Some(since) = since.filter(|_| after == 0) {
        after = store::find_seq_before(session, Timestamp::from_micros(since))?;
        connection.set_position(&session.to_string(), rooms::number(after));
    }
    send_page(connection, session, after).map(drop)
}

fn send_page(connection: &Connection, session: &SessionId, after: i64) -> Result<i64> {
    let messages = store::list_messages_after(session, after, PAGE)?;
    for message in &messages {
        connection.send(&rooms::message(session, message.seq, &json!(message)));
    }
    Ok(i64::try_from(messages.len()).unwrap_or(PAGE))
}

/// Says of rooms how far they should be: whatever was told and did not get here,
/// its number is in the table.
pub fn advance(rooms: &[String]) {
    let named: Vec<SessionId> = rooms.iter().filter_map(|room| rooms::session_of(room)).collect();
    let desk = rooms.iter().any(|room| room == DESK);
    let heads = match store::list_heads(&named, desk) {
        Ok(heads) => heads,
        Err(error) => return log::error(&format!("what was missed is not known: {error}")),
    };
    for head in &heads {
        if named.contains(&head.id) {
            rooms::advance_guests(&head.id, head.status, head.last_seq);
        }
        if desk {
            advance_room(DESK, &head.id.to_string(), rooms::number(head.last_seq));
        }
    }
}
