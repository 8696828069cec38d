//! One guest's conversation, and which admin holds it.

use super::{
    SessionId, UserId,
    messages::{self, Content, Message},
};
use schemars::JsonSchema;
use sdk::{Code, Email, Error, Item, Problems, Role, Text, Timestamp, choice, codes, request, row};
use serde::Serialize;
use serde_json::json;

pub const CHAT_SESSION_NOT_FOUND: Code = Code::new(404, "CHAT_SESSION_NOT_FOUND");
pub const CHAT_SESSION_CLOSED: Code = Code::new(409, "CHAT_SESSION_CLOSED");
pub const CHAT_ALREADY_ASSIGNED: Code = Code::new(409, "CHAT_ALREADY_ASSIGNED");

choice! {
    pub enum Status {
        Open = "open",
        Closed = "closed",
    }
}

choice! {
    /// Why a session was closed.
    pub enum Reason {
        ClosedByAdmin = "closed_by_admin",
        IdleTimeout = "idle_timeout",
    }
}

row! {
    /// An admin; guests get to know the name only.
    pub struct Admin {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub id: Option<UserId>,
        pub full_name: String,
    }

    pub struct Session {
        pub id: SessionId,
        pub guest_name: String,
        pub guest_email: String,
        pub school: Option<String>,
        pub class: Option<String>,
        pub status: Status,
        pub assigned_admin: Option<Admin> as "assigned_admin_",
        pub message_count: i64,
        pub last_message_at: Option<Timestamp>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub closed_at: Option<Timestamp>,
    }

    pub struct ListedSession {
        #[serde(flatten)]
        pub session: Session as "",
        pub last_message: Option<Message> as "newest_",
    }

    /// Where a session stands: its newest number, and how it ended if it did.
    pub struct Standing {
        pub status: Status,
        pub last_seq: i64,
        pub close_reason: Option<Reason>,
        pub closed_at: Option<Timestamp>,
    }

    /// Who holds a session. An admin who has been deleted or is none any more
    /// holds nothing, whatever the table says.
    pub struct Assignment {
        pub admin_id: UserId,
        pub admin_name: String,
        pub assigned_at: Timestamp,
    }
}

impl Item for ListedSession {
    const PLURAL: &'static str = "sessions";
}

impl Session {
    /// The session as its guest may see it.
    pub fn for_guest(self) -> Self {
        let assigned_admin = self.assigned_admin.map(|admin| Admin { id: None, ..admin });
        Self { assigned_admin, ..self }
    }
}

request! {
    pub struct NewSession {
        pub guest_name: Text<2, 255>,
        pub guest_email: Email,
        pub school: Option<Text<0, 255>>,
        pub class: Option<Text<0, 100>>,
        pub initial_message: Option<Content>,
    }
    where begins_shortly(initial_message)
}

fn begins_shortly(initial_message: &Option<Content>) -> Result<(), Problems> {
    let short = initial_message.as_ref().map_or(Ok(()), messages::is_short);
    short.map_err(|problems| problems.inside("initial_message"))
}

request! {
    pub struct SessionFilter {
        pub status: Option<Status>,
        pub assigned: Option<bool>,
        /// In the guest's name and email.
        pub search: Option<Text<0, 255>>,
    }
}

request! {
    pub struct OwnSessionFilter {
        pub status: Option<Status>,
    }
}

request! {
    pub struct Assignee {
        /// None: the caller claims the session.
        pub admin_id: Option<UserId>,
    }
}

request! {
    pub struct StatusChange {
        pub status: Status,
    }
}

/// CS-1.
#[derive(JsonSchema, Serialize)]
pub struct Started {
    pub session: Session,
    pub session_token: super::token::Token,
    pub message: Option<Message>,
}

/// CS-2.
#[derive(JsonSchema, Serialize)]
pub struct Conversation {
    pub session: Session,
    pub messages: Vec<Message>,
}

/// CS-7.
#[derive(JsonSchema, Serialize)]
pub struct DeskConversation {
    #[serde(flatten)]
    pub conversation: Conversation,
    pub assignment: Option<Assignment>,
}

/// CS-8.
#[derive(JsonSchema, Serialize)]
pub struct Assigned {
    pub session: Session,
    pub assignment: SessionAssignment,
}

#[derive(JsonSchema, Serialize)]
pub struct SessionAssignment {
    pub session_id: SessionId,
    #[serde(flatten)]
    pub assignment: Assignment,
}

impl Reason {
    /// What the system writes into the session.
    pub fn farewell(self) -> &'static str {
        match self {
            Self::ClosedByAdmin => "The chat has been closed by our customer service.",
            Self::IdleTimeout => "The chat has been closed because nobody wrote for a while.",
        }
    }
}

pub fn check_open(status: Status) -> Result<(), Error> {
    match status {
        Status::Open => Ok(()),
        Status::Closed => Err(Error::new(CHAT_SESSION_CLOSED, "The chat session is closed")),
    }
}

/// What another admin holds cannot be had.
pub fn check_holder(holder: &Assignment, admin: &UserId) -> Result<(), Error> {
    if holder.admin_id == *admin {
        return Ok(());
    }
    let error = Error::new(CHAT_ALREADY_ASSIGNED, "Another admin has this chat already");
    Err(error.with(json!({ "admin_id": holder.admin_id })))
}

/// `role` is None for a user that does not exist or is deleted.
pub fn check_assignee(role: Option<Role>) -> Result<(), Error> {
    match role {
        Some(Role::Admin) => Ok(()),
        Some(_) => Err(Error::new(codes::INVALID_USER_ROLE, "Only an admin can be assigned to a chat")),
        None => Err(Error::not_found("Admin")),
    }
}

pub fn not_found() -> Error {
    Error::new(CHAT_SESSION_NOT_FOUND, "Chat session not found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;

    fn user(id: &str) -> UserId {
        UserId(Uuid::parse(id).unwrap_or_else(|| unreachable!("{id} is a UUID")))
    }

    const ONE: &str = "0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f";
    const OTHER: &str = "1d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f";

    #[test]
    fn a_session_has_one_admin() {
        let holder =
            Assignment { admin_id: user(OTHER), admin_name: String::new(), assigned_at: Timestamp::from_seconds(0) };
        assert!(check_holder(&holder, &user(OTHER)).is_ok());
        let refused = check_holder(&holder, &user(ONE)).err();
        let refused = refused.as_ref().map(|error| (error.code(), error.details()));
        assert_eq!(refused, Some((CHAT_ALREADY_ASSIGNED, Some(&json!({ "admin_id": OTHER })))));
    }

    #[test]
    fn only_admins_are_assigned() {
        let code = |role| check_assignee(role).err().map(|error| error.code());
        assert_eq!(code(Some(Role::Admin)), None);
        assert_eq!(code(Some(Role::Instructor)), Some(codes::INVALID_USER_ROLE));
        assert_eq!(code(Some(Role::Student)), Some(codes::INVALID_USER_ROLE));
        assert_eq!(code(None), Some(codes::NOT_FOUND));
    }

    #[test]
    fn a_guest_sees_the_name_of_the_admin_only() {
        let admin = Admin { id: Some(user(ONE)), full_name: "Ann".into() };
        assert_eq!(json!(admin), json!({ "id": ONE, "full_name": "Ann" }));
        assert_eq!(json!(Admin { id: None, ..admin }), json!({ "full_name": "Ann" }));
    }
}
