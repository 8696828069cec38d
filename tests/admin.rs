//! ADM-1 to ADM-14: users, instructors, and the services that ask for them.

use crate::harness::{
    Answer, Api, Expect, Host, PASSWORD, Redis, SERVICE_SECRET, School, User, assert_has_keys, id_of, is_time, redis,
    setup, shared, unique, unknown_id, with, without,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use futures_util::future::join_all;
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

const USER: &str = "id email full_name role phone_number avatar_url created_at updated_at last_login_at";
const DETAIL: &str = "id email full_name role phone_number avatar_url created_at updated_at last_login_at
    wa_number address email_verified auth_provider";
const INSTRUCTOR: &str = "user_id full_name bio specialization experience_years avatar_url created_at updated_at";
const CONTACT: &str = "user_id full_name bio specialization experience_years avatar_url created_at updated_at
    email phone_number wa_number";
const MANY: usize = 50;

fn email() -> String {
    format!("{}@example.org", uuid::Uuid::new_v4().simple())
}

/// The claims of a good service token.
fn service_claims() -> Value {
    let now = Utc::now().timestamp();
    json!({ "service": "booking", "type": "service-to-service", "aud": "admin", "iat": now, "exp": now + 300 })
}

fn sign(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("a token")
}

fn service(host: &Host) -> Api {
    host.api().with_header("x-service-token", &sign(Algorithm::HS256, &service_claims(), SERVICE_SECRET))
}

fn user_body() -> Value {
    json!({ "email": email(), "full_name": "Some Body", "role": "student" })
}

/// A user without a login, made by a service.
async fn person(host: &Host, changes: Value) -> Value {
    service(host).post("/api/users", with(&user_body(), changes)).await.expect_data(201).clone()
}

/// Instructor with profile, without a login.
async fn instructor(host: &Host, changes: Value) -> Value {
    let body = with(&json!({ "email": email(), "full_name": "Some Instructor" }), changes);
    host.admin().await.api.post("/api/instructors", body).await.expect_data(201).clone()
}

fn path(user: &Value) -> String {
    format!("/api/users/{}", user["id"].as_str().or(user["user_id"].as_str()).expect("an id"))
}

fn count(answers: &[Answer], status: u16, code: &str) -> usize {
    answers
        .iter()
        .filter(|answer| answer.status == status && answer.body["error"]["code"].as_str().unwrap_or("") == code)
        .count()
}

// Services.

#[tokio::test]
async fn a_service_is_known_by_its_token_alone() {
    let host = shared();
    let admin = host.admin().await;
    let id = id_of(&person(host, json!({})).await);
    let header = json!({ "alg": "none", "typ": "JWT" });
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(&header), part(&service_claims()));
    let good = sign(Algorithm::HS256, &service_claims(), SERVICE_SECRET);
    let now = Utc::now().timestamp();
    let claims = |changes: Value| sign(Algorithm::HS256, &with(&service_claims(), changes), SERVICE_SECRET);
    let lacking = |name: &str| sign(Algorithm::HS256, &without(&service_claims(), name), SERVICE_SECRET);
    // Signed with the right secret, under a header that names another algorithm.
    let renamed = {
        let text = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&service_claims()));
        let mut mac = Hmac::<Sha256>::new_from_slice(SERVICE_SECRET.as_bytes()).expect("any length");
        mac.update(text.as_bytes());
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let bad = [
        ("empty", String::new()),
        ("garbage", "garbage".into()),
        ("three dots", "a.b.c".into()),
        ("the secret itself", SERVICE_SECRET.into()),
        ("with Bearer", format!("Bearer {good}")),
        ("a user's access token", admin.access.clone()),
        ("a user's refresh token", admin.refresh.clone()),
        ("unsigned", unsigned),
        ("another algorithm in name", renamed),
        ("another algorithm", sign(Algorithm::HS512, &service_claims(), SERVICE_SECRET)),
        ("another secret", sign(Algorithm::HS256, &service_claims(), crate::harness::ACCESS_SECRET)),
        ("cut", good[..good.len() - 1].into()),
        ("expired", claims(json!({ "iat": now - 600, "exp": now - 300 }))),
        ("for another component", claims(json!({ "aud": "booking" }))),
        ("of another type", claims(json!({ "type": "user" }))),
        ("of nobody", claims(json!({ "service": "" }))),
        ("of a number", claims(json!({ "service": 5 }))),
        ("without service", lacking("service")),
        ("without type", lacking("type")),
        ("without audience", lacking("aud")),
        ("without expiry", lacking("exp")),
    ];
    let routes = [
        (Method::POST, "/api/users".to_owned()),
        (Method::GET, format!("/api/users/{id}")),
        (Method::GET, "/api/users/by-email?email=a@example.org".into()),
        (Method::POST, format!("/api/users/{id}/last-login")),
    ];
    for (name, token) in &bad {
        for (method, path) in &routes {
            // A user's token does not help: a service's that is sent decides.
            let answer = admin.api.with_header("x-service-token", token).send(method.clone(), path, None).await;
            assert_eq!(answer.body["error"]["code"], "SERVICE_AUTH_INVALID", "{name} {path}: {}", answer.text);
            answer.expect_error(401, "SERVICE_AUTH_INVALID");
        }
    }

    let named = |name: &str| host.api().with_header("x-service-token", &good).with_header("x-service-name", name);
    named("booking").get(&routes[1].1).await.expect_data(200);
    named("cs").get(&routes[1].1).await.expect_error(401, "SERVICE_AUTH_INVALID");
    let pretenders = [
        host.api(),
        admin.api.clone(),
        host.api().with_header("x-service-name", "booking"),
        host.api().with_header("x-gateway-request", "true").with_header("x-forwarded-for", "127.0.0.1"),
        host.api().with_token(&good),
        host.api().with_header("x-shema-service", "booking").with_header("x-service-caller", "booking"),
    ];
    for api in &pretenders {
        for (method, path) in [&routes[0], &routes[2], &routes[3]] {
            api.send(method.clone(), path, None).await.expect_error(401, "SERVICE_AUTH_MISSING");
        }
    }
    host.api().with_header("x-service-name", "booking").get(&routes[1].1).await.expect_error(401, "AUTH_MISSING_TOKEN");
    host.api().with_token(&good).get(&routes[1].1).await.expect_error(401, "AUTH_INVALID_TOKEN");
    // Elsewhere the header is nothing.
    service(host).get("/api/users").await.expect_error(401, "AUTH_MISSING_TOKEN");
    host.api().with_header("x-service-token", "garbage").get("/api/courses").await.expect_data(200);
}

