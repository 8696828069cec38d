//! AUTH-1 to AUTH-3, AUTH-9: everything that has to do with Firebase.
//!
//! Tokens are signed by an issuer of the tests' own, with certificates that it
//! makes and publishes as Google does. Accounts are made in Firebase's emulator,
//! and where it cannot be made to fail, in a stand-in that can.

use crate::harness::{
    ACCESS_SECRET, Answer, Emulator, Expect, Host, PASSWORD, Redis, User, assert_has_keys, is_time, redis, setup,
    unique, unknown_id, until, with, without,
};
use axum::{Router, extract::State, http::HeaderMap, routing};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use redis::AsyncCommands;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

const PROJECT: &str = "demo-school";
const USER: &str = "id email full_name role phone_number avatar_url created_at updated_at last_login_at";
const MANY: usize = 50;

const EXPIRED: &str = "AUTH_FIREBASE_TOKEN_EXPIRED";
const INVALID: &str = "AUTH_FIREBASE_TOKEN_INVALID";
const FAILED: &str = "AUTH_FIREBASE_TOKEN_VERIFICATION_FAILED";
const UNAVAILABLE: &str = "AUTH_PROVIDER_UNAVAILABLE";

// The issuer.

/// A key pair and its self-signed certificate.
struct Key {
    private: EncodingKey,
    certificate: String,
    public: String,
}

impl Key {
    fn new() -> Key {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["issuer.example.org".to_owned()]).expect("parameters");
        let certificate = parameters.self_signed(&pair).expect("a certificate");
        Key {
            private: EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("an RSA key"),
            certificate: certificate.pem(),
            public: rcgen::PublicKeyData::subject_public_key_info(&pair).escape_ascii().to_string(),
        }
    }
}

/// Publishes certificates by key id.
struct Issuer {
    url: String,
    published: Arc<Mutex<BTreeMap<String, String>>>,
    fetched: Arc<AtomicUsize>,
}

impl Issuer {
    fn start() -> Issuer {
        let (published, fetched) = (Arc::<Mutex<BTreeMap<String, String>>>::default(), Arc::<AtomicUsize>::default());
        let (certificates, count) = (Arc::clone(&published), Arc::clone(&fetched));
        let answer = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let body = json!(*certificates.lock().expect("no panic")).to_string();
            async move {
                (
                    [("cache-control", "public, max-age=3600, must-revalidate"), ("content-type", "application/json")],
                    body,
                )
            }
        };
        let address = serve(Router::new().route("/certificates", routing::get(answer)));
        Issuer { url: format!("http://{address}/certificates"), published, fetched }
    }

    fn publish(&self, kid: &str, key: &Key) {
        self.published.lock().expect("no panic").insert(kid.into(), key.certificate.clone());
    }
}

/// Serves to the end of the run: a test has a runtime that ends with it.
fn serve(router: Router) -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("the test waits");
            axum::serve(listener, router).await.expect("it serves");
        });
    });
    address.recv().expect("an address")
}

fn keys() -> &'static [Key; 3] {
    static KEYS: OnceLock<[Key; 3]> = OnceLock::new();
    KEYS.get_or_init(|| [(); 3].map(|()| Key::new()))
}

/// Publishes the first two keys as `key-1` and `key-2`; the third is a forger's.
fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let issuer = Issuer::start();
        issuer.publish("key-1", &keys()[0]);
        issuer.publish("key-2", &keys()[1]);
        issuer
    })
}

fn firebase_setup() -> crate::harness::Setup {
    setup().set("FIREBASE_PROJECT_ID", PROJECT).set("FIREBASE_CERTS_URL", &issuer().url)
}

fn shared() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::start(firebase_setup()))
}

// Tokens.

fn claims() -> Value {
    let now = Utc::now().timestamp();
    let uid = unique("uid").replace(' ', "-");
    json!({
        "iss": format!("https://securetoken.google.com/{PROJECT}"), "aud": PROJECT, "sub": uid, "user_id": uid,
        "iat": now - 10, "auth_time": now - 10, "exp": now + 3600, "name": "Some Body",
        "email": format!("{uid}@example.org"), "email_verified": true,
        "firebase": { "identities": {}, "sign_in_provider": "google.com" },
    })
}

fn header() -> Value {
    json!({ "alg": "RS256", "kid": "key-1", "typ": "JWT" })
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token of which each part may be wrong.
fn forge(header: &Value, claims: &Value, algorithm: Algorithm, key: &EncodingKey) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key, algorithm).expect("a signature");
    format!("{text}.{signature}")
}

fn sign(claims: &Value) -> String {
    forge(&header(), claims, Algorithm::RS256, &keys()[0].private)
}

fn token(changes: Value) -> String {
    sign(&with(&claims(), changes))
}

async fn log_in(host: &Host, token: &str) -> Answer {
    host.api().post("/api/auth/firebase/login", json!({ "idToken": token })).await
}

