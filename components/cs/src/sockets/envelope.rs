//! A client's frame: what it is, what it says, and what the answer is to name.

use serde_json::{Map, Value};

#[derive(Debug, PartialEq)]
pub struct Envelope {
    pub kind: String,
    pub data: Map<String, Value>,
    /// The client's, for the direct reply.
    pub id: Option<String>,
}

/// A text that is no envelope, and what there is of one.
#[derive(Debug, Default, PartialEq)]
pub struct Malformed {
    pub kind: Option<String>,
    pub id: Option<String>,
}

impl Envelope {
    pub fn read(text: &str) -> Result<Self, Malformed> {
        let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else { return Err(Malformed::default()) };
        let (id, is_good) = match frame.remove("id") {
            None | Some(Value::Null) => (None, true),
            Some(Value::String(id)) => (Some(id), true),
            Some(_) => (None, false),
        };
        match (frame.remove("type"), frame.remove("data")) {
            (Some(Value::String(kind)), Some(Value::Object(data))) if is_good => Ok(Self { kind, data, id }),
            (Some(Value::String(kind)), _) => Err(Malformed { kind: Some(kind), id }),
            _ => Err(Malformed { kind: None, id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_a_type_and_data_and_maybe_an_id() {
        let read = |text| Envelope::read(text).map(|frame| (frame.kind, frame.id));
        assert_eq!(read(r#"{"type":"ping","data":{}}"#), Ok(("ping".into(), None)));
        assert_eq!(read(r#"{"type":"","data":{},"id":null,"else":1}"#), Ok(("".into(), None)));
        assert_eq!(read(r#"{"type":"ping","data":{},"id":"7"}"#), Ok(("ping".into(), Some("7".into()))));
        for text in [
            "",
            "ping",
            "[]",
            "null",
            "{}",
            r#"{"type":"ping"}"#,
            r#"{"data":{}}"#,
            r#"{"type":1,"data":{}}"#,
            r#"{"type":"ping","data":[]}"#,
            r#"{"type":"ping","data":null}"#,
            r#"{"type":"ping","data":{},"id":7}"#,
        ] {
            assert_eq!(read(text).map_err(|malformed| malformed.id), Err(None), "{text}");
        }
        let malformed = Malformed { kind: Some("ping".into()), id: Some("7".into()) };
        assert_eq!(read(r#"{"type":"ping","id":"7"}"#), Err(malformed));
    }
}
