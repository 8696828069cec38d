//! Whether the guest of a session is there, for admins who want to know.
//!
//! Nothing is stored: it follows from the rooms that have connections, on
//! whichever host. What the hosts know of each other is some moments old, so of
//! a guest who goes on one host and comes on another nothing may be heard.

use crate::{
    domain::{SessionId, sessions::Status},
    rooms::{self, Kind, Told, WATCHERS},
    store,
};
use sdk::{
    Result, log,
    sockets::{self, Connection},
};
use serde_json::{Value, json};

/// Of a connection that ends because its host stops: it comes back elsewhere.
const GOING_AWAY: u16 = 1001;

/// Puts an admin among those who are told, and says who is there now.
pub fn watch(connection: &Connection) -> Result<Value> {
    connection.join(WATCHERS);
    let heads = store::list_heads(&[], true)?;
    let open = heads.into_iter().filter(|head| head.status == Status::Open).map(|head| head.id);
    let rooms: Vec<String> = open.map(|id| rooms::guests(&id)).collect();
    let online: Vec<SessionId> = sockets::present(&rooms).iter().filter_map(|room| rooms::session_of(room)).collect();
    Ok(json!({ "session_ids": online }))
}

/// Before a guest's connection has joined its room.
pub fn comes(session: &SessionId) {
    tell_if_alone(session, true);
}

/// After it has left.
pub fn goes(session: &SessionId, code: u16) {
    if code != GOING_AWAY {
        tell_if_alone(session, false);
    }
}

/// Only the first to come and the last to go make a difference.
fn tell_if_alone(session: &SessionId, is_online: bool) {
    let guests = rooms::guests(session);
    let present = sockets::present(&[guests.clone(), WATCHERS.to_owned()]);
    let is_watched = present.iter().any(|room| room == WATCHERS);
    if present.contains(&guests) || !is_watched {
        return;
    }
    let data = json!({ "session_id": session, "online": is_online });
    match rooms::draw_id() {
        Ok(event_id) => Told { session: session.clone(), event_id, kind: Kind::Presence, data }.relay(),
        // Not worth a guest's connection.
        Err(error) => log::error(&format!("presence is not told: {error:?}")),
    }
}
