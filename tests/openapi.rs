//! The description of the API against the API: nothing is missing, nothing is
//! too much, and what is answered is as described.

use crate::harness::{Answer, Expect, School, id_of, is_time, root, shared, unique, unknown_id};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

struct Document(Value);

impl Document {
    async fn read() -> Document {
        let answer = shared().api().get("/api/openapi.json").await;
        assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
        Document(answer.expect_status(200).clone())
    }

    /// Path, method and operation of each.
    fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().expect("paths").iter();
        paths
            .flat_map(|(path, item)| {
                let operations = item.as_object().expect("an object").iter();
                operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
            })
            .collect()
    }

    /// What a reference stands for.
    #[track_caller]
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(target) => {
                let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} lies elsewhere"));
                self.0.pointer(pointer).unwrap_or_else(|| panic!("{target} stands for nothing"))
            }
        }
    }

    /// Whether an answer is one that the operation is described with.
    #[track_caller]
    fn describes(&self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.0["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is not described");
        let response = self.resolve(&operation["responses"][answer.status.to_string()]);
        assert!(
            response.is_object(),
            "{method} {path} answered {}, which is not described: {}",
            answer.status,
            answer.text
        );
        let schema = &response["content"]["application/json"]["schema"];
        let mut problems = self.problems(schema, &answer.body, "");
        // More than is described would be allowed, but is a mistake as well.
        let data = &schema["properties"]["data"];
        let named = self.named(data);
        for name in answer.data().as_object().into_iter().flat_map(Map::keys).filter(|_| !named.is_empty()) {
            if !named.contains(name) {
                problems.push(format!("/data/{name} is not described"));
            }
        }
        assert!(problems.is_empty(), "{method} {path} answered {}\n{}", answer.text, problems.join("\n"));
    }

    /// What of a value is not as a schema says. Knows the words that the
    /// document uses for answers and refuses others, so that none is overlooked.
    fn problems(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = match schema {
            Value::Bool(true) => return vec![],
            Value::Object(schema) => schema,
            other => return vec![format!("{at}: nothing fits {other}")],
        };
        let mut problems = Vec::new();
        let mut check = |fits: bool, word: &str| {
            if !fits {
                problems.push(format!("{at}: {value} does not fit {word} {}", schema[word]));
            }
        };
        for (word, rule) in schema {
            let among = |rules: &Value| rules.as_array().expect("a list").clone();
            match word.as_str() {
                "description" | "title" | "default" => {}
                "$ref" | "allOf" | "properties" | "items" | "additionalProperties" | "required" => {}
                "type" => {
                    let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    check(kinds.iter().any(|kind| is_of(value, kind.as_str().expect("a type"))), word);
                }
                "const" => check(value == rule, word),
                "enum" => check(among(rule).contains(value), word),
                "anyOf" => check(among(rule).iter().any(|one| self.problems(one, value, at).is_empty()), word),
                "format" => check(!value.is_string() || has_format(value, rule.as_str().expect("a format")), word),
                "minimum" => check(value.as_f64().is_none_or(|number| Some(number) >= rule.as_f64()), word),
                "maximum" => check(value.as_f64().is_none_or(|number| Some(number) <= rule.as_f64()), word),
                "multipleOf" => {
                    let times = value.as_f64().unwrap_or(0.0) / rule.as_f64().expect("a number");
                    check((times - times.round()).abs() < 1e-4, word);
                }
                other => panic!("{at}: the test does not know the word {other}"),
            }
        }
        let none = Value::Null;
        let word = |word: &str| schema.get(word).unwrap_or(&none);
        if schema.contains_key("$ref") {
            let target = self.resolve_map(schema);
            problems.extend(self.problems(target, value, at));
        }
        for part in word("allOf").as_array().into_iter().flatten() {
            problems.extend(self.problems(part, value, at));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(rule) = schema.get("items") {
                problems.extend(self.problems(rule, item, &format!("{at}/{index}")));
            }
        }
        if let Value::Object(members) = value {
            for name in word("required").as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    problems.push(format!("{at}: {name} is missing"));
                }
            }
            for (name, member) in members {
                let rule = schema.get("properties").and_then(|rules| rules.get(name));
                if let Some(rule) = rule.or_else(|| schema.get("additionalProperties")) {
                    problems.extend(self.problems(rule, member, &format!("{at}/{name}")));
                }
            }
        }
        problems
    }

    fn resolve_map(&self, schema: &Map<String, Value>) -> &Value {
        let target = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#')).expect("a reference");
        self.0.pointer(target).unwrap_or_else(|| panic!("{target} stands for nothing"))
    }

    /// The members that the schemas of an answer's `data` name, whichever of
    /// several it is.
    fn named(&self, schema: &Value) -> BTreeSet<String> {
        let mut names: BTreeSet<String> =
            schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        if let Some(schema) = schema.as_object().filter(|schema| schema.contains_key("$ref")) {
            names.extend(self.named(self.resolve_map(schema)));
        }
        for word in ["anyOf", "allOf"] {
            names.extend(schema[word].as_array().into_iter().flatten().flat_map(|part| self.named(part)));
        }
        names
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn has_format(value: &Value, format: &str) -> bool {
    let text = value.as_str().unwrap_or_default();
    match format {
        "uuid" => text.len() == 36 && uuid::Uuid::parse_str(text).is_ok(),
        "date-time" => is_time(value),
        // Of numbers, and only for readers.
        "int64" | "uint" | "double" => true,
        "date" => chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        _ => false,
    }
}

/// All objects in a value.
fn objects(value: &Value) -> Vec<&Map<String, Value>> {
    let members: Vec<&Value> = match value {
        Value::Object(object) => object.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => vec![],
    };
    value.as_object().into_iter().chain(members.into_iter().flat_map(objects)).collect()
}

/// A path with something in the place of its parameters.
fn filled(path: &str) -> String {
    let segments =
        path.split('/').map(|segment| if segment.starts_with('{') { unknown_id() } else { segment.to_owned() });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_document_is_whole() {
    let document = Document::read().await;
    assert_eq!(document.0["openapi"], "3.1.0");
    assert!(document.0["info"]["title"].is_string() && document.0["info"]["version"].is_string());
    let schemes = document.0["components"]["securitySchemes"].as_object().expect("schemes");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in document.operations() {
        let name = format!("{method} {path}");
        assert!(METHODS.contains(&method), "{name}");
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id), "{id} is there twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
        let ways = operation["security"].as_array().expect("security");
        let used = ways.iter().flat_map(|way| way.as_object().expect("an object").keys());
        assert!(used.into_iter().all(|scheme| schemes.contains_key(scheme)), "{name}");

        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        let in_path: Vec<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        let named: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(in_path, named, "{name}");

        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        for response in responses.values() {
            let response = document.resolve(response);
            assert!(response["description"].is_string(), "{name}");
            assert!(objects(&response["content"]).iter().any(|object| object.contains_key("schema")), "{name}");
        }
    }
    for object in objects(&document.0) {
        if object.contains_key("$ref") {
            document.resolve(&Value::Object(object.clone()));
        }
    }
}

/// The tables of routes of the API as they stand in the sources: method, path,
/// access.
fn tables() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("components")).expect("the components") {
        let path = entry.expect("an entry").path().join("src/lib.rs");
        if path.ends_with("sdk/src/lib.rs") || !path.is_file() {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source");
        for method in METHODS {
            for rest in source.split(&format!(" {method}(\"")).skip(1) {
                let (path, rest) = rest.split_once("\", ").expect("a path and what follows it");
                let access: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
                if path.starts_with("/api/") {
                    found.insert((method.to_owned(), path.to_owned()), access);
                }
            }
        }
    }
    assert!(found.len() > 60, "only {} routes were found in the sources", found.len());
    found
}

