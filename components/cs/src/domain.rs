//! The rules of the chat, without input or output; one file per noun.

pub mod messages;
pub mod sessions;
pub mod token;

use sdk::id;

id! {
    /// The sender's own name for a message, the same when it is sent again.
    pub ClientMessageId;
    pub MessageId;
    pub SessionId;
    pub UserId;
}
