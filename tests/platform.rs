//! What the host itself answers, whatever the components do.

use crate::harness::{Api, Expect, Host, Redis, TIMEOUT, production, setup, shared, signal, until};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    time::Duration,
};

#[tokio::test]
async fn health_is_plain_and_services_name_their_versions() {
    let api = shared().api();
    let health = api.get("/health").await;
    assert_eq!(health.expect_status(200)["status"], "healthy");
    assert_eq!(health.body["environment"], "development");
    assert!(health.body["uptime"].is_u64() && health.body["timestamp"].is_string());
    assert_eq!(api.get("/health/").await.expect_status(200)["service"], "shema");

    let services = api.get("/services").await;
    services.expect_status(200);
    let version = services.data()["services"]["course"]["version"].as_str().expect("a version");
    assert!(version.len() == 12 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
    let courses = api.get("/api/courses").await;
    assert_eq!(courses.header("x-shema-component"), format!("course@{version}"));
    let port: u64 = shared().url.rsplit(':').next().expect("a port").parse().expect("a number");
    assert_eq!(services.data()["gateway"]["port"], port);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_envelope() {
    let api = shared().api();
    let unknown = api.get("/api/nothing/here?x=1").await;
    let error = unknown.expect_error(404, "ROUTE_NOT_FOUND");
    assert_eq!((error["path"].as_str(), error["method"].as_str()), (Some("/api/nothing/here"), Some("GET")));
    assert_eq!(unknown.header("x-shema-component"), "");
    api.get("/api/coursesx").await.expect_error(404, "ROUTE_NOT_FOUND");
    api.get("/api/courses//").await.expect_status(200);
    api.get("/api//courses").await.expect_error(404, "ROUTE_NOT_FOUND");

    let wrong = api.delete("/api/courses").await;
    wrong.expect_error(405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.header("allow"), "GET, POST, HEAD");
    api.post("/health", json!({})).await.expect_error(405, "METHOD_NOT_ALLOWED");
    let trace = api.send(Method::TRACE, "/api/courses", None).await;
    trace.expect_error(405, "METHOD_NOT_ALLOWED");
    let head = api.send(Method::HEAD, "/api/courses", None).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn in_development_a_page_tells_where_to_go() {
    let page = shared().api().get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    let console = format!("href=\"{}/\"", shared().control);
    for part in ["/api/docs", "/chat-demo", &console, "cargo run -- new greeting", "<td>course<td>/api/courses, "] {
        assert!(page.text.contains(part), "{part} is not in {}", page.text);
    }
    let links = page.text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    for path in links.filter(|link| link.starts_with('/')) {
        assert_eq!(shared().api().get(path).await.status, 200, "{path}");
    }
    Host::start(production()).api().get("/").await.expect_error(404, "ROUTE_NOT_FOUND");
}

#[tokio::test]
async fn every_answer_has_the_headers_of_the_contract() {
    let api = shared().api();
    for path in ["/api/courses", "/api/nothing", "/api/auth/me"] {
        let answer = api.with_header("x-request-id", "client-id_1").get(path).await;
        assert_eq!(answer.header("x-request-id"), "client-id_1");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
        assert_eq!(answer.header("vary"), "Origin");
    }
    for bad in ["short", "with space in it", "ümlaut-id", &"x".repeat(65)] {
        let answer = api.with_header("x-request-id", bad).get("/api/courses").await;
        let id = answer.header("x-request-id");
        assert!(id != bad && id.len() >= 8, "{bad} was taken over as {id}");
    }
}

#[tokio::test]
async fn both_prefixes_of_an_alias_answer() {
    let api = shared().api();
    api.get("/auth/me").await.expect_error(401, "AUTH_MISSING_TOKEN");
    api.get("/auth/me/").await.expect_error(401, "AUTH_MISSING_TOKEN");
    api.get("/authx/me").await.expect_error(404, "ROUTE_NOT_FOUND");
}

#[tokio::test]
async fn bodies_are_bounded_and_have_to_be_json_objects() {
    let api = shared().api();
    let send = async |content_type: &str, body: Vec<u8>| {
        let request = api.request(Method::POST, "/api/auth/login").header("content-type", content_type).body(body);
        api.finish(request, "/api/auth/login").await.expect("an answer")
    };
    for (content_type, body) in [
        ("application/json", "{\"email\":"),
        ("application/json", "[]"),
        ("application/json", "\"text\""),
        ("application/json", "null"),
        ("application/json", ""),
        ("application/json", "{} x"),
        ("text/plain", "{}"),
        ("application/x-www-form-urlencoded", "email=a"),
    ] {
        let answer = send(content_type, body.into()).await;
        let details = answer.expect_error(400, "VALIDATION_ERROR")["details"].clone();
        assert_eq!(details[0]["path"], json!([]), "{body}: {}", answer.text);
        assert_eq!(details[0]["field"], "");
    }
    send("application/json", vec![0xff, 0xfe]).await.expect_error(400, "VALIDATION_ERROR");
    send("application/json; charset=utf-8", b"{}".to_vec()).await.expect_error(400, "VALIDATION_ERROR");
    let mebibyte = format!("{{\"email\":\"{}\"}}", "x".repeat((1 << 20) - 12));
    assert_eq!(mebibyte.len(), 1 << 20);
    send("application/json", mebibyte.clone().into()).await.expect_error(400, "VALIDATION_ERROR");
    send("application/json", format!("{mebibyte} ").into()).await.expect_error(413, "PAYLOAD_TOO_LARGE");

    // Without a length, so that only counting finds out.
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let request = api.request(Method::POST, "/api/auth/login").header("content-type", "application/json").body(body);
    api.finish(request, "chunks").await.expect("an answer").expect_error(413, "PAYLOAD_TOO_LARGE");

    let deep = format!("{{\"email\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    send("application/json", deep.into()).await.expect_error(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn only_listed_origins_may_read_answers() {
    let api = shared().api();
    let listed = api.with_header("origin", "http://localhost:5173").get("/api/courses").await;
    assert_eq!(listed.header("access-control-allow-origin"), "http://localhost:5173");
    assert_eq!(listed.header("access-control-allow-credentials"), "true");
    assert!(listed.header("access-control-expose-headers").contains("X-RateLimit-Remaining"));

    for origin in ["http://evil.example", "http://localhost:5173.evil.example", "null", "HTTP://LOCALHOST:5173"] {
        let answer = api.with_header("origin", origin).get("/api/courses").await;
        answer.expect_status(200);
        assert_eq!(answer.header("vary"), "Origin");
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{origin}");
    }

    let preflight = |origin: &str| {
        let api = api
            .with_header("origin", origin)
            .with_header("access-control-request-method", "PUT")
            .with_header("access-control-request-headers", "authorization");
        async move { api.send(Method::OPTIONS, "/api/rooms/x", None).await }
    };
    let answer = preflight("http://localhost:3000").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-max-age"), "86400");
    assert!(answer.header("access-control-allow-methods").contains("PATCH"));
    assert!(answer.header("access-control-allow-headers").contains("X-Session-Token"));
    let answer = preflight("http://evil.example").await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, ""));
}

#[tokio::test]
async fn anonymous_callers_are_limited_by_address_and_told_how_many_are_left() {
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true").set("TRUSTED_PROXIES", "127.0.0.1"));
    let api = host.api();
    let guest = api.with_header("x-forwarded-for", "203.0.113.7");
    for used in 1..=100 {
        let answer = guest.get("/api/courses").await;
        answer.expect_status(200);
        assert_eq!(answer.header("x-ratelimit-limit"), "100");
        assert_eq!(answer.header("x-ratelimit-remaining"), (100 - used).to_string());
    }
    let refused = guest.get("/api/courses").await;
    let retry = refused.expect_error(429, "RATE_LIMIT_EXCEEDED")["details"]["retry_after"].as_u64().expect("seconds");
    assert!((1..=900).contains(&retry));
    assert_eq!(refused.header("retry-after"), retry.to_string());
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    // Others, and what is not limited, go on; a client cannot pretend to be others.
    api.with_header("x-forwarded-for", "203.0.113.8").get("/api/courses").await.expect_status(200);
    api.with_header("x-forwarded-for", "9.9.9.9, 203.0.113.7")
        .get("/api/courses")
        .await
        .expect_error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(guest.get("/health").await.header("x-ratelimit-limit"), "");
    guest.get("/health").await.expect_status(200);
    // A bad token counts as nobody; the limit is judged before it.
    let forged = guest.with_token("forged").get("/api/auth/me").await;
    forged.expect_error(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn without_trusted_proxies_forwarded_addresses_are_ignored() {
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true"));
    let api = host.api();
    let one = api.with_header("x-forwarded-for", "203.0.113.7").get("/api/courses").await;
    let two = api.with_header("x-forwarded-for", "203.0.113.8").get("/api/courses").await;
    assert_eq!(one.header("x-ratelimit-remaining"), "99");
    assert_eq!(two.header("x-ratelimit-remaining"), "98");
}

#[tokio::test]
async fn guessing_a_password_stops_after_five_failures_even_in_parallel() {
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true"));
    let user = host.user("student").await;
    let attempt = async |password: &str| {
        let body = json!({ "email": user.email.to_uppercase(), "password": password });
        host.api().post("/api/auth/login", body).await.status
    };
    // Successes do not count, and clear what has been counted.
    for _ in 0..4 {
        assert_eq!(attempt("wrong").await, 401);
    }
    for _ in 0..6 {
        assert_eq!(attempt(crate::harness::PASSWORD).await, 200);
    }
    let guesses = futures_util::future::join_all((0..12).map(|_| attempt("wrong"))).await;
    assert_eq!(guesses.iter().filter(|status| **status == 401).count(), 5, "{guesses:?}");
    assert_eq!(guesses.iter().filter(|status| **status == 429).count(), 7, "{guesses:?}");
    assert_eq!(attempt(crate::harness::PASSWORD).await, 429, "the right password is refused as well");
}

#[tokio::test]
async fn many_logins_of_one_user_at_once_all_succeed() {
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true"));
    let user = host.user("student").await;
    let login = || async { host.login(&user.email).await.access };
    let tokens = futures_util::future::join_all((0..12).map(|_| login())).await;
    let distinct: std::collections::BTreeSet<_> = tokens.iter().collect();
    assert_eq!(distinct.len(), 12);
}

#[tokio::test]
async fn limits_hold_inside_the_process_while_redis_is_away() {
    let redis = Redis::start();
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true").set("REDIS_URL", redis.url()));
    let api = host.api();
    redis.kill();
    for _ in 0..100 {
        api.get("/api/courses").await.expect_status(200);
    }
    api.get("/api/courses").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn listen_json_is_private_and_leaves_with_a_clean_exit() {
    let host = Host::start(setup());
    let note = host.data_dir.join("listen.json");
    assert_eq!(note.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    let control = Api::new(&host.control);
    control.get("/health").await.expect_status(200);
    assert_eq!(control.get("/v1/components").await.expect_status(401)["error"]["code"], "UNAUTHORIZED");
    control.with_token("x").get("/v1/components").await.expect_status(401);
    let list = control.with_token(&host.control_token).get("/v1/components").await;
    assert!(list.expect_status(200).as_array().expect("a list").iter().any(|component| component["name"] == "course"));
    assert_eq!(host.stop(), Some(0));
    assert!(!note.exists());
}

#[tokio::test]
async fn a_stopping_host_finishes_what_it_has_begun() {
    let host = Host::start(setup());
    let api = host.api();
    let steps = json!([{ "op": "log", "value": "the slow call has begun" }, { "op": "sleep", "ms": 1500 }]);
    let slow = tokio::spawn(async move { api.probe(steps).await });
    until("the call", async || host.log().contains("the slow call has begun").then_some(())).await;
    signal(host.pid(), Signal::SIGTERM);
    assert_eq!(slow.await.expect("no panic"), [json!({ "ok": null }), json!({ "ok": null })]);
    let gone = || async { (TcpStream::connect(host.url.trim_start_matches("http://")).is_err()).then_some(()) };
    until("the end of the listener", gone).await;
}

#[tokio::test]
async fn a_slow_client_holds_nothing_but_its_own_connection() {
    let host = shared();
    let address = host.url.trim_start_matches("http://");
    let mut slow: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /api/courses HTTP/1.1\r\nhost: x\r\nx-slow: ").expect("sent");
    }
    host.api().get("/api/courses").await.expect_status(200);
    let mut first = slow.remove(0);
    first.set_read_timeout(Some(TIMEOUT)).expect("set");
    // Ended by the host, with or without a word.
    let mut answer = Vec::new();
    let _ = first.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn wrong_settings_stop_the_start_with_a_sentence_that_names_the_key() {
    let cases: [(&str, &str, &str); 10] = [
        ("SHEMA_LISTEN", "nowhere", "SHEMA_LISTEN"),
        ("JWT_SECRET", "short", "JWT_SECRET"),
        ("JWT_REFRESH_SECRET", crate::harness::ACCESS_SECRET, "JWT_REFRESH_SECRET"),
        ("SHEMA_PROFILE", "staging", "SHEMA_PROFILE"),
        ("CORS_ALLOWED_ORIGINS", "*", "CORS_ALLOWED_ORIGINS"),
        ("TRUSTED_PROXIES", "everybody", "TRUSTED_PROXIES"),
        ("MIN_CLASS_DURATION_MINUTES", "half an hour", "MIN_CLASS_DURATION_MINUTES"),
        ("RATE_LIMIT_ENABLED", "perhaps", "RATE_LIMIT_ENABLED"),
        ("SERVICE_TIMEOUT", "0", "SERVICE_TIMEOUT"),
        ("JWT_EXPIRES_IN", "soon", "JWT_EXPIRES_IN"),
    ];
    for (name, value, named) in cases {
        let output = Host::try_start(setup().set(name, value)).err().unwrap_or_default();
        assert!(output.contains(named), "{name}={value}: {output}");
    }
    for (config, named) in [
        ("[components.probe.limits2]\nx = 1", "limits2"),
        ("[nonsense]\nx = 1", "nonsense"),
        ("[components.other]\nmounts = [\"/api/courses\"]", "/api/courses"),
    ] {
        let output = Host::try_start(setup().config(config)).err().unwrap_or_default();
        assert!(output.contains(named), "{config}: {output}");
    }
}

#[tokio::test]
async fn production_refuses_what_is_only_good_for_development() {
    for (name, value) in [
        ("RATE_LIMIT_ENABLED", Some("false")),
        ("ALLOW_OPEN_ADMIN_REGISTRATION", Some("true")),
        ("JWT_SECRET", None),
        ("SERVICE_JWT_SECRET", None),
        ("SHEMA_CONTROL_TOKEN", None),
        ("CAPTCHA_SECRET", None),
        ("CAPTCHA_VERIFY_URL", None),
        ("CS_REQUIRE_SESSION_TOKEN", Some("false")),
        ("FIREBASE_AUTH_EMULATOR_HOST", Some("127.0.0.1:9099")),
        ("CHAT_DEMO", Some("true")),
        ("DATABASE_URL", None),
        ("REDIS_URL", None),
    ] {
        let setup = match value {
            Some(value) => production().set(name, value),
            None => production().unset(name),
        };
        let output = Host::try_start(setup).err().unwrap_or_default();
        assert!(output.contains(name), "{name}: {output}");
    }
    let host = Host::start(production());
    assert_eq!(host.api().get("/health").await.expect_status(200)["environment"], "production");
}

#[tokio::test]
async fn an_unknown_variable_is_warned_of_with_the_nearest_name() {
    let host = Host::start(setup().set("SHEMA_LISTN", "127.0.0.1:1"));
    let log = host.log();
    assert!(log.contains("SHEMA_LISTN") && log.contains("did you mean SHEMA_LISTEN"), "{log}");
}

#[tokio::test]
async fn a_line_per_request_tells_what_happened_and_no_secret() {
    let host = Host::start(setup());
    let admin = host.first_admin_over_http().await;
    admin.api.with_header("x-request-id", "line-of-this-test").get("/api/rooms").await.expect_status(200);
    let line = until("the line", || async {
        host.log().lines().find(|line| line.contains("line-of-this-test")).map(String::from)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((line["status"].as_u64(), line["route"].as_str()), (Some(200), Some("/api/rooms")));
    assert!(line["component"].as_str().is_some_and(|label| label.starts_with("course@")), "{line}");
    for time in ["total_us", "component_us", "database_us", "redis_us"] {
        assert!(line[time].is_u64(), "{line}");
    }
    assert!(line["database_us"].as_u64() > Some(0));
    let log = host.log();
    for secret in [&admin.access, &admin.refresh, "Passw0rd-of-admin", crate::harness::ACCESS_SECRET] {
        assert!(!log.contains(secret), "the log holds a secret");
    }
}

impl Host {
    async fn first_admin_over_http(&self) -> crate::harness::User {
        self.api().first_admin().await
    }
}

/// One answer, of a connection that stays.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let mut bytes = BufReader::new(stream).bytes().map(|byte| char::from(byte.expect("an answer")));
    while !answer.ends_with("\r\n\r\n") {
        answer.push(bytes.next().expect("a whole head"));
    }
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    answer.extend(bytes.take(length));
    answer
}

/// A client that sends head and body apart, and does not wait for the answer
/// before it sends the body, still has a connection for its next request.
#[tokio::test]
async fn an_answer_does_not_overtake_its_request() {
    let host = shared();
    let address = host.url.trim_start_matches("http://");
    for (line, status) in [
        ("PUT /api/schedules/available", "405"),
        ("POST /api/nothing", "404"),
        ("DELETE /api/rooms/x", "401"),
        ("GET /api/courses", "200"),
        ("POST /health", "405"),
        ("OPTIONS /api/courses", "204"),
        ("POST /api/auth/login", "400"),
    ] {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("set");
        for _ in 0..2 {
            let head =
                format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("sent");
            // The host has the head alone for a moment.
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(b"[]").expect("sent");
            let answer = read_answer(&mut stream);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
        }
    }
    // What is too much even to be thrown away ends the connection, and says so.
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(b"POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n").expect("sent");
    let chunk = vec![b'x'; 1 << 20];
    while stream.write_all(&chunk).is_ok() {}
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(
        answer.is_empty() || (answer.starts_with("http/1.1 413") && answer.contains("connection: close")),
        "{answer}"
    );
}
