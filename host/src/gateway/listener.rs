//! Accepts connections and sees them out: bounded patience with slow clients,
//! and requests in flight are finished when the host stops.

use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// For the head of a request: a client that sends a byte now and then (a
/// "slowloris") holds a connection no longer than this. hyper counts the idle
/// time before it as well, so shorter would cut what proxies keep open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// However many files a process may open.
const MAX_CONNECTIONS: usize = 18_000;
/// What else a host has open: sessions of Postgres, compiled code, its own pipes.
const MAX_OTHER_FILES: usize = 2_000;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Address of the socket's other end; set for each connection.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

/// One of the connections that the host accepts, for as long as a clone of this
/// lives: a WebSocket is one after its request has been answered as well.
#[derive(Clone)]
pub struct ConnectionPermit(
    #[expect(dead_code, reason = "what matters is when it is dropped")] Arc<OwnedSemaphorePermit>,
);

impl ConnectionPermit {
    pub fn new(permit: OwnedSemaphorePermit) -> ConnectionPermit {
        ConnectionPermit(Arc::new(permit))
    }
}

/// Lets this process open as many files as the system permits: each connection
/// is one, and many a shell begins with a thousand.
pub fn open_many_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot open more files");
    }
}

/// How many connections a listener has at a time. Further ones wait to be
/// accepted.
pub fn max_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(MAX_CONNECTIONS, connections_of)
}

fn connections_of(files: usize) -> usize {
    (files - (files / 4).min(MAX_OTHER_FILES)).min(MAX_CONNECTIONS)
}

/// How many of them may be WebSockets: the rest is for requests, so that no
/// number of sockets shuts them out.
pub fn max_sockets() -> usize {
    max_connections() / 16 * 15
}

/// Serves until `stop`, then lets the requests under way finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    let builder = Arc::new(builder);
    let permits = Arc::new(Semaphore::new(max_connections()));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(permit.clone());
            router.clone().oneshot(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // An error here is a client that went away.
            let _ = connection.await;
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after {DRAIN_TIMEOUT:?} and are cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, std::net::IpAddr, ConnectionPermit)> {
    let permit = ConnectionPermit::new(Arc::clone(permits).acquire_owned().await.ok()?);
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and whole: waiting for more gains nothing.
            let _ = stream.set_nodelay(true);
            Some((stream, peer.ip(), permit))
        }
        Err(error) => {
            // Usually no free file descriptor, of which there may be one in a moment.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (files, connections) in [(256, 192), (1024, 768), (20_000, 18_000), (1 << 20, 18_000)] {
            assert_eq!(connections_of(files), connections);
        }
    }
}
