//! Why a change was not made: a status, a code and a plain sentence.

use super::table::{self, Unprepared};
use crate::runtime::gate;
use axum::http::StatusCode;
use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Gate(#[from] gate::Error),
    #[error(transparent)]
    Table(#[from] table::Error),
    #[error("{message}")]
    Refused { status: StatusCode, code: &'static str, message: String, details: Value },
}

impl Error {
    /// Status, code and details for the operator.
    pub fn parts(&self) -> (StatusCode, &'static str, Value) {
        match self {
            Error::Gate(gate::Error::Rejected(rejection)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, rejection.code, rejection.details.clone())
            }
            Error::Gate(gate::Error::Host(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", Value::Null)
            }
            Error::Table(_) => (StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", Value::Null),
            Error::Refused { status, code, details, .. } => (*status, code, details.clone()),
        }
    }

    fn new(status: StatusCode, code: &'static str, message: String) -> Error {
        Error::Refused { status, code, message, details: Value::Null }
    }

    pub(super) fn component_not_found(name: &str) -> Error {
        Error::new(StatusCode::NOT_FOUND, "COMPONENT_NOT_FOUND", format!("There is no component `{name}`."))
    }

    pub(super) fn version_not_found(name: &str, version: &str) -> Error {
        let message = format!("There is no version `{version}` of {name}; `shema status` lists those there are.");
        Error::new(StatusCode::NOT_FOUND, "VERSION_NOT_FOUND", message)
    }

    pub(super) fn no_previous(name: &str) -> Error {
        let message = format!("There is no version of {name} that was live before the present one.");
        Error::new(StatusCode::CONFLICT, "NO_PREVIOUS_VERSION", message)
    }

    pub(super) fn overtaken(name: &str) -> Error {
        let message = format!("Somebody else has changed {name} at this moment; look at it and try again.");
        Error::new(StatusCode::CONFLICT, "CONFLICT", message)
    }

    pub(super) fn not_prepared(nodes: &[Unprepared]) -> Error {
        let problem = |node: &Unprepared| node.problem.clone().unwrap_or_default();
        let each: Vec<String> = nodes
            .iter()
            .map(|node| format!("The host at {} is not ready for it: {}", node.node, problem(node)))
            .collect();
        let details = nodes.iter().map(|node| json!({ "node": node.node, "reason": problem(node) })).collect();
        Error::Refused {
            status: StatusCode::CONFLICT,
            code: "NODE_NOT_PREPARED",
            message: format!("Nothing was changed. {}", each.join(" ")),
            details,
        }
    }

    pub(super) fn mount_taken(mount: &str, owner: &str) -> Error {
        let message = format!("The mount {mount} belongs to {owner} already.");
        Error::new(StatusCode::CONFLICT, "MOUNT_TAKEN", message)
    }

    pub(super) fn bad_mount(mount: &str) -> Error {
        let message = format!("`{mount}` is not a mount such as /api/things.");
        Error::new(StatusCode::BAD_REQUEST, "INVALID_MOUNT", message)
    }

    pub(super) fn bad_name(name: &str) -> Error {
        let message = format!(
            "`{name}` is not a name: lower-case letters, digits and dashes, a letter first, at most 63 of them."
        );
        Error::new(StatusCode::BAD_REQUEST, "INVALID_NAME", message)
    }

    pub(super) fn bad_config(why: &str) -> Error {
        let message = format!("The host's configuration, which is read again at a deploy, is not valid: {why}");
        Error::new(StatusCode::CONFLICT, "INVALID_CONFIG", message)
    }
}