// ADM-1.

#[tokio::test]
async fn a_service_makes_users_of_every_kind() {
    let host = shared();
    let made = person(host, json!({})).await;
    assert_has_keys(&made, DETAIL);
    assert_eq!(made["role"], "student");
    assert_eq!(made["auth_provider"], "admin");
    assert_eq!(made["email_verified"], false);
    assert!(is_time(&made["created_at"]) && is_time(&made["updated_at"]));
    for name in ["phone_number", "wa_number", "address", "avatar_url", "last_login_at"] {
        assert_eq!(made[name], Value::Null, "{name}");
    }
    let events = host.events(&format!("user:{}", id_of(&made))).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["channel"], &events[0]["component"]), (&json!("user.registered"), &json!("admin")));
    let payload = &events[0]["payload"];
    assert_has_keys(payload, "eventId eventType timestamp userId email fullName role");
    assert_eq!(payload["eventType"], "USER_REGISTERED");
    assert_eq!(payload["userId"], made["id"]);
    assert_eq!(payload["email"], made["email"]);
    assert_eq!((&payload["fullName"], &payload["role"]), (&json!("Some Body"), &json!("student")));

    let uid = unique("uid");
    let all = json!({
        "full_name": "  Åsa Öberg ", "role": "admin", "firebase_uid": uid, "phone_number": "0812", "wa_number": "+62812345678901",
        "address": "Jl. Merdeka 1", "avatar_url": "https://example.org/a.png", "provider": "google.com",
        "email_verified": true, "id": unknown_id(), "password_hash": "x", "deleted_at": "2020-01-01T00:00:00Z",
    });
    let made = person(host, all).await;
    assert_eq!(made["full_name"], "Åsa Öberg");
    assert_eq!(made["auth_provider"], "firebase");
    assert_eq!(made["email_verified"], true);
    assert_eq!(made["wa_number"], "+62812345678901");
    assert_eq!(made["avatar_url"], "https://example.org/a.png");
    let query =
        "select u.firebase_uid, u.provider, u.password_hash, u.deleted_at from public.users u where u.id = $1::uuid";
    let row = host.rows(query, &[&id_of(&made)]).await.remove(0);
    assert_eq!(
        row,
        json!({ "firebase_uid": uid, "provider": "google.com", "password_hash": null, "deleted_at": null })
    );

    let made =
        person(host, json!({ "role": "instructor", "auth_provider": "course_registration", "address": null })).await;
    assert_eq!(made["auth_provider"], "course_registration");
    let profiles = "select * from public.instructor_profiles p where p.user_id = $1::uuid";
    assert!(host.rows(profiles, &[&id_of(&made)]).await.is_empty());
}

