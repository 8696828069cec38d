//! The shadow: GETs are repeated on a version that answers nobody, and its
//! answers are compared with those that were given.
//!
//! The client has its answer before the repetition begins. It runs read-only,
//! so that a version under test leaves no trace.

use super::{
    Gateway,
    dispatch::{context, method},
    error_response::ErrorResponse,
};
use crate::{
    capability::{
        Context,
        bindings::{Request, Response as Answer},
    },
    runtime::{Found, Version, method_name},
    telemetry::operator_events::Kind,
};
use axum::{body::Body, http::Method, response::Response};
use serde_json::Map;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// Repetitions at a time; requests beyond are not repeated, so that the shadow does
/// not slow the live version.
static RUNNING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(8)));

/// Larger answers are not compared.
const MAX_COMPARED_BYTES: usize = 1 << 20;

impl Gateway {
    /// Repeats a request of `live` on `shadow`, and hands its answer back.
    pub(super) async fn mirror(
        &self,
        live: &Version,
        shadow: Arc<Version>,
        path: &str,
        request: Request,
        answered: Result<Response, ErrorResponse>,
    ) -> Result<Response, ErrorResponse> {
        let Ok(slot) = Arc::clone(&RUNNING).try_acquire_owned() else { return answered };
        let (response, expected) = match answered {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
                    return Ok(Response::from_parts(head, Body::empty()));
                };
                let expected = (head.status.as_u16(), bytes.clone());
                (Ok(Response::from_parts(head, Body::from(bytes))), expected)
            }
            Err(error) => {
                let expected = (error.status.as_u16(), bytes::Bytes::new());
                (Err(error), expected)
            }
        };
        if expected.1.len() > MAX_COMPARED_BYTES {
            return response;
        }
        let (path, live, events) = (path.to_owned(), live.id.clone(), Arc::clone(&self.services.operator_events));
        tokio::spawn(async move {
            let difference = repeat(&shadow, &path, request, expected).await;
            drop(slot);
            let compared = shadow.stats.compared(difference.is_some());
            let Some(difference) = difference.filter(|_| compared.is_worth_telling()) else { return };
            let details = Map::from_iter([
                ("compared".to_owned(), compared.all.into()),
                ("different".to_owned(), compared.different.into()),
            ]);
            let message = format!("{}@{} answers otherwise than {live}: {difference}", shadow.component, shadow.id);
            events.emit_with(Kind::Shadow, &shadow.component, Some(shadow.id.as_str()), message, details);
        });
        response
    }
}

/// How the answer differs; None if it does not.
async fn repeat(
    shadow: &Version,
    path: &str,
    mut request: Request,
    (status, body): (u16, bytes::Bytes),
) -> Option<String> {
    let route = match shadow.find(method(&Method::GET), path, false) {
        Found::Route { typed, index, route, params } => {
            request.route = index;
            request.params = params;
            let context = Context { read_only: true, ..context(&request.id, shadow, None) };
            let shown = format!("{} {}", method_name(route.method), route.path);
            let (outcome, _) = shadow.call(typed, context, &request).await;
            (shown, outcome)
        }
        _ => return Some("it has no such route".to_owned()),
    };
    match route {
        (route, Err(failure)) => Some(format!("{route} {failure}")),
        (route, Ok(answer)) => differ(&answer, status, &body).map(|how| format!("{route} {how}")),
    }
}

fn differ(answer: &Answer, status: u16, body: &[u8]) -> Option<String> {
    if answer.status != status {
        return Some(format!("answers {} instead of {status}", answer.status));
    }
    (status < 500 && answer.body != body).then(|| {
        let at = answer.body.iter().zip(body).take_while(|(one, other)| one == other).count();
        format!("has another body, from byte {at} on")
    })
}
