//! What a client is told of its rate limits (contract 1.9): headers on each
//! answer, and 429 when there is none left.

use super::{Gateway, error_response::ErrorResponse};
use crate::{
    capability::bindings::Route,
    runtime::method_name,
    services::{
        rate_limit::{Admitted, Asking, Exceeded, Standing},
        tokens::Identity,
    },
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::net::IpAddr;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl Gateway {
    /// Counts a request, or refuses it with 429.
    pub(super) async fn count(
        &self,
        route: &Route,
        params: &[String],
        body: &[u8],
        identity: Option<&Identity>,
        client: IpAddr,
    ) -> Result<Admitted, ErrorResponse> {
        let method = method_name(route.method);
        let asking = Asking { method, route: &route.path, params, body, identity, client };
        self.limiter.admit(asking).await.map_err(|exceeded| too_many(&exceeded))
    }

    /// Counts the outcome and tells the client where it stands.
    pub(super) async fn settle(
        &self,
        admitted: Admitted,
        outcome: Result<Response, ErrorResponse>,
    ) -> Result<Response, ErrorResponse> {
        let mut response = outcome.unwrap_or_else(IntoResponse::into_response);
        let standings = admitted.settle(&self.limiter, response.status().as_u16()).await;
        if let Some(headers) = headers(&standings) {
            response.headers_mut().extend(headers);
        }
        Ok(response)
    }
}

/// Those of the limit with the fewest requests left.
fn headers(standings: &[Standing]) -> Option<[(HeaderName, HeaderValue); 3]> {
    let nearest = standings.iter().min_by_key(|standing| standing.remaining())?;
    Some([(LIMIT, nearest.max.into()), (REMAINING, nearest.remaining().into()), (RESET, nearest.ends_at.into())])
}

fn too_many(exceeded: &Exceeded) -> ErrorResponse {
    let seconds = exceeded.limit.seconds_left();
    let message = format!("Too many requests; try again in {seconds} seconds.");
    let mut error = ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", message)
        .with("details", json!({ "retry_after": seconds }))
        .header(header::RETRY_AFTER, seconds);
    for (name, value) in headers(&exceeded.standings).into_iter().flatten() {
        error = error.header(name, value);
    }
    error
}
