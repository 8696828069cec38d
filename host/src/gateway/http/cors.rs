//! Which web pages may read the answers: an exact list of origins, with
//! credentials, so never `*`. A page that is not listed gets its answer without
//! the headers that would let it read it. Connections that such a page opens are
//! not read by the browser's rules, so they are refused.
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
    /// Pages of this host itself may open connections, under whichever name it
    /// is reached: for trying things out.
    own_pages: bool,
}

impl Cors {
    pub fn new(origins: &[String], own_pages: bool) -> Cors {
        Cors { origins: origins.to_vec(), own_pages }
    }

    /// The request's origin, if it is listed.
    fn listed<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        self.allows(origin).then_some(origin)
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    /// Whether a WebSocket may be opened. What is no page names no origin.
    pub fn admits(&self, request: &HeaderMap) -> bool {
        let Some(origin) = request.get(header::ORIGIN) else { return true };
        self.allows(origin) || self.own_pages && is_own(origin, request.get(header::HOST))
    }

    pub fn add_headers(&self, request: &HeaderMap, response: &mut HeaderMap) {
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

/// Whether it is the origin of what was asked for under this host.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.as_bytes();
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| host.is_some_and(|host| host.as_bytes() == authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(own_pages: bool, origin: &'static str, host: &'static str) -> bool {
        let pairs = [(header::ORIGIN, origin), (header::HOST, host)];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let request = given.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        Cors::new(&["https://listed.example".into()], own_pages).admits(&request)
    }

    #[test]
    fn listed_origins_and_none_are_admitted_always() {
        for own_pages in [true, false] {
            assert!(admits(own_pages, "https://listed.example", "api.example"));
            assert!(admits(own_pages, "", "api.example"));
            assert!(!admits(own_pages, "https://other.example", "api.example"));
        }
    }

    #[test]
    fn pages_of_the_host_itself_only_if_it_is_said() {
        for (origin, host) in [("http://a:3000", "a:3000"), ("https://a", "a"), ("http://[::1]:3000", "[::1]:3000")] {
            assert!(admits(true, origin, host), "{origin} {host}");
            assert!(!admits(false, origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://a:3001", "a:3000"),
            ("http://a.evil.example", "a"),
            ("http://evil.example", "a"),
            ("ftp://a", "a"),
            ("http://a/", "a"),
            ("a", "a"),
            ("null", "null"),
            ("http://", ""),
        ] {
            assert!(!admits(true, origin, host), "{origin} {host}");
        }
    }
}