/// All at once.
async fn log_in_all(host: &Host, tokens: impl Iterator<Item = String>) -> Vec<Answer> {
    let tokens: Vec<String> = tokens.collect();
    join_all(tokens.iter().map(|token| log_in(host, token))).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn count(answers: &[Answer], status: u16, code: &str) -> usize {
    let is_it =
        |answer: &&Answer| answer.status == status && answer.body["error"]["code"].as_str().unwrap_or("") == code;
    answers.iter().filter(is_it).count()
}

/// What the table says of the user with an email, or with any.
async fn row_of(host: &Host, email: &str) -> Value {
    let query =
        "select u.id, u.full_name, u.firebase_uid, u.password_hash is not null as has_password, u.auth_provider,
                        u.provider, u.email_verified, u.role, u.phone_number, u.last_login_at is not null as logged_in
                 from public.users u where u.email = $1 and u.deleted_at is null";
    host.rows(query, &[email]).await.pop().unwrap_or(Value::Null)
}

// The check of ID tokens.

/// Tokens that are refused, and how; none is good in more than a part.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    let now = Utc::now().timestamp();
    let good = sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let changed = |changes: Value| token(changes);
    let lacking = |name: &str| sign(&without(&claims(), name));
    let [first, second, forger] = keys();
    let headed = |changes: Value| forge(&with(&header(), changes), &claims(), Algorithm::RS256, &first.private);
    let by_forger = |changes: Value| forge(&with(&header(), changes), &claims(), Algorithm::RS256, &forger.private);
    let raw = |head: &str, body: &str| {
        format!("{}.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(head), BASE64_URL_SAFE_NO_PAD.encode(body))
    };
    let hmac = |secret: &str| {
        let header = json!({ "alg": "HS256", "kid": "key-1", "typ": "JWT" });
        forge(&header, &claims(), Algorithm::HS256, &EncodingKey::from_secret(secret.as_bytes()))
    };
    let issuer = |iss: &str| token(json!({ "iss": iss }));
    vec![
        // Not a JWT.
        ("nothing", String::new(), INVALID),
        ("a space", " ".into(), INVALID),
        ("a word", "garbage".into(), INVALID),
        ("a dot", ".".into(), INVALID),
        ("two dots", "..".into(), INVALID),
        ("letters", "a.b.c".into(), INVALID),
        ("two parts", format!("{head}.{body}"), INVALID),
        ("four parts", format!("{good}.{signature}"), INVALID),
        ("five parts", format!("{good}.{body}.{signature}"), INVALID),
        ("with Bearer", format!("Bearer {good}"), INVALID),
        ("with a space", format!(" {good}"), INVALID),
        ("padded", format!("{good}="), INVALID),
        ("a signature of another alphabet", format!("{head}.{body}.+/+/"), INVALID),
        ("a header that is no JSON", raw("{", "{}"), INVALID),
        ("a header that is a list", raw(r#"["RS256","key-1"]"#, &claims().to_string()), INVALID),
        ("a header that is null", raw("null", &claims().to_string()), INVALID),
        ("claims that are no JSON", raw(&header().to_string(), "claims"), INVALID),
        ("claims that are a list", raw(&header().to_string(), "[]"), INVALID),
        ("claims that are null", raw(&header().to_string(), "null"), INVALID),
        ("claims that are a text", raw(&header().to_string(), r#""claims""#), INVALID),
        ("no claims", raw(&header().to_string(), "{}"), INVALID),
        ("swapped parts", format!("{body}.{head}.{signature}"), INVALID),
        ("our own access token's form", hmac_access(), INVALID),
        // Of the wrong shape.
        ("no algorithm", forge(&without(&header(), "alg"), &claims(), Algorithm::RS256, &first.private), INVALID),
        ("an algorithm that is a number", headed(json!({ "alg": 256 })), INVALID),
        ("a key id that is a number", headed(json!({ "kid": 1 })), INVALID),
        ("no subject", lacking("sub"), INVALID),
        ("a subject that is a number", changed(json!({ "sub": 5 })), INVALID),
        ("a subject with U+0000", changed(json!({ "sub": "uid\u{0}" })), INVALID),
        ("no audience", lacking("aud"), INVALID),
        ("a list of audiences", changed(json!({ "aud": [PROJECT] })), INVALID),
        ("no issuer", lacking("iss"), INVALID),
        ("no expiry", lacking("exp"), INVALID),
        ("an expiry that is a text", changed(json!({ "exp": (now + 3600).to_string() })), INVALID),
        ("an expiry that is null", changed(json!({ "exp": null })), INVALID),
        ("no time of issue", lacking("iat"), INVALID),
        ("a time of issue that is a flag", changed(json!({ "iat": true })), INVALID),
        ("no time of login", lacking("auth_time"), INVALID),
        ("an email that is a number", changed(json!({ "email": 5 })), INVALID),
        ("an email with U+0000", changed(json!({ "email": "a\u{0}@example.org" })), INVALID),
        ("a verification that is a text", changed(json!({ "email_verified": "true" })), INVALID),
        ("a provider that is a list", changed(json!({ "firebase": [] })), INVALID),
        // Forged.
        ("unsigned", format!("{}.{body}.", part(&json!({ "alg": "none", "typ": "JWT" }))), FAILED),
        ("unsigned, with a key id", format!("{}.{body}.", part(&json!({ "alg": "none", "kid": "key-1" }))), FAILED),
        ("unsigned, with a signature", format!("{}.{body}.{signature}", part(&json!({ "alg": "none" }))), FAILED),
        ("None", format!("{}.{body}.", part(&json!({ "alg": "None" }))), FAILED),
        ("without a signature", format!("{head}.{body}."), FAILED),
        ("a cut signature", good[..good.len() - 4].into(), FAILED),
        ("another token's signature", format!("{head}.{}.{signature}", part(&claims())), FAILED),
        ("another header", format!("{}.{body}.{signature}", part(&with(&header(), json!({ "x": 1 })))), FAILED),
        (
            "another role put in",
            format!("{head}.{}.{signature}", part(&with(&claims(), json!({ "role": "admin" })))),
            FAILED,
        ),
        ("a forger's key", by_forger(json!({})), FAILED),
        (
            "a forger's key in the header",
            by_forger(json!({ "jwk": { "kty": "RSA", "n": "AQAB", "e": "AQAB" } })),
            FAILED,
        ),
        ("a forger's certificate in the header", by_forger(json!({ "x5c": [forger.certificate] })), FAILED),
        (
            "a forger's URL in the header",
            by_forger(json!({ "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/" })),
            FAILED,
        ),
        ("an unknown key", by_forger(json!({ "kid": "key-9" })), FAILED),
        ("the other key's id", headed(json!({ "kid": "key-2" })), FAILED),
        ("the other key", forge(&header(), &claims(), Algorithm::RS256, &second.private), FAILED),
        ("no key id", forge(&without(&header(), "kid"), &claims(), Algorithm::RS256, &first.private), FAILED),
        ("an empty key id", headed(json!({ "kid": "" })), FAILED),
        ("a path for a key id", headed(json!({ "kid": "../../key-1" })), FAILED),
        ("a name in small letters", headed(json!({ "alg": "rs256" })), FAILED),
        ("what must be understood and is not", headed(json!({ "crit": ["exp"] })), FAILED),
        // Confused: good keys used otherwise.
        ("the certificate as a secret", hmac(&first.certificate), FAILED),
        ("the public key as a secret", hmac(&first.public), FAILED),
        ("the access secret", hmac(ACCESS_SECRET), FAILED),
        ("the key id as a secret", hmac("key-1"), FAILED),
        (
            "RS384",
            forge(&with(&header(), json!({ "alg": "RS384" })), &claims(), Algorithm::RS384, &first.private),
            FAILED,
        ),
        (
            "RS512",
            forge(&with(&header(), json!({ "alg": "RS512" })), &claims(), Algorithm::RS512, &first.private),
            FAILED,
        ),
        (
            "PS256",
            forge(&with(&header(), json!({ "alg": "PS256" })), &claims(), Algorithm::PS256, &first.private),
            FAILED,
        ),
        ("PS256 that says RS256", forge(&header(), &claims(), Algorithm::PS256, &first.private), FAILED),
        ("RS512 that says RS256", forge(&header(), &claims(), Algorithm::RS512, &first.private), FAILED),
        // Not for us, or not now.
        ("another project", changed(json!({ "aud": "other" })), FAILED),
        ("no project", changed(json!({ "aud": "" })), FAILED),
        ("more than the project", changed(json!({ "aud": format!("{PROJECT} ") })), FAILED),
        ("another project's issuer", issuer("https://securetoken.google.com/other"), FAILED),
        ("an issuer without TLS", issuer(&format!("http://securetoken.google.com/{PROJECT}")), FAILED),
        ("an issuer with a slash", issuer(&format!("https://securetoken.google.com/{PROJECT}/")), FAILED),
        ("Google's issuer", issuer("https://accounts.google.com"), FAILED),
        ("a session cookie's issuer", issuer(&format!("https://session.firebase.google.com/{PROJECT}")), FAILED),
        ("an empty subject", changed(json!({ "sub": "" })), FAILED),
        ("a long subject", changed(json!({ "sub": "u".repeat(129) })), FAILED),
        ("issued tomorrow", changed(json!({ "iat": now + 86_400, "exp": now + 90_000 })), FAILED),
        ("issued in three minutes", changed(json!({ "iat": now + 180 })), FAILED),
        ("a login of tomorrow", changed(json!({ "auth_time": now + 86_400 })), FAILED),
        (
            "expired and forged",
            forge(&header(), &with(&claims(), json!({ "exp": now - 10 })), Algorithm::RS256, &forger.private),
            FAILED,
        ),
        ("expired and for another project", changed(json!({ "exp": now - 10, "aud": "other" })), FAILED),
        ("expired now", changed(json!({ "exp": now })), EXPIRED),
        (
            "expired an hour ago",
            changed(json!({ "iat": now - 7200, "auth_time": now - 7200, "exp": now - 3600 })),
            EXPIRED,
        ),
        ("expired in 1970", changed(json!({ "exp": 0 })), EXPIRED),
        ("expired before that", changed(json!({ "exp": -1 })), EXPIRED),
    ]
}

/// As the host signs its own.
fn hmac_access() -> String {
    let now = Utc::now().timestamp();
    let claims = json!({
        "userId": unknown_id(), "sub": unknown_id(), "email": "a@example.org", "role": "admin", "sid": unknown_id(),
        "iss": "shema-music-auth", "aud": "shema-music-api", "iat": now, "exp": now + 900, "jti": unknown_id(),
    });
    let key = EncodingKey::from_secret(ACCESS_SECRET.as_bytes());
    forge(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, Algorithm::HS256, &key)
}

#[tokio::test]
async fn a_token_that_is_not_in_order_opens_nothing() {
    let host = &Host::start(firebase_setup());
    let tokens = bad_tokens();
    assert!(tokens.len() >= 60, "{}", tokens.len());
    for (name, token, code) in &tokens {
        let body = json!({ "idToken": token });
        for path in ["/api/auth/firebase/login", "/api/auth/firebase/verify"] {
            let answer = host.api().post(path, body.clone()).await;
            assert_eq!((answer.status, &answer.body["error"]["code"]), (401, &json!(code)), "{name}: {}", answer.text);
            answer.expect_error(401, code);
        }
        let is_segment = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=+".contains(&b));
        if is_segment && ![".", ".."].contains(&token.as_str()) {
            let answer = host.api().get(&format!("/api/auth/firebase/verify/{token}")).await;
            assert_eq!((answer.status, &answer.body["error"]["code"]), (401, &json!(code)), "{name}: {}", answer.text);
        }
    }
    assert_eq!(host.count("select count(*) from public.users").await, 0);
    // A minute is forgiven, and fractions of seconds are.
    let now = Utc::now().timestamp();
    let ahead = json!({ "iat": now + 30, "auth_time": now + 30, "exp": now as f64 + 60.5 });
    log_in(host, &token(ahead)).await.expect_data(200);
    let by_second = forge(&with(&header(), json!({ "kid": "key-2" })), &claims(), Algorithm::RS256, &keys()[1].private);
    log_in(host, &by_second).await.expect_data(200);
}

#[tokio::test]
async fn a_body_without_a_token_is_not_valid() {
    let host = shared();
    for path in ["/api/auth/firebase/login", "/api/auth/firebase/verify"] {
        for (body, problem) in [
            (json!({}), "idToken invalid_type"),
            (json!({ "idToken": null }), "idToken invalid_type"),
            (json!({ "idToken": 5 }), "idToken invalid_type"),
            (json!({ "idToken": "x".repeat(4097) }), "idToken too_big"),
        ] {
            assert_eq!(host.api().post(path, body).await.problems(), [problem]);
        }
        host.api().post(path, json!({ "idToken": "x".repeat(4096) })).await.expect_error(401, INVALID);
    }
}

#[tokio::test]
async fn a_token_is_verified_for_whoever_holds_it() {
    let host = shared();
    let claims = claims();
    let token = sign(&claims);
    let by_path = host.api().get(&format!("/api/auth/firebase/verify/{token}")).await;
    let data = by_path.expect_data(200);
    assert_has_keys(data, "valid firebaseUid email emailVerified provider expiresAt user");
    assert_eq!(data["valid"], true);
    assert_eq!((&data["firebaseUid"], &data["email"]), (&claims["sub"], &claims["email"]));
    assert_eq!((&data["emailVerified"], &data["provider"]), (&json!(true), &json!("google.com")));
    assert!(is_time(&data["expiresAt"]));
    let expires_at = DateTime::parse_from_rfc3339(&text(&data["expiresAt"])).expect("a time").timestamp();
    assert_eq!(json!(expires_at), claims["exp"]);
    // Nobody is made by it.
    assert_eq!(data["user"], Value::Null);
    assert_eq!(by_path.header("cache-control"), "no-store");
    let verify = async || host.api().post("/api/auth/firebase/verify", json!({ "idToken": token })).await;
    assert_eq!(verify().await.expect_data(200), data);

    log_in(host, &token).await.expect_data(200);
    let answer = verify().await;
    assert_has_keys(&answer.expect_data(200)["user"], USER);
    assert_eq!(answer.data()["user"]["email"], claims["email"]);
    let anonymous = json!({ "email": null, "email_verified": null, "firebase": { "sign_in_provider": "anonymous" } });
    let body = json!({ "idToken": self::token(anonymous) });
    let answer = host.api().post("/api/auth/firebase/verify", body).await;
    assert_eq!((&answer.expect_data(200)["email"], &answer.data()["emailVerified"]), (&Value::Null, &json!(false)));
    // The log has the path, and not the token.
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!host.log().contains(signature));
}

// AUTH-2.

#[tokio::test]
async fn a_first_login_makes_a_student_and_opens_a_session() {
    let host = Host::start(firebase_setup().set("REDIS_PREFIX", "first-of-firebase:"));
    let mut store = redis().client().get_multiplexed_async_connection().await.expect("Redis");
    let claims = claims();
    let api = host.api().with_header("user-agent", "a browser");
    let answer = api.post("/api/auth/firebase/login", json!({ "idToken": sign(&claims) })).await;
    let data = answer.expect_data(200);
    assert_has_keys(data, "user firebaseUid provider accessToken refreshToken");
    let user = &data["user"];
    assert_has_keys(user, "id email full_name role phone_number avatar_url emailVerified");
    assert_eq!((&user["role"], &user["emailVerified"]), (&json!("student"), &json!(true)));
    let local_part = text(&claims["email"]).split('@').next().expect("a part").to_owned();
    assert_eq!((&user["email"], &user["full_name"]), (&claims["email"], &json!(local_part)));
    assert_eq!((&user["phone_number"], &user["avatar_url"]), (&Value::Null, &Value::Null));
    assert_eq!((&data["firebaseUid"], &data["provider"]), (&claims["sub"], &json!("google.com")));

    let id = text(&user["id"]);
    let row = row_of(&host, &text(&claims["email"])).await;
    let expected = json!({
        "id": id, "full_name": local_part, "firebase_uid": claims["sub"], "has_password": false,
        "auth_provider": "firebase", "provider": "google.com", "email_verified": true, "role": "student",
        "phone_number": null, "logged_in": true,
    });
    assert_eq!(row, expected);
    let events = host.events(&format!("user:{id}")).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["channel"], &events[0]["component"]), (&json!("user.registered"), &json!("auth")));
    assert_has_keys(&events[0]["payload"], "eventId eventType timestamp userId email fullName role");
    assert_eq!(events[0]["payload"]["role"], "student");

    // The tokens are ours, and good.
    let (access, refresh) = (text(&data["accessToken"]), text(&data["refreshToken"]));
    let me = host.api().with_token(&access).get("/api/auth/me").await;
    assert_eq!(me.expect_data(200)["id"], user["id"]);
    let sessions = "select s.id, s.user_agent from public.refresh_sessions s where s.user_id = $1::uuid";
    let session = host.rows(sessions, &[&id]).await.remove(0);
    assert_eq!(session["user_agent"], "a browser");
    let hint: String =
        store.get(format!("first-of-firebase:firebase_uid:{}", text(&claims["sub"]))).await.expect("a hint");
    assert_eq!(hint, id);
    let ttl: i64 = store.ttl(format!("first-of-firebase:firebase_uid:{}", text(&claims["sub"]))).await.expect("a time");
    assert!((604_700..=604_800).contains(&ttl), "{ttl}");
    let copy = format!("first-of-firebase:refresh_token:{id}:{}", text(&session["id"]));
    assert!(store.exists::<_, bool>(&copy).await.expect("an answer"));
    host.api().post("/api/auth/refresh", json!({ "refreshToken": refresh })).await.expect_data(200);
    // The Firebase token opens nothing else.
    host.api().with_token(&sign(&claims)).get("/api/auth/me").await.expect_error(401, "AUTH_INVALID_TOKEN");

    // A later login changes what the token tells, makes nobody, ends nothing.
    let cached = format!("first-of-firebase:user:{id}");
    let () = store.set_ex(&cached, "{}", 300).await.expect("set");
    let later = with(
        &claims,
        json!({ "email_verified": false, "role": "admin", "firebase": { "sign_in_provider": "password" } }),
    );
    let answer = log_in(&host, &sign(&later)).await;
    assert_eq!(answer.expect_data(200)["user"]["id"], json!(id));
    assert_eq!(
        (&answer.data()["user"]["role"], &answer.data()["user"]["emailVerified"]),
        (&json!("student"), &json!(false))
    );
    assert_eq!(answer.data()["provider"], "password");
    assert!(!store.exists::<_, bool>(&cached).await.expect("an answer"));
    assert_eq!(row_of(&host, &text(&claims["email"])).await["email_verified"], false);
    assert_eq!(host.events(&format!("user:{id}")).await.len(), 1);
    assert_eq!(host.rows(sessions, &[&id]).await.len(), 2);
    host.api().with_token(&access).get("/api/auth/me").await.expect_data(200);
    // Whoever changed the email at Firebase is still the same.
    let moved = with(&claims, json!({ "email": "moved@example.org" }));
    assert_eq!(log_in(&host, &sign(&moved)).await.expect_data(200)["user"]["email"], claims["email"]);
}

#[tokio::test]
async fn a_role_comes_from_a_claim_that_is_one() {
    let host = shared();
    for (claim, role) in [
        (json!("admin"), "admin"),
        (json!("instructor"), "instructor"),
        (json!("student"), "student"),
        (json!("root"), "student"),
        (json!("ADMIN"), "student"),
        (json!(["admin"]), "student"),
        (json!({ "role": "admin" }), "student"),
        (json!(true), "student"),
        (Value::Null, "student"),
    ] {
        let answer = log_in(host, &token(json!({ "role": claim, "admin": true, "roles": ["admin"] }))).await;
        assert_eq!(answer.expect_data(200)["user"]["role"], role, "{claim}");
    }
}

#[tokio::test]
async fn without_an_email_nobody_logs_in() {
    let host = shared();
    let long = format!("{}@example.org", "a".repeat(250));
    for email in [Value::Null, json!(""), json!("no address"), json!(long)] {
        let claims = with(&claims(), json!({ "email": email }));
        log_in(host, &sign(&claims)).await.expect_error(401, INVALID);
        let uid = text(&claims["sub"]);
        assert!(host.rows("select u.id from public.users u where u.firebase_uid = $1", &[&uid]).await.is_empty());
    }
    log_in(host, &sign(&without(&claims(), "email"))).await.expect_error(401, INVALID);
}

#[tokio::test]
async fn an_account_is_linked_to_whoever_proves_the_email() {
    let host = shared();
    let user = host.user("instructor").await;
    let claims = with(&claims(), json!({ "email": user.email.to_uppercase() }));
    // Not proven: nobody gets somebody else's account.
    let unproven = with(&claims, json!({ "email_verified": false }));
    log_in(host, &sign(&unproven)).await.expect_error(409, "AUTH_EMAIL_ALREADY_EXISTS");
    log_in(host, &sign(&without(&claims, "email_verified"))).await.expect_error(409, "AUTH_EMAIL_ALREADY_EXISTS");
    assert_eq!(row_of(host, &user.email).await["firebase_uid"], Value::Null);

    let answer = log_in(host, &sign(&claims)).await;
    assert_eq!(answer.expect_data(200)["user"]["id"], user.id);
    assert_eq!(
        (&answer.data()["user"]["role"], &answer.data()["user"]["email"]),
        (&json!("instructor"), &json!(user.email))
    );
    let row = row_of(host, &user.email).await;
    assert_eq!((&row["firebase_uid"], &row["provider"]), (&claims["sub"], &json!("google.com")));
    // The password is still good, and the linked account is the user's from now
    // on, proven or not.
    assert_eq!((&row["has_password"], &row["auth_provider"]), (&json!(true), &json!("password")));
    host.login(&user.email).await;
    assert!(host.events(&format!("user:{}", user.id)).await.is_empty());
    assert_eq!(log_in(host, &sign(&unproven)).await.expect_data(200)["user"]["id"], user.id);
    // Another account with the same email is somebody else's.
    let other = with(&claims, json!({ "sub": unique("uid") }));
    log_in(host, &sign(&other)).await.expect_error(409, "AUTH_EMAIL_ALREADY_EXISTS");

    // Who had no login at all has one now.
    let email = format!("{}@example.org", unique("applicant").replace(' ', "-"));
    let statement = "insert into public.users (full_name, email, role, auth_provider)
                     values ('Some Applicant', $1, 'student', 'course_registration')";
    host.run(statement, &[&email]).await;
    let answer = log_in(host, &token(json!({ "email": email, "role": "admin" }))).await;
    assert_eq!(answer.expect_data(200)["user"]["full_name"], "Some Applicant");
    assert_eq!(answer.data()["user"]["role"], "student");
    let row = row_of(host, &email).await;
    assert_eq!(
        (&row["auth_provider"], &row["email_verified"], &row["logged_in"]),
        (&json!("firebase"), &json!(true), &json!(true))
    );
}

#[tokio::test]
async fn an_admin_needs_a_verified_email_unless_the_operator_says_otherwise() {
    let lax = Host::start(firebase_setup().set("REQUIRE_VERIFIED_EMAIL", "false"));
    for (host, strict) in [(shared(), true), (&lax, false)] {
        let claims = with(&claims(), json!({ "role": "admin", "email_verified": false }));
        let first = log_in(host, &sign(&claims)).await;
        if strict {
            first.expect_error(403, "AUTH_EMAIL_NOT_VERIFIED");
            assert_eq!(row_of(host, &text(&claims["email"])).await, Value::Null);
            log_in(host, &sign(&with(&claims, json!({ "email_verified": true })))).await.expect_data(200);
            log_in(host, &sign(&claims)).await.expect_error(403, "AUTH_EMAIL_NOT_VERIFIED");
            // A refused login changes nothing.
            assert_eq!(row_of(host, &text(&claims["email"])).await["email_verified"], true);
        } else {
            assert_eq!(first.expect_data(200)["user"]["role"], "admin");
        }
    }
}

#[tokio::test]
async fn a_deleted_user_does_not_come_back_under_the_uid() {
    let host = shared();
    let claims = claims();
    let id = text(&log_in(host, &sign(&claims)).await.expect_data(200)["user"]["id"]);
    host.admin().await.api.delete(&format!("/api/users/{id}")).await.expect_data(200);
    for changes in [
        json!({}),
        json!({ "role": "admin" }),
        json!({ "role": "admin", "email_verified": false }),
        json!({ "email": "other@example.org" }),
    ] {
        log_in(host, &sign(&with(&claims, changes))).await.expect_error(401, "AUTH_UNAUTHORIZED");
    }
    let uid = text(&claims["sub"]);
    assert_eq!(host.rows("select u.id from public.users u where u.firebase_uid = $1", &[&uid]).await.len(), 1);
    let verify = json!({ "idToken": sign(&claims) });
    assert_eq!(host.api().post("/api/auth/firebase/verify", verify).await.expect_data(200)["user"], Value::Null);
    // Another account may have the email.
    log_in(host, &sign(&with(&claims, json!({ "sub": unique("uid") })))).await.expect_data(200);
    log_in(host, &sign(&claims)).await.expect_error(401, "AUTH_UNAUTHORIZED");
}

#[tokio::test]
async fn of_many_first_logins_one_makes_the_user() {
    let host = Host::start(firebase_setup());
    let claims = claims();
    let answers = log_in_all(&host, (0..MANY).map(|_| sign(&claims))).await;
    assert_eq!(count(&answers, 200, ""), MANY, "{:?}", answers.iter().map(|answer| &answer.text).max());
    let ids: std::collections::BTreeSet<String> =
        answers.iter().map(|answer| text(&answer.data()["user"]["id"])).collect();
    assert_eq!(ids.len(), 1);
    let id = ids.first().expect("an id");
    assert_eq!(host.count("select count(*) from public.users").await, 1);
    assert_eq!(host.events(&format!("user:{id}")).await.len(), 1);
    assert_eq!(host.count("select count(*) from public.refresh_sessions").await, i64::try_from(MANY).expect("few"));

    // One email, many accounts: one of them gets it.
    let email = "contested@example.org";
    let answers = log_in_all(&host, (0..MANY).map(|_| token(json!({ "email": email })))).await;
    assert_eq!((count(&answers, 200, ""), count(&answers, 409, "AUTH_EMAIL_ALREADY_EXISTS")), (1, MANY - 1));

    // One user, many logins that would link: all are that user.
    let user = host.user("student").await;
    let claims = with(&self::claims(), json!({ "email": user.email }));
    let answers = log_in_all(&host, (0..MANY).map(|_| sign(&claims))).await;
    assert_eq!(count(&answers, 200, ""), MANY, "{:?}", answers.iter().map(|answer| &answer.text).max());
    assert!(answers.iter().all(|answer| answer.data()["user"]["id"] == json!(user.id)));
}

#[tokio::test]
async fn what_the_database_refuses_has_the_code_of_the_flow() {
    let host = Host::start(firebase_setup());
    let claims = claims();
    log_in(&host, &sign(&claims)).await.expect_data(200);
    // Noting the time of a login is not worth failing it.
    let statement = "create function public.break_down() returns trigger language plpgsql as
                     $$ begin raise exception 'a secret of the database'; end $$";
    host.run(statement, &[]).await;
    host.run("create trigger broken before insert or update on public.users for each row execute function public.break_down()", &[]).await;
    log_in(&host, &sign(&claims)).await.expect_data(200);
    let answer = log_in(&host, &sign(&self::claims())).await;
    answer.expect_error(500, "DB_CREATE_ERROR");
    assert!(!answer.text.contains("a secret of the database"));
    host.run("create trigger broken before insert on public.refresh_sessions for each row execute function public.break_down()", &[]).await;
    log_in(&host, &sign(&claims)).await.expect_error(500, "FIREBASE_LOGIN_ERROR");
}

#[tokio::test]
async fn a_login_works_without_redis() {
    let own = Redis::start();
    let host = Host::start(firebase_setup().set("REDIS_URL", own.url()));
    own.kill();
    let data = log_in(&host, &token(json!({}))).await.expect_data(200).clone();
    host.api().with_token(&text(&data["accessToken"])).get("/api/auth/me").await.expect_data(200);
}

// Certificates.

#[tokio::test]
async fn certificates_are_fetched_once_and_again_for_a_new_key() {
    let issuer = Issuer::start();
    issuer.publish("key-1", &keys()[0]);
    let host = Host::start(firebase_setup().set("FIREBASE_CERTS_URL", &issuer.url));
    let answers = log_in_all(&host, (0..MANY).map(|_| token(json!({})))).await;
    assert_eq!(count(&answers, 200, ""), MANY);
    assert_eq!(issuer.fetched.load(Ordering::Relaxed), 1);

    // Unknown keys do not make it ask at each try; a new one is found in time.
    let new = || forge(&with(&header(), json!({ "kid": "key-3" })), &claims(), Algorithm::RS256, &keys()[2].private);
    let answers = log_in_all(&host, (0..MANY).map(|_| new())).await;
    assert_eq!(count(&answers, 401, FAILED), MANY);
    assert!(issuer.fetched.load(Ordering::Relaxed) <= 2);
    issuer.publish("key-3", &keys()[2]);
    until("the new key", async || (log_in(&host, &new()).await.status == 200).then_some(())).await;
    assert!(issuer.fetched.load(Ordering::Relaxed) <= 3);
    log_in(&host, &token(json!({}))).await.expect_data(200);
}

#[tokio::test]
async fn without_certificates_nobody_is_let_in() {
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let broken = serve(Router::new().route("/certificates", routing::get(|| async { "no JSON" })));
    for address in [closed, broken] {
        let host = Host::start(firebase_setup().set("FIREBASE_CERTS_URL", format!("http://{address}/certificates")));
        for _ in 0..2 {
            log_in(&host, &token(json!({}))).await.expect_error(503, UNAVAILABLE);
        }
        let verify = json!({ "idToken": token(json!({})) });
        host.api().post("/api/auth/firebase/verify", verify).await.expect_error(503, UNAVAILABLE);
        // What could not be good anyway needs no certificate.
        log_in(&host, "garbage").await.expect_error(401, INVALID);
        log_in(&host, &token(json!({ "aud": "other" }))).await.expect_error(401, FAILED);
    }
}

#[tokio::test]
async fn without_its_settings_firebase_is_unavailable() {
    let host = Host::start(setup());
    let api = host.api();
    api.post("/api/auth/firebase/login", json!({ "idToken": token(json!({})) })).await.expect_error(503, UNAVAILABLE);
    api.post("/api/auth/firebase/verify", json!({ "idToken": "garbage" })).await.expect_error(503, UNAVAILABLE);
    api.get("/api/auth/firebase/verify/garbage").await.expect_error(503, UNAVAILABLE);
    api.post("/api/auth/firebase/reset-password", json!({ "email": "a@example.org" }))
        .await
        .expect_error(503, UNAVAILABLE);
    api.post("/api/auth/firebase/register", registration()).await.expect_error(503, UNAVAILABLE);
    assert_eq!(host.count("select count(*) from public.users").await, 0);
    // With a project, but without what is needed to make accounts.
    let host = Host::start(firebase_setup());
    host.api().post("/api/auth/firebase/register", registration()).await.expect_error(503, UNAVAILABLE);
    let host = Host::start(firebase_setup().set("FIREBASE_API_KEY", "key"));
    host.api().post("/api/auth/firebase/register", registration()).await.expect_error(503, UNAVAILABLE);
}

// Making accounts.

/// Stands in for the Identity Toolkit where the emulator cannot be made to fail.
#[derive(Clone, Default)]
struct Toolkit(Arc<ToolkitState>);

#[derive(Default)]
struct ToolkitState {
    /// How many it has made.
    accounts: AtomicUsize,
    /// Method, `Authorization` and body of each request.
    asked: Mutex<Vec<(String, String, Value)>>,
    /// What methods answer instead of what they should.
    failures: Mutex<BTreeMap<&'static str, (u16, String)>>,
}

impl Toolkit {
    fn start() -> (Toolkit, String) {
        let toolkit = Toolkit::default();
        let router = Router::new().fallback(Toolkit::answer).with_state(toolkit.clone());
        (toolkit, serve(router).to_string())
    }

    async fn answer(
        State(toolkit): State<Toolkit>,
        uri: axum::http::Uri,
        headers: HeaderMap,
        body: String,
    ) -> (axum::http::StatusCode, String) {
        let method = uri.path().rsplit("accounts:").next().unwrap_or_default().to_owned();
        let authorization =
            headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body: Value = serde_json::from_str(&body).expect("JSON");
        toolkit.0.asked.lock().expect("no panic").push((method.clone(), authorization, body.clone()));
        if let Some((status, text)) = toolkit.0.failures.lock().expect("no panic").get(method.as_str()) {
            return (axum::http::StatusCode::from_u16(*status).expect("a status"), text.clone());
        }
        let answer = match method.as_str() {
            "signUp" => {
                let number = toolkit.0.accounts.fetch_add(1, Ordering::Relaxed) + 1;
                json!({ "localId": format!("uid-{number}"), "idToken": format!("id-token-{number}") })
            }
            "sendOobCode" if body["email"] == "unknown@example.org" => {
                return (axum::http::StatusCode::BAD_REQUEST, refusal("EMAIL_NOT_FOUND"));
            }
            _ => json!({ "oobLink": "https://example.org/secret-link" }),
        };
        (axum::http::StatusCode::OK, answer.to_string())
    }

    fn fail(&self, method: &'static str, status: u16, text: String) {
        self.0.failures.lock().expect("no panic").insert(method, (status, text));
    }

    fn recover(&self) {
        self.0.failures.lock().expect("no panic").clear();
    }

    /// What was asked since the last look, without the bodies.
    fn asked(&self) -> Vec<(String, String, Value)> {
        std::mem::take(&mut *self.0.asked.lock().expect("no panic"))
    }

    fn methods(&self) -> Vec<String> {
        self.asked().into_iter().map(|(method, ..)| method).collect()
    }
}

fn refusal(message: &str) -> String {
    json!({ "error": { "code": 400, "message": message, "errors": [] } }).to_string()
}

fn registration() -> Value {
    let email = format!("{}@example.org", unique("admin").replace(' ', "-"));
    json!({ "email": email, "password": "Passw0rd-at-firebase", "full_name": "New Admin", "phone_number": "021" })
}

const REGISTER: &str = "/api/auth/firebase/register";

#[tokio::test]
async fn an_admin_is_registered_at_firebase_and_here() {
    let (toolkit, address) = Toolkit::start();
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address));
    let body = with(&registration(), json!({ "role": "student", "id": unknown_id(), "firebase_uid": "mine" }));
    let answer = host.api().post(REGISTER, body.clone()).await;
    let data = answer.expect_data(201);
    assert_has_keys(data, "user firebaseUid message");
    assert_has_keys(&data["user"], "id email full_name role phone_number");
    assert_eq!((&data["user"]["role"], &data["user"]["phone_number"]), (&json!("admin"), &json!("021")));
    assert_eq!((&data["user"]["email"], &data["user"]["full_name"]), (&body["email"], &body["full_name"]));
    assert!(text(&data["message"]).to_lowercase().contains("verif"));
    assert_eq!(data["firebaseUid"], "uid-1");

    let asked = toolkit.asked();
    let methods: Vec<&str> = asked.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["signUp", "update", "sendOobCode"]);
    assert_eq!((&asked[0].2["email"], &asked[0].2["password"]), (&body["email"], &body["password"]));
    assert_eq!((asked[1].1.as_str(), &asked[1].2["localId"]), ("Bearer owner", &json!("uid-1")));
    assert_eq!(
        serde_json::from_str::<Value>(&text(&asked[1].2["customAttributes"])).expect("JSON"),
        json!({ "role": "admin" })
    );
    assert_eq!((&asked[2].2["requestType"], &asked[2].2["idToken"]), (&json!("VERIFY_EMAIL"), &json!("id-token-1")));

    let row = row_of(&host, &text(&body["email"])).await;
    let expected = json!({
        "id": data["user"]["id"], "full_name": "New Admin", "firebase_uid": "uid-1", "has_password": false,
        "auth_provider": "firebase", "provider": "password", "email_verified": false, "role": "admin",
        "phone_number": "021", "logged_in": false,
    });
    assert_eq!(row, expected);
    let events = host.events(&format!("user:{}", text(&data["user"]["id"]))).await;
    assert_eq!((events.len(), &events[0]["payload"]["role"]), (1, &json!("admin")));
    assert_eq!(host.count("select count(*) from public.refresh_sessions").await, 0);
    for secret in ["secret-link", "id-token-1", "Passw0rd-at-firebase"] {
        assert!(!host.log().contains(secret) && !answer.text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn only_who_may_register_an_admin_does() {
    let (toolkit, address) = Toolkit::start();
    let emulated = || firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address);
    let host = Host::start(emulated());
    // (a) once, whatever the way, and judged before the body.
    assert_eq!(host.api().post(REGISTER, json!({})).await.status, 400);
    host.api().post(REGISTER, registration()).await.expect_data(201);
    host.api().post(REGISTER, registration()).await.expect_error(403, "AUTH_FORBIDDEN");
    host.api().post(REGISTER, json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
    let legacy = with(&registration(), json!({ "role": "admin" }));
    host.api().post("/api/auth/register", legacy.clone()).await.expect_error(403, "AUTH_FORBIDDEN");
    host.api()
        .with_header("x-admin-registration-token", "guess")
        .post(REGISTER, registration())
        .await
        .expect_error(403, "AUTH_FORBIDDEN");
    // (b)
    let admin = host.admin().await;
    admin.api.post(REGISTER, registration()).await.expect_data(201);
    for role in ["student", "instructor"] {
        let error =
            host.user(role).await.api.post(REGISTER, registration()).await.expect_error(403, "AUTH_FORBIDDEN").clone();
        assert_eq!(error["details"]["userRole"], role);
    }
    host.api().with_token("garbage").post(REGISTER, registration()).await.expect_error(403, "AUTH_FORBIDDEN");
    // (c) ends (a).
    let host = Host::start(emulated().set("ADMIN_REGISTRATION_TOKEN", "the-token-of-the-operator"));
    toolkit.asked();
    host.api().post(REGISTER, registration()).await.expect_error(403, "AUTH_FORBIDDEN");
    for guess in ["", "the-token-of-the-operato", "The-token-of-the-operator"] {
        host.api()
            .with_header("x-admin-registration-token", guess)
            .post(REGISTER, registration())
            .await
            .expect_error(403, "AUTH_FORBIDDEN");
    }
    assert!(toolkit.methods().is_empty());
    let api = host.api().with_header("x-admin-registration-token", "the-token-of-the-operator");
    api.post(REGISTER, registration()).await.expect_data(201);
    api.with_token("garbage").post(REGISTER, registration()).await.expect_data(201);
    // Open.
    let host = Host::start(emulated().set("ALLOW_OPEN_ADMIN_REGISTRATION", "true"));
    for _ in 0..2 {
        host.api().post(REGISTER, registration()).await.expect_data(201);
    }
}

#[tokio::test]
async fn a_registration_is_judged_in_all_parts() {
    let (toolkit, address) = Toolkit::start();
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address));
    let admin = host.admin().await;
    let bad = json!({ "email": "no", "password": 5, "full_name": "A", "phone_number": "1".repeat(26) });
    let expected = ["email invalid_string", "full_name too_small", "password invalid_type", "phone_number too_big"];
    assert_eq!(admin.api.post(REGISTER, bad).await.problems(), expected);
    let long = with(&registration(), json!({ "password": format!("Aa1{}", "x".repeat(126)) }));
    assert_eq!(admin.api.post(REGISTER, long).await.problems(), ["password too_big"]);
    for (password, broken) in [("Short1", 1), ("password", 2), ("PASSWORD1", 1), ("", 4), ("nodigitsHERE", 1)] {
        let weak = with(&registration(), json!({ "password": password }));
        let error = admin.api.post(REGISTER, weak.clone()).await.expect_error(400, "VALIDATION_PASSWORD_WEAK").clone();
        assert_eq!(error["details"].as_array().map(Vec::len), Some(broken), "{password}");
        admin.api.post(REGISTER, with(&weak, json!({ "email": "no" }))).await.expect_error(400, "VALIDATION_ERROR");
    }
    // An email that is known here is not even tried there.
    let taken = with(&registration(), json!({ "email": admin.email.to_uppercase() }));
    admin.api.post(REGISTER, taken).await.expect_error(409, "AUTH_EMAIL_ALREADY_EXISTS");
    assert!(toolkit.methods().is_empty());
}

