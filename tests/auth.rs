//! AUTH-4 to AUTH-8: login, registration, the life of a session, and every way
//! in which a token can be wrong.

use crate::harness::{
    ACCESS_SECRET, Api, Expect, Host, PASSWORD, REFRESH_SECRET, SERVICE_SECRET, User, assert_has_keys, is_time, redis,
    setup, shared, unique, unknown_id, until, with, without,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use futures_util::future::join_all;
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const USER: &str = "id email full_name role phone_number avatar_url created_at updated_at last_login_at";
const DAY: i64 = 24 * 60 * 60;

/// The claims of a token, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// A token with whatever header, signed with HMAC-SHA-256.
fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

pub fn hs256(claims: &Value, secret: &str) -> String {
    sign(&json!({ "alg": "HS256", "typ": "JWT" }), claims, secret)
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sid(user: &User) -> String {
    claims(&user.access)["sid"].as_str().expect("a text").to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

async fn refresh(host: &Host, token: &str) -> crate::harness::Answer {
    host.api().post("/api/auth/refresh", json!({ "refreshToken": token })).await
}

/// Exchanges a token for the next pair: access, refresh.
async fn rotated(host: &Host, token: &str) -> (String, String) {
    let answer = refresh(host, token).await;
    let data = answer.expect_data(200);
    (text(&data["accessToken"]), text(&data["refreshToken"]))
}

async fn me(host: &Host, access: &str) -> crate::harness::Answer {
    host.api().with_token(access).get("/api/auth/me").await
}

async fn log_in(api: &Api, email: &str, password: &str) -> crate::harness::Answer {
    api.post("/api/auth/login", json!({ "email": email, "password": password })).await
}

/// Ends the grace of a session without waiting for it.
async fn end_grace(host: &Host, sid: &str) {
    let statement =
        "update public.refresh_sessions set rotated_at = rotated_at - interval '10 seconds' where id = $1::uuid";
    assert_eq!(host.run(statement, &[sid]).await, 1);
}

// Login.

#[tokio::test]
async fn a_login_answers_the_user_and_both_tokens() {
    let host = shared();
    let user = host.user("student").await;
    let api = host.api().with_header("user-agent", &"agent ".repeat(100));
    let answer = log_in(&api, &user.email, PASSWORD).await;
    let data = answer.expect_data(200);
    assert_has_keys(data, "accessToken refreshToken user");
    assert_has_keys(&data["user"], USER);
    assert_eq!(data["user"]["id"], user.id);
    assert_eq!(data["user"]["email"], user.email);
    assert_eq!(data["user"]["full_name"], "Some student");
    assert_eq!(data["user"]["role"], "student");
    assert_eq!(data["user"]["phone_number"], Value::Null);
    assert_eq!(data["user"]["avatar_url"], Value::Null);
    assert!(["created_at", "updated_at", "last_login_at"].iter().all(|name| is_time(&data["user"][name])));

    let (access, refresh) = (text(&data["accessToken"]), text(&data["refreshToken"]));
    let access_claims = claims(&access);
    assert_has_keys(&access_claims, "userId email role sid sub iss aud iat exp jti");
    assert_eq!(access_claims["userId"], user.id);
    assert_eq!(access_claims["sub"], user.id);
    assert_eq!(access_claims["email"], user.email);
    assert_eq!(access_claims["role"], "student");
    assert_eq!(access_claims["iss"], "shema-music-auth");
    assert_eq!(access_claims["aud"], "shema-music-api");
    let lifetime = |claims: &Value| claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time");
    assert_eq!(lifetime(&access_claims), 15 * 60);
    assert!((Utc::now().timestamp() - access_claims["iat"].as_i64().expect("a time")).abs() < 60);

    let refresh_claims = claims(&refresh);
    assert_has_keys(&refresh_claims, "userId email sid iss aud iat exp jti");
    assert_eq!(lifetime(&refresh_claims), 7 * DAY);
    assert_eq!(refresh_claims["sid"], access_claims["sid"]);
    assert_ne!(refresh_claims["jti"], access_claims["jti"]);
    for (token, secret) in [(&access, ACCESS_SECRET), (&refresh, REFRESH_SECRET)] {
        let header = jsonwebtoken::decode_header(token).expect("a header");
        assert_eq!(header.alg, Algorithm::HS256);
        let signed = token.rsplit_once('.').expect("a signature");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(signed.0.as_bytes());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()), signed.1);
    }

    let query = "select user_id, encode(token_hash, 'hex') as token_hash, previous_token_hash, rotated_at, revoked_at,
                        user_agent, extract(epoch from expires_at)::bigint as expires_at
                 from public.refresh_sessions where id = $1::uuid";
    let row = host.rows(query, &[access_claims["sid"].as_str().expect("a text")]).await.remove(0);
    assert_eq!(row["user_id"], user.id);
    assert_eq!(row["token_hash"], sha256(&refresh));
    assert_eq!(row["expires_at"], refresh_claims["exp"]);
    assert_eq!(row["user_agent"], "agent ".repeat(100)[..512]);
    let query = "select s.user_agent from public.refresh_sessions s where s.id = $1::uuid";
    assert_eq!(host.rows(query, &[&sid(&user)]).await[0]["user_agent"], Value::Null);
    for name in ["previous_token_hash", "rotated_at", "revoked_at"] {
        assert_eq!(row[name], Value::Null);
    }
}

#[tokio::test]
async fn an_email_is_compared_without_case_and_returned_as_it_was_sent() {
    let host = shared();
    let user = host.user("student").await;
    let answer = log_in(&host.api(), &format!("  {}  ", user.email.to_uppercase()), PASSWORD).await;
    assert_eq!(answer.expect_data(200)["user"]["email"], user.email);
}

#[tokio::test]
async fn all_failed_logins_have_one_answer() {
    let host = shared();
    let users = join_all((0..3).map(|_| host.user("student"))).await;
    let hidden =
        "update public.users set password_hash = null, auth_provider = 'course_registration' where id = $1::uuid";
    assert_eq!(host.run(hidden, &[&users[1].id]).await, 1);
    assert_eq!(host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&users[2].id]).await, 1);
    let attempts = [
        ("an unknown email", "nobody-at-all@example.org", PASSWORD),
        ("a wrong password", &users[0].email, "Wrong-passw0rd"),
        ("a password of another case", &users[0].email, &PASSWORD.to_uppercase()),
        ("a password with a space", &users[0].email, &format!("{PASSWORD} ")),
        ("no password", &users[1].email, PASSWORD),
        ("a deleted user", &users[2].email, PASSWORD),
    ];
    for (what, email, password) in attempts {
        let answer = log_in(&host.api(), email, password).await;
        let error = answer.expect_error(401, "AUTH_INVALID_CREDENTIALS");
        assert_eq!(error["message"], "Invalid email or password", "{what}");
        assert!(error.get("details").is_none(), "{what}");
    }
}

