//! A frame on its way to clients. What is in it lies in memory once, however
//! many of them get it.

use crate::capability::bindings::sockets::{Content, Outgoing};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone)]
pub struct Frame {
    pub message: Message,
    /// What it is about, and its place there.
    pub stream: Option<String>,
    pub number: Option<u64>,
    pub event_id: Option<String>,
}

impl Frame {
    /// About nothing.
    pub fn text(text: String) -> Frame {
        Frame { message: Message::Text(text.into()), stream: None, number: None, event_id: None }
    }
}

impl From<Outgoing> for Frame {
    fn from(Outgoing { content, stream, number, event_id }: Outgoing) -> Frame {
        let message = match content {
            Content::Text(text) => Message::Text(text.into()),
            Content::Binary(bytes) => Message::Binary(bytes.into()),
        };
        Frame { message, stream, number, event_id }
    }
}