#[tokio::test]
async fn what_fails_at_the_provider_leaves_nothing_behind() {
    let (toolkit, address) = Toolkit::start();
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address));
    let first = host.api();
    // Before there is an admin, and after.
    for round in 0..2 {
        let api = if round == 0 { first.clone() } else { host.admin().await.api };
        let cases = [
            ("signUp", 400, refusal("EMAIL_EXISTS"), 409, "AUTH_EMAIL_ALREADY_EXISTS", &["signUp"] as &[&str]),
            ("signUp", 500, "oops".into(), 503, UNAVAILABLE, &["signUp"]),
            ("signUp", 503, String::new(), 503, UNAVAILABLE, &["signUp"]),
            ("signUp", 400, refusal("TOO_MANY_ATTEMPTS_TRY_LATER : wait"), 503, UNAVAILABLE, &["signUp"]),
            ("signUp", 400, refusal("OPERATION_NOT_ALLOWED"), 500, "FIREBASE_REGISTER_ERROR", &["signUp"]),
            ("signUp", 403, "no JSON".into(), 500, "FIREBASE_REGISTER_ERROR", &["signUp"]),
            ("signUp", 200, "{}".into(), 500, "FIREBASE_REGISTER_ERROR", &["signUp"]),
            ("update", 400, refusal("INVALID_CLAIMS"), 500, "FIREBASE_REGISTER_ERROR", &["signUp", "update", "delete"]),
            ("update", 502, String::new(), 503, UNAVAILABLE, &["signUp", "update", "delete"]),
        ];
        for (method, status, text, expected, code, methods) in cases {
            toolkit.fail(method, status, text);
            toolkit.asked();
            let body = registration();
            api.post(REGISTER, body.clone()).await.expect_error(expected, code);
            let asked = toolkit.asked();
            assert_eq!(asked.iter().map(|(method, ..)| method.as_str()).collect::<Vec<_>>(), methods);
            if let Some((_, authorization, deleted)) = asked.iter().find(|(method, ..)| method == "delete") {
                assert_eq!((authorization.as_str(), &deleted["localId"]), ("Bearer owner", &asked[1].2["localId"]));
            }
            assert_eq!(row_of(&host, body["email"].as_str().expect("a text")).await, Value::Null);
            toolkit.recover();
        }
    }
    // The mail is not worth failing for.
    let admin = host.admin().await;
    toolkit.fail("sendOobCode", 500, String::new());
    admin.api.post(REGISTER, registration()).await.expect_data(201);
}