#[tokio::test]
async fn the_fields_of_a_login_are_validated() {
    let api = shared().api();
    let refused = async |body: Value| api.post("/api/auth/login", body).await.problems();
    assert_eq!(refused(json!({})).await, ["email invalid_type", "password invalid_type"]);
    assert_eq!(
        refused(json!({ "email": null, "password": null })).await,
        ["email invalid_type", "password invalid_type"]
    );
    assert_eq!(refused(json!({ "email": 1, "password": [] })).await, ["email invalid_type", "password invalid_type"]);
    assert_eq!(
        refused(json!({ "email": "nobody", "password": "" })).await,
        ["email invalid_string", "password too_small"]
    );
    let long = format!("{}@example.org", "a".repeat(244));
    assert_eq!(refused(json!({ "email": long, "password": "x" })).await, ["email too_big"]);
    for email in ["a@b", "a b@example.org", "@example.org", "a@", "a@@example.org", "a@example..org", "a\n@example.org"]
    {
        assert_eq!(refused(json!({ "email": email, "password": "x" })).await, ["email invalid_string"], "{email}");
    }
    for body in [
        json!({ "email": "a\u{0}@example.org", "password": "x" }),
        json!({ "email": "a@example.org", "password": "\u{0}" }),
    ] {
        let status = api.post("/api/auth/login", body).await.status;
        assert!(status == 400 || status == 401, "{status}");
    }
    let detail = api.post("/api/auth/login", json!({ "email": "x", "password": "y" })).await;
    let detail = &detail.expect_error(400, "VALIDATION_ERROR")["details"][0];
    assert_has_keys(detail, "path field code message");
    assert_eq!(detail["path"], json!(["email"]));
}

#[tokio::test]
async fn a_bcrypt_hash_of_an_imported_user_is_good_for_login() {
    let host = shared();
    let user = host.user("instructor").await;
    let hash = bcrypt::hash("Imported-1", 4).expect("a hash");
    host.run("update public.users set password_hash = $1 where id = $2::uuid", &[&hash, &user.id]).await;
    log_in(&host.api(), &user.email, "Imported-1").await.expect_data(200);
    log_in(&host.api(), &user.email, PASSWORD).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn devices_have_sessions_of_their_own() {
    let host = shared();
    let one = host.user("student").await;
    let two = host.login(&one.email).await;
    assert_ne!(sid(&one), sid(&two));
    one.api.send(Method::POST, "/api/auth/logout", None).await.expect_acknowledgement();
    me(host, &one.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &two.access).await.expect_data(200);
    rotated(host, &two.refresh).await;
}

// Me.

#[tokio::test]
async fn me_is_read_fresh_from_the_table() {
    let host = shared();
    let user = host.user("instructor").await;
    let answer = user.api.get("/api/auth/me").await;
    assert_has_keys(answer.expect_data(200), USER);
    assert_eq!(answer.data()["id"], user.id);
    let statement =
        "update public.users set full_name = 'New Name', phone_number = '+62 1', avatar_url = 'https://x.y/z',
            wa_number = '+62812345678', address = 'here' where id = $1::uuid";
    host.run(statement, &[&user.id]).await;
    let answer = user.api.get("/api/auth/me").await;
    assert_has_keys(answer.expect_data(200), USER);
    let found = ["full_name", "phone_number", "avatar_url"].map(|name| answer.data()[name].as_str().expect("a text"));
    assert_eq!(found, ["New Name", "+62 1", "https://x.y/z"]);
}

// Registration.

fn registration(email: &str) -> Value {
    json!({ "email": email, "password": "Passw0rd-of-admin", "full_name": "New Admin", "role": "admin" })
}

fn new_email() -> String {
    format!("{}@Example.org", unique("admin").replace(' ', "-"))
}

#[tokio::test]
async fn the_first_registration_makes_an_admin_and_later_ones_need_one() {
    let host = Host::start(setup());
    let api = host.api();
    let body = with(
        &registration("First@Example.org"),
        json!({
            "phone_number": " +62 21 555 ", "preferred_instruments": ["piano"], "experience_level": "beginner",
            "learning_goal": "none", "id": unknown_id(), "email_verified": true, "auth_provider": "firebase",
        }),
    );
    let answer = api.post("/api/auth/register", body).await;
    let data = answer.expect_data(201);
    assert_eq!(answer.header("deprecation"), "true");
    assert_has_keys(data, "accessToken refreshToken user");
    assert_has_keys(&data["user"], USER);
    assert_eq!(data["user"]["email"], "First@Example.org");
    assert_eq!(data["user"]["role"], "admin");
    assert_eq!(data["user"]["full_name"], "New Admin");
    assert_eq!(data["user"]["phone_number"], "+62 21 555");
    let admin = api.user_of(&answer.body);
    me(&host, &admin.access).await.expect_data(200);
    rotated(&host, &admin.refresh).await;

    let query = "select auth_provider, email_verified, password_hash like '$argon2id$%' as hashed, firebase_uid
                 from public.users where id = $1::uuid";
    let row = host.rows(query, &[&admin.id]).await.remove(0);
    assert_eq!(row["auth_provider"], "password");
    assert_eq!((&row["hashed"], &row["email_verified"]), (&json!(true), &json!(false)));

    let events = host.events(&format!("user:{}", admin.id)).await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0]["channel"].as_str(), events[0]["component"].as_str()),
        (Some("user.registered"), Some("auth"))
    );
    let payload = &events[0]["payload"];
    assert_has_keys(payload, "eventId eventType timestamp userId email fullName role");
    assert_eq!(payload["eventType"], "USER_REGISTERED");
    assert_eq!((&payload["userId"], &payload["email"]), (&json!(admin.id), &json!("First@Example.org")));
    assert_eq!((&payload["fullName"], &payload["role"]), (&json!("New Admin"), &json!("admin")));
    assert!(chrono::DateTime::parse_from_rfc3339(payload["timestamp"].as_str().expect("a text")).is_ok());

    // The guard goes before the body.
    for refused in [registration(&new_email()), json!({}), json!({ "email": "no" })] {
        api.post("/api/auth/register", refused).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    let student = host.user("student").await;
    student.api.post("/api/auth/register", registration(&new_email())).await.expect_error(403, "AUTH_FORBIDDEN");
    let instructor = host.user("instructor").await;
    instructor.api.post("/api/auth/register", registration(&new_email())).await.expect_error(403, "AUTH_FORBIDDEN");
    api.with_token("x")
        .post("/api/auth/register", registration(&new_email()))
        .await
        .expect_error(403, "AUTH_FORBIDDEN");
    let header = api.with_header("x-admin-registration-token", "");
    header.post("/api/auth/register", registration(&new_email())).await.expect_error(403, "AUTH_FORBIDDEN");
    admin.api.post("/api/auth/register", registration(&new_email())).await.expect_data(201);
}

