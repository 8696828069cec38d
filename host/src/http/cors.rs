//! Which web pages may read the answers: an exact list of origins, with
//! credentials, so never `*`. A page that is not listed gets its answer without
//! the headers that would let it read it.
//!
//! Source: Fetch standard, CORS protocol.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Content-Type, Authorization, X-Requested-With, X-Service-Name, X-Request-Id, X-Session-Token",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Content-Length, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After",
);
const CREDENTIALS: HeaderValue = HeaderValue::from_static("true");
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

pub struct Cors {
    origins: Vec<String>,
}

impl Cors {
    pub fn new(origins: &[String]) -> Cors {
        Cors { origins: origins.to_vec() }
    }

    /// The request's origin, if it is listed.
    fn listed<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        self.allows(origin).then_some(origin)
    }

    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    pub fn mark(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.listed(request) {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, CREDENTIALS);
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// Answered for each path alike: whether it exists is told to the request
    /// itself.
    pub fn preflight(&self, request: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.listed(request).is_some() {
            let granted: [(HeaderName, HeaderValue); 3] = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ];
            response.headers_mut().extend(granted);
        }
        response
    }
}
