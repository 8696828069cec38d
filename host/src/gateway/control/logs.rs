//! `GET /v1/logs`: what components have said lately, one JSON object a line.

use super::{Control, refuse};
use crate::telemetry::recent_logs;
use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{convert::Infallible, sync::Arc};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

pub async fn all(State(control): State<Arc<Control>>, RawQuery(query): RawQuery) -> Response {
    answer(&control, None, query.as_deref())
}

pub async fn of_component(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    // A wrong name would look like a component that has nothing to say.
    if control.registry.slot(&name).is_none() {
        let message = format!("There is no component `{name}`.");
        return refuse(StatusCode::NOT_FOUND, "COMPONENT_NOT_FOUND", &message);
    }
    answer(&control, Some(&name), query.as_deref())
}

fn answer(control: &Control, component: Option<&str>, query: Option<&str>) -> Response {
    let body = match query.unwrap_or_default() {
        "" | "follow=false" => Body::from(recent_logs::recent(component).concat()),
        "follow=true" => {
            let (lines, follow) = recent_logs::follow(component);
            let before = stream::iter(lines);
            let after = stream::unfold(follow, async |mut follow| Some((follow.next().await?, follow)));
            // Without end, so the end of the host is awaited, too.
            let lines = before.chain(after).take_until(control.stop.clone().cancelled_owned());
            Body::from_stream(lines.map(Ok::<Bytes, Infallible>))
        }
        _ => {
            let message = "The only parameter here is `follow`, which is true or false.";
            return refuse(StatusCode::BAD_REQUEST, "INVALID_QUERY", message);
        }
    };
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}