#[tokio::test]
async fn an_account_without_a_row_is_deleted_again() {
    let (toolkit, address) = Toolkit::start();
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address));
    let refuse = "alter table public.users add constraint refused check (full_name <> 'New Admin')";
    host.run(refuse, &[]).await;
    let body = registration();
    let methods = ["signUp", "update", "delete"];
    // As the first admin, and by one.
    for round in 0..2 {
        let api = if round == 0 { host.api() } else { host.admin().await.api };
        let answer = api.post(REGISTER, body.clone()).await;
        answer.expect_error(500, "DB_CREATE_ERROR");
        assert!(!answer.text.contains("refused"));
        assert_eq!(toolkit.methods(), methods);
        // That the deletion fails changes nothing of the answer.
        toolkit.fail("delete", 500, String::new());
        api.post(REGISTER, body.clone()).await.expect_error(500, "DB_CREATE_ERROR");
        assert_eq!(toolkit.methods(), methods);
        toolkit.recover();
    }
    let events = "select count(*) from public.outbox o where o.channel = 'user.registered'";
    assert_eq!(host.count(events).await, 0);
}

#[tokio::test]
async fn of_many_first_admins_one_is_registered() {
    let (toolkit, address) = Toolkit::start();
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address));
    // Half of them the other way, all with one email.
    let body = with(&registration(), json!({ "role": "admin" }));
    let paths = [REGISTER, "/api/auth/register"].into_iter().cycle();
    let api = host.api();
    let answers = join_all(paths.take(20).map(|path| api.post(path, body.clone()))).await;
    assert_eq!((count(&answers, 201, ""), count(&answers, 403, "AUTH_FORBIDDEN")), (1, 19));
    assert_eq!(host.count("select count(*) from public.users").await, 1);
    assert!(toolkit.methods().iter().filter(|method| *method == "signUp").count() <= 1);

    // Of admins who register one and the same, one has it.
    let admin = host.admin().await;
    let body = registration();
    let answers = join_all((0..20).map(|_| admin.api.post(REGISTER, body.clone()))).await;
    assert_eq!((count(&answers, 201, ""), count(&answers, 409, "AUTH_EMAIL_ALREADY_EXISTS")), (1, 19));
    let methods = toolkit.methods();
    let number = |name: &str| methods.iter().filter(|method| *method == name).count();
    assert_eq!(number("signUp") - number("delete"), 1);
}