#[tokio::test]
async fn every_route_of_the_tables_is_described_and_nothing_else() {
    let document = Document::read().await;
    let template = |path: &str| {
        let parts =
            path.split('/').map(|part| part.strip_prefix(':').map_or(part.into(), |name| format!("{{{name}}}")));
        parts.collect::<Vec<_>>().join("/")
    };
    let public = tables().into_iter().filter(|(_, access)| access != "Internal");
    let wanted: BTreeSet<(String, String)> = public.map(|((method, path), _)| (template(&path), method)).collect();
    let of_components = document.operations().into_iter().filter(|(.., operation)| operation["tags"][0] != "host");
    let described: BTreeSet<(String, String)> =
        of_components.map(|(path, method, _)| (path.to_owned(), method.to_owned())).collect();
    assert_eq!(described, wanted);

    let aggregates = std::fs::read_to_string(root().join("host/host.toml")).expect("host.toml");
    let aggregates: toml::Table = aggregates.parse().expect("TOML");
    let paths = aggregates["aggregates"].as_array().expect("a list").iter();
    let mut of_host: BTreeSet<String> = paths.map(|one| template(one["path"].as_str().expect("a path"))).collect();
    of_host.extend(["/health", "/services", "/services/health", "/api/openapi.json", "/api/docs"].map(str::to_owned));
    let by_host = document.operations().into_iter().filter(|(.., operation)| operation["tags"][0] == "host");
    assert_eq!(by_host.map(|(path, ..)| path.to_owned()).collect::<BTreeSet<_>>(), of_host);
}

