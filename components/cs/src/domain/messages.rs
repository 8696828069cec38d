//! What is written in a session.

use super::{ClientMessageId, MessageId, SessionId, UserId};
use crate::settings;
use schemars::JsonSchema;
use sdk::{
    Error, Flaw, Int, Problem, Problems, Timestamp, choice,
    database::{Param, Value as Cell},
    field::{Field, Input},
    request, row,
};
use serde::Serialize;
use serde_json::{Value, json};

choice! {
    pub enum SenderType {
        Guest = "guest",
        Admin = "admin",
        System = "system",
    }
}

row! {
    pub struct Message {
        pub id: MessageId,
        pub session_id: SessionId,
        pub sender_type: SenderType,
        /// The sender in the words of assistants.
        pub role: String,
        pub sender_id: Option<UserId>,
        pub content: String,
        pub seq: i64,
        pub created_at: Timestamp,
    }
}

/// Who writes: always whom the credential names.
#[derive(Clone, Debug)]
pub enum Sender {
    Guest,
    Admin(UserId),
    System,
}

impl Sender {
    pub fn kind(&self) -> SenderType {
        match self {
            Self::Guest => SenderType::Guest,
            Self::Admin(_) => SenderType::Admin,
            Self::System => SenderType::System,
        }
    }

    pub fn id(&self) -> Option<&UserId> {
        match self {
            Self::Admin(id) => Some(id),
            Self::Guest | Self::System => None,
        }
    }
}

/// Text of a message: measured trimmed, kept as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(String);

impl Content {
    /// Characters, white space around them not counted.
    const MAX: usize = 1_000;
    /// All characters. Nobody types a page of blanks, and a message has to fit
    /// into one event, and a thousand of them into one answer.
    const MAX_SENT: usize = 4 * Self::MAX;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn length(&self) -> usize {
        self.0.trim().chars().count()
    }
}

impl Field for Content {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let text = input.text()?;
        if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')) {
            let message = "must not contain control characters other than newline and tab";
            return Err(Problem::new(Flaw::InvalidString, message).into());
        }
        let content = Self(text.to_owned());
        if content.length() < 1 {
            return Err(Problem::new(Flaw::TooSmall, "must not be empty").into());
        }
        if text.chars().count() > Self::MAX_SENT {
            return Err(Problem::new(Flaw::TooBig, "has too much white space around it").into());
        }
        is_at_most(&content, Self::MAX)?;
        Ok(content)
    }

    fn schema() -> Value {
        let pattern = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x08\x0b-\x1f\x7f-\x9f]*$";
        json!({ "type": "string", "minLength": 1, "maxLength": Self::MAX, "pattern": pattern })
    }
}

impl Param for Content {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

fn is_at_most(content: &Content, max: usize) -> Result<(), Problems> {
    if content.length() > max {
        return Err(Problem::new(Flaw::TooBig, format!("must have at most {max} characters")).into());
    }
    Ok(())
}

/// Whether it is as short as the operator wants messages.
pub fn is_short(content: &Content) -> Result<(), Problems> {
    is_at_most(content, settings::max_message_length())
}

request! {
    pub struct NewMessage {
        pub content alias message: Content,
        pub client_message_id: Option<ClientMessageId>,
    }
    where has_short_content(content)
}

fn has_short_content(content: &Content) -> Result<(), Problems> {
    is_short(content).map_err(|problems| problems.inside("content"))
}

/// A message that is stored under the sender's id for it: the answer to a
/// repeat, if it is the same sender who repeats.
pub fn repeated(stored: Message, by: &Sender) -> Result<Message, Error> {
    if stored.sender_type == by.kind() && stored.sender_id.as_ref() == by.id() {
        return Ok(stored);
    }
    Err(Problem::custom("client_message_id", "is the id of another sender's message").into())
}

/// Where a reader goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Cursor {
    /// At the newest, going back.
    Newest,
    Before(MessageId),
    After(MessageId),
    /// Behind the message of that number; 0 is the start.
    AfterSeq(i64),
}

/// Part of a session's messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub cursor: Cursor,
    pub limit: i64,
}

impl Window {
    const DEFAULT_LIMIT: i64 = 50;

    /// What everybody sees first.
    pub const NEWEST: Self = Self { cursor: Cursor::Newest, limit: Self::DEFAULT_LIMIT };
}

/// Declares the query of a window with its longest limit.
macro_rules! window {
    ($name:ident, $max_limit:literal) => {
        request! {
            pub struct $name {
                limit: Option<Int<1, $max_limit>>,
                before: Option<MessageId>,
                after: Option<MessageId>,
                after_seq: Option<Int<0, { i64::MAX }>>,
            }
            where is_one_cursor(before, after, after_seq)
        }

        impl From<$name> for Window {
            fn from(query: $name) -> Self {
                let cursor = match (query.before, query.after, query.after_seq) {
                    (Some(id), _, _) => Cursor::Before(id),
                    (_, Some(id), _) => Cursor::After(id),
                    (_, _, Some(seq)) => Cursor::AfterSeq(seq.get()),
                    (None, None, None) => Cursor::Newest,
                };
                Self { cursor, limit: query.limit.map_or(Self::DEFAULT_LIMIT, Int::get) }
            }
        }
    };
}

window!(GuestWindow, 100);
window!(AdminWindow, 1000);

