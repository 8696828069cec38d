//! The gate: what is refused at a deploy, with which code and which sentence,
//! and that nothing of it reaches anybody.

use crate::harness::{Answer, Expect, Host, Setup, fixture, hello, setup, variant};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use std::collections::BTreeMap;

/// Components beside those of `host/host.toml`.
const CONFIG: &str = r#"
[components.hello]
mounts = ["/hello"]
[components.small]
mounts = ["/small"]
[components.small.limits]
memory_mib = 1
"#;

fn host(setup: Setup) -> Host {
    Host::start(setup.config(CONFIG).set("SHEMA_COMPONENTS", "/nowhere"))
}

/// A component as text, with the handler that the host wants, but empty: enough
/// for whatever is judged before it.
fn with_handler(rest: &str) -> Vec<u8> {
    text(&format!(r#"{rest} (instance $handler) (export "shema:http/handler@0.1.0" (instance $handler))"#))
}

fn text(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {body})")).expect("good text")
}

fn imports(name: &str) -> Vec<u8> {
    with_handler(&format!(r#"(import "{name}" (instance (export "call" (func))))"#))
}

/// What is sent as which component, the code, and words of the sentence.
fn bad_artifacts() -> Vec<(&'static str, Vec<u8>, &'static str, &'static [&'static str])> {
    let good = hello("");
    let mut broken = good.clone();
    broken.truncate(good.len() / 2);
    let mut longer = good.clone();
    longer.extend([1, 2, 3]);
    let run = r#"(instance $run) (export "wasi:cli/run@0.2.3" (instance $run))"#;
    let newer = r#"(instance $handler) (export "shema:http/handler@0.2.0" (instance $handler))"#;
    let shout = r#"(import "shema:log/log@0.1.0" (instance (export "shout" (func (param "what" string)))))"#;
    vec![
        ("hello", Vec::new(), "NOT_A_COMPONENT", &["empty"]),
        ("hello", b"no wasm at all".to_vec(), "NOT_A_COMPONENT", &["not WebAssembly"]),
        ("hello", b"PK\x03\x04zip".to_vec(), "NOT_A_COMPONENT", &["not WebAssembly"]),
        ("hello", b"\x7fELF\x02\x01\x01".to_vec(), "NOT_A_COMPONENT", &["native program", "wasm32-wasip2"]),
        ("hello", b"(component)".to_vec(), "NOT_A_COMPONENT", &["text"]),
        ("hello", b"\0asm\x01\0\0\0".to_vec(), "NOT_A_COMPONENT", &["core WebAssembly module", "wasm32-wasip2"]),
        ("hello", b"\0asm\x0e\0\x01\0".to_vec(), "NOT_A_COMPONENT", &["binary version"]),
        ("hello", b"\0asm\x0d\0\x01\0garbage".to_vec(), "NOT_A_COMPONENT", &["not a valid component"]),
        ("hello", broken, "NOT_A_COMPONENT", &["not a valid component"]),
        ("hello", longer, "NOT_A_COMPONENT", &["not a valid component"]),
        ("hello", vec![0; 3 << 20], "TOO_LARGE", &["2 MiB", "max_artifact_mib", "host.toml"]),
        ("hello", text(""), "WRONG_WORLD", &["shema:http/handler@0.1.0", "wasi:http", "exports nothing"]),
        ("hello", text(run), "WRONG_WORLD", &["shema:http/handler@0.1.0", "wasi:cli/run@0.2.3", "command"]),
        ("hello", text(newer), "WRONG_WORLD", &["shema:http/handler@0.2.0", "another host"]),
        (
            "hello",
            with_handler(""),
            "WRONG_WORLD",
            &["shema:http/handler@0.1.0", "not as this host knows it", "routes"],
        ),
        ("hello", imports("acme:piano/keys@1.0.0"), "UNKNOWN_IMPORT", &["acme:piano/keys@1.0.0", "no version"]),
        (
            "hello",
            imports("shema:database/sql@0.2.0"),
            "UNKNOWN_IMPORT",
            &["shema:database/sql@0.2.0", "hosts since 1.0.0 have shema:database/sql@0.1.0"],
        ),
        ("hello", imports("shema:sockets/hub@7.0.0"), "UNKNOWN_IMPORT", &["shema:sockets/hub@7.0.0"]),
        ("hello", with_handler(shout), "UNKNOWN_IMPORT", &["shout"]),
        ("hello", imports("wasi:gpio/pins@0.2.0"), "UNKNOWN_IMPORT", &["wasi:gpio/pins@0.2.0"]),
        ("hello", std::fs::read(fixture("probe")).expect("read"), "NOT_GRANTED", &["[components.hello.grants]"]),
        ("hello", imports("shema:database/sql@0.1.0"), "NOT_GRANTED", &["`database = ", "not be restarted"]),
        ("hello", imports("shema:redis/commands@0.1.0"), "NOT_GRANTED", &["`redis = "]),
        ("hello", imports("shema:events/outbox@0.1.0"), "NOT_GRANTED", &["`events = "]),
        ("hello", imports("shema:http-client/requests@0.1.0"), "NOT_GRANTED", &["`http = "]),
        ("hello", imports("shema:components/calls@0.1.0"), "NOT_GRANTED", &["`calls = "]),
        ("hello", imports("shema:tokens/sessions@0.1.0"), "NOT_GRANTED", &["`tokens = [\"sessions\"]`"]),
        ("hello", imports("shema:tokens/passwords@0.1.0"), "NOT_GRANTED", &["`tokens = [\"passwords\"]`"]),
        ("hello", hello("mute"), "PROBE_FAILED", &["asked for its routes", "trapped", "no word"]),
        ("hello", hello("endless"), "PROBE_FAILED", &["asked for its routes", "overran"]),
        ("hello", hello("bare"), "PROBE_FAILED", &["table of routes is empty"]),
        ("hello", hello("sick"), "PROBE_FAILED", &["health check", "the piano is out of tune"]),
        ("stranger", good.clone(), "PROBE_FAILED", &["/hello lies under none of its mounts (/api/stranger)"]),
        ("small", good, "PROBE_FAILED", &["cannot be instantiated"]),
    ]
}

#[tokio::test]
async fn every_bad_artifact_is_refused_with_its_sentence_and_touches_nothing() {
    let host = host(setup().replace("max_artifact_mib = 64", "max_artifact_mib = 2"));
    let good = hello("");
    let live = host.deploy("hello", &good, "").await.expect_status(201)["version"].clone();
    let artifacts = bad_artifacts();
    assert!(artifacts.len() >= 20);
    for (name, wasm, code, words) in artifacts {
        let refused = host.deploy(name, &wasm, "").await;
        let error = &refused.expect_status(422)["error"];
        assert_eq!(error["code"], code, "{error}");
        let message = error["message"].as_str().expect("a sentence");
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        assert!(message.ends_with('.'), "{message}");
        let answer = host.api().get("/hello").await;
        assert_eq!(answer.header("x-shema-component"), format!("hello@{}", live.as_str().expect("a version")));
        assert_eq!(answer.data()["message"], "Hello, world!");
        assert_eq!(state(&host, "hello", &live).await, "live");
    }
    // The reason stays to be read.
    let listed = listed(&host, "hello").await;
    let refused: Vec<&Value> = versions(&listed).iter().filter(|version| version["state"] == "refused").collect();
    assert!(refused.len() >= 20, "{}", refused.len());
    assert!(refused.iter().all(|version| version["reason"].is_string()));
    let names: BTreeMap<String, i64> =
        sqlx::query_as::<_, (String, i64)>("select action, count(*) from deploy.audit group by action")
            .fetch_all(&mut host.sql().await)
            .await
            .expect("the audit")
            .into_iter()
            .collect();
    assert!(names["refuse"] >= 30, "{names:?}");
}

async fn listed(host: &Host, name: &str) -> Value {
    let all = host.control().get("/v1/components").await;
    let all = all.expect_status(200).as_array().expect("a list").clone();
    all.into_iter().find(|component| component["name"] == name).expect("the component")
}

fn versions(component: &Value) -> &Vec<Value> {
    component["versions"].as_array().expect("a list")
}

async fn state(host: &Host, name: &str, version: &Value) -> Value {
    let listed = listed(host, name).await;
    versions(&listed).iter().find(|other| other["version"] == *version).expect("the version")["state"].clone()
}

#[tokio::test]
async fn a_compilation_that_needs_too_much_is_ended() {
    for (key, bounded, words) in [
        ("compile_memory_mib = 3072", "compile_memory_mib = 48", "48 MiB of memory"),
        ("compile_seconds = 120", "compile_seconds = 0", "longer than 0 seconds"),
    ] {
        let host = host(setup().replace(key, bounded));
        // Not among those that another test's host has compiled.
        let refused = host.deploy("hello", &variant(&hello(""), std::process::id()), "").await;
        let error = &refused.expect_status(422)["error"];
        assert_eq!(error["code"], "PROBE_FAILED", "{error}");
        assert!(error["message"].as_str().expect("a sentence").contains(words), "{error}");
        host.control().get("/v1/components").await.expect_status(200);
    }
}

#[tokio::test]
async fn with_a_public_key_only_signed_artifacts_get_in() {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).expect("a key");
    let key = BASE64_STANDARD.encode(pair.public_key().as_ref());
    let host = host(setup().replace("# public_key = \"\"", &format!("public_key = \"{key}\"")));
    let wasm = hello("");
    let deploy = async |signature: Option<String>| -> Answer {
        let control = host.control();
        let path = "/v1/components/hello/versions";
        let mut request = control.request(reqwest::Method::POST, path).body(wasm.clone());
        if let Some(signature) = signature {
            request = request.header("x-shema-signature", signature);
        }
        control.finish(request, path).await.expect("an answer")
    };
    assert_eq!(deploy(None).await.expect_status(422)["error"]["code"], "NOT_SIGNED");
    let of_another = BASE64_STANDARD.encode(pair.sign(b"another artifact").as_ref());
    assert_eq!(deploy(Some(of_another)).await.expect_status(422)["error"]["code"], "NOT_SIGNED");
    assert_eq!(deploy(Some("nonsense".into())).await.expect_status(400)["error"]["code"], "INVALID_SIGNATURE");
    host.api().get("/hello").await.expect_status(503);
    let signature = BASE64_STANDARD.encode(pair.sign(&wasm).as_ref());
    deploy(Some(signature)).await.expect_status(201);
    host.api().get("/hello").await.expect_status(200);
}

#[tokio::test]
async fn a_new_grant_counts_at_the_next_deploy() {
    let host = host(setup());
    let probe = std::fs::read(fixture("probe")).expect("read");
    let refused = host.deploy("hello", &probe, "").await;
    let grant = refused.expect_status(422)["error"]["details"]["grant"].as_str().expect("a grant").to_owned();
    assert!(grant.starts_with("database"), "{grant}");
    // As the operator would: what the sentence asks for, into the file.
    let path = host.data_dir.join("host.toml");
    let file = std::fs::read_to_string(&path).expect("the file");
    let granted = file.replace(
        "\n[components.hello]\nmounts = [\"/hello\"]",
        "\n[components.hello]\nmounts = [\"/probe2\"]\n[components.hello.grants]\ndatabase = \"shema_course\"",
    );
    std::fs::write(&path, granted).expect("written");
    let refused = host.deploy("hello", &probe, "").await;
    let message = refused.expect_status(422)["error"]["message"].to_string();
    assert!(!message.contains("database"), "the next one is asked for: {message}");
    // A file that cannot be read changes nothing, and says where it is wrong.
    std::fs::write(&path, format!("{file}\n[oops]\n")).expect("written");
    let refused = host.deploy("hello", &hello(""), "").await;
    assert_eq!(refused.expect_status(409)["error"]["code"], "INVALID_CONFIG");
    assert!(refused.text.contains("oops"), "{}", refused.text);
    std::fs::write(&path, file).expect("written");
    host.deploy("hello", &hello(""), "").await.expect_status(201);
}

#[tokio::test]
async fn requests_of_the_control_api_are_judged_in_plain_words() {
    let host = host(setup());
    let wasm = hello("");
    for (name, query, status, code) in [
        ("Hello", "", 400, "INVALID_NAME"),
        ("-hello", "", 400, "INVALID_NAME"),
        ("hello", "?canary=101", 400, "INVALID_QUERY"),
        ("hello", "?activate=yes", 400, "INVALID_QUERY"),
        ("hello", "?weight=10", 400, "INVALID_QUERY"),
        ("hello", "?mount=hello", 400, "INVALID_MOUNT"),
        ("hello", "?mount=/hello/", 400, "INVALID_MOUNT"),
        ("hello", "?mount=/api/courses", 409, "MOUNT_TAKEN"),
        ("hello", "?mount=/health", 409, "MOUNT_TAKEN"),
        ("hello", "?mount=/api/docs/x", 409, "MOUNT_TAKEN"),
    ] {
        assert_eq!(host.deploy(name, &wasm, query).await.expect_status(status)["error"]["code"], code, "{name}{query}");
    }
    let control = host.control();
    let body = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    for (path, sent, status, code) in [
        ("/v1/components/none/activate", r#"{"version":"0123456789ab"}"#, 404, "COMPONENT_NOT_FOUND"),
        ("/v1/components/none/rollback", "{}", 404, "COMPONENT_NOT_FOUND"),
    ] {
        assert_eq!(control.post(path, body(sent)).await.expect_status(status)["error"]["code"], code, "{path} {sent}");
    }
    host.deploy("hello", &wasm, "").await.expect_status(201);
    for (path, sent, status, code) in [
        ("/v1/components/hello/activate", r#"{"version":"0123456789ab"}"#, 404, "VERSION_NOT_FOUND"),
        ("/v1/components/hello/activate", r#"{"version":"latest"}"#, 404, "VERSION_NOT_FOUND"),
        ("/v1/components/hello/activate", r#"{"version":"0123456789ab","weight":0}"#, 400, "INVALID_BODY"),
        ("/v1/components/hello/activate", r#"{"version":"0123456789ab","weight":101}"#, 400, "INVALID_BODY"),
        ("/v1/components/hello/activate", r#"{"weight":10}"#, 400, "INVALID_BODY"),
        ("/v1/components/hello/activate", r#"{"version":"0123456789ab","wait":1}"#, 400, "INVALID_BODY"),
        ("/v1/components/hello/rollback", "{}", 409, "NO_PREVIOUS_VERSION"),
    ] {
        assert_eq!(control.post(path, body(sent)).await.expect_status(status)["error"]["code"], code, "{path} {sent}");
    }
    control.delete("/v1/components/none").await.expect_status(404);
    control.get("/v1/components/none/stats").await.expect_status(404);
    control.get("/v1/nothing").await.expect_status(404);
    assert_eq!(
        control.get("/v1/components/hello/rollback").await.expect_status(405)["error"]["code"],
        "METHOD_NOT_ALLOWED"
    );
}

#[tokio::test]
async fn without_the_control_token_nothing_is_told_or_changed() {
    let host = host(setup());
    let open = crate::harness::Api::new(&host.control);
    for api in [open.clone(), open.with_token("guess"), open.with_token("")] {
        for path in ["/v1/components", "/v1/nodes", "/v1/events", "/v1/components/hello/stats", "/metrics", "/nothing"]
        {
            assert_eq!(api.get(path).await.expect_status(401)["error"]["code"], "UNAUTHORIZED");
        }
        let path = "/v1/components/hello/versions";
        let request = api.request(reqwest::Method::POST, path).body(hello(""));
        api.finish(request, path).await.expect("an answer").expect_status(401);
        api.delete("/v1/components/hello").await.expect_status(401);
    }
    open.get("/health").await.expect_status(200);
    host.api().get("/hello").await.expect_status(503);
}