#[tokio::test]
async fn the_operators_registration_token_replaces_the_bootstrap() {
    let host = Host::start(setup().set("ADMIN_REGISTRATION_TOKEN", "a-token-of-the-operator"));
    let api = host.api();
    let register = async |token: &str| {
        let api = api.with_header("x-admin-registration-token", token);
        api.post("/api/auth/register", registration(&new_email())).await
    };
    api.post("/api/auth/register", registration(&new_email())).await.expect_error(403, "AUTH_FORBIDDEN");
    for wrong in ["", "a-token-of-the-operato", "a-token-of-the-operator2", "A-token-of-the-operator"] {
        register(wrong).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    register("a-token-of-the-operator").await.expect_data(201);
    register("a-token-of-the-operator").await.expect_data(201);
}

#[tokio::test]
async fn open_registration_is_open() {
    let host = Host::start(setup().set("ALLOW_OPEN_ADMIN_REGISTRATION", "true"));
    host.api().post("/api/auth/register", registration(&new_email())).await.expect_data(201);
    host.api().post("/api/auth/register", registration(&new_email())).await.expect_data(201);
}

#[tokio::test]
async fn the_fields_of_a_registration_are_validated() {
    let host = shared();
    let admin = host.admin().await;
    let good = registration(&new_email());
    let refused = async |body: Value| admin.api.post("/api/auth/register", body).await.problems();
    let missing = ["email", "full_name", "password", "role"].map(|name| format!("{name} invalid_type"));
    assert_eq!(refused(json!({})).await, missing);
    for (changes, problem) in [
        (json!({ "email": "no" }), "email invalid_string"),
        (json!({ "email": format!("{}@example.org", "a".repeat(244)) }), "email too_big"),
        (json!({ "email": null }), "email invalid_type"),
        (json!({ "full_name": " x " }), "full_name too_small"),
        (json!({ "full_name": "x".repeat(256) }), "full_name too_big"),
        (json!({ "full_name": 5 }), "full_name invalid_type"),
        (json!({ "role": "student" }), "role invalid_enum_value"),
        (json!({ "role": "Admin" }), "role invalid_enum_value"),
        (json!({ "role": 1 }), "role invalid_type"),
        (json!({ "password": format!("Aa1{}", "x".repeat(126)) }), "password too_big"),
        (json!({ "password": 12345678 }), "password invalid_type"),
        (json!({ "phone_number": "1".repeat(26) }), "phone_number too_big"),
        (json!({ "phone_number": 1 }), "phone_number invalid_type"),
    ] {
        assert_eq!(refused(with(&good, changes.clone())).await, [problem], "{changes}");
    }
    // The longest that is allowed, and null for what is optional.
    let longest = json!({
        "full_name": "ü".repeat(255), "phone_number": null, "password": format!("Aa1{}", "x".repeat(125)),
    });
    let answer = admin.api.post("/api/auth/register", with(&good, longest)).await;
    assert_eq!(answer.expect_data(201)["user"]["phone_number"], Value::Null);
    // Not a byte of the address is wasted: 255 are good.
    let address = format!("{}@{}.example.org", unique("a").replace(' ', ""), "b".repeat(63));
    admin.api.post("/api/auth/register", registration(&address)).await.expect_data(201);
}

#[tokio::test]
async fn a_weak_password_is_told_what_it_lacks() {
    let admin = shared().admin().await;
    let register =
        async |changes: Value| admin.api.post("/api/auth/register", with(&registration(&new_email()), changes)).await;
    for (password, lacks) in [
        ("Short-1", 1),
        ("", 4),
        ("lower-case-1", 1),
        ("UPPER-CASE-1", 1),
        ("No-digit-in-it", 1),
        ("--------", 3),
        // Letters and digits that are not ASCII do not count.
        ("ÄÖÜäöü١٢٣", 3),
    ] {
        let answer = register(json!({ "password": password })).await;
        let details = &answer.expect_error(400, "VALIDATION_PASSWORD_WEAK")["details"];
        let details = details.as_array().expect("a list");
        assert!(details.iter().all(Value::is_string), "{details:?}");
        assert_eq!(details.len(), lacks, "{password}: {details:?}");
    }
    // Only told when all the rest is good.
    let answer = register(json!({ "password": "weak", "full_name": "x" })).await;
    assert!(answer.problems().contains(&"full_name too_small".to_owned()));
    register(json!({ "password": "Eight-8c" })).await.expect_data(201);
}

#[tokio::test]
async fn a_password_is_never_trimmed() {
    let host = shared();
    let (admin, email) = (host.admin().await, new_email());
    let body = with(&registration(&email), json!({ "password": " Passw0rd with spaces " }));
    admin.api.post("/api/auth/register", body).await.expect_data(201);
    log_in(&host.api(), &email, "Passw0rd with spaces").await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    log_in(&host.api(), &email, " Passw0rd with spaces ").await.expect_data(200);
}

#[tokio::test]
async fn an_email_belongs_to_one_user_whatever_its_case() {
    let host = shared();
    let (admin, email) = (host.admin().await, new_email());
    admin.api.post("/api/auth/register", registration(&email)).await.expect_data(201);
    let again = admin.api.post("/api/auth/register", registration(&email.to_uppercase())).await;
    assert_eq!(again.expect_error(409, "DB_DUPLICATE_ENTRY")["details"]["field"], "email");
    // A deleted user frees the address.
    assert_eq!(host.run("update public.users set deleted_at = now() where email = $1::citext", &[&email]).await, 1);
    admin.api.post("/api/auth/register", registration(&email)).await.expect_data(201);
}

// Refresh.

#[tokio::test]
async fn a_refresh_rotates_the_token_and_keeps_the_session() {
    let host = shared();
    let user = host.user("student").await;
    let answer = refresh(host, &user.refresh).await;
    let data = answer.expect_data(200);
    assert_has_keys(data, "accessToken refreshToken");
    let (access, next) = (text(&data["accessToken"]), text(&data["refreshToken"]));
    assert!(access != user.access && next != user.refresh);
    assert_eq!(claims(&access)["sid"], sid(&user));
    assert_eq!(claims(&next)["sid"], sid(&user));
    let query =
        "select encode(token_hash, 'hex') as current, encode(previous_token_hash, 'hex') as previous, rotated_at,
                        extract(epoch from expires_at)::bigint as expires_at
                 from public.refresh_sessions where id = $1::uuid";
    let row = host.rows(query, &[&sid(&user)]).await.remove(0);
    assert_eq!((text(&row["current"]), text(&row["previous"])), (sha256(&next), sha256(&user.refresh)));
    assert!(row["rotated_at"].is_string());
    assert_eq!(row["expires_at"], claims(&next)["exp"]);
    // The access token before lives out its fifteen minutes.
    me(host, &user.access).await.expect_data(200);
    me(host, &access).await.expect_data(200);
    rotated(host, &next).await;
}

#[tokio::test]
async fn a_repeated_refresh_gets_the_same_pair_for_ten_seconds() {
    let host = shared();
    let user = host.user("student").await;
    let first = rotated(host, &user.refresh).await;
    for _ in 0..3 {
        assert_eq!(rotated(host, &user.refresh).await, first);
    }
    let query = "select encode(token_hash, 'hex') as current from public.refresh_sessions where id = $1::uuid";
    let row = host.rows(query, &[&sid(&user)]).await.remove(0);
    assert_eq!(row["current"], sha256(&first.1), "nothing is rotated a second time");
    rotated(host, &first.1).await;
}

#[tokio::test]
async fn a_rotated_token_after_its_grace_ends_the_session_and_no_other() {
    let host = shared();
    let user = host.user("student").await;
    let other = host.login(&user.email).await;
    let (access, next) = rotated(host, &user.refresh).await;
    end_grace(host, &sid(&user)).await;
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    refresh(host, &next).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &user.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &other.access).await.expect_data(200);
    rotated(host, &other.refresh).await;
}

