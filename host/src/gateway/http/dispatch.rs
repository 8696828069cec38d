//! From a request to a component's call and back.

use super::{Gateway, Line, error_response::ErrorResponse};
use crate::{
    capability::{
        Context,
        bindings::{
            Request, Response as Answer,
            http::{Access, Caller, Method as RouteMethod},
        },
    },
    gateway::listener::Peer,
    runtime::{Version, call::Failure, method_name, version::Typed},
    services::tokens::{AuthError, Identity, PresentedToken},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const MAX_BODY_BYTES: usize = 1 << 20;
/// What is read of a body beyond, so that the client gets to read its answer.
const MAX_DISCARDED_BYTES: usize = 8 << 20;
/// For the whole body; a slower client holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");
const SERVICE_NAME: HeaderName = HeaderName::from_static("x-service-name");
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Headers that are the host's business, in either direction.
const HOST_HEADERS: [&str; 16] = [
    "authorization",
    "cookie",
    "forwarded",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "host",
    "date",
    "server",
    "cache-control",
];
const HOST_PREFIXES: [&str; 5] = ["x-shema-", "x-service-", "x-forwarded-", "access-control-", "x-ratelimit-"];

pub fn method(method: &Method) -> Option<RouteMethod> {
    match *method {
        // hyper leaves the body out of an answer to HEAD (RFC 9110, 9.3.2).
        Method::GET | Method::HEAD => Some(RouteMethod::Get),
        Method::POST => Some(RouteMethod::Post),
        Method::PUT => Some(RouteMethod::Put),
        Method::PATCH => Some(RouteMethod::Patch),
        Method::DELETE => Some(RouteMethod::Delete),
        _ => None,
    }
}

pub fn wrong_method(methods: &[RouteMethod]) -> ErrorResponse {
    let mut names: Vec<&str> = methods.iter().map(|method| method_name(*method)).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    let allow = names.join(", ");
    let message = format!("This path answers {allow} only.");
    let error = ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
    match HeaderValue::from_str(&allow) {
        Ok(allow) => error.header(header::ALLOW, allow),
        Err(_) => error,
    }
}

/// The address of the socket's other end.
pub fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0)
}

/// A body as far as it came.
pub struct Received {
    /// Empty for methods that have none; 413 if it is too large.
    pub body: Result<Bytes, ErrorResponse>,
    /// Nothing of it is left on the connection. Else the connection cannot be
    /// used again, and has to say so.
    pub complete: bool,
}

/// Reads the body to its end, before anything is judged: an answer that
/// overtakes its request has the connection closed under the client's next one.
pub async fn receive(parts: &Parts, mut body: Body) -> Received {
    if body.is_end_stream() {
        return Received { body: Ok(Bytes::new()), complete: true };
    }
    let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method);
    let mut bytes = Vec::new();
    let mut length = 0;
    let read = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if has_body && length <= MAX_BODY_BYTES {
                bytes.extend_from_slice(&data);
            } else if length > MAX_DISCARDED_BYTES {
                return false;
            }
        }
        true
    };
    let complete = tokio::time::timeout(BODY_TIMEOUT, read).await;
    let refuse = |status, code, message: String| Err(ErrorResponse::new(status, code, message));
    let body = match complete {
        _ if !has_body => Ok(Bytes::new()),
        _ if length > MAX_BODY_BYTES => {
            let message = format!("The body is larger than {MAX_BODY_BYTES} bytes.");
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
        }
        Ok(true) => Ok(bytes.into()),
        Ok(false) => {
            refuse(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", "The body ended before it was complete.".into())
        }
        Err(_) => {
            let message = format!("The body did not arrive within {} seconds.", BODY_TIMEOUT.as_secs());
            refuse(StatusCode::GATEWAY_TIMEOUT, "REQUEST_TIMEOUT", message)
        }
    };
    Received { body, complete: complete.unwrap_or(false) }
}

impl Gateway {
    /// Who is asking, by the header that the route looks at.
    pub(super) async fn caller(&self, parts: &Parts, access: Access, component: &str) -> Result<Identity, AuthError> {
        let given = |name: HeaderName| parts.headers.get(name).map(HeaderValue::as_bytes);
        let service = given(SERVICE_TOKEN).map(|token| {
            self.services.signer.verify_service(token, given(SERVICE_NAME), component).map(Identity::Service)
        });
        match (access, service) {
            (Access::Public | Access::Internal, _) => Err(AuthError::Missing),
            (Access::Service | Access::UserOrService, Some(service)) => service,
            (Access::Service, None) => Err(AuthError::ServiceMissing),
            _ => self.services.verifier.verify(given(header::AUTHORIZATION)).await.map(Identity::User),
        }
    }
}