// AUTH-9.

#[tokio::test]
async fn a_reset_tells_nothing_of_who_is_known() {
    let (toolkit, address) = Toolkit::start();
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address));
    let reset =
        async |email: &str| host.api().post("/api/auth/firebase/reset-password", json!({ "email": email })).await;
    let known = reset("known@example.org").await;
    assert_eq!(known.expect_data(200), &json!({ "message": "If the email exists, a reset link has been sent." }));
    let (_, _, body) = toolkit.asked().remove(0);
    assert_eq!((&body["requestType"], &body["email"]), (&json!("PASSWORD_RESET"), &json!("known@example.org")));
    let unknown = reset("unknown@example.org").await;
    assert_eq!(unknown.expect_data(200), known.data());
    assert_eq!(unknown.body["message"], known.body["message"]);
    for message in ["USER_DISABLED", "RESET_PASSWORD_EXCEED_LIMIT", "INVALID_EMAIL : so it is"] {
        toolkit.fail("sendOobCode", 400, refusal(message));
        assert_eq!(reset("known@example.org").await.expect_data(200), known.data());
    }
    for (status, text, expected, code) in [
        (400, refusal("API_KEY_INVALID"), 500, "PASSWORD_RESET_ERROR"),
        (403, "no JSON".into(), 500, "PASSWORD_RESET_ERROR"),
        (429, String::new(), 503, UNAVAILABLE),
        (500, String::new(), 503, UNAVAILABLE),
    ] {
        toolkit.fail("sendOobCode", status, text);
        for email in ["known@example.org", "unknown@example.org"] {
            reset(email).await.expect_error(expected, code);
        }
    }
    for (body, problem) in [
        (json!({}), "email invalid_type"),
        (json!({ "email": "no" }), "email invalid_string"),
        (json!({ "email": ["known@example.org"] }), "email invalid_type"),
    ] {
        assert_eq!(host.api().post("/api/auth/firebase/reset-password", body).await.problems(), [problem]);
    }
    assert!(!host.log().contains("secret-link"));
    // Gone: nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", closed.to_string()));
    let body = json!({ "email": "known@example.org" });
    host.api().post("/api/auth/firebase/reset-password", body).await.expect_error(503, UNAVAILABLE);
    host.api().post(REGISTER, registration()).await.expect_error(503, UNAVAILABLE);
}