fn is_one_cursor(
    before: &Option<MessageId>,
    after: &Option<MessageId>,
    after_seq: &Option<Int<0, { i64::MAX }>>,
) -> Result<(), Problem> {
    let name = if after_seq.is_some() { "after_seq" } else { "after" };
    match [before.is_some(), after.is_some(), after_seq.is_some()].into_iter().filter(|given| *given).count() {
        0 | 1 => Ok(()),
        _ => Err(Problem::custom(name, "cannot be combined with another cursor")),
    }
}

/// A cursor that names no message of the session, be it nobody's or another
/// session's: the two are not told apart.
pub fn unknown_cursor(name: &str) -> Error {
    Problem::custom(name, "is no message of this session").into()
}

/// What a window shows.
#[derive(JsonSchema, Serialize)]
pub struct Excerpt {
    pub messages: Vec<Message>,
    pub has_more: bool,
}

impl Excerpt {
    /// `found` in the direction of reading, and one more than `limit` if there
    /// is one.
    pub fn new(mut found: Vec<Message>, limit: i64, backwards: bool) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = found.len() > limit;
        found.truncate(limit);
        if backwards {
            found.reverse();
        }
        Self { messages: found, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;

    fn uuid(digit: char) -> Uuid {
        let text: String = "00000000-0000-4000-8000-000000000000".replace('0', &digit.to_string());
        Uuid::parse(&text).unwrap_or_else(|| unreachable!("{text} is a UUID"))
    }

    fn message(seq: i64, sender: &Sender) -> Message {
        Message {
            id: MessageId(uuid('a')),
            session_id: SessionId(uuid('b')),
            sender_type: sender.kind(),
            role: String::new(),
            sender_id: sender.id().cloned(),
            content: "Hi".into(),
            seq,
            created_at: Timestamp::from_seconds(0),
        }
    }

    fn judge(text: &str) -> Result<String, Flaw> {
        let content = Content::parse(Input::Json(&json!(text)));
        content.map(|content| content.0).map_err(|problems| problems.iter().next().map_or(Flaw::Custom, Problem::flaw))
    }

    #[test]
    fn content_is_measured_trimmed_and_kept_as_sent() {
        for text in [" a ", "<b>a</b>\n\t'; --", &"ü".repeat(1_000), &format!("  {}\n", "x".repeat(1_000))] {
            assert_eq!(judge(text).as_deref(), Ok(text));
        }
        for (text, flaw) in [
            ("", Flaw::TooSmall),
            (" \n\t\u{2003}", Flaw::TooSmall),
            (&"x".repeat(1_001), Flaw::TooBig),
            (&format!("x{}x", " ".repeat(999)), Flaw::TooBig),
            (&format!("x{}", " ".repeat(4_000)), Flaw::TooBig),
            ("a\u{0}", Flaw::InvalidString),
            ("a\rb", Flaw::InvalidString),
            ("a\u{1b}[31m", Flaw::InvalidString),
            ("a\u{7f}", Flaw::InvalidString),
            ("a\u{85}", Flaw::InvalidString),
        ] {
            assert_eq!(judge(text), Err(flaw), "{text:?}");
        }
        assert!(Content::parse(Input::Json(&json!(5))).is_err());
    }

    #[test]
    fn only_its_sender_can_repeat_a_message() {
        let (one, other) = (Sender::Admin(UserId(uuid('1'))), Sender::Admin(UserId(uuid('2'))));
        for (stored, by, same) in [
            (&Sender::Guest, &Sender::Guest, true),
            (&one, &one, true),
            (&one, &other, false),
            (&one, &Sender::Guest, false),
            (&Sender::Guest, &one, false),
        ] {
            assert_eq!(repeated(message(1, stored), by).is_ok(), same, "{stored:?} {by:?}");
        }
    }

    #[test]
    fn an_excerpt_reads_oldest_first_and_knows_whether_it_goes_on() {
        let found = |seqs: &[i64]| seqs.iter().map(|seq| message(*seq, &Sender::Guest)).collect();
        let read = |excerpt: Excerpt| {
            (excerpt.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), excerpt.has_more)
        };
        assert_eq!(read(Excerpt::new(found(&[5, 4, 3]), 2, true)), (vec![4, 5], true));
        assert_eq!(read(Excerpt::new(found(&[3, 4, 5]), 2, false)), (vec![3, 4], true));
        assert_eq!(read(Excerpt::new(found(&[3, 4]), 2, false)), (vec![3, 4], false));
        assert_eq!(read(Excerpt::new(vec![], 2, true)), (vec![], false));
    }

    #[test]
    fn there_is_one_cursor_at_most() {
        let (id, seq) = (|| Some(MessageId(uuid('a'))), || Int::parse(Input::Text("0")).ok());
        let field = |problem: Result<(), Problem>| problem.err().map(|problem| problem.field());
        assert_eq!(field(is_one_cursor(&None, &None, &None)), None);
        assert_eq!(field(is_one_cursor(&id(), &None, &None)), None);
        assert_eq!(field(is_one_cursor(&None, &None, &seq())), None);
        assert_eq!(field(is_one_cursor(&id(), &id(), &None)).as_deref(), Some("after"));
        assert_eq!(field(is_one_cursor(&id(), &None, &seq())).as_deref(), Some("after_seq"));
    }
}