#[tokio::test]
async fn a_token_older_than_the_previous_one_has_no_grace() {
    let host = shared();
    let user = host.user("student").await;
    let (_, second) = rotated(host, &user.refresh).await;
    let (access, third) = rotated(host, &second).await;
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    refresh(host, &third).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &access).await.expect_error(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn a_well_signed_token_that_was_never_issued_counts_as_reuse() {
    let host = shared();
    let user = host.user("student").await;
    let forged = hs256(&with(&claims(&user.refresh), json!({ "jti": unknown_id() })), REFRESH_SECRET);
    refresh(host, &forged).await.expect_error(401, "AUTH_INVALID_TOKEN");
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &user.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn a_refresh_takes_the_claims_from_the_current_row() {
    let host = shared();
    let user = host.user("student").await;
    let email = format!("renamed-{}", user.email);
    host.run("update public.users set email = $1::citext where id = $2::uuid", &[&email, &user.id]).await;
    let (access, next) = rotated(host, &user.refresh).await;
    assert_eq!((&claims(&access)["email"], &claims(&next)["email"]), (&json!(email), &json!(email)));
    // Another pair would come out now: the repeat is refused, nothing revoked.
    host.run("update public.users set email = $1::citext where id = $2::uuid", &[&user.email, &user.id]).await;
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &access).await.expect_data(200);
    rotated(host, &next).await;
}

#[tokio::test]
async fn a_session_past_its_end_is_not_refreshed() {
    let host = shared();
    let user = host.user("student").await;
    host.run("update public.refresh_sessions set expires_at = now() where id = $1::uuid", &[&sid(&user)]).await;
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn refresh_tokens_that_are_wrong_are_refused() {
    let host = shared();
    let (user, other) = (host.user("student").await, host.user("student").await);
    let good = claims(&user.refresh);
    let forge = |changes: Value| hs256(&with(&good, changes), REFRESH_SECRET);
    let past = Utc::now().timestamp() - 1;
    let header = |alg: &str| json!({ "alg": alg, "typ": "JWT" });
    let unsigned = sign(&header("none"), &good, REFRESH_SECRET);
    let unsigned = format!("{}.", unsigned.rsplit_once('.').expect("a signature").0);
    for (what, token, code) in [
        ("an access token", user.access.clone(), "AUTH_INVALID_TOKEN"),
        ("refresh claims with the access secret", hs256(&good, ACCESS_SECRET), "AUTH_INVALID_TOKEN"),
        ("refresh claims with the service secret", hs256(&good, SERVICE_SECRET), "AUTH_INVALID_TOKEN"),
        ("no signature", unsigned, "AUTH_INVALID_TOKEN"),
        ("another algorithm", sign(&header("RS256"), &good, REFRESH_SECRET), "AUTH_INVALID_TOKEN"),
        ("garbage", "garbage".to_owned(), "AUTH_INVALID_TOKEN"),
        ("another issuer", forge(json!({ "iss": "shema" })), "AUTH_INVALID_TOKEN"),
        ("another audience", forge(json!({ "aud": "shema" })), "AUTH_INVALID_TOKEN"),
        ("no session", hs256(&without(&good, "sid"), REFRESH_SECRET), "AUTH_INVALID_TOKEN"),
        ("no user", hs256(&without(&good, "userId"), REFRESH_SECRET), "AUTH_INVALID_TOKEN"),
        ("no end", hs256(&without(&good, "exp"), REFRESH_SECRET), "AUTH_INVALID_TOKEN"),
        ("an unknown session", forge(json!({ "sid": unknown_id() })), "AUTH_INVALID_TOKEN"),
        ("the session of somebody else", forge(json!({ "sid": sid(&other) })), "AUTH_INVALID_TOKEN"),
        ("an unknown user", forge(json!({ "userId": unknown_id() })), "AUTH_UNAUTHORIZED"),
        (
            "an unknown user and session",
            forge(json!({ "userId": unknown_id(), "sid": unknown_id() })),
            "AUTH_UNAUTHORIZED",
        ),
        ("expired", forge(json!({ "exp": past })), "AUTH_TOKEN_EXPIRED"),
        ("expired, of an unknown user", forge(json!({ "exp": past, "userId": unknown_id() })), "AUTH_TOKEN_EXPIRED"),
        ("expired and of another issuer", forge(json!({ "exp": past, "iss": "shema" })), "AUTH_INVALID_TOKEN"),
    ] {
        let answer = refresh(host, &token).await;
        assert_eq!(
            (answer.status, answer.body["error"]["code"].as_str()),
            (401, Some(code)),
            "{what}: {}",
            answer.text
        );
    }
    let api = host.api();
    assert_eq!(api.post("/api/auth/refresh", json!({})).await.problems(), ["refreshToken invalid_type"]);
    assert_eq!(
        api.post("/api/auth/refresh", json!({ "refreshToken": 5 })).await.problems(),
        ["refreshToken invalid_type"]
    );
    assert_eq!(api.send(Method::POST, "/api/auth/refresh", None).await.problems(), [" invalid_type"]);
    // None of it has hurt the sessions.
    rotated(host, &user.refresh).await;
    rotated(host, &other.refresh).await;
}

// Logout.

#[tokio::test]
async fn a_logout_ends_the_session_for_good() {
    let host = shared();
    let user = host.user("student").await;
    let (access, next) = rotated(host, &user.refresh).await;
    let answer = user.api.send(Method::POST, "/api/auth/logout", None).await;
    assert_has_keys(answer.expect_acknowledgement(), "message");
    assert_eq!(answer.data()["message"], "Logged out successfully");
    for token in [&user.access, &access] {
        me(host, token).await.expect_error(401, "AUTH_INVALID_TOKEN");
    }
    for token in [&user.refresh, &next] {
        refresh(host, token).await.expect_error(401, "AUTH_INVALID_TOKEN");
    }
    user.api.send(Method::POST, "/api/auth/logout", None).await.expect_error(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn a_logout_takes_an_optional_refresh_token() {
    let host = shared();
    let logout = async |user: &User, body: Value| user.api.post("/api/auth/logout", body).await;

    let user = host.user("student").await;
    logout(&user, json!({})).await.expect_acknowledgement();
    let user = host.login(&user.email).await;
    logout(&user, json!({ "refreshToken": null })).await.expect_acknowledgement();
    let user = host.login(&user.email).await;
    logout(&user, json!({ "refreshToken": user.refresh })).await.expect_acknowledgement();
    let user = host.login(&user.email).await;
    logout(&user, json!({ "refreshToken": "malformed" })).await.expect_acknowledgement();
    let user = host.login(&user.email).await;
    let past = json!({ "exp": Utc::now().timestamp() - 1 });
    let expired = hs256(&with(&claims(&user.refresh), past), REFRESH_SECRET);
    logout(&user, json!({ "refreshToken": expired })).await.expect_acknowledgement();
    me(host, &user.access).await.expect_error(401, "AUTH_INVALID_TOKEN");

    let user = host.login(&user.email).await;
    assert_eq!(logout(&user, json!({ "refreshToken": 5 })).await.problems(), ["refreshToken invalid_type"]);
    assert_eq!(logout(&user, json!([])).await.problems(), [" invalid_type"]);
    me(host, &user.access).await.expect_data(200);

    // Another session of the caller goes as well, a third one stays.
    let (two, three) = (host.login(&user.email).await, host.login(&user.email).await);
    logout(&user, json!({ "refreshToken": two.refresh })).await.expect_acknowledgement();
    me(host, &user.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &two.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    refresh(host, &two.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    me(host, &three.access).await.expect_data(200);
}

#[tokio::test]
async fn nobody_logs_out_somebody_else() {
    let host = shared();
    let (user, other) = (host.user("student").await, host.user("student").await);
    let answer = user.api.post("/api/auth/logout", json!({ "refreshToken": other.refresh })).await;
    answer.expect_error(403, "AUTH_FORBIDDEN");
    for user in [&user, &other] {
        me(host, &user.access).await.expect_data(200);
        rotated(host, &user.refresh).await;
    }
}

// Access tokens.

/// The refusals of 1.6, each next to a token that is accepted.
#[tokio::test]
async fn every_wrong_access_token_is_refused_with_its_code() {
    let host = shared();
    let (user, other) = (host.user("student").await, host.user("student").await);
    let good = claims(&user.access);
    let forge = |changes: Value| format!("Bearer {}", hs256(&with(&good, changes), ACCESS_SECRET));
    let lacking = |names: &[&str]| {
        let claims = names.iter().fold(good.clone(), |claims, name| without(&claims, name));
        format!("Bearer {}", hs256(&claims, ACCESS_SECRET))
    };
    let signed_as = |alg: &str| format!("Bearer {}", sign(&json!({ "alg": alg, "typ": "JWT" }), &good, ACCESS_SECRET));
    let unsigned = |alg: &str| format!("{}.", signed_as(alg).rsplit_once('.').expect("a signature").0);
    let really = |algorithm: Algorithm| {
        let key = EncodingKey::from_secret(ACCESS_SECRET.as_bytes());
        format!("Bearer {}", jsonwebtoken::encode(&Header::new(algorithm), &good, &key).expect("a token"))
    };
    let (past, token) = (Utc::now().timestamp() - 1, &user.access);
    let parts: Vec<&str> = token.split('.').collect();
    let admin = BASE64_URL_SAFE_NO_PAD.encode(with(&good, json!({ "role": "admin" })).to_string());
    let (invalid, format_) = ("AUTH_INVALID_TOKEN", "AUTH_INVALID_FORMAT");
    let service = json!({
        "service": "booking", "type": "service-to-service", "aud": "admin", "iat": past, "exp": past + 300,
    });

    let cases = [
        ("an empty header", String::new(), format_),
        ("the scheme alone", "Bearer".to_owned(), format_),
        ("the token alone", token.clone(), format_),
        ("a scheme in lower case", format!("bearer {token}"), format_),
        ("a scheme in upper case", format!("BEARER {token}"), format_),
        ("another scheme", format!("Basic {token}"), format_),
        ("two spaces", format!("Bearer  {token}"), format_),
        ("a tab", format!("Bearer\t{token}"), format_),
        ("a third part", format!("Bearer {token} x"), format_),
        ("a comma and a second credential", format!("Bearer {token}, Bearer {token}"), format_),
        ("garbage", "Bearer garbage".to_owned(), invalid),
        ("dots", "Bearer ..".to_owned(), invalid),
        ("two parts", format!("Bearer {}.{}", parts[0], parts[1]), invalid),
        ("four parts", format!("Bearer {token}.x"), invalid),
        ("no signature", format!("Bearer {}.{}.", parts[0], parts[1]), invalid),
        ("a cut signature", format!("Bearer {}", &token[..token.len() - 1]), invalid),
        ("changed claims", format!("Bearer {}.{admin}.{}", parts[0], parts[2]), invalid),
        ("claims that are not JSON", format!("Bearer {}.bm90IGpzb24.{}", parts[0], parts[2]), invalid),
        ("alg none, unsigned", unsigned("none"), invalid),
        ("alg None, unsigned", unsigned("None"), invalid),
        ("alg HS256, unsigned", unsigned("HS256"), invalid),
        ("alg none, signed", signed_as("none"), invalid),
        ("alg RS256, signed with the secret", signed_as("RS256"), invalid),
        ("alg ES256, signed with the secret", signed_as("ES256"), invalid),
        ("alg HS512 over HS256", signed_as("HS512"), invalid),
        ("real HS512", really(Algorithm::HS512), invalid),
        ("real HS384", really(Algorithm::HS384), invalid),
        ("a header without alg", format!("Bearer {}", sign(&json!({ "typ": "JWT" }), &good, ACCESS_SECRET)), invalid),
        ("an unknown secret", format!("Bearer {}", hs256(&good, "x".repeat(40).as_str())), invalid),
        ("an empty secret", format!("Bearer {}", hs256(&good, "")), invalid),
        ("the refresh secret", format!("Bearer {}", hs256(&good, REFRESH_SECRET)), invalid),
        ("the service secret", format!("Bearer {}", hs256(&good, SERVICE_SECRET)), invalid),
        ("a refresh token", format!("Bearer {}", user.refresh), invalid),
        ("a service token", format!("Bearer {}", hs256(&service, SERVICE_SECRET)), invalid),
        ("the service secret itself", format!("Bearer {SERVICE_SECRET}"), invalid),
        ("another issuer", forge(json!({ "iss": "shema" })), invalid),
        ("another audience", forge(json!({ "aud": "admin" })), invalid),
        ("no issuer", lacking(&["iss"]), invalid),
        ("no audience", lacking(&["aud"]), invalid),
        ("no end", lacking(&["exp"]), invalid),
        ("an end that is text", forge(json!({ "exp": "tomorrow" })), invalid),
        ("expired", forge(json!({ "exp": past })), "AUTH_TOKEN_EXPIRED"),
        (
            "expired and without role",
            format!("Bearer {}", hs256(&with(&without(&good, "role"), json!({ "exp": past })), ACCESS_SECRET)),
            "AUTH_TOKEN_EXPIRED",
        ),
        ("expired, of an unknown user", forge(json!({ "exp": past, "userId": unknown_id() })), "AUTH_TOKEN_EXPIRED"),
        ("expired and of another issuer", forge(json!({ "exp": past, "iss": "shema" })), invalid),
        ("expired and for another audience", forge(json!({ "exp": past, "aud": "admin" })), invalid),
        (
            "expired and badly signed",
            format!("Bearer {}", hs256(&with(&good, json!({ "exp": past })), REFRESH_SECRET)),
            invalid,
        ),
        ("no role", lacking(&["role"]), "AUTH_NO_ROLE"),
        ("role null", forge(json!({ "role": null })), "AUTH_NO_ROLE"),
        ("no role, user or session", lacking(&["role", "userId", "sid"]), "AUTH_NO_ROLE"),
        ("no user", lacking(&["userId"]), invalid),
        ("no session", lacking(&["sid"]), invalid),
        ("a user that is not an id", forge(json!({ "userId": "1 or 1=1" })), invalid),
        ("a session that is not an id", forge(json!({ "sid": "x" })), invalid),
        ("an unknown user", forge(json!({ "userId": unknown_id() })), "AUTH_UNAUTHORIZED"),
        (
            "an unknown user and session",
            forge(json!({ "userId": unknown_id(), "sid": unknown_id() })),
            "AUTH_UNAUTHORIZED",
        ),
        ("an unknown session", forge(json!({ "sid": unknown_id() })), invalid),
        ("somebody else's session", forge(json!({ "sid": sid(&other) })), invalid),
        ("somebody else with one's own session", forge(json!({ "userId": other.id })), invalid),
    ];
    let ask = async |header: &str| host.api().with_header("authorization", header).get("/api/auth/me").await;
    ask(&forge(json!({}))).await.expect_data(200);
    for (what, header, code) in &cases {
        let answer = ask(header).await;
        assert_eq!(
            (answer.status, answer.body["error"]["code"].as_str()),
            (401, Some(*code)),
            "{what}: {}",
            answer.text
        );
    }
    host.api().get("/api/auth/me").await.expect_error(401, "AUTH_MISSING_TOKEN");
    user.api.get("/api/auth/me").await.expect_data(200);
}

#[tokio::test]
async fn a_revoked_session_refuses_its_tokens() {
    let host = shared();
    let user = host.user("student").await;
    host.run("update public.refresh_sessions set revoked_at = now() where id = $1::uuid", &[&sid(&user)]).await;
    me(host, &user.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn a_deleted_user_is_nobody_at_once() {
    let host = shared();
    let user = host.user("student").await;
    me(host, &user.access).await.expect_data(200);
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&user.id]).await;
    // Deletion revokes the sessions, too, but the user is judged first.
    me(host, &user.access).await.expect_error(401, "AUTH_UNAUTHORIZED");
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_UNAUTHORIZED");
    log_in(&host.api(), &user.email, PASSWORD).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_new_role_ends_refreshing_but_not_the_token_in_hand() {
    let host = shared();
    let user = host.user("student").await;
    user.api.post("/api/courses", json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
    host.run("update public.users set role = 'instructor' where id = $1::uuid", &[&user.id]).await;
    user.api.post("/api/courses", json!({})).await.expect_error(400, "VALIDATION_ERROR");
    assert_eq!(me(host, &user.access).await.expect_data(200)["role"], "instructor");
    refresh(host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    host.run("update public.users set role = 'student' where id = $1::uuid", &[&user.id]).await;
    user.api.post("/api/courses", json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
}

#[tokio::test]
async fn the_role_in_a_token_gives_nothing() {
    let host = shared();
    let user = host.user("student").await;
    for role in ["admin", "instructor", "superuser"] {
        let token = hs256(&with(&claims(&user.access), json!({ "role": role })), ACCESS_SECRET);
        let api = host.api().with_token(&token);
        assert_eq!(api.get("/api/auth/me").await.expect_data(200)["role"], "student");
        api.post("/api/rooms", json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
        assert_eq!(api.get("/api/courses?limit=101").await.problems(), ["limit too_big"]);
    }
}

#[tokio::test]
async fn where_a_token_is_optional_a_bad_one_makes_nobody() {
    let host = shared();
    let admin = host.admin().await;
    admin.api.get("/api/courses?limit=1000").await.expect_data(200);
    let forged = hs256(&claims(&admin.access), REFRESH_SECRET);
    for api in [host.api().with_token(&forged), host.api().with_header("authorization", "nonsense")] {
        api.get("/api/courses").await.expect_data(200);
        assert_eq!(api.get("/api/courses?limit=1000").await.problems(), ["limit too_big"]);
        // Public ones do not look at it.
        api.get(&format!("/api/courses/{}", unknown_id())).await.expect_error(404, "COURSE_NOT_FOUND");
        log_in(&api, "admin@example.org", PASSWORD).await.expect_data(200);
    }
}

// Redis.

struct Keys {
    connection: MultiplexedConnection,
    prefix: &'static str,
}

impl Keys {
    async fn open(prefix: &'static str) -> Keys {
        Keys { connection: redis().client().get_multiplexed_async_connection().await.expect("Redis"), prefix }
    }

    /// Value and seconds to live.
    async fn get(&mut self, key: &str) -> Option<(String, i64)> {
        let key = format!("{}{key}", self.prefix);
        let value: Option<String> = self.connection.get(&key).await.expect("a value");
        let ttl = self.connection.ttl(&key).await.expect("a time");
        value.map(|value| (value, ttl))
    }
}

#[tokio::test]
async fn redis_holds_copies_of_sessions_and_what_has_been_revoked() {
    let host = Host::start(setup().set("REDIS_PREFIX", "keys-of-auth:"));
    let mut keys = Keys::open("keys-of-auth:").await;
    let user = host.user("student").await;
    let session = format!("refresh_token:{}:{}", user.id, sid(&user));
    let blacklisted = format!("blacklist:session:{}", sid(&user));
    let week = 7 * DAY - 60..=7 * DAY;

    let (hash, ttl) = keys.get(&session).await.expect("a copy");
    assert_eq!(hash, sha256(&user.refresh));
    assert!(week.contains(&ttl), "{ttl}");
    let (access, next) = rotated(&host, &user.refresh).await;
    let (hash, ttl) = keys.get(&session).await.expect("a copy");
    assert_eq!(hash, sha256(&next));
    assert!(week.contains(&ttl), "{ttl}");
    assert_eq!(keys.get(&blacklisted).await, None);

    host.api().with_token(&access).send(Method::POST, "/api/auth/logout", None).await.expect_acknowledgement();
    assert_eq!(keys.get(&session).await, None);
    for key in [&blacklisted, &format!("blacklist:{}", sha256(&access))] {
        let (value, ttl) = keys.get(key).await.expect("an entry");
        assert_eq!(value, "1");
        assert!((840..=900).contains(&ttl), "{key}: {ttl}");
    }

    // Reuse ends a session as a logout does.
    let user = host.login(&user.email).await;
    rotated(&host, &user.refresh).await;
    end_grace(&host, &sid(&user)).await;
    refresh(&host, &user.refresh).await.expect_error(401, "AUTH_INVALID_TOKEN");
    assert_eq!(keys.get(&format!("refresh_token:{}:{}", user.id, sid(&user))).await, None);
    let (value, ttl) = keys.get(&format!("blacklist:session:{}", sid(&user))).await.expect("an entry");
    assert!(value == "1" && (840..=900).contains(&ttl), "{value} {ttl}");
}

#[tokio::test]
async fn a_login_drops_the_cached_user_and_a_blacklisted_token_is_refused() {
    let host = Host::start(setup().set("REDIS_PREFIX", "cache-of-auth:"));
    let mut keys = Keys::open("cache-of-auth:").await;
    let user = host.user("student").await;
    let cached = format!("cache-of-auth:user:{}", user.id);
    let () = keys.connection.set_ex(&cached, "{}", 300).await.expect("set");
    host.login(&user.email).await;
    assert_eq!(keys.get(&format!("user:{}", user.id)).await, None);

    // An entry alone refuses, even if the row has been restored.
    let other = host.login(&user.email).await;
    let entry = format!("cache-of-auth:blacklist:session:{}", sid(&other));
    let () = keys.connection.set_ex(&entry, "1", 900).await.expect("set");
    me(&host, &other.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    let entry = format!("cache-of-auth:blacklist:{}", sha256(&user.access));
    let () = keys.connection.set_ex(&entry, "1", 900).await.expect("set");
    me(&host, &user.access).await.expect_error(401, "AUTH_INVALID_TOKEN");
    rotated(&host, &user.refresh).await;
}

#[tokio::test]
async fn an_event_is_published_under_the_prefix() {
    use futures_util::StreamExt;
    let host = Host::start(setup().set("REDIS_PREFIX", "events-of-auth:"));
    let mut channel = redis().client().get_async_pubsub().await.expect("Redis");
    channel.subscribe("events-of-auth:user.registered").await.expect("subscribed");
    let admin = host.api().first_admin().await;
    let mut messages = channel.on_message();
    let message = tokio::time::timeout(crate::harness::TIMEOUT, messages.next()).await.expect("in time");
    let payload: String = message.expect("a message").get_payload().expect("a text");
    let payload: Value = serde_json::from_str(&payload).expect("JSON");
    let events = host.events(&format!("user:{}", admin.id)).await;
    assert_eq!(payload, events[0]["payload"]);
    assert_eq!(payload["userId"], admin.id);
    until("the mark in the outbox", async || {
        let query = "select o.published_at from public.outbox o where o.published_at is not null";
        host.rows(query, &[]).await.pop()
    })
    .await;
}