/// Whether whoever asks may pass a route of this access.
pub fn admit(caller: &Result<Identity, AuthError>, access: Access) -> Result<(), ErrorResponse> {
    let Err(refused) = caller else { return Ok(()) };
    let message = match refused {
        AuthError::Unavailable => "The database is not reachable now, so the access token cannot be checked.",
        _ if [Access::Public, Access::Optional].contains(&access) => return Ok(()),
        AuthError::Missing => "This needs an access token in the Authorization header.",
        AuthError::Format => "The Authorization header is not `Bearer <token>`.",
        AuthError::Invalid => "The access token is not valid, or its session has ended.",
        AuthError::Expired => "The access token has expired.",
        AuthError::Unauthorized => "The user of this access token does not exist any more.",
        AuthError::NoRole => "The access token names no role.",
        AuthError::ServiceMissing => "This needs a service token in the X-Service-Token header.",
        AuthError::ServiceInvalid => "The service token is not valid here.",
    };
    let status = match refused {
        AuthError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    Err(ErrorResponse::new(status, refused.code(), message))
}

/// The request as the component sees it.
pub fn request(
    route: u32,
    params: Vec<String>,
    parts: &Parts,
    body: Bytes,
    caller: &Result<Identity, AuthError>,
    id: &str,
) -> Request {
    let headers = component_headers(parts, caller);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Request {
        route,
        params,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: body.into(),
        caller: match caller {
            Ok(Identity::User(user)) => Caller::User(user.principal.clone().into()),
            Ok(Identity::Service(name)) => Caller::Service(name.clone()),
            Err(_) => Caller::Anonymous,
        },
        id: id.to_owned(),
        received_at: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The headers as the component sees them.
pub fn component_headers(parts: &Parts, caller: &Result<Identity, AuthError>) -> Vec<(String, String)> {
    let mut headers = visible_headers(&parts.headers);
    // Tells a component that has a credential of its own beside the bearer why
    // the bearer did not count. Clients cannot send headers of this prefix.
    if let Err(refused) = caller
        && *refused != AuthError::Missing
    {
        headers.push(("x-shema-refusal".into(), refused.code().into()));
    }
    headers
}

pub fn is_reserved_header(name: &str) -> bool {
    HOST_HEADERS.contains(&name) || HOST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn visible_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !is_reserved_header(name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// What the host knows of a request that `version` answers.
pub fn context(request_id: &str, version: &Version, token: Option<PresentedToken>) -> Context {
    Context { request_id: request_id.to_owned(), version: version.id.to_string(), token, ..Context::default() }
}

/// Runs the call. Guest text never gets into an error: a component that failed
/// has sent nothing.
pub async fn call(
    version: &Version,
    typed: &Typed,
    request: Request,
    token: Option<PresentedToken>,
    line: &mut Line,
) -> Result<Response, ErrorResponse> {
    let context = context(&request.id, version, token);
    let started = Instant::now();
    let (outcome, usage) = version.call(typed, context, &request).await;
    line.call = started.elapsed();
    line.usage = usage;
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) => return Err(explain(&version.label, &request.id, &failure)),
    };
    let max_bytes = typed.pool.limits().max_response_kib << 10;
    if answer.body.len() > max_bytes {
        tracing::error!(component = ?version.label, request_id = request.id, "the answer is over max_response_kib");
        return Err(internal_error());
    }
    let response = respond(answer).map_err(|problem| invalid_answer(&version.label, &request.id, &problem))?;
    line.component = Some(version.label.clone());
    Ok(response)
}

fn internal_error() -> ErrorResponse {
    ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", "The service failed unexpectedly.")
}

pub fn invalid_answer(label: &HeaderValue, request_id: &str, problem: &str) -> ErrorResponse {
    tracing::error!(component = ?label, request_id, "the answer is invalid: {problem}");
    ErrorResponse::new(
        StatusCode::BAD_GATEWAY,
        "SERVICE_INVALID_RESPONSE",
        "The service gave an answer that cannot be sent.",
    )
}

pub fn explain(label: &HeaderValue, request_id: &str, failure: &Failure) -> ErrorResponse {
    tracing::error!(component = ?label, request_id, "a call {failure}");
    match failure {
        Failure::Trap(_) => internal_error(),
        Failure::Timeout(_) => {
            ErrorResponse::new(StatusCode::GATEWAY_TIMEOUT, "REQUEST_TIMEOUT", "The service did not answer in time.")
        }
        Failure::Busy => {
            let message = "The service is too busy now; try again in a moment.";
            ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
    }
}

fn respond(answer: Answer) -> Result<Response, String> {
    if !(200..=599).contains(&answer.status) {
        return Err(format!("status {}", answer.status));
    }
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(|error| error.to_string())?;
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        if is_reserved_header(name.as_str()) || name == super::REQUEST_ID {
            continue;
        }
        headers.append(name, HeaderValue::try_from(value).map_err(|error| error.to_string())?);
    }
    headers.entry(header::CONTENT_TYPE).or_insert(JSON);
    Ok(response)
}
