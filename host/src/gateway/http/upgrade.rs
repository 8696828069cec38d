//! From a request to a WebSocket.

use super::{Gateway, Line, dispatch, error_response::ErrorResponse};
use crate::{
    capability::{
        bindings::{
            Route,
            http::{Access, Method},
        },
        sockets::connection::Connection,
    },
    gateway::{
        listener::ConnectionPermit,
        sockets::serve::{Opening, Served, serve},
    },
    runtime::Version,
    services::tokens::{AuthError, Identity},
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use std::{net::IpAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig},
    },
};

/// Of the buffers that a connection has for good: frames are small.
const BUFFER_BYTES: usize = 2 << 10;
/// Of what the protocol sends by itself: answers to the pings of a client that does
/// not read them. What components send waits in the hub's queue.
const MAX_WRITE_BUFFER_BYTES: usize = 16 << 10;

impl Gateway {
    /// Opens a connection at an endpoint of `version`.
    pub(super) async fn upgrade(
        &self,
        version: &Arc<Version>,
        parts: &mut Parts,
        path: &str,
        client: IpAddr,
        line: &mut Line,
    ) -> Result<Response, ErrorResponse> {
        line.route = Some(path.to_owned());
        line.component = Some(version.label.clone());
        if !self.cors.admits(&parts.headers) {
            let message = "Pages of this origin may not open connections here.";
            return Err(ErrorResponse::new(StatusCode::FORBIDDEN, "AUTH_FORBIDDEN", message));
        }
        let route = Route { method: Method::Get, path: path.to_owned(), access: Access::Optional };
        let caller = self.caller(parts, route.access, &version.component).await;
        let admitted = self.count(&route, &[], &[], caller.as_ref().ok(), client).await?;
        let opened = self.open(version, parts, path, client, caller).await;
        self.settle(admitted, opened).await
    }

    async fn open(
        &self,
        version: &Arc<Version>,
        parts: &mut Parts,
        path: &str,
        client: IpAddr,
        caller: Result<Identity, AuthError>,
    ) -> Result<Response, ErrorResponse> {
        if self.hub.count() >= self.max_sockets {
            let message = "Too many connections are open; try again in a moment.";
            return Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message));
        }
        let frame_limit = version.frame_limit(path).unwrap_or_default();
        let (response, upgrade) = accept(parts).ok_or_else(|| {
            let message = "This path is for WebSocket connections: the request is not one that opens one.";
            ErrorResponse::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
                .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        })?;
        let slot = self.registry.slot(&version.component).ok_or_else(gone)?;
        let opening = Opening {
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: dispatch::component_headers(parts, &caller),
        };
        let failure = version.failure_frame(path).unwrap_or_default();
        let connection = Connection::new(&version.component, path, client, frame_limit, failure);
        if let Ok(Identity::User(user)) = &caller {
            connection.bind(user, user.principal.role.clone());
        }
        let served = Served { hub: Arc::clone(&self.hub), slot, timing: self.timing, stop: self.stop.clone() };
        let connection = Arc::new(connection);
        let permit = parts.extensions.remove::<ConnectionPermit>();
        tokio::spawn(async move {
            let _permit = permit;
            // A client that is gone by now has seen nothing of a connection.
            if let Some(socket) = socket(upgrade, frame_limit).await {
                serve(socket, connection, opening, served).await;
            }
        });
        Ok(response)
    }
}

/// The answer to a request that opens a connection, and the way to it.
fn accept(parts: &mut Parts) -> Option<(Response, OnUpgrade)> {
    let request = Request::from_parts(parts.clone(), ());
    let response = create_response_with_body(&request, Body::empty).ok()?;
    Some((response, parts.extensions.remove()?))
}

/// The bare connection: nothing of what HTTP needed is kept. On the heap, because a
/// task has room for each place that a value of it is moved to.
async fn socket(upgrade: OnUpgrade, frame_limit: usize) -> Option<Box<WebSocketStream<TcpStream>>> {
    let upgraded = downcast::<TokioIo<TcpStream>>(upgrade.await.ok()?).ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(frame_limit))
        .max_frame_size(Some(frame_limit));
    let (stream, read) = (upgraded.io.into_inner(), upgraded.read_buf.to_vec());
    Some(Box::new(WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await))
}

fn gone() -> ErrorResponse {
    let message = "This part of the service is not available now.";
    ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
}
