//! Which sockets get what: all admins are in one room, the guests of a session in
//! another, and a frame about a session goes to one of them, or both.
//!
//! A frame can reach a host twice, from the call that made it and over the
//! session's channel, or never. The first one is delivered, duplicates are known
//! by the id of the event; missing messages are found by their numbers.

use crate::{
    domain::{SessionId, sessions::Status},
    store,
};
use sdk::{
    Error, Result, Uuid, choice, log,
    sockets::{self, Frame},
};
use serde_json::{Value, json};

/// The room of all admins.
pub const DESK: &str = "admins";
/// The room of those among them who want to know which guests are there.
pub const WATCHERS: &str = "watchers";

const CHANNEL: &str = "chat:session:";
const GUESTS: &str = "guest:";

choice! {
    /// What a frame about a session says.
    pub enum Kind {
        NewMessage = "new_message",
        SessionCreated = "session_created",
        SessionAssigned = "session_assigned",
        SessionStatusChanged = "session_status_changed",
        SessionClosed = "session_closed",
        Typing = "typing",
        MessagesRead = "messages_read",
        Presence = "presence",
    }
}

/// What the sockets of a session are notified of.
#[derive(Debug)]
pub struct Notification {
    pub session: SessionId,
    pub event_id: String,
    pub kind: Kind,
    /// All of it, as admins see it.
    pub data: Value,
}

/// The room of a session's guests.
pub fn guests(session: &SessionId) -> String {
    format!("{GUESTS}{session}")
}

/// The session whose guests' room that is.
pub fn session_of(room: &str) -> Option<SessionId> {
    room.strip_prefix(GUESTS).and_then(Uuid::parse).map(SessionId)
}

/// A frame as clients read it; `id` is that of the frame which it answers.
pub fn frame(kind: &str, data: &Value, id: Option<&str>) -> Frame {
    let mut frame = json!({ "type": kind, "data": data });
    if let Some(id) = id {
        frame["id"] = id.into();
    }
    Frame::text(frame.to_string())
}

/// A message at its place in the session.
pub fn message(session: &SessionId, seq: i64, data: &Value) -> Frame {
    frame(Kind::NewMessage.word(), data, None).about(session).numbered(number(seq))
}

/// Numbers of messages are never below 0.
pub fn number(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

impl Notification {
    /// What was published on a session's channel; None for what this version
    /// does not know.
    pub fn read(channel: &str, payload: &str) -> Option<Self> {
        let session = channel.strip_prefix(CHANNEL).and_then(Uuid::parse).map(SessionId)?;
        let mut payload: Value = serde_json::from_str(payload).ok()?;
        let kind = payload["type"].as_str().and_then(Kind::parse)?;
        let event_id = payload["eventId"].as_str()?.to_owned();
        let data = payload["data"].take();
        (data.is_object()).then_some(Self { session, event_id, kind, data })
    }

    /// Sends the frames to the sockets of this host.
    pub fn deliver(&self) {
        for (room, data) in self.audiences() {
            sockets::broadcast(&room, &self.frame(&data));
        }
        if self.kind == Kind::SessionClosed {
            finish_guests(&self.session);
        }
    }

    /// Sends the frames to the sockets of all hosts; of the others only while Redis
    /// is there.
    pub fn publish(&self) {
        self.deliver();
        let payload = json!({ "type": self.kind, "data": self.data, "eventId": self.event_id });
        sockets::publish(&format!("{CHANNEL}{}", self.session), &payload);
    }

    fn frame(&self, data: &Value) -> Frame {
        let frame = match (self.kind, self.data["seq"].as_i64()) {
            (Kind::NewMessage, Some(seq)) => message(&self.session, seq, data),
            _ => frame(self.kind.word(), data, None).about(&self.session),
        };
        frame.named(&self.event_id)
    }

    /// The rooms that get a frame, with its data. Guests see only the admin's name.
    fn audiences(&self) -> Vec<(String, Value)> {
        let desk = || (DESK.to_owned(), self.data.clone());
        let guests = |data| (guests(&self.session), data);
        match self.kind {
            Kind::NewMessage | Kind::SessionStatusChanged => vec![desk(), guests(self.data.clone())],
            Kind::SessionAssigned => {
                let admin = json!({ "full_name": self.data["admin"]["full_name"] });
                vec![desk(), guests(json!({ "session_id": self.session, "admin": admin }))]
            }
            // The guest knows of the first, and `finish_guests` tells the last.
            Kind::SessionCreated | Kind::SessionClosed => vec![desk()],
            Kind::Typing | Kind::MessagesRead if self.data["role"] == ADMIN => vec![guests(self.data.clone())],
            Kind::Typing | Kind::MessagesRead => vec![desk()],
            Kind::Presence => vec![(WATCHERS.to_owned(), self.data.clone())],
        }
    }
}

/// Who types or reads, in the words of messages.
pub const ADMIN: &str = "assistant";
pub const GUEST: &str = "user";

/// The id of an event that is not stored.
pub fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("no randomness: {error}")))?;
    Ok(uuid(bytes))
}