#[tokio::test]
async fn guesses_and_floods_are_stopped() {
    let (toolkit, address) = Toolkit::start();
    let limited = || firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &address).set("RATE_LIMIT_ENABLED", "true");
    let host = Host::start(limited());
    for _ in 0..5 {
        // What succeeds, and what is not a guess, does not count.
        log_in(&host, &token(json!({}))).await.expect_data(200);
        host.api().post("/api/auth/firebase/login", json!({})).await.expect_error(400, "VALIDATION_ERROR");
        log_in(&host, "garbage").await.expect_error(401, INVALID);
    }
    log_in(&host, &token(json!({}))).await.expect_error(429, "RATE_LIMIT_EXCEEDED");

    // Registrations and resets count together.
    let host = Host::start(limited());
    toolkit.asked();
    let reset = json!({ "email": "known@example.org" });
    for _ in 0..4 {
        host.api().post("/api/auth/firebase/reset-password", reset.clone()).await.expect_data(200);
    }
    host.api().post(REGISTER, registration()).await.expect_data(201);
    for (path, body) in [(REGISTER, registration()), ("/api/auth/firebase/reset-password", reset)] {
        host.api().post(path, body).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    }
    assert_eq!(toolkit.methods().len(), 4 + 3);
}

// The emulator.

