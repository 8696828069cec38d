//! From a request to the call of a `wasi:http` component and back.
//!
//! Such a component has no table of routes, so what the typed path knows of a
//! route is not known here: who is asking, which methods there are. The guest
//! gets the request as the client sent it, without credentials, and its answer
//! goes to the client without what is the host's to say.

use super::{Gateway, Line, REQUEST_ID, dispatch, error_response::ErrorResponse};
use crate::{
    capability::bindings::{
        Route,
        http::{Access, Method},
    },
    runtime::{
        Version,
        stats::{End, Running},
        wasi_http::WasiHttp,
    },
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header, request::Parts, uri::PathAndQuery},
    response::Response,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

const MOUNT: HeaderName = HeaderName::from_static("x-shema-mount");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers of an answer that are the host's on the typed path, where it knows
/// the whole body and forbids caches, and the guest's own here.
const GUEST_HEADERS: [HeaderName; 2] = [header::CONTENT_LENGTH, header::CACHE_CONTROL];

/// Where a request comes from, for the guest and for the log.
pub struct Origin<'a> {
    /// The prefix that the component is mounted under.
    pub mount: &'a str,
    pub request_id: &'a str,
    pub client: IpAddr,
}

impl Gateway {
    /// Answers through a component that knows no callers: they count for the
    /// rate limits alone.
    pub(super) async fn wasi_http(
        &self,
        version: &Arc<Version>,
        component: &WasiHttp,
        parts: &Parts,
        body: Bytes,
        origin: &Origin<'_>,
        line: &mut Line,
    ) -> Result<Response, ErrorResponse> {
        line.route = Some(format!("{}/*", origin.mount));
        let caller = self.caller(parts, Access::Optional, &version.component).await;
        let method = dispatch::method(&parts.method).unwrap_or(Method::Get);
        let route = Route { method, path: origin.mount.to_owned(), access: Access::Optional };
        let admitted = self.count(&route, &[], &body, caller.as_ref().ok(), origin.client).await?;
        let started = Instant::now();
        let answered = call(Arc::clone(version), component, parts, body, origin).await;
        line.call = started.elapsed();
        if answered.is_ok() {
            line.component = Some(version.label.clone());
        }
        self.settle(admitted, answered).await
    }
}

/// Runs the call, which lasts until the client has the whole body.
pub async fn call(
    version: Arc<Version>,
    component: &WasiHttp,
    parts: &Parts,
    body: Bytes,
    origin: &Origin<'_>,
) -> Result<Response, ErrorResponse> {
    let mut call = Call { _running: version.stats.begin(), started: Instant::now(), end: None, version };
    let (version, id) = (Arc::clone(&call.version), origin.request_id);
    let answer = match component.call(request(parts, body, origin)).await {
        Ok(answer) => answer,
        Err(failure) => {
            call.end = Some(End::from(&failure));
            return Err(dispatch::explain(&version.label, id, &failure));
        }
    };
    match checked(answer) {
        Ok(answer) => {
            call.end = Some(End::Answer(answer.status().as_u16()));
            Ok(answer.map(|body| Body::new(Counted { body, call })))
        }
        Err(problem) => {
            call.end = Some(End::Answer(StatusCode::BAD_GATEWAY.as_u16()));
            Err(dispatch::invalid_answer(&version.label, id, &problem))
        }
    }
}

/// A call under way, which is counted when it is over.
struct Call {
    version: Arc<Version>,
    _running: Running,
    started: Instant,
    /// None: the client has gone before there was an answer.
    end: Option<End>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            // What it computes is not known: other tasks run it.
            self.version.record(end, self.started.elapsed(), Duration::ZERO);
        }
    }
}