/// A UUID of version 4.
fn uuid(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// Disconnects the guests of a closed session once they have all messages.
/// Advancing to the number after the last message puts each of them behind; the
/// replay then sends what is missing, and the end (`replay`).
fn finish_guests(session: &SessionId) {
    match store::find_standing(session) {
        Ok(Some(standing)) => advance_guests(session, standing.status, standing.last_seq),
        Ok(None) => {}
        // They stay connected until `missed` finds them.
        Err(error) => log::error(&format!("the guests of a closed session stay: {error}")),
    }
}

/// Says how far the session has got; guests who have less are behind.
pub fn advance_guests(session: &SessionId, status: Status, last_seq: i64) {
    sockets::advance(&guests(session), &session.to_string(), goal(status, last_seq));
}

/// How far a guest is to get: in a closed session past the last message, where
/// the end is.
pub fn goal(status: Status, last_seq: i64) -> u64 {
    match status {
        Status::Open => number(last_seq),
        Status::Closed => number(last_seq) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::sockets::Content;

    const SESSION: &str = "0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f";

    fn notification(kind: &str, data: Value) -> Notification {
        let payload = json!({ "type": kind, "data": data, "eventId": "e" }).to_string();
        Notification::read(&format!("chat:session:{SESSION}"), &payload).unwrap_or_else(|| unreachable!("{payload}"))
    }

    #[test]
    fn what_is_published_is_read_or_passed_over() {
        let channel = format!("chat:session:{SESSION}");
        let good = r#"{"type":"typing","data":{},"eventId":"e"}"#;
        assert!(Notification::read(&channel, good).is_some());
        for (channel, payload) in [
            ("chat:session:x", good),
            ("other", good),
            (&*channel, "{}"),
            (&*channel, "no json"),
            (&*channel, r#"{"type":"later","data":{},"eventId":"e"}"#),
            (&*channel, r#"{"type":"typing","data":[],"eventId":"e"}"#),
            (&*channel, r#"{"type":"typing","data":{}}"#),
        ] {
            assert!(Notification::read(channel, payload).is_none(), "{channel} {payload}");
        }
    }

    #[test]
    fn messages_have_their_place_and_frames_their_name() {
        let frame = |notification: Notification| notification.frame(&notification.data);
        let message = frame(notification("new_message", json!({ "seq": 7 })));
        assert_eq!((message.number, message.stream.as_deref()), (Some(7), Some(SESSION)));
        assert_eq!(message.event_id.as_deref(), Some("e"));
        let Content::Text(text) = message.content else { unreachable!("frames of the chat are text") };
        assert_eq!(text, r#"{"data":{"seq":7},"type":"new_message"}"#);
        let other = frame(notification("session_assigned", json!({ "seq": 7 })));
        assert_eq!((other.number, other.stream.as_deref()), (None, Some(SESSION)));
    }

    #[test]
    fn each_room_hears_what_is_for_it() {
        let rooms = |kind: &str, role: &str| {
            let notification = notification(kind, json!({ "session_id": SESSION, "role": role }));
            notification.audiences().into_iter().map(|(room, _)| room).collect::<Vec<_>>().join(" ")
        };
        let (guests, both) = (&*format!("guest:{SESSION}"), &*format!("admins guest:{SESSION}"));
        for (kind, role, expected) in [
            ("new_message", "", both),
            ("session_status_changed", "", both),
            ("session_assigned", "", both),
            ("session_created", "", DESK),
            ("session_closed", "", DESK),
            ("typing", GUEST, DESK),
            ("typing", ADMIN, guests),
            ("messages_read", GUEST, DESK),
            ("messages_read", ADMIN, guests),
            ("presence", "", WATCHERS),
        ] {
            assert_eq!(rooms(kind, role), expected, "{kind} {role}");
        }
    }

    #[test]
    fn guests_see_of_an_admin_the_name_only() {
        let data = json!({ "session_id": SESSION, "admin": { "id": "1", "full_name": "Ann" } });
        let heard: Vec<_> =
            notification("session_assigned", data.clone()).audiences().into_iter().map(|(_, data)| data).collect();
        assert_eq!(heard, [data, json!({ "session_id": SESSION, "admin": { "full_name": "Ann" } })]);
    }

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([255; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(random_id().is_ok_and(|id| Uuid::parse(&id).is_some()));
    }

    #[test]
    fn a_room_names_its_session() {
        assert_eq!(Uuid::parse(SESSION).map(|id| session_of(&guests(&SessionId(id))).is_some()), Some(true));
        assert_eq!(session_of(DESK), None);
        assert_eq!(session_of("guest:x"), None);
    }
}