#[tokio::test]
async fn an_emulator_may_leave_tokens_unsigned_and_nothing_else() {
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:1"));
    let now = Utc::now().timestamp();
    let unsigned = |changes: Value| {
        format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&with(&claims(), changes)))
    };
    log_in(&host, &unsigned(json!({}))).await.expect_data(200);
    log_in(&host, &token(json!({}))).await.expect_data(200);
    for (changes, code) in [
        (json!({ "aud": "other" }), FAILED),
        (json!({ "iss": "https://securetoken.google.com/other" }), FAILED),
        (json!({ "sub": "" }), FAILED),
        (json!({ "iat": now + 600 }), FAILED),
        (json!({ "auth_time": now + 600 }), FAILED),
        (json!({ "exp": now - 1 }), EXPIRED),
        (json!({ "exp": "never" }), INVALID),
        (json!({ "email": null }), INVALID),
    ] {
        log_in(&host, &unsigned(changes.clone())).await.expect_error(401, code);
    }
    log_in(&host, &format!("{}c2ln", unsigned(json!({})))).await.expect_error(401, FAILED);
    let by_forger = forge(&header(), &claims(), Algorithm::RS256, &keys()[2].private);
    log_in(&host, &by_forger).await.expect_error(401, FAILED);
}

/// The emulator's own interface.
struct Accounts(reqwest::Client, String);