/// A body that ends the call with it.
struct Counted {
    body: Body,
    call: Call,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.call.end = Some(End::Trap);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The request as the guest sees it.
fn request(parts: &Parts, body: Bytes, origin: &Origin<'_>) -> Request<Bytes> {
    let mut headers: HeaderMap =
        parts.headers.iter().filter(|(name, _)| !dispatch::is_reserved_header(name.as_str())).map(owned).collect();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(MOUNT, origin.mount);
    set(REQUEST_ID, origin.request_id);
    set(FORWARDED_FOR, &origin.client.to_string());
    if !body.is_empty() {
        set(header::CONTENT_LENGTH, &body.len().to_string());
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri(parts);
    *request.headers_mut() = headers;
    request
}

fn owned((name, value): (&HeaderName, &HeaderValue)) -> (HeaderName, HeaderValue) {
    (name.clone(), value.clone())
}

/// With the authority that the client named. A guest has to get one; whether it
/// is ours is no more certain than in any `Host` header.
fn uri(parts: &Parts) -> Uri {
    let named = parts.uri.authority().map(|authority| authority.as_str());
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let with =
        |authority: &str| Uri::builder().scheme("http").authority(authority).path_and_query(path.clone()).build();
    let named = named.or(host).and_then(|authority| with(authority).ok());
    named.or_else(|| with("localhost").ok()).unwrap_or_default()
}

/// The answer without what is the host's to say, or why it cannot be sent.
fn checked(mut answer: Response) -> Result<Response, String> {
    let status = answer.status().as_u16();
    if !(200..=599).contains(&status) {
        return Err(format!("status {status}"));
    }
    let guests = |name: &HeaderName| {
        GUEST_HEADERS.contains(name) || !(dispatch::is_reserved_header(name.as_str()) || *name == REQUEST_ID)
    };
    let headers = std::mem::take(answer.headers_mut());
    let headers = headers.iter().filter(|(name, _)| guests(name)).map(owned);
    *answer.headers_mut() = headers.collect();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(request: axum::http::request::Builder) -> Parts {
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_guest_sees_the_request_without_credentials_and_with_its_mount() {
        let parts = parts(
            Request::post("/api/x/a%20b?c=d&c=e")
                .header("host", "shop.example:8080")
                .header("authorization", "Bearer secret")
                .header("cookie", "secret")
                .header("x-shema-mount", "/forged")
                .header("x-forwarded-for", "1.2.3.4")
                .header("connection", "close")
                .header("x-mine", "1")
                .header("x-mine", "2"),
        );
        let origin = Origin { mount: "/api/x", request_id: "0123456789", client: [10, 0, 0, 1].into() };
        let request = request(&parts, Bytes::from_static(b"body"), &origin);
        assert_eq!(request.uri(), "http://shop.example:8080/api/x/a%20b?c=d&c=e");
        let mut headers: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        headers.sort();
        let expected = [
            "content-length: 4",
            "x-forwarded-for: 10.0.0.1",
            "x-mine: 1",
            "x-mine: 2",
            "x-request-id: 0123456789",
            "x-shema-mount: /api/x",
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_request_without_a_good_host_gets_one() {
        let origin = Origin { mount: "/x", request_id: "0123456789", client: [10, 0, 0, 1].into() };
        for host in [None, Some("a b"), Some("")] {
            let mut builder = Request::get("/x");
            if let Some(host) = host {
                builder = builder.header("host", host);
            }
            assert_eq!(request(&parts(builder), Bytes::new(), &origin).uri(), "http://localhost/x", "{host:?}");
        }
    }

    #[test]
    fn what_is_the_hosts_to_say_is_dropped_from_an_answer() {
        let answer = Response::builder()
            .header("date", "today")
            .header("server", "mine")
            .header("x-request-id", "forged")
            .header("x-shema-component", "forged")
            .header("trailer", "x")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("content-length", "0")
            .body(Body::empty())
            .expect("an answer");
        let answer = checked(answer).expect("a good answer");
        let names: Vec<&str> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["set-cookie", "content-length"]);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn a_status_that_is_no_end_of_a_request_cannot_be_sent() {
        for status in [100, 101, 199, 600, 999] {
            let answer = Response::builder().status(status).body(Body::empty()).expect("an answer");
            assert_eq!(checked(answer).expect_err("refused"), format!("status {status}"));
        }
    }
}