#[tokio::test]
async fn what_is_described_is_there() {
    let (document, api) = (Document::read().await, shared().api());
    let mut methods: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, method, operation) in document.operations() {
        methods.entry(path).or_default().insert(method.to_ascii_uppercase());
        let answer = api.send(method.to_ascii_uppercase().parse().expect("a method"), &filled(path), None).await;
        let code = &answer.body["error"]["code"];
        assert!(code != "ROUTE_NOT_FOUND" && code != "METHOD_NOT_ALLOWED", "{method} {path} answered {}", answer.text);
        if path != "/api/docs" {
            document.describes(method, path, &answer);
        }
        let is_open = operation["security"].as_array().is_some_and(|ways| ways.is_empty() || ways.contains(&json!({})));
        assert!(is_open || [401, 404].contains(&answer.status), "{method} {path} answered {}", answer.text);
    }
    for (path, mut methods) in methods {
        if methods.contains("GET") {
            methods.insert("HEAD".into());
        }
        let answer = api.send(Method::TRACE, &filled(path), None).await;
        let allowed: BTreeSet<String> = answer.header("allow").split(", ").map(str::to_owned).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn the_test_notices_what_does_not_fit() {
    let document = Document::read().await;
    let described = |path: &str| {
        document.0["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone()
    };
    let good = shared().api().get("/api/courses").await.body;
    let schema = described("/api/courses");
    assert_eq!(document.problems(&schema, &good, ""), [] as [&str; 0]);
    for (pointer, wrong) in [
        ("/success", json!(false)),
        ("/data/pagination/total", json!("0")),
        ("/data/courses", json!([{}])),
        ("/meta/timestamp", json!("yesterday")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect("it is there") = wrong;
        assert!(!document.problems(&schema, &bad, "").is_empty(), "{pointer}");
    }
}

#[tokio::test]
async fn real_answers_are_as_described() {
    let document = Document::read().await;
    let school = School::open(shared()).await;
    let (admin, guest) = (&school.admin.api, shared().api());
    let student = shared().user("student").await;

    let class = school.class(600, json!({})).await;
    let booking = school.booking().await;
    document.describes("post", "/api/attendance", &school.take_seat(&id_of(&class), &booking).await);
    document.describes("post", "/api/schedules", &admin.post("/api/schedules", school.class_body(600)).await);
    let past = school.class_row(-120, 5).await;
    school.take_seat(&past, &school.booking_of(&student).await).await.expect_status(201);

    let registration = json!({
        "full_name": "Siti Rahma", "wa_number": "+628111222333", "email": format!("{}@example.org", unknown_id()),
        "course_id": school.course, "experience_level": "beginner", "preferred_days": ["Monday"], "consent": true,
        "captcha_token": "t", "preferred_time_range": { "start": "9:00", "end": "11:00" }, "idempotency_key": unknown_id(),
    });
    let registered = guest.post("/api/booking/register-course", registration.clone()).await;
    registered.expect_status(201);
    document.describes("post", "/api/booking/register-course", &registered);
    let repeated = guest.post("/api/booking/register-course", registration).await;
    repeated.expect_status(409);
    document.describes("post", "/api/booking/register-course", &repeated);
    let pending = admin.get("/api/booking/pending?limit=1000").await;
    document.describes("get", "/api/booking/pending", &pending);
    let confirmed = admin.post(&format!("/api/booking/{}/confirm", id_of(registered.data())), json!({})).await;
    confirmed.expect_status(200);
    document.describes("post", "/api/booking/{id}/confirm", &confirmed);
    let enrollment = id_of(&confirmed.data()["enrollment"]);

    let started = guest
        .post(
            "/api/cs/sessions",
            json!({ "guest_name": "Gast", "guest_email": "g@example.org", "initial_message": "Hi" }),
        )
        .await;
    document.describes("post", "/api/cs/sessions", &started);
    let session = id_of(&started.data()["session"]);
    let as_guest = guest.with_header("x-session-token", started.data()["session_token"].as_str().expect("a token"));

    let room = admin.post("/api/rooms", json!({ "name": unique("Room"), "capacity": 3 })).await;
    document.describes("post", "/api/rooms", &room);
    let room_id = id_of(room.data());

    for (template, path, asking) in [
        ("/health", "/health".to_owned(), &guest),
        ("/services", "/services".into(), &guest),
        ("/services/health", "/services/health".into(), &guest),
        ("/api/dashboard/stats", "/api/dashboard/stats".into(), admin),
        ("/api/dashboard/admin", "/api/dashboard/admin".into(), admin),
        ("/api/profile/{userId}/full", format!("/api/profile/{}/full", student.id), admin),
        ("/api/profile/{userId}/full", format!("/api/profile/{}/full", unknown_id()), admin),
        ("/api/auth/me", "/api/auth/me".into(), admin),
        ("/api/users", "/api/users?limit=1000".into(), admin),
        ("/api/users", "/api/users".into(), &student.api),
        ("/api/users/me", "/api/users/me".into(), &student.api),
        ("/api/users/stats", "/api/users/stats".into(), admin),
        ("/api/users/{id}", format!("/api/users/{}", student.id), admin),
        ("/api/users/{id}", format!("/api/users/{}", student.id), &school.instructor.api),
        ("/api/users/{id}", "/api/users/no-id".into(), admin),
        ("/api/instructors", "/api/instructors?limit=1000".into(), admin),
        ("/api/instructors", "/api/instructors".into(), &student.api),
        ("/api/instructors/{userId}", format!("/api/instructors/{}", unknown_id()), admin),
        ("/api/courses", "/api/courses?limit=100".into(), &guest),
        ("/api/courses", "/api/courses?limit=0&level=x".into(), &guest),
        ("/api/courses/{id}", format!("/api/courses/{}?include=upcoming_schedules", school.course), &guest),
        ("/api/courses/{id}", format!("/api/courses/{}", school.course), &guest),
        ("/api/schedules", "/api/schedules?limit=1000".into(), admin),
        ("/api/schedules/available", "/api/schedules/available".into(), &guest),
        ("/api/schedules/{id}", format!("/api/schedules/{}", id_of(&class)), admin),
        ("/api/attendance/schedule/{scheduleId}", format!("/api/attendance/schedule/{past}"), admin),
        ("/api/attendance/booking/{bookingId}", format!("/api/attendance/booking/{booking}"), admin),
        ("/api/rooms", "/api/rooms".into(), &student.api),
        ("/api/rooms/{id}", format!("/api/rooms/{}", school.room), &student.api),
        ("/api/booking/user/{userId}", format!("/api/booking/user/{}", student.id), &student.api),
        ("/api/booking/enrollments", "/api/booking/enrollments".into(), admin),
        ("/api/booking/enrollments/{id}", format!("/api/booking/enrollments/{enrollment}"), admin),
        ("/api/cs/sessions/{sessionId}", format!("/api/cs/sessions/{session}"), &as_guest),
        ("/api/cs/sessions/{sessionId}", format!("/api/cs/sessions/{session}"), &guest),
        ("/api/cs/sessions/{sessionId}/messages", format!("/api/cs/sessions/{session}/messages?after_seq=0"), admin),
        ("/api/cs/admin/sessions", "/api/cs/admin/sessions".into(), admin),
        ("/api/cs/admin/my-sessions", "/api/cs/admin/my-sessions".into(), admin),
        ("/api/cs/admin/sessions/{sessionId}", format!("/api/cs/admin/sessions/{session}"), admin),
    ] {
        document.describes("get", template, &asking.get(&path).await);
    }

    let deleted = admin.delete(&format!("/api/rooms/{room_id}")).await;
    deleted.expect_status(200);
    document.describes("delete", "/api/rooms/{id}", &deleted);
    let refused = admin.delete(&format!("/api/courses/{}", school.course)).await;
    refused.expect_status(409);
    document.describes("delete", "/api/courses/{id}", &refused);
    let said = as_guest.post(&format!("/api/cs/sessions/{session}/messages"), json!({ "content": "Hello" })).await;
    said.expect_status(201);
    document.describes("post", "/api/cs/sessions/{sessionId}/messages", &said);
}

#[tokio::test]
async fn the_page_needs_nothing_but_the_host() {
    let page = shared().api().get("/api/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for tag in ["script", "style"] {
        let (_, rest) = page.text.split_once(&format!("<{tag}>")).expect("it is in the page");
        let (text, rest) = rest.split_once(&format!("</{tag}>")).expect("it ends");
        assert!(!rest.contains(&format!("<{tag}")), "there is a second one");
        let hash = BASE64_STANDARD.encode(Sha256::digest(text));
        assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{policy} does not let {tag} through");
    }
    let (head, _) = page.text.split_once("<script>").expect("a script");
    let (head, _) = head.split_once("<style>").expect("a style");
    for foreign in ["http://", "https://", "src=", "onclick", "onload", "@import", "url("] {
        assert!(!head.contains(foreign), "{foreign}");
    }
    for path in ["/api/docs", "/api/openapi.json"] {
        shared().api().post(path, json!({})).await.expect_error(405, "METHOD_NOT_ALLOWED");
        assert_eq!(shared().api().send(Method::HEAD, path, None).await.status, 200);
    }
}