impl Accounts {
    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}/identitytoolkit.googleapis.com/v1/{path}", self.1);
        let request =
            self.0.post(url).bearer_auth("owner").header("content-type", "application/json").body(body.to_string());
        let text = request.send().await.expect("an answer").text().await.expect("a text");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn token(&self, email: &str, password: &str) -> String {
        let body = json!({ "email": email, "password": password, "returnSecureToken": true });
        text(&self.post("accounts:signInWithPassword?key=any", body).await["idToken"])
    }

    /// The mails that it would have sent to an address: their kinds.
    async fn mails(&self, email: &str) -> Vec<String> {
        let url = format!("http://{}/emulator/v1/projects/{PROJECT}/oobCodes", self.1);
        let text = self.0.get(url).send().await.expect("an answer").text().await.expect("a text");
        let codes: Value = serde_json::from_str(&text).expect("JSON");
        let codes = codes["oobCodes"].as_array().expect("a list");
        let mine = codes.iter().filter(|code| code["email"] == email);
        mine.map(|code| code["requestType"].as_str().expect("a kind").to_owned()).collect()
    }
}

#[tokio::test]
async fn firebases_own_emulator_plays_along() {
    let emulator = tokio::task::spawn_blocking(|| Emulator::start(PROJECT)).await.expect("it starts");
    let host = Host::start(firebase_setup().set("FIREBASE_AUTH_EMULATOR_HOST", &emulator.address));
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let accounts = Accounts(client, emulator.address.clone());

    let body = registration();
    let (email, password) = (text(&body["email"]), text(&body["password"]));
    let data = host.api().post(REGISTER, body.clone()).await.expect_data(201).clone();
    let uid = text(&data["firebaseUid"]);
    let lookup = json!({ "localId": [uid] });
    let found = accounts.post(&format!("projects/{PROJECT}/accounts:lookup"), lookup).await["users"][0].clone();
    assert_eq!((&found["email"], &found["displayName"]), (&body["email"], &body["full_name"]));
    assert_eq!(found["customAttributes"], json!({ "role": "admin" }).to_string());
    assert_eq!(accounts.mails(&email).await, ["VERIFY_EMAIL"]);

    // Nobody logs in before the mail is answered.
    log_in(&host, &accounts.token(&email, &password).await).await.expect_error(403, "AUTH_EMAIL_NOT_VERIFIED");
    let verified = json!({ "localId": uid, "emailVerified": true });
    accounts.post(&format!("projects/{PROJECT}/accounts:update"), verified).await;
    let answer = log_in(&host, &accounts.token(&email, &password).await).await;
    let signed_in = answer.expect_data(200);
    assert_eq!((&signed_in["user"]["id"], &signed_in["user"]["role"]), (&data["user"]["id"], &json!("admin")));
    assert_eq!((&signed_in["firebaseUid"], &signed_in["provider"]), (&json!(uid), &json!("password")));
    let api = host.api().with_token(&text(&signed_in["accessToken"]));
    let admin = User {
        id: text(&signed_in["user"]["id"]),
        email: email.clone(),
        access: text(&signed_in["accessToken"]),
        refresh: text(&signed_in["refreshToken"]),
        api,
    };
    admin.api.get("/api/users").await.expect_data(200);

    // Known here, or only there.
    admin.api.post(REGISTER, body.clone()).await.expect_error(409, "AUTH_EMAIL_ALREADY_EXISTS");
    let pupil = json!({ "email": "pupil@example.org", "password": PASSWORD });
    accounts.post("accounts:signUp?key=any", pupil.clone()).await;
    let taken = with(&registration(), json!({ "email": "pupil@example.org" }));
    admin.api.post(REGISTER, taken).await.expect_error(409, "AUTH_EMAIL_ALREADY_EXISTS");
    // Whoever signs up there alone is a student here.
    let answer = log_in(&host, &accounts.token("pupil@example.org", PASSWORD).await).await;
    assert_eq!(
        (&answer.expect_data(200)["user"]["role"], &answer.data()["user"]["emailVerified"]),
        (&json!("student"), &json!(false))
    );
    let google = json!({
        "postBody": format!("id_token={}&providerId=google.com", r#"{"sub":"g-1","email":"g@example.org","email_verified":true}"#),
        "requestUri": "http://localhost", "returnSecureToken": true,
    });
    let by_google = text(&accounts.post("accounts:signInWithIdp?key=any", google).await["idToken"]);
    assert_eq!(log_in(&host, &by_google).await.expect_data(200)["provider"], "google.com");

    // A row that is refused takes its account along.
    host.run("alter table public.users add constraint refused check (full_name <> 'Refused')", &[]).await;
    let refused = with(&registration(), json!({ "full_name": "Refused" }));
    admin.api.post(REGISTER, refused.clone()).await.expect_error(500, "DB_CREATE_ERROR");
    let lookup = json!({ "email": [refused["email"]] });
    let left = accounts.post(&format!("projects/{PROJECT}/accounts:lookup"), lookup).await;
    assert!(left["users"].as_array().is_none_or(Vec::is_empty), "{left}");

    // Resets.
    let reset =
        async |email: &str| host.api().post("/api/auth/firebase/reset-password", json!({ "email": email })).await;
    let (known, unknown) = (reset(&email).await, reset("nobody@example.org").await);
    assert_eq!(known.expect_data(200), unknown.expect_data(200));
    assert_eq!(accounts.mails(&email).await, ["VERIFY_EMAIL", "PASSWORD_RESET"]);
    assert!(accounts.mails("nobody@example.org").await.is_empty());
    assert!(!host.log().contains("oobCode="));
}
