//! What a call of a component is for, and how it ended.

use crate::capability::bindings::{
    Request, Response,
    sockets::{Connection, Event},
};
use std::time::Duration;

/// For the probes at load, whose outcomes are constants, and for the health check.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// What a call is made for.
#[derive(Clone, Copy)]
pub enum Invocation<'a> {
    Request(&'a Request),
    Socket(&'a Connection, &'a Event),
    Published { channel: &'a str, payload: &'a str },
    Missed(&'a [String]),
}

pub enum Outcome {
    Response(Response),
    Done,
}

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no free instance within its wait")]
    Busy,
    #[error("overran its deadline of {0:?}")]
    Timeout(Duration),
    #[error("trapped: {0}")]
    Trap(String),
}
