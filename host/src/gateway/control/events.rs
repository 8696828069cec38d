//! `GET /v1/events`: what happens, as it happens, as server-sent events.

use super::Control;
use crate::telemetry::operator_events::OperatorEvent;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt, stream};
use std::{convert::Infallible, sync::Arc};
use tokio_stream::wrappers::BroadcastStream;

/// Whoever comes back with `Last-Event-ID` gets what was missed, as far as it
/// is kept; 0 asks for all of that.
pub async fn follow(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (missed, following) = control.services.operator_events.listen(last.unwrap_or(u64::MAX));
    // A listener that is too slow misses some, which the ids show.
    let following = BroadcastStream::new(following).filter_map(async |event| event.ok());
    let events = stream::iter(missed).chain(following).map(|event| Ok(sse(&event)));
    // Without end, so the end of the host would wait for it.
    let events = events.take_until(control.stop.clone().cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn sse(event: &OperatorEvent) -> Event {
    let sent = Event::default().id(event.id.to_string()).event(event.kind.name());
    let data = serde_json::to_string(event).unwrap_or_default();
    sent.data(data)
}
