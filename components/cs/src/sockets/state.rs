//! What is kept with a connection from one call to the next.

use super::pace::{Pace, Refusals};
use crate::domain::SessionId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct State {
    /// None until the client has shown who it is.
    pub who: Option<Who>,
    /// Frames that were none.
    pub malformed: u32,
    pub typing: Pace,
    pub reading: Pace,
    pub refusals: Refusals,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    Guest {
        session: SessionId,
    },
    /// Whose name is the connection's caller.
    Admin {
        /// Microseconds since the Unix epoch, by the database's clock. Set for one
        /// who did not say what was seen: of a session that was closed when the
        /// connection began only what was written since then is news.
        since: Option<i64>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;

    #[test]
    fn a_state_is_read_as_it_was_written_and_by_other_versions() {
        let id = Uuid::parse("0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f").unwrap_or_else(|| unreachable!());
        for who in [None, Some(Who::Guest { session: SessionId(id) }), Some(Who::Admin { since: Some(5) })] {
            let state = State { who, malformed: 1, ..State::default() };
            let text = serde_json::to_string(&state).unwrap_or_default();
            assert_eq!(serde_json::from_str::<State>(&text).ok(), Some(state), "{text}");
        }
        let other = serde_json::from_str::<State>(r#"{"who":{"admin":{"since":null}},"later":1}"#).ok();
        assert_eq!(other.and_then(|state| state.who), Some(Who::Admin { since: None }));
    }
}
