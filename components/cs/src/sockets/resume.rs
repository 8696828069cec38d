//! What a client has seen already: one number from a guest, one per session from
//! an admin.

use crate::domain::SessionId;
use sdk::{
    Flaw, Problem, Problems,
    field::{Field, Input},
};
use serde_json::{Value, json};

/// The number of the last message that was seen, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen(i64);

impl Seen {
    pub const NOTHING: Self = Self(0);

    /// What was seen of a session that has got as far as `head`: more than there
    /// is cannot have been seen.
    pub fn up_to(self, head: i64) -> i64 {
        self.0.min(head)
    }
}

impl Field for Seen {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        match input.integer() {
            Ok(seq) if seq >= 0 => Ok(Self(seq)),
            // A number over all heads, however large, is an integer all the same.
            Err(problem) if problem.flaw() == Flaw::TooBig => Ok(Self(i64::MAX)),
            Err(problem) if problem.flaw() != Flaw::TooSmall => Err(problem.into()),
            _ => Err(Problem::new(Flaw::TooSmall, "must be at least 0").into()),
        }
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0 })
    }
}

/// The same for many sessions, as a JSON object or the text of one. A session
/// that is named twice, in either case, counts with what it was named with last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenOf(Vec<(SessionId, Seen)>);

impl SeenOf {
    pub fn sessions(&self) -> Vec<SessionId> {
        self.0.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Of a session that was not named nothing was seen.
    pub fn of(&self, session: &SessionId) -> Seen {
        self.0.iter().rev().find(|(id, _)| id == session).map_or(Seen::NOTHING, |(_, seen)| *seen)
    }
}

impl Field for SeenOf {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let no_object = || Problem::new(Flaw::InvalidType, "must be an object of numbers by session");
        let read;
        let value = match input {
            Input::Json(value) => value,
            Input::Text(text) => {
                read = serde_json::from_str(text).map_err(|_| no_object())?;
                &read
            }
        };
        let Value::Object(object) = value else { return Err(no_object().into()) };
        let mut problems = Problems::default();
        let mut all = Vec::with_capacity(object.len());
        for (key, value) in object {
            let session = SessionId::parse(Input::Text(key)).map_err(|problems| problems.inside(key.as_str()));
            let seen = Seen::parse(Input::Json(value)).map_err(|problems| problems.inside(key.as_str()));
            if let (Some(session), Some(seen)) = (problems.take(session), problems.take(seen)) {
                all.push((session, seen));
            }
        }
        problems.none_or(Self(all))
    }

    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": Seen::schema() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f";

    fn seen(value: Value) -> Option<i64> {
        Seen::parse(Input::Json(&value)).ok().map(|seen| seen.0)
    }

    #[test]
    fn a_number_is_whole_and_not_negative() {
        for (value, expected) in [
            (json!(0), Some(0)),
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!(1e300), Some(i64::MAX)),
            (json!(u64::MAX), Some(i64::MAX)),
            (json!(-1), None),
            (json!(-1e300), None),
            (json!(1.5), None),
            (json!("1"), None),
            (json!([]), None),
            (json!(null), None),
        ] {
            assert_eq!(seen(value.clone()), expected, "{value}");
        }
        let asked = |text| Seen::parse(Input::Text(text)).ok().map(|seen| seen.0);
        assert_eq!([asked("3"), asked("-1"), asked("3x"), asked("")], [Some(3), None, None, None]);
    }

    #[test]
    fn more_than_there_is_counts_as_all() {
        assert_eq!([Seen(3).up_to(5), Seen(9).up_to(5), Seen::NOTHING.up_to(5)], [3, 5, 0]);
    }

    #[test]
    fn a_map_has_ids_and_numbers() {
        let map = json!({ SESSION: 4 });
        for input in [Input::Json(&map), Input::Text(&map.to_string())] {
            let map = SeenOf::parse(input).ok();
            let seen = map.iter().flat_map(|map| map.sessions().into_iter().map(|id| map.of(&id).0));
            assert_eq!(seen.collect::<Vec<_>>(), [4]);
        }
        let upper = SeenOf::parse(Input::Json(&json!({ SESSION.to_uppercase(): 4 }))).ok();
        assert_eq!(upper, SeenOf::parse(Input::Json(&map)).ok());
        for value in
            [json!([]), json!("x"), json!(1), json!({ "x": 1 }), json!({ SESSION: -1 }), json!({ SESSION: null })]
        {
            assert!(SeenOf::parse(Input::Json(&value)).is_err(), "{value}");
        }
        assert!(SeenOf::parse(Input::Text("{")).is_err());
    }

    #[test]
    fn of_a_session_that_is_not_named_nothing_was_seen() {
        let session = SessionId::parse(Input::Text(SESSION)).unwrap_or_else(|_| unreachable!("{SESSION} is a UUID"));
        assert_eq!(SeenOf::default().of(&session), Seen::NOTHING);
    }
}
