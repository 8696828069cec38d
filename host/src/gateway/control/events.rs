//! `GET /v1/events`: what happens, as it happens, as server-sent events.

use super::Control;
use crate::telemetry::operator_events::Notice;
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
    let (missed, following) = control.gateway.shared.notices.listen(last.unwrap_or(u64::MAX));
    // A listener that is too slow misses some, which the ids show.
    let following = BroadcastStream::new(following).filter_map(async |notice| notice.ok());
    let notices = stream::iter(missed).chain(following).map(|notice| Ok(event(&notice)));
    // Without end, so the end of the host would wait for it.
    let notices = notices.take_until(control.stop.clone().cancelled_owned());
    Sse::new(notices).keep_alive(KeepAlive::default())
}

fn event(notice: &Notice) -> Event {
    let event = Event::default().id(notice.id.to_string()).event(notice.kind.name());
    let data = serde_json::to_string(notice).unwrap_or_default();
    event.data(data)
}