#[tokio::test]
async fn a_new_user_is_judged_in_all_parts() {
    let host = shared();
    let api = service(host);
    let bad = json!({
        "email": "no", "full_name": "A", "role": "boss", "firebase_uid": "", "phone_number": "1".repeat(26),
        "wa_number": "0812", "address": "a".repeat(1001), "avatar_url": "http://example.org", "auth_provider": "x",
        "email_verified": "yes",
    });
    let expected = [
        "address too_big",
        "auth_provider invalid_enum_value",
        "avatar_url invalid_string",
        "email invalid_string",
        "email_verified invalid_type",
        "firebase_uid too_small",
        "full_name too_small",
        "phone_number too_big",
        "role invalid_enum_value",
        "wa_number invalid_string",
    ];
    assert_eq!(api.post("/api/users", bad).await.problems(), expected);
    let missing = ["email invalid_type", "full_name invalid_type", "role invalid_type"];
    assert_eq!(api.post("/api/users", json!({})).await.problems(), missing);
    let cases = [
        (json!({ "auth_provider": "firebase" }), "firebase_uid custom"),
        (json!({ "role": "admin" }), "firebase_uid custom"),
        (json!({ "role": "admin", "auth_provider": "password" }), "auth_provider custom"),
        (json!({ "auth_provider": "password", "firebase_uid": "u" }), "auth_provider custom"),
        (json!({ "firebase_uid": "u".repeat(129) }), "firebase_uid too_big"),
        (json!({ "avatar_url": format!("https://example.org/{}", "a".repeat(1000)) }), "avatar_url too_big"),
        (json!({ "email": format!("{}@example.org", "a".repeat(250)) }), "email too_big"),
        (json!({ "full_name": "n".repeat(256) }), "full_name too_big"),
        (json!({ "wa_number": "+6281234567" }), "wa_number invalid_string"),
    ];
    for (changes, problem) in &cases {
        let answer = api.post("/api/users", with(&user_body(), changes.clone())).await;
        assert_eq!(answer.problems(), [*problem], "{changes}");
    }
    for body in ["", "[]", "null", "{"] {
        let request = api.request(Method::POST, "/api/users").header("content-type", "application/json").body(body);
        api.finish(request, "POST").await.expect("an answer").expect_error(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn an_email_and_a_uid_belong_to_one_user() {
    let host = shared();
    let api = service(host);
    let uid = unique("uid");
    let first = person(host, json!({ "firebase_uid": uid })).await;
    let again = with(&user_body(), json!({ "email": first["email"].as_str().expect("a text").to_uppercase() }));
    let error = api.post("/api/users", again.clone()).await.expect_error(409, "DB_DUPLICATE_ENTRY").clone();
    assert_eq!(error["details"]["field"], "email");
    let same_uid = with(&user_body(), json!({ "firebase_uid": uid }));
    let error = api.post("/api/users", same_uid.clone()).await.expect_error(409, "DB_DUPLICATE_ENTRY").clone();
    assert_eq!(error["details"]["field"], "firebase_uid");

    // A deletion frees both.
    host.admin().await.api.delete(&path(&first)).await.expect_data(200);
    let second = api.post("/api/users", with(&again, json!({ "firebase_uid": uid }))).await.expect_data(201).clone();
    assert_eq!(second["email"], again["email"]);
    assert_ne!(second["id"], first["id"]);
}

#[tokio::test]
async fn of_many_users_with_one_email_one_is_made() {
    let host = shared();
    let api = service(host);
    let body = user_body();
    let answers = join_all((0..MANY).map(|_| api.post("/api/users", body.clone()))).await;
    assert_eq!((count(&answers, 201, ""), count(&answers, 409, "DB_DUPLICATE_ENTRY")), (1, MANY - 1));
    let email = body["email"].as_str().expect("a text");
    let rows = host.rows("select u.id from public.users u where u.email = $1", &[email]).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(host.events(&format!("user:{}", id_of(&rows[0]))).await.len(), 1);
}

// ADM-2 and ADM-14.

#[tokio::test]
async fn who_may_read_whom() {
    let host = shared();
    let (admin, teacher, pupil) = (host.admin().await, host.user("instructor").await, host.user("student").await);
    let (colleague, other) = (host.user("instructor").await, host.user("student").await);
    let get = async |who: &User, whom: &User| who.api.get(&format!("/api/users/{}", whom.id)).await;
    for whom in [&admin, &teacher, &pupil] {
        assert_has_keys(get(&admin, whom).await.expect_data(200), DETAIL);
        assert_has_keys(get(whom, whom).await.expect_data(200), DETAIL);
        assert_has_keys(service(host).get(&format!("/api/users/{}", whom.id)).await.expect_data(200), DETAIL);
    }
    // Twice, so that the copy in Redis is judged as well.
    for _ in 0..2 {
        for whom in [&colleague, &other] {
            let answer = get(&teacher, whom).await;
            assert_has_keys(answer.expect_data(200), USER);
            assert_eq!(answer.data()["id"], whom.id);
        }
        get(&teacher, &admin).await.expect_error(403, "AUTH_FORBIDDEN");
        for whom in [&admin, &teacher, &other] {
            let error = get(&pupil, whom).await.expect_error(403, "AUTH_FORBIDDEN").clone();
            assert_eq!(error["details"]["userRole"], "student");
        }
    }
    // For students nothing exists but themselves.
    for id in [unknown_id(), "no-id".into()] {
        pupil.api.get(&format!("/api/users/{id}")).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    pupil.api.get(&format!("/api/users/{}", pupil.id.to_uppercase())).await.expect_data(200);
    for who in [&teacher.api, &admin.api, &service(host)] {
        who.get(&format!("/api/users/{}", unknown_id())).await.expect_error(404, "NOT_FOUND");
        assert_eq!(who.get("/api/users/no-id").await.problems(), ["id invalid_string"]);
    }
    host.api().get(&format!("/api/users/{}", pupil.id)).await.expect_error(401, "AUTH_MISSING_TOKEN");
    for whom in [&admin, &teacher, &pupil] {
        let answer = whom.api.get("/api/users/me").await;
        assert_has_keys(answer.expect_data(200), DETAIL);
        assert_eq!(answer.data()["id"], whom.id);
        assert!(answer.body["meta"]["cached"].is_boolean());
    }
    host.api().get("/api/users/me").await.expect_error(401, "AUTH_MISSING_TOKEN");
    assert!(!get(&admin, &pupil).await.text.contains("password_hash"));
}

#[tokio::test]
async fn a_user_is_read_from_redis_until_something_changes_it() {
    let host = Host::start(setup().set("REDIS_PREFIX", "cache-of-admin:"));
    let mut keys = redis().client().get_multiplexed_async_connection().await.expect("Redis");
    let admin = host.admin().await;
    let pupil = host.user("student").await;
    let (path, key) = (format!("/api/users/{}", pupil.id), format!("cache-of-admin:user:{}", pupil.id));
    let read = async || {
        let answer = admin.api.get(&path).await;
        assert_has_keys(answer.expect_data(200), DETAIL);
        (answer.body["meta"]["cached"].clone(), answer.data().clone())
    };

    let (cached, fresh) = read().await;
    assert_eq!(cached, false);
    let copy: String = keys.get(&key).await.expect("a copy");
    assert_eq!(serde_json::from_str::<Value>(&copy).expect("JSON"), fresh);
    let ttl: i64 = keys.ttl(&key).await.expect("a time");
    assert!((290..=300).contains(&ttl), "{ttl}");
    assert_eq!(read().await, (json!(true), fresh.clone()));
    assert_eq!(pupil.api.get("/api/users/me").await.body["meta"]["cached"], true);

    // Everything that changes the user drops the copy.
    admin.api.put(&path, json!({ "full_name": "Another Name" })).await.expect_data(200);
    let (cached, changed) = read().await;
    assert_eq!((&cached, &changed["full_name"]), (&json!(false), &json!("Another Name")));
    service(&host).post(&format!("{path}/last-login"), json!({})).await.expect_data(200);
    assert_eq!(read().await.0, false);
    host.login(&pupil.email).await;
    assert_eq!(read().await.0, false);
    assert_eq!(read().await.0, true);

    // A copy is judged like a row, and one that is none is not used.
    let admin_path = format!("/api/users/{}", admin.id);
    admin.api.get(&admin_path).await.expect_data(200);
    let teacher = host.user("instructor").await;
    teacher.api.get(&admin_path).await.expect_error(403, "AUTH_FORBIDDEN");
    for rubbish in ["", "{}", "null", "not JSON", &fresh.to_string().replace(&pupil.id, &admin.id)] {
        let () = keys.set_ex(&key, rubbish, 300).await.expect("set");
        assert_eq!(read().await.0, false, "{rubbish}");
    }

    admin.api.delete(&path).await.expect_data(200);
    assert!(!keys.exists::<_, bool>(&key).await.expect("an answer"));
    admin.api.get(&path).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn the_cache_lives_as_long_as_the_operator_says_and_its_loss_is_no_failure() {
    let own = Redis::start();
    let host = Host::start(setup().set("REDIS_URL", own.url()).set("REDIS_PREFIX", "").set("USER_CACHE_TTL", "17"));
    let admin = host.admin().await;
    let pupil = host.user("student").await;
    let path = format!("/api/users/{}", pupil.id);
    admin.api.get(&path).await.expect_data(200);
    let mut keys = own.client().get_multiplexed_async_connection().await.expect("Redis");
    let ttl: i64 = keys.ttl(format!("user:{}", pupil.id)).await.expect("a time");
    assert!((10..=17).contains(&ttl), "{ttl}");
    own.kill();
    for _ in 0..2 {
        let answer = admin.api.get(&path).await;
        answer.expect_data(200);
        assert_eq!(answer.body["meta"]["cached"], false);
    }
    let changed = admin.api.put(&path, json!({ "address": "Here" })).await;
    assert_eq!(changed.expect_data(200)["address"], "Here");
    admin.api.delete(&path).await.expect_acknowledgement();
}

// ADM-3.

#[tokio::test]
async fn users_change_what_is_theirs() {
    let host = shared();
    let pupil = host.user("student").await;
    let path = format!("/api/users/{}", pupil.id);
    let changes = json!({
        "full_name": " New Name ", "phone_number": "021", "wa_number": "+628123456789", "address": "There",
        "avatar_url": "https://example.org/x.png", "nonsense": 1,
    });
    let changed = pupil.api.put(&path, changes).await.expect_data(200).clone();
    assert_has_keys(&changed, DETAIL);
    assert_eq!(changed["full_name"], "New Name");
    assert_eq!(changed["phone_number"], "021");
    let cleared = json!({ "phone_number": null, "wa_number": null, "address": null, "avatar_url": null });
    let changed = pupil.api.put(&path, cleared).await.expect_data(200).clone();
    for name in ["phone_number", "wa_number", "address", "avatar_url"] {
        assert_eq!(changed[name], Value::Null, "{name}");
    }
    assert_eq!(changed["full_name"], "New Name");

    for body in [json!({}), json!({ "nonsense": 1 })] {
        assert_eq!(pupil.api.put(&path, body).await.problems(), [" custom"]);
    }
    let bad = json!({ "full_name": null, "wa_number": "1", "avatar_url": "x", "email": null, "role": null, "email_verified": null });
    let expected = [
        "avatar_url invalid_string",
        "email invalid_type",
        "email_verified invalid_type",
        "full_name invalid_type",
        "role invalid_type",
        "wa_number invalid_string",
    ];
    assert_eq!(pupil.api.put(&path, bad).await.problems(), expected);
}

#[tokio::test]
async fn nobody_changes_what_is_not_theirs() {
    let host = shared();
    let (admin, teacher, pupil) = (host.admin().await, host.user("instructor").await, host.user("student").await);
    let path = format!("/api/users/{}", pupil.id);
    let before = admin.api.get(&path).await.data().clone();
    for body in [json!({ "role": "admin" }), json!({ "email": email() }), json!({ "email_verified": true })] {
        pupil.api.put(&path, with(&body, json!({ "full_name": "Sly" }))).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    let never = [
        "id",
        "password",
        "password_hash",
        "passwordHash",
        "firebase_uid",
        "auth_provider",
        "created_at",
        "updated_at",
        "last_login_at",
        "deleted_at",
    ];
    for name in never {
        for who in [&pupil, &admin] {
            who.api.put(&path, json!({ name: "x", "full_name": "Sly" })).await.expect_error(403, "AUTH_FORBIDDEN");
            who.api.put(&path, json!({ name: null })).await.expect_error(403, "AUTH_FORBIDDEN");
        }
        // What is wrong is said first.
        admin.api.put(&path, json!({ name: "x", "full_name": "" })).await.expect_error(400, "VALIDATION_ERROR");
        admin
            .api
            .put(&format!("/api/users/{}", unknown_id()), json!({ name: "x" }))
            .await
            .expect_error(403, "AUTH_FORBIDDEN");
    }
    for who in [&teacher.api, &host.user("student").await.api] {
        for target in [path.clone(), format!("/api/users/{}", unknown_id()), "/api/users/no-id".into()] {
            who.put(&target, json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
        }
    }
    host.api().put(&path, json!({ "full_name": "Sly" })).await.expect_error(401, "AUTH_MISSING_TOKEN");
    service(host).put(&path, json!({ "full_name": "Sly" })).await.expect_error(401, "AUTH_MISSING_TOKEN");
    assert_eq!(admin.api.get(&path).await.data(), &before);
    admin
        .api
        .put(&format!("/api/users/{}", unknown_id()), json!({ "full_name": "Abc" }))
        .await
        .expect_error(404, "NOT_FOUND");
    admin.api.put("/api/users/no-id", json!({ "full_name": "Abc" })).await.expect_error(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn admins_change_email_role_and_verification() {
    let host = shared();
    let admin = host.admin().await;
    let pupil = host.user("student").await;
    let path = format!("/api/users/{}", pupil.id);
    let new_email = email();
    let changed =
        admin.api.put(&path, json!({ "email": new_email, "email_verified": false })).await.expect_data(200).clone();
    assert_eq!((&changed["email"], &changed["email_verified"]), (&json!(new_email), &json!(false)));
    let error = admin
        .api
        .put(&path, json!({ "email": admin.email.to_uppercase() }))
        .await
        .expect_error(409, "DB_DUPLICATE_ENTRY")
        .clone();
    assert_eq!(error["details"]["field"], "email");

    // A role brings its profile, and leaves that of the former one.
    let profiles =
        "select (select count(*) from public.instructor_profiles p where p.user_id = $1::uuid) as instructor,
                           (select count(*) from public.student_profiles p where p.user_id = $1::uuid) as student";
    let has = async || host.rows(profiles, &[&pupil.id]).await.remove(0);
    assert_eq!(has().await, json!({ "instructor": 0, "student": 0 }));
    assert_eq!(admin.api.put(&path, json!({ "role": "instructor" })).await.expect_data(200)["role"], "instructor");
    assert_eq!(has().await, json!({ "instructor": 1, "student": 0 }));
    // The role counts at once, though the token says another one; refreshing is
    // over.
    assert_eq!(pupil.api.get("/api/users/me").await.expect_data(200)["role"], "instructor");
    pupil.api.get("/api/schedules").await.expect_data(200);
    let refresh = json!({ "refreshToken": pupil.refresh });
    host.api().post("/api/auth/refresh", refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    admin.api.put(&path, json!({ "role": "student" })).await.expect_data(200);
    assert_eq!(has().await, json!({ "instructor": 1, "student": 1 }));
    admin.api.put(&path, json!({ "role": "instructor" })).await.expect_data(200);
    assert_eq!(has().await, json!({ "instructor": 1, "student": 1 }));
    // Whoever has a password can be an admin; the same role is no change.
    admin.api.put(&path, json!({ "role": "admin" })).await.expect_data(200);
    let user = host.login(&new_email).await;
    admin.api.put(&path, json!({ "role": "admin" })).await.expect_data(200);
    host.api().post("/api/auth/refresh", json!({ "refreshToken": user.refresh })).await.expect_data(200);
    admin.api.put(&path, json!({ "role": "student" })).await.expect_data(200);

    let nobody = person(host, json!({})).await;
    let answer = admin.api.put(&self::path(&nobody), json!({ "role": "admin" })).await;
    assert_eq!(answer.problems(), ["role custom"]);
    let linked = person(host, json!({ "firebase_uid": unique("uid") })).await;
    admin.api.put(&self::path(&linked), json!({ "role": "admin" })).await.expect_data(200);
    admin.api.delete(&self::path(&linked)).await.expect_data(200);
}

#[tokio::test]
async fn an_instructor_with_classes_to_come_stays_one() {
    let host = shared();
    let school = School::open(host).await;
    let id = school.instructor.id.clone();
    let (user, profile) = (format!("/api/users/{id}"), format!("/api/instructors/{id}"));
    let admin = &school.admin.api;
    admin.post("/api/instructors", json!({ "user_id": id })).await.expect_data(201);
    let class = id_of(&school.class(600, json!({})).await);
    admin.put(&user, json!({ "role": "student" })).await.expect_error(409, "INSTRUCTOR_HAS_SCHEDULES");
    admin.delete(&user).await.expect_error(409, "INSTRUCTOR_HAS_SCHEDULES");
    admin.delete(&profile).await.expect_error(409, "INSTRUCTOR_HAS_SCHEDULES");
    admin.get(&profile).await.expect_data(200);
    admin.put(&user, json!({ "role": "instructor", "full_name": "Still Here" })).await.expect_data(200);
    admin.delete(&format!("/api/schedules/{class}")).await.expect_data(200);
    // What is over holds nobody.
    school.class_row(-600, 5).await;
    admin.delete(&profile).await.expect_acknowledgement();
    admin.put(&user, json!({ "role": "student" })).await.expect_data(200);
    admin.put(&user, json!({ "role": "instructor" })).await.expect_data(200);
    admin.delete(&user).await.expect_acknowledgement();
}

#[tokio::test]
async fn a_class_planned_and_an_instructor_who_leaves_do_not_miss_each_other() {
    let host = shared();
    for way in ["demote", "delete", "profile"] {
        let school = School::open(host).await;
        let id = &school.instructor.id;
        school.admin.api.post("/api/instructors", json!({ "user_id": id })).await.expect_data(201);
        let planned = school.admin.api.post("/api/schedules", school.class_body(600));
        let left = async {
            match way {
                "demote" => school.admin.api.put(&format!("/api/users/{id}"), json!({ "role": "student" })).await,
                "delete" => school.admin.api.delete(&format!("/api/users/{id}")).await,
                _ => school.admin.api.delete(&format!("/api/instructors/{id}")).await,
            }
        };
        let (planned, left) = futures_util::future::join(planned, left).await;
        match (way, planned.status, left.status) {
            (_, 201, 409) => drop(left.expect_error(409, "INSTRUCTOR_HAS_SCHEDULES")),
            ("profile", 201, 200) => {}
            (_, 400, 200) => drop(planned.expect_error(400, "INVALID_USER_ROLE")),
            (_, 404, 200) => drop(planned.expect_error(404, "NOT_FOUND")),
            (_, 503, _) => drop(planned.expect_error(503, "SERVICE_UNAVAILABLE")),
            other => panic!("{other:?} {} {}", planned.text, left.text),
        }
    }
}

#[tokio::test]
async fn an_admin_always_remains() {
    let host = Host::start(setup());
    let admin = host.api().first_admin().await;
    let path = format!("/api/users/{}", admin.id);
    admin.api.put(&path, json!({ "role": "student" })).await.expect_error(409, "USER_LAST_ADMIN");
    admin.api.put(&path, json!({ "role": "admin", "full_name": "Still One" })).await.expect_data(200);
    admin.api.delete(&path).await.expect_error(409, "USER_SELF_DELETE");

    // Two at once, each the other or themselves, by demotion or deletion.
    for round in 0..12 {
        let second = host.user("admin").await;
        let first = host.user("admin").await;
        let all = "update public.users set role = 'student' where role = 'admin' and id not in ($1::uuid, $2::uuid)";
        host.run(all, &[&first.id, &second.id]).await;
        let leave = async |who: &User, whom: &User| match round % 3 {
            0 => who.api.put(&format!("/api/users/{}", who.id), json!({ "role": "instructor" })).await,
            1 => who.api.put(&format!("/api/users/{}", whom.id), json!({ "role": "student" })).await,
            _ => who.api.delete(&format!("/api/users/{}", whom.id)).await,
        };
        let (one, other) = futures_util::future::join(leave(&first, &second), leave(&second, &first)).await;
        let answers = [one, other];
        assert_eq!(count(&answers, 200, ""), 1, "{round}: {} {}", answers[0].text, answers[1].text);
        // Whoever came after the change was no admin any more.
        let late = count(&answers, 403, "AUTH_FORBIDDEN") + count(&answers, 401, "AUTH_UNAUTHORIZED");
        assert_eq!(count(&answers, 409, "USER_LAST_ADMIN") + late, 1, "{round}");
        let left = "select count(*) from public.users u where u.role = 'admin' and u.deleted_at is null";
        assert_eq!(host.count(left).await, 1);
    }
}

#[tokio::test]
async fn of_many_admins_who_leave_at_once_one_stays() {
    let host = Host::start(setup());
    // Each asks about themselves, so nobody is refused for another reason.
    let admins = join_all((0..MANY).map(|_| host.user("admin"))).await;
    let leave = |admin: &User| {
        let (api, path) = (admin.api.clone(), format!("/api/users/{}", admin.id));
        async move { api.put(&path, json!({ "role": "student" })).await }
    };
    let answers = join_all(admins.iter().map(leave)).await;
    assert_eq!((count(&answers, 200, ""), count(&answers, 409, "USER_LAST_ADMIN")), (MANY - 1, 1));
    let left = "select count(*) from public.users u where u.role = 'admin' and u.deleted_at is null";
    assert_eq!(host.count(left).await, 1);
}

// ADM-4.

#[tokio::test]
async fn users_are_listed_filtered_and_paged() {
    let host = shared();
    let admin = host.admin().await;
    let name = unique("Listed");
    let mut made = Vec::new();
    for (number, role) in ["student", "instructor", "student"].iter().enumerate() {
        let email = format!("l_{number}%{}@example.org", uuid::Uuid::new_v4().simple());
        made.push(person(host, json!({ "full_name": format!("{name} {number}"), "role": role, "email": email })).await);
    }
    made.reverse();
    let search = name.to_uppercase().replace(' ', "%20");
    let list = async |query: &str| admin.api.get(&format!("/api/users?search={search}&{query}")).await;
    let answer = list("").await;
    assert_eq!(answer.expect_list("users"), &made);
    assert_has_keys(&answer.data()["users"][0], DETAIL);
    assert_eq!(answer.data()["pagination"], json!({ "page": 1, "limit": 20, "total": 3, "total_pages": 1 }));
    let answer = list("limit=2&page=2").await;
    assert_eq!(answer.expect_list("users"), &made[2..]);
    assert_eq!(answer.data()["pagination"], json!({ "page": 2, "limit": 2, "total": 3, "total_pages": 2 }));
    assert!(list("page=9").await.expect_list("users").is_empty());
    assert_eq!(list("role=instructor").await.expect_list("users"), &made[1..2]);
    assert_eq!(list("email=l_1%25").await.expect_list("users"), &made[1..2]);
    // Wildcards stand for themselves, in both filters.
    assert!(list("email=l%251").await.expect_list("users").is_empty());
    assert!(list("email=l-1").await.expect_list("users").is_empty());
    let by_email = made[0]["email"].as_str().expect("a text").to_uppercase().replace('%', "%25");
    let answer = admin.api.get(&format!("/api/users?search={by_email}")).await;
    assert_eq!(answer.expect_list("users"), &made[..1]);

    admin.api.delete(&path(&made[0])).await.expect_data(200);
    assert_eq!(list("").await.expect_list("users"), &made[1..]);
    admin.api.get("/api/users?limit=1000").await.expect_data(200);
    let bad = format!("/api/users?page=0&limit=1001&role=boss&search={}", "a".repeat(101));
    let expected = ["limit too_big", "page too_small", "role invalid_enum_value", "search too_big"];
    assert_eq!(admin.api.get(&bad).await.problems(), expected);
    for role in ["student", "instructor"] {
        host.user(role).await.api.get("/api/users").await.expect_error(403, "AUTH_FORBIDDEN");
    }
    host.api().get("/api/users").await.expect_error(401, "AUTH_MISSING_TOKEN");
}

// ADM-5.

#[tokio::test]
async fn a_deleted_user_is_gone_everywhere() {
    let host = Host::start(setup().set("REDIS_PREFIX", "deleted-of-admin:"));
    let mut keys = redis().client().get_multiplexed_async_connection().await.expect("Redis");
    let admin = host.admin().await;
    let pupil = host.user("student").await;
    let path = format!("/api/users/{}", pupil.id);
    let uid = unique("uid");
    host.run("update public.users set firebase_uid = $1 where id = $2::uuid", &[&uid, &pupil.id]).await;
    let hint = format!("deleted-of-admin:firebase_uid:{uid}");
    let () = keys.set_ex(&hint, &pupil.id, 300).await.expect("set");

    let answer = admin.api.delete(&path).await;
    assert_eq!(answer.expect_acknowledgement()["id"], pupil.id);
    assert_has_keys(answer.data(), "id message");
    assert!(!keys.exists::<_, bool>(&hint).await.expect("an answer"));
    let query = "select u.deleted_at is not null as deleted,
                        (select bool_and(s.revoked_at is not null) from public.refresh_sessions s where s.user_id = u.id) as ended
                 from public.users u where u.id = $1::uuid";
    assert_eq!(host.rows(query, &[&pupil.id]).await, [json!({ "deleted": true, "ended": true })]);
    pupil.api.get("/api/users/me").await.expect_error(401, "AUTH_UNAUTHORIZED");
    let refresh = json!({ "refreshToken": pupil.refresh });
    host.api().post("/api/auth/refresh", refresh).await.expect_error(401, "AUTH_UNAUTHORIZED");
    let login = json!({ "email": pupil.email, "password": PASSWORD });
    host.api().post("/api/auth/login", login).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    admin.api.get(&path).await.expect_error(404, "NOT_FOUND");
    admin.api.put(&path, json!({ "full_name": "Ghost" })).await.expect_error(404, "NOT_FOUND");
    admin.api.put(&path, json!({ "role": "admin" })).await.expect_error(404, "NOT_FOUND");
    admin.api.delete(&path).await.expect_error(404, "NOT_FOUND");
    service(&host).post(&format!("{path}/last-login"), json!({})).await.expect_error(404, "NOT_FOUND");
    let by_email = format!("/api/users/by-email?email={}", pupil.email);
    assert_eq!(service(&host).get(&by_email).await.expect_data(200), &Value::Null);
    admin.api.delete(&format!("/api/users/{}", unknown_id())).await.expect_error(404, "NOT_FOUND");
    admin.api.delete("/api/users/no-id").await.expect_error(400, "VALIDATION_ERROR");
    for role in ["student", "instructor"] {
        let user = host.user(role).await;
        user.api.delete(&format!("/api/users/{}", user.id)).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    // An instructor who is deleted is no instructor any more.
    let gone = instructor(&host, json!({})).await;
    admin.api.delete(&self::path(&gone)).await.expect_data(200);
    let profile = format!("/api/instructors/{}", gone["user_id"].as_str().expect("an id"));
    admin.api.get(&profile).await.expect_error(404, "NOT_FOUND");
    admin.api.put(&profile, json!({ "bio": "x" })).await.expect_error(404, "NOT_FOUND");
    admin.api.delete(&profile).await.expect_error(404, "NOT_FOUND");
    assert!(admin.api.get("/api/instructors").await.expect_list("instructors").is_empty());
}

// ADM-6 and ADM-7.

#[tokio::test]
async fn a_service_finds_a_user_by_email() {
    let host = shared();
    let api = service(host);
    let made = person(host, json!({})).await;
    let email = made["email"].as_str().expect("a text").to_uppercase();
    let answer = api.get(&format!("/api/users/by-email?email={email}")).await;
    assert_eq!(answer.expect_data(200), &made);
    assert_eq!(api.get("/api/users/by-email?email=nobody@example.org").await.expect_data(200), &Value::Null);
    assert_eq!(api.get("/api/users/by-email").await.problems(), ["email invalid_type"]);
    assert_eq!(api.get("/api/users/by-email?email=no").await.problems(), ["email invalid_string"]);
}

#[tokio::test]
async fn a_service_notes_a_login() {
    let host = shared();
    let api = service(host);
    let made = person(host, json!({})).await;
    // With and without a body.
    for body in [None, Some(json!({}))] {
        let answer = api.send(Method::POST, &format!("{}/last-login", path(&made)), body).await;
        let data = answer.expect_acknowledgement();
        assert_has_keys(data, "message last_login_at");
        assert!(is_time(&data["last_login_at"]));
        let found = api.get(&path(&made)).await;
        assert_eq!(found.expect_data(200)["last_login_at"], data["last_login_at"]);
    }
    api.post(&format!("/api/users/{}/last-login", unknown_id()), json!({})).await.expect_error(404, "NOT_FOUND");
    api.post("/api/users/no-id/last-login", json!({})).await.expect_error(400, "VALIDATION_ERROR");
}

// ADM-8.

#[tokio::test]
async fn statistics_count_who_is_there() {
    let host = Host::start(setup());
    let admin = host.admin().await;
    person(&host, json!({ "role": "instructor" })).await;
    let old = person(&host, json!({})).await;
    person(&host, json!({})).await;
    let gone = person(&host, json!({})).await;
    admin.api.delete(&path(&gone)).await.expect_data(200);
    // The last moment of the month before, in UTC.
    let statement = "update public.users set created_at = date_trunc('month', now(), 'UTC') - interval '1 microsecond'
                     where id = $1::uuid";
    host.run(statement, &[&id_of(&old)]).await;
    let expected = json!({
        "total_users": 4, "total_admins": 1, "total_instructors": 1, "total_students": 2,
        "new_registrations_this_month": 3, "by_role": { "admin": 1, "instructor": 1, "student": 2 },
    });
    assert_eq!(admin.api.get("/api/users/stats").await.expect_data(200), &expected);
    for role in ["student", "instructor"] {
        host.user(role).await.api.get("/api/users/stats").await.expect_error(403, "AUTH_FORBIDDEN");
    }
}

// ADM-9 to ADM-13.

#[tokio::test]
async fn a_user_becomes_an_instructor_with_a_profile() {
    let host = shared();
    let admin = host.admin().await;
    let teacher = host.user("instructor").await;
    let body = json!({
        "user_id": teacher.id.to_uppercase(), "bio": " Plays. ", "specialization": "piano, jazz guitar,",
        "experience_years": 12, "email": 5, "full_name": "",
    });
    let made = admin.api.post("/api/instructors", body.clone()).await.expect_data(201).clone();
    assert_has_keys(&made, CONTACT);
    assert_eq!(made["user_id"], teacher.id);
    assert_eq!(made["bio"], "Plays.");
    assert_eq!(made["specialization"], json!(["piano", "jazz guitar"]));
    assert_eq!((&made["experience_years"], &made["email"]), (&json!(12), &json!(teacher.email)));
    let error = admin.api.post("/api/instructors", body).await.expect_error(409, "DB_DUPLICATE_ENTRY").clone();
    assert_eq!(error["details"]["field"], "user_id");
    assert!(host.events(&format!("user:{}", teacher.id)).await.is_empty());

    let pupil = host.user("student").await;
    admin.api.post("/api/instructors", json!({ "user_id": pupil.id })).await.expect_error(400, "INVALID_USER_ROLE");
    admin.api.post("/api/instructors", json!({ "user_id": admin.id })).await.expect_error(400, "INVALID_USER_ROLE");
    admin.api.post("/api/instructors", json!({ "user_id": unknown_id() })).await.expect_error(404, "NOT_FOUND");
    for who in [&teacher, &pupil] {
        who.api.post("/api/instructors", json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    host.api().post("/api/instructors", json!({})).await.expect_error(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn an_instructor_is_made_with_the_user() {
    let host = shared();
    let admin = host.admin().await;
    let address = email();
    let body = json!({
        "email": address, "full_name": "New Teacher", "phone_number": "021", "wa_number": "+628123456789",
        "address": "There", "specialties": ["drums"],
    });
    let made = admin.api.post("/api/instructors", body.clone()).await.expect_data(201).clone();
    assert_has_keys(&made, CONTACT);
    assert_eq!(made["specialization"], json!(["drums"]));
    assert_eq!((&made["bio"], &made["experience_years"]), (&Value::Null, &Value::Null));
    assert_eq!((&made["phone_number"], &made["wa_number"]), (&json!("021"), &json!("+628123456789")));
    let user = admin.api.get(&path(&made)).await.expect_data(200).clone();
    assert_eq!((&user["role"], &user["auth_provider"]), (&json!("instructor"), &json!("admin")));
    assert_eq!(user["address"], "There");
    let events = host.events(&format!("user:{}", user["id"].as_str().expect("an id"))).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["payload"]["role"], "instructor");
    // Nothing is left of one that fails.
    let error = admin.api.post("/api/instructors", body).await.expect_error(409, "DB_DUPLICATE_ENTRY").clone();
    assert_eq!(error["details"]["field"], "email");

    assert_eq!(admin.api.post("/api/instructors", json!({})).await.problems(), ["user_id invalid_type"]);
    let bad = json!({
        "email": "no", "wa_number": "1", "bio": "b".repeat(2001), "specialization": ["x".repeat(51)], "experience_years": 81,
    });
    let expected = [
        "bio too_big",
        "email invalid_string",
        "experience_years too_big",
        "full_name invalid_type",
        "specialization.0 too_big",
        "wa_number invalid_string",
    ];
    assert_eq!(admin.api.post("/api/instructors", bad).await.problems(), expected);
    let many = json!({ "user_id": "no-id", "specialization": vec!["x"; 21], "experience_years": -1 });
    let expected = ["experience_years too_small", "specialization too_big", "user_id invalid_string"];
    assert_eq!(admin.api.post("/api/instructors", many).await.problems(), expected);
}

#[tokio::test]
async fn instructors_are_listed_for_everybody_and_reached_by_some() {
    let host = shared();
    let admin = host.admin().await;
    let name = unique("Faculty");
    let mut made = Vec::new();
    for (letter, subject) in [("C", "Piano"), ("A", "piano"), ("B", "pianos")] {
        let body = json!({ "full_name": format!("{name} {letter}"), "specialization": [subject, "x"] });
        made.push(instructor(host, body).await);
    }
    made.sort_by_key(|one| one["full_name"].as_str().expect("a name").to_owned());
    let path = format!("/api/instructors?search={}", name.to_lowercase().replace(' ', "%20"));
    let answer = admin.api.get(&path).await;
    assert_eq!(answer.expect_list("instructors"), &made);
    let answer = admin.api.get(&format!("{path}&specialization=PIANO")).await;
    assert_eq!(answer.expect_list("instructors"), &made[..1].iter().chain(&made[2..]).cloned().collect::<Vec<_>>());
    let answer = admin.api.get(&format!("{path}&limit=1&page=2")).await;
    assert_eq!(answer.expect_list("instructors"), &made[1..2]);
    assert_eq!(answer.data()["pagination"], json!({ "page": 2, "limit": 1, "total": 3, "total_pages": 3 }));

    // How to reach them is for admins and for themselves.
    let teacher = host.user("instructor").await;
    admin.api.post("/api/instructors", json!({ "user_id": teacher.id, "bio": name })).await.expect_data(201);
    let pupil = host.user("student").await;
    for one in pupil.api.get(&path).await.expect_list("instructors") {
        assert_has_keys(one, INSTRUCTOR);
    }
    let answer = teacher.api.get(&path).await;
    let listed = answer.expect_list("instructors");
    assert_eq!(listed.len(), 4);
    for one in listed {
        assert_has_keys(one, if one["user_id"] == json!(teacher.id) { CONTACT } else { INSTRUCTOR });
    }
    let profile = format!("/api/instructors/{}", teacher.id);
    assert_has_keys(pupil.api.get(&profile).await.expect_data(200), INSTRUCTOR);
    assert_has_keys(teacher.api.get(&profile).await.expect_data(200), CONTACT);
    assert_has_keys(admin.api.get(&profile).await.expect_data(200), CONTACT);

    // Who has another role now is not listed, with the profile kept.
    let left = format!("/api/users/{}", made[1]["user_id"].as_str().expect("an id"));
    admin.api.put(&left, json!({ "role": "student" })).await.expect_data(200);
    assert_eq!(admin.api.get(&path).await.expect_list("instructors").len(), 3);
    let former = left.replace("users", "instructors");
    pupil.api.get(&former).await.expect_error(404, "NOT_FOUND");
    admin.api.put(&former, json!({ "bio": "x" })).await.expect_error(404, "NOT_FOUND");
    admin.api.put(&left, json!({ "role": "instructor" })).await.expect_data(200);
    assert_eq!(admin.api.get(&former).await.expect_data(200)["specialization"], made[1]["specialization"]);

    pupil.api.get("/api/instructors?limit=101").await.expect_error(400, "VALIDATION_ERROR");
    pupil.api.get("/api/instructors/no-id").await.expect_error(400, "VALIDATION_ERROR");
    pupil.api.get(&format!("/api/instructors/{}", unknown_id())).await.expect_error(404, "NOT_FOUND");
    // A user without a profile is not yet one.
    let bare = host.user("instructor").await;
    pupil.api.get(&format!("/api/instructors/{}", bare.id)).await.expect_error(404, "NOT_FOUND");
    for path in ["/api/instructors", &profile] {
        host.api().get(path).await.expect_error(401, "AUTH_MISSING_TOKEN");
    }
}

#[tokio::test]
async fn a_profile_is_changed_by_its_instructor_and_by_admins() {
    let host = shared();
    let admin = host.admin().await;
    let teacher = host.user("instructor").await;
    let path = format!("/api/instructors/{}", teacher.id);
    teacher.api.put(&path, json!({ "bio": "x" })).await.expect_error(404, "NOT_FOUND");
    admin.api.post("/api/instructors", json!({ "user_id": teacher.id, "bio": "Old" })).await.expect_data(201);

    let changed =
        teacher.api.put(&path, json!({ "specialties": "a, b", "experience_years": 3 })).await.expect_data(200).clone();
    assert_has_keys(&changed, CONTACT);
    assert_eq!(changed["specialization"], json!(["a", "b"]));
    assert_eq!((&changed["bio"], &changed["experience_years"]), (&json!("Old"), &json!(3)));
    let changed = admin.api.put(&path, json!({ "bio": null, "experience_years": null })).await.expect_data(200).clone();
    assert_eq!((&changed["bio"], &changed["experience_years"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["specialization"], json!(["a", "b"]));
    assert_eq!(
        admin.api.put(&path, json!({ "specialization": [] })).await.expect_data(200)["specialization"],
        json!([])
    );

    for body in [json!({}), json!({ "full_name": "x" })] {
        assert_eq!(teacher.api.put(&path, body).await.problems(), [" custom"]);
    }
    let bad = json!({ "bio": 5, "specialization": null, "experience_years": 1.5 });
    let expected = ["bio invalid_type", "experience_years invalid_type", "specialization invalid_type"];
    assert_eq!(teacher.api.put(&path, bad).await.problems(), expected);
    let pupil = host.user("student").await;
    for who in [&host.user("instructor").await.api, &pupil.api] {
        who.put(&path, json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    pupil
        .api
        .put(&format!("/api/instructors/{}", pupil.id), json!({ "bio": "x" }))
        .await
        .expect_error(403, "AUTH_FORBIDDEN");
    admin
        .api
        .put(&format!("/api/instructors/{}", unknown_id()), json!({ "bio": "x" }))
        .await
        .expect_error(404, "NOT_FOUND");
    admin.api.put("/api/instructors/no-id", json!({ "bio": "x" })).await.expect_error(400, "VALIDATION_ERROR");
    host.api().put(&path, json!({})).await.expect_error(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn a_profile_is_deleted_and_the_user_stays() {
    let host = shared();
    let admin = host.admin().await;
    let made = instructor(host, json!({})).await;
    let profile = format!("/api/instructors/{}", made["user_id"].as_str().expect("an id"));
    for role in ["student", "instructor"] {
        host.user(role).await.api.delete(&profile).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    admin.api.delete(&profile).await.expect_acknowledgement();
    admin.api.delete(&profile).await.expect_error(404, "NOT_FOUND");
    admin.api.delete(&format!("/api/instructors/{}", unknown_id())).await.expect_error(404, "NOT_FOUND");
    admin.api.delete("/api/instructors/no-id").await.expect_error(400, "VALIDATION_ERROR");
    admin.api.get(&path(&made)).await.expect_data(200);
    admin.api.post("/api/instructors", json!({ "user_id": made["user_id"] })).await.expect_data(201);
}
