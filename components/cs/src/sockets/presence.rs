//! Whether the guest of a session is there, for admins who want to know.
//!
//! Nothing is stored: it follows from the rooms that have connections, on
//! whichever host. What the hosts know of each other is some moments old, so of
//! a guest who goes on one host and comes on another nothing may be heard.

use crate::{
    domain::{SessionId, sessions::Status},
    rooms::{self, Kind, Notification, WATCHERS},
    store,
};
use sdk::{
    Result, log,
    sockets::{self, Connection},
};
use serde_json::{Value, json};

/// The close code of a host that stops: the client reconnects to another one.
const GOING_AWAY: u16 = 1001;

/// Subscribes an admin to presence, and returns who is online now.
pub fn watch(connection: &Connection) -> Result<Value> {
    connection.join(WATCHERS);
    let heads = store::list_heads(&[], true)?;
    let open = heads.into_iter().filter(|head| head.status == Status::Open).map(|head| head.id);
    let rooms: Vec<String> = open.map(|id| rooms::guests(&id)).collect();
    let online: Vec<SessionId> = sockets::present(&rooms).iter().filter_map(|room| rooms::session_of(room)).collect();
    Ok(json!({ "session_ids": online }))
}

/// To be called before a guest's connection joins its room.
pub fn guest_connecting(session: &SessionId) {
    notify_watchers(session, true);
}

/// To be called after it has left.
pub fn guest_disconnected(session: &SessionId, code: u16) {
    if code != GOING_AWAY {
        notify_watchers(session, false);
    }
}

/// Only the first connection of a guest and the last one change the presence.
fn notify_watchers(session: &SessionId, is_online: bool) {
    let guests = rooms::guests(session);
    let present = sockets::present(&[guests.clone(), WATCHERS.to_owned()]);
    let is_watched = present.iter().any(|room| room == WATCHERS);
    if present.contains(&guests) || !is_watched {
        return;
    }
    let data = json!({ "session_id": session, "online": is_online });
    match rooms::random_id() {
        Ok(event_id) => Notification { session: session.clone(), event_id, kind: Kind::Presence, data }.publish(),
        // Not worth a guest's connection.
        Err(error) => log::error(&format!("presence is not told: {error:?}")),
    }
}
