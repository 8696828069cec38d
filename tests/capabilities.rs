//! What a component can and cannot do, asked by one that plays the attacker:
//! the probe (`tests/fixtures/probe`) runs any steps, logged in as a component.

use crate::harness::{Api, Expect, Host, Setup, setup, shared, until};
use serde_json::{Value, json};

async fn run_step(api: &Api, step: Value) -> Value {
    api.probe(json!([step])).await.remove(0)
}

fn query(sql: &str) -> Value {
    json!({ "op": "query", "sql": sql })
}

#[tokio::test]
async fn values_of_every_type_go_in_and_out_without_loss() {
    let api = shared().api();
    let cases = [
        ("boolean", json!(true)),
        ("int2", json!(-32768)),
        ("int4", json!(2_147_483_647)),
        ("int8", json!(i64::MIN)),
        ("float4", json!({ "float": 0.5 })),
        ("float8", json!({ "float": 1e300 })),
        ("numeric", json!({ "numeric": "-123456789012345678901234567890.12345678901234567890" })),
        ("numeric", json!({ "numeric": "0.00" })),
        ("numeric", json!({ "numeric": "NaN" })),
        ("text", json!("ümläut 🎵 \u{1}")),
        ("varchar", json!("")),
        ("public.citext", json!("MiXed")),
        ("course.course_level", json!("all_levels")),
        ("bytea", json!({ "bytes": "raw" })),
        ("uuid", json!({ "uuid": "0b9f2b1e-4c0a-4d1b-9a52-6f0f0c6a7e11" })),
        ("date", json!({ "date": "1999-12-31" })),
        ("time", json!({ "time": "23:59:59.000001" })),
        ("time", json!({ "time": "00:00:00" })),
        ("timestamptz", json!({ "timestamp": -1 })),
        ("json", json!({ "json": "{ \"a\" : 1 }" })),
        ("jsonb", json!({ "json": "{\"a\": [1, null]}" })),
        ("text[]", json!(["a", "", "b\"c"])),
        ("text[]", json!([])),
        ("varchar[]", json!(["x"])),
        ("uuid[]", json!({ "uuid-array": ["0b9f2b1e-4c0a-4d1b-9a52-6f0f0c6a7e11"] })),
    ];
    for (kind, value) in cases {
        let step = json!({ "op": "query", "sql": format!("select $1::{kind}"), "params": [value] });
        assert_eq!(run_step(&api, step).await, json!({ "ok": [[value]] }), "{kind}");
        let null = json!({ "op": "query", "sql": format!("select $1::{kind}"), "params": [null] });
        assert_eq!(run_step(&api, null).await, json!({ "ok": [[null]] }), "{kind}");
    }
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_is_named() {
    let api = shared().api();
    for (kind, value, why) in [
        ("int2", json!(40_000), "$1"),
        ("int4", json!("text"), "$1"),
        ("text", json!("nul\u{0}"), "U+0000"),
        ("uuid", json!({ "uuid": "no" }), "uuid"),
        ("date", json!({ "date": "2025-02-30" }), "date"),
        ("numeric", json!({ "numeric": "1e5" }), "numeric"),
        ("point", json!("(1,1)"), "point"),
    ] {
        let step = json!({ "op": "query", "sql": format!("select $1::{kind}"), "params": [value] });
        let outcome = run_step(&api, step).await;
        let text = outcome["invalid"].as_str().unwrap_or_default();
        assert!(text.to_lowercase().contains(&why.to_lowercase()), "{kind}: {outcome}");
    }
    let unreadable = run_step(&api, query("select '{1,2}'::int[]")).await;
    assert!(unreadable["invalid"].as_str().is_some_and(|text| text.contains("cast it")), "{unreadable}");
    let missing = run_step(&api, query("select $1::int")).await;
    assert!(missing["invalid"].is_string(), "{missing}");
    let broken = run_step(&api, query("select nothing from nowhere")).await;
    assert_eq!(broken["rejected"], "42P01");
}

/// SQL that tries to become somebody else, to run more than it may, or to reach
/// the server's files.
#[tokio::test]
async fn hostile_sql_stays_inside_its_role() {
    let api = shared().api();
    let refused = [
        "set role shema_auth",
        "reset role",
        "set session authorization postgres",
        "discard all",
        "begin",
        "commit",
        "rollback",
        "savepoint a",
        "prepare transaction 'a'",
        "select 1; select 2",
        "select 1; drop table public.users",
        "copy public.users to '/tmp/x'",
        "copy course.courses from program 'id'",
        "do $$ begin perform 1; end $$",
        "create table x (a int)",
        "create temporary table x (a int)",
        "create function f() returns int language sql as 'select 1'",
        "alter role shema_course superuser",
        "grant shema_auth to shema_course",
        "listen shema_outbox",
        "notify shema_outbox",
        "explain analyze select 1",
        "vacuum",
        "with x as (select 1) select 1; reset role",
        "/* select */ set role shema_auth",
        "select 1 into temporary x",
        "select set_config('role', 'shema_auth', false)",
        "select set_config('role', 'shema', false)",
        "select set_config('session_authorization', 'shema', false)",
        "select email from public.users",
        "select password_hash from public.users",
        "select * from public.users",
        "select * from public.refresh_sessions",
        "select * from public.outbox",
        "select * from public.outbox_secret",
        "select * from booking.bookings",
        "select * from cs.sessions",
        "insert into public.outbox (component, channel, key, payload) values ('a', 'b', 'c', '{}')",
        "select public.emit_event('guess', gen_random_uuid(), 'user.registered', 'k', '{}')",
        "update public.users set role = 'admin'",
        "delete from public.users",
        "select pg_read_file('/etc/passwd')",
        "select pg_ls_dir('/')",
        "select lo_import('/etc/passwd')",
        "select * from pg_authid",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user",
        "select pg_reload_conf()",
        "select query_to_xml('set role shema_auth', true, true, '')",
        "select query_to_xml('select email from public.users', true, true, '')",
        "select booking.clean_expired_bookings(1)",
        "select public.user_has_role(gen_random_uuid(), 'admin')",
        "select dblink('host=localhost', 'select 1')",
    ];
    for sql in refused {
        for op in ["query", "execute"] {
            let outcome = run_step(&api, json!({ "op": op, "sql": sql })).await;
            assert!(outcome.get("ok").is_none(), "{op} {sql}: {outcome}");
        }
    }
    let who = run_step(&api, query("select session_user::text, current_user::text")).await;
    assert_eq!(who, json!({ "ok": [["shema_course", "shema_course"]] }));
    // What is granted still works, and nothing of the above was done.
    let granted = run_step(&api, query("select count(id) >= 0, count(full_name) >= 0 from public.users")).await;
    assert_eq!(granted, json!({ "ok": [[true, true]] }));
}

/// A session that a component has bent is straight for the next borrower. The
/// probe has one instance at a time here, and at most four connections.
#[tokio::test]
async fn nothing_of_a_call_stays_in_its_session() {
    let host = Host::start(setup());
    let api = host.api();
    for _ in 0..10 {
        let bent = api
            .probe(json!([
                query("select set_config('search_path', 'cs', false), set_config('statement_timeout', '0', false)"),
                query("select set_config('shema.note', 'mine', false)"),
                query("select pg_try_advisory_lock(4711)"),
                query("select pg_sleep(0)"),
            ]))
            .await;
        assert!(bent.iter().all(|outcome| outcome.get("ok").is_some()), "{bent:?}");
        let next = api
            .probe(json!([query(
                "select current_setting('search_path'), current_setting('statement_timeout'),
                        coalesce(current_setting('shema.note', true), ''),
                        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())"
            )]))
            .await;
        let straight = json!({ "ok": [["public", "3s", "", 0]] });
        assert_eq!(next[0], straight);
    }
}

fn insert_room(name: &str) -> Value {
    json!({ "op": "execute", "sql": "insert into course.rooms (name) values ($1)", "params": [name] })
}

async fn room_exists(api: &Api, name: &str) -> bool {
    let step = json!({ "op": "query", "sql": "select count(*) from course.rooms where name = $1", "params": [name] });
    run_step(api, step).await == json!({ "ok": [[1]] })
}

#[tokio::test]
async fn a_transaction_is_kept_only_by_its_commit() {
    let api = shared().api();
    let ends = [
        (json!({ "op": "commit" }), true),
        (json!({ "op": "rollback" }), false),
        // Left open at the end of the call.
        (json!({ "op": "count" }), false),
    ];
    for (index, (end, kept)) in ends.into_iter().enumerate() {
        let name = format!("transaction {index}");
        api.probe(json!([{ "op": "begin" }, insert_room(&name), end])).await;
        assert_eq!(room_exists(&api, &name).await, kept, "{name}");
    }
    let twice = api.probe(json!([{ "op": "begin" }, { "op": "begin" }])).await;
    assert!(twice[1]["invalid"].is_string(), "{twice:?}");
    let failed = api
        .probe(json!([{ "op": "begin" }, insert_room("failed"), query("select 1/0"), query("select 1"), { "op": "commit" }]))
        .await;
    assert_eq!(
        (&failed[2]["rejected"], &failed[3]["rejected"], &failed[4]["rejected"]),
        (&json!("22012"), &json!("25P02"), &json!("25P02"))
    );
    assert!(!room_exists(&api, "failed").await);
    // The call goes on outside of a transaction after it.
    let after = api.probe(json!([{ "op": "begin" }, query("select 1/0"), { "op": "commit" }, query("select 7")])).await;
    assert_eq!(after[3], json!({ "ok": [[7]] }));
}

/// The trap that others fell into: a trap or a timeout between BEGIN and COMMIT.
#[tokio::test]
async fn whoever_fails_inside_a_transaction_leaves_nothing_behind() {
    let host = Host::start(setup().probe_limit("deadline_ms", 6000).probe_limit("statement_timeout_ms", 1000));
    let api = host.api();
    for (index, (last, status, code)) in [
        (json!({ "op": "trap", "value": "on purpose" }), 500, "INTERNAL_SERVER_ERROR"),
        (json!({ "op": "sleep", "ms": 60_000 }), 504, "REQUEST_TIMEOUT"),
        (json!({ "op": "spin" }), 504, "REQUEST_TIMEOUT"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("lost {index}");
        api.post("/probe/run", json!([{ "op": "begin" }, insert_room(&name), last])).await.expect_error(status, code);
        // Whoever borrows next, on any of the four connections, sees a clean
        // session and no row; nobody holds the row's lock.
        for _ in 0..8 {
            assert!(!room_exists(&api, &name).await, "{name}");
        }
        let again = api.probe(json!([{ "op": "begin" }, insert_room(&name), { "op": "rollback" }])).await;
        assert_eq!(again[1], json!({ "ok": 1 }), "{name}");
    }
    // A component can lift PostgreSQL's timeout for its session, not the host's;
    // then the connection is closed, and the transaction with it.
    let lifted = api
        .probe(json!([
            { "op": "begin" }, insert_room("lifted"), query("select set_config('statement_timeout', '0', false)"),
            query("select pg_sleep(60)"), query("select 1"), { "op": "commit" }, query("select 2"),
        ]))
        .await;
    assert_eq!(lifted[3], json!({ "timeout": null }));
    assert!(lifted[4]["unavailable"].is_string() && lifted[5]["unavailable"].is_string(), "{lifted:?}");
    assert_eq!(lifted[6], json!({ "ok": [[2]] }));
    assert!(!room_exists(&api, "lifted").await);
    let busy = "select count(*) from pg_stat_activity
                where datname = current_database() and usename = 'shema_course' and state <> 'idle'";
    until("the end of all transactions", async || (host.count(busy).await == 0).then_some(())).await;
}

#[tokio::test]
async fn statements_are_bounded_in_time_rows_and_bytes() {
    let api = shared().api();
    let slow = run_step(&api, query("select pg_sleep(30)")).await;
    assert_eq!(slow, json!({ "timeout": null }));
    let rows = run_step(&api, query("select generate_series(1, 1001)")).await;
    assert!(rows["too-large"].as_str().is_some_and(|text| text.contains("1000 rows")), "{rows}");
    assert!(run_step(&api, query("select generate_series(1, 1000)")).await["ok"].is_array());
    let bytes = run_step(&api, query("select repeat('x', 300000)")).await;
    assert!(bytes["too-large"].as_str().is_some_and(|text| text.contains("bytes")), "{bytes}");
    // The cap is for the whole call.
    let half = query("select repeat('x', 200000)");
    let sum = api.probe(json!([half, half])).await;
    assert!(sum[0].get("ok").is_some() && sum[1].get("too-large").is_some());
    let long = format!("select 1 -- {}", "x".repeat(70_000));
    assert!(run_step(&api, query(&long)).await["invalid"].is_string());
}

#[tokio::test]
async fn redis_keys_outside_the_grant_are_denied() {
    let api = shared().api();
    for key in ["refresh_token:a", "probe", "Probe:a", " probe:a", "rate_limit:login:a", "*", "../probe:a"] {
        for op in ["get", "set", "set-if-absent", "increment", "delete"] {
            let outcome = run_step(&api, json!({ "op": op, "key": key, "value": "1", "ttl": 1000 })).await;
            assert_eq!(outcome, json!({ "denied": key }), "{op} {key}");
        }
    }
    let outcomes = api
        .probe(json!([
            { "op": "set", "key": "probe:a", "value": "1", "ttl": 60_000 },
            { "op": "get", "key": "probe:a" },
            { "op": "increment", "key": "probe:a", "ttl": 60_000 },
            { "op": "set-if-absent", "key": "probe:a", "value": "9", "ttl": 60_000 },
            { "op": "delete", "key": "probe:a" },
            { "op": "get", "key": "probe:a" },
        ]))
        .await;
    let values: Vec<&Value> = outcomes.iter().map(|outcome| &outcome["ok"]).collect();
    assert_eq!(values, [&json!(null), &json!("1"), &json!(2), &json!(false), &json!(true), &json!(null)]);
    for (key, value, ttl) in
        [("probe:a", "1", 0), ("probe:a", "1", 32 * 86_400_000_u64), ("probe:".to_owned().leak(), "1", 0)]
    {
        let outcome = run_step(&api, json!({ "op": "set", "key": key, "value": value, "ttl": ttl })).await;
        assert!(outcome["invalid"].is_string(), "{outcome}");
    }
    let large = json!({ "op": "set", "key": "probe:a", "value": "x".repeat(600_000), "ttl": 1000 });
    assert!(run_step(&api, large).await["invalid"].is_string());
    let long = json!({ "op": "get", "key": format!("probe:{}", "x".repeat(600)) });
    assert!(run_step(&api, long).await["invalid"].is_string());
}

#[tokio::test]
async fn events_go_only_where_they_are_granted_and_only_with_their_transaction() {
    let host = Host::start(setup());
    let api = host.api();
    let event = |channel: &str, key: &str, fields: Value| json!({ "op": "publish", "channel": channel, "key": key, "type": "PROBED", "fields": fields });
    for channel in ["user.registered", "probe", "Probe.a"] {
        assert_eq!(run_step(&api, event(channel, "k", json!({}))).await, json!({ "denied": channel }));
    }
    for fields in [json!("[]"), json!("no json"), json!(format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)))] {
        assert!(run_step(&api, event("probe.a", "k", fields)).await["invalid"].is_string());
    }
    api.probe(json!([{ "op": "begin" }, event("probe.a", "rolled back", json!({})), { "op": "rollback" }])).await;
    api.post("/probe/run", json!([{ "op": "begin" }, event("probe.a", "trapped", json!({})), { "op": "trap" }]))
        .await
        .expect_status(500);
    let kept = api
        .probe(json!([{ "op": "begin" }, event("probe.a", "kept", json!({ "a": 1, "eventId": "forged" })), { "op": "commit" }]))
        .await;
    let id = kept[1]["ok"].as_str().expect("an id");

    let mut sql = host.sql().await;
    let rows: Vec<(String, String, String, Value)> =
        sqlx::query_as("select component, channel, key, payload from public.outbox order by id")
            .fetch_all(&mut sql)
            .await
            .expect("rows");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let (component, channel, key, payload) = &rows[0];
    assert_eq!((component.as_str(), channel.as_str(), key.as_str()), ("course", "probe.a", "kept"));
    assert_eq!((&payload["a"], &payload["eventId"], &payload["eventType"]), (&json!(1), &json!(id), &json!("PROBED")));
    let time = payload["timestamp"].as_str().expect("a time");
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{time}");
}

#[tokio::test]
async fn a_failing_call_ends_alone() {
    let host = Host::start(setup());
    let api = host.api();
    let other = api.clone();
    let others = tokio::spawn(async move {
        for _ in 0..200 {
            other.get("/api/courses").await.expect_status(200);
        }
    });
    let cases = [
        (json!([{ "op": "trap", "value": "the secret of the guest" }]), 500, "INTERNAL_SERVER_ERROR"),
        (json!([{ "op": "recurse" }]), 500, "INTERNAL_SERVER_ERROR"),
        (json!([{ "op": "allocate", "mib": 64 }]), 500, "INTERNAL_SERVER_ERROR"),
        (json!([{ "op": "spin" }]), 504, "REQUEST_TIMEOUT"),
        (json!([{ "op": "respond", "status": 200, "bytes": 300_000 }]), 500, "INTERNAL_SERVER_ERROR"),
        (json!([{ "op": "respond", "status": 100 }]), 502, "SERVICE_INVALID_RESPONSE"),
        (json!([{ "op": "respond", "status": 999 }]), 502, "SERVICE_INVALID_RESPONSE"),
        (json!([{ "op": "respond", "status": 200, "headers": [["bad name", "x"]] }]), 502, "SERVICE_INVALID_RESPONSE"),
        (
            json!([{ "op": "respond", "status": 200, "headers": [["x-a", "a\r\nx-b: c"]] }]),
            502,
            "SERVICE_INVALID_RESPONSE",
        ),
    ];
    for (steps, status, code) in cases {
        let answer = api.post("/probe/run", steps.clone()).await;
        answer.expect_error(status, code);
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        assert_eq!(answer.header("x-shema-component"), "", "{steps}");
        api.probe(json!([{ "op": "count" }])).await;
    }
    others.await.expect("nobody else noticed");
    assert!(host.log().contains("the secret of the guest"), "the log tells the operator why");
}

#[tokio::test]
async fn a_component_cannot_send_the_hosts_headers() {
    let api = shared().api();
    let headers = json!([
        ["x-request-id", "forged"],
        ["x-shema-component", "forged"],
        ["server", "forged"],
        ["date", "forged"],
        ["connection", "close"],
        ["content-length", "1"],
        ["access-control-allow-origin", "*"],
        ["cache-control", "public"],
        ["x-ratelimit-limit", "forged"],
        ["x-own", "kept"],
        ["content-type", "text/plain"],
    ]);
    let answer =
        api.post("/probe/run", json!([{ "op": "respond", "status": 201, "headers": headers, "bytes": 3 }])).await;
    assert_eq!((answer.status, answer.text.as_str()), (201, "xxx"));
    assert_eq!((answer.header("x-own"), answer.header("content-type")), ("kept", "text/plain"));
    assert!(answer.headers.values().all(|value| value != "forged" && value != "*"), "{:?}", answer.headers);
    assert!(answer.header("x-shema-component").starts_with("probe@"));
}

#[tokio::test]
async fn a_component_sees_only_what_it_should_of_a_request() {
    let host = shared();
    let user = host.user("student").await;
    let api = user
        .api
        .with_header("cookie", "a=b")
        .with_header("x-shema-version", "x")
        .with_header("x-service-name", "y")
        .with_header("x-forwarded-for", "1.1.1.1")
        .with_header("x-own", "seen");
    let seen = api.get("/probe/request?a=%20b").await.expect_status(200).clone();
    let names: Vec<&str> =
        seen["headers"].as_array().expect("a list").iter().filter_map(|pair| pair[0].as_str()).collect();
    assert!(names.contains(&"x-own"), "{names:?}");
    for hidden in ["authorization", "cookie", "x-shema-version", "x-service-name", "x-forwarded-for", "host"] {
        assert!(!names.contains(&hidden), "{hidden} is seen");
    }
    assert_eq!(seen["query"], "a=%20b");
    assert_eq!((&seen["caller"]["user_id"], &seen["caller"]["role"]), (&json!(user.id), &json!("student")));
    assert_eq!(host.api().with_token("bad").get("/probe/request").await.expect_status(200)["caller"], Value::Null);
    host.api().get("/probe/user").await.expect_error(401, "AUTH_MISSING_TOKEN");
    let params = host.api().get("/probe/a%2Fb/to/%C3%BC%ff").await.expect_status(200)["params"].clone();
    assert_eq!(params, json!(["a/b", "ü\u{fffd}"]));
}

#[tokio::test]
async fn the_world_outside_wit_is_closed() {
    let api = shared().api();
    let address = shared().url.trim_start_matches("http://");
    let outcomes = api
        .probe(json!([
            { "op": "environment" }, { "op": "read-file", "value": "/etc/passwd" }, { "op": "connect", "value": address },
        ]))
        .await;
    assert_eq!(outcomes, [json!({ "ok": [] }), json!({ "ok": false }), json!({ "ok": false })]);
}

/// Limits that the probe has not otherwise.
fn limits(setup: Setup, limits: &str) -> Setup {
    let config = setup.config.replace("[components.probe.limits]", &format!("[components.probe.limits]\n{limits}"));
    Setup { config, ..setup }
}

#[tokio::test]
async fn instances_are_reused_up_to_the_limit_and_replaced_after_a_trap() {
    let host = Host::start(limits(setup(), "reuse = 3"));
    let api = host.api();
    let count = async || run_step(&api, json!({ "op": "count" })).await["ok"].as_u64().expect("a number");
    let seen = [count().await, count().await, count().await, count().await];
    assert_eq!(seen, [0, 1, 2, 0]);
    api.post("/probe/run", json!([{ "op": "trap" }])).await.expect_status(500);
    assert_eq!(count().await, 0);

    let host = Host::start(limits(setup(), "reuse = 1"));
    let api = host.api();
    for _ in 0..5 {
        assert_eq!(run_step(&api, json!({ "op": "count" })).await["ok"], 0);
    }

    let host = Host::start(limits(setup(), "recycle_above_mib = 4"));
    let api = host.api();
    assert_eq!(api.probe(json!([{ "op": "count" }, { "op": "allocate", "mib": 8 }])).await[0]["ok"], 0);
    assert_eq!(run_step(&api, json!({ "op": "count" })).await["ok"], 0, "an instance that has grown is dropped");
}

#[tokio::test]
async fn whoever_finds_no_free_instance_waits_a_while_and_gets_503() {
    let host = Host::start(setup().probe_limit("max_wait_ms", 500).probe_limit("deadline_ms", 600_000));
    let api = host.api();
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.probe(json!([{ "op": "sleep", "ms": 600_000 }])).await })
        })
        .collect();
    let refused = async || {
        let answer = api.post("/probe/run", json!([])).await;
        (answer.status == 503).then_some(answer)
    };
    let refused = until("all instances to be taken", refused).await;
    refused.expect_error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(refused.header("retry-after"), "1");
    api.get("/api/courses").await.expect_status(200);
    // Clients that go away make room.
    for call in busy {
        call.abort();
    }
    let again = async || (api.post("/probe/run", json!([])).await.status == 200).then_some(());
    until("a free instance", again).await;
}

#[tokio::test]
async fn an_ungranted_import_fails_at_load_and_names_the_grant() {
    for (granted, missing) in [
        ("database = \"shema_course\"", "database"),
        ("redis = [\"probe:*\"]", "redis"),
        ("events = [\"probe.*\"]", "events"),
    ] {
        let mut setup = setup();
        setup.config = setup.config.replace(granted, "");
        let output = Host::try_start(setup).err().unwrap_or_default();
        assert!(output.contains("which is not granted") && output.contains(missing), "{missing}: {output}");
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_a_sentence() {
    let dir = crate::harness::scratch_dir("broken");
    for (bytes, why) in [
        (b"no wasm at all".to_vec(), "not WebAssembly"),
        (b"\0asm\x01\0\0\0".to_vec(), "not a component"),
        (b"\0asm\x0d\0\x01\0".to_vec(), "shema:http/handler"),
        (b"\0asm\x0d\0\x01\0garbage".to_vec(), "component course"),
    ] {
        std::fs::write(dir.join("course.wasm"), bytes).expect("written");
        let output = Host::try_start(setup().set("SHEMA_COMPONENTS", dir.to_string_lossy())).err().unwrap_or_default();
        assert!(output.contains(why), "{why}: {output}");
    }
}

/// A file in the cache of machine code that the host did not write is not run.
#[tokio::test]
async fn a_forged_cache_of_machine_code_is_compiled_anew() {
    let dir = crate::harness::scratch_dir("cache");
    let started = |setup: Setup| Host::start(Setup { data_dir: Some(dir.clone()), ..setup });
    drop(started(setup()));
    let cached: Vec<_> =
        std::fs::read_dir(dir.join("cache")).expect("a cache").map(|entry| entry.expect("an entry").path()).collect();
    assert!(cached.len() >= 3, "{cached:?}");
    for path in &cached {
        let mut bytes = std::fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("written");
    }
    let host = started(setup());
    assert!(host.log().contains("damaged or foreign"));
    host.api().get("/api/courses").await.expect_status(200);
}

#[tokio::test]
async fn log_lines_of_a_component_are_marked_and_bounded() {
    let host = Host::start(setup());
    let api = host.api().with_header("x-request-id", "many-lines-1");
    api.probe(json!([{ "op": "log", "value": "noise", "times": 5000 }])).await;
    let log = host.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("noise")).collect();
    assert_eq!(lines.len(), 100);
    assert!(lines[0].contains("many-lines-1") && lines[0].contains("\"component\":\"probe\""), "{}", lines[0]);
    assert!(log.contains("\"dropped\":4900"));
}

fn service_token(service: &str, audience: &str, kind: &str, secret: &str, seconds: i64) -> String {
    let now = chrono::Utc::now().timestamp();
    let claims = json!({ "service": service, "type": kind, "aud": audience, "iat": now, "exp": now + seconds });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}

#[tokio::test]
async fn only_a_good_service_token_for_this_component_opens_a_service_route() {
    use crate::harness::{ACCESS_SECRET, SERVICE_SECRET};
    let host = shared();
    let api = host.api();
    let kind = "service-to-service";
    let good = service_token("auth", "probe", kind, SERVICE_SECRET, 300);
    let seen = api.with_header("x-service-token", &good).get("/probe/service").await.expect_status(200).clone();
    assert_eq!(seen["caller"], json!({ "service": "auth" }));
    assert!(!seen["headers"].to_string().contains("x-service"), "{seen}");
    let named = api.with_header("x-service-token", &good).with_header("x-service-name", "auth");
    named.get("/probe/service").await.expect_status(200);

    let user = host.user("student").await;
    api.get("/probe/service").await.expect_error(401, "SERVICE_AUTH_MISSING");
    user.api.get("/probe/service").await.expect_error(401, "SERVICE_AUTH_MISSING");
    for hint in ["x-service-name", "x-gateway-request", "x-forwarded-for"] {
        api.with_header(hint, "auth").get("/probe/service").await.expect_error(401, "SERVICE_AUTH_MISSING");
    }
    api.with_token(&good).get("/probe/service").await.expect_error(401, "SERVICE_AUTH_MISSING");
    let bad = [
        String::new(),
        "garbage".into(),
        SERVICE_SECRET.into(),
        user.access.clone(),
        service_token("auth", "admin", kind, SERVICE_SECRET, 300),
        service_token("auth", "probe", "access", SERVICE_SECRET, 300),
        service_token("auth", "probe", kind, ACCESS_SECRET, 300),
        service_token("auth", "probe", kind, SERVICE_SECRET, -1),
        service_token("", "probe", kind, SERVICE_SECRET, 300),
        format!("{good}x"),
        format!("Bearer {good}"),
    ];
    for token in bad {
        api.with_header("x-service-token", &token)
            .get("/probe/service")
            .await
            .expect_error(401, "SERVICE_AUTH_INVALID");
        // Where a user may call as well, a bad service token still decides.
        user.api
            .with_header("x-service-token", &token)
            .get("/probe/either")
            .await
            .expect_error(401, "SERVICE_AUTH_INVALID");
    }
    let misnamed = api.with_header("x-service-token", &good).with_header("x-service-name", "admin");
    misnamed.get("/probe/service").await.expect_error(401, "SERVICE_AUTH_INVALID");
    assert_eq!(user.api.get("/probe/either").await.expect_status(200)["caller"]["user_id"], json!(user.id));
    let both =
        user.api.with_header("x-service-token", &good).get("/probe/either").await.expect_status(200)["caller"].clone();
    assert_eq!(both, json!({ "service": "auth" }));
    api.get("/probe/either").await.expect_error(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn internal_routes_do_not_exist_for_clients() {
    let host = shared();
    let admin = host.admin().await;
    let service = service_token("host", "probe", "service-to-service", crate::harness::SERVICE_SECRET, 300);
    for api in [host.api(), admin.api, host.api().with_header("x-service-token", &service)] {
        api.get("/probe/internal").await.expect_error(404, "ROUTE_NOT_FOUND");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            for path in ["/probe/task", "/api/booking/tasks/expire", "/api/cs/tasks/close-idle"] {
                // No hint in `Allow` either.
                api.send(method.clone(), path, None).await.expect_error(404, "ROUTE_NOT_FOUND");
            }
        }
    }
}

#[tokio::test]
async fn a_component_calls_another_under_its_own_name_and_within_its_own_deadline() {
    let host = shared();
    let api = host.api();
    let call = |component: &str, path: &str| json!({ "op": "call", "component": component, "path": path });
    let called = run_step(&api, call("probe", "/probe/service")).await;
    assert_eq!((&called["status"], &called["body"]["caller"]), (&json!(200), &json!({ "service": "probe" })));
    assert_eq!(run_step(&api, call("course", "/api/courses")).await, json!({ "denied": "course" }));
    assert!(run_step(&api, call("probe", "/probe/internal")).await["unavailable"].is_string());
    assert!(run_step(&api, call("probe", "/nowhere")).await["unavailable"].is_string());
    assert_eq!(run_step(&api, call("probe", "/probe/user")).await["status"], 401);
    // By the call a service route answers without a token over HTTP.
    let by_email = json!({ "op": "call", "component": "admin", "path": "/api/users/by-email", "query": "email=nobody%40example.org" });
    assert_eq!(run_step(&api, by_email).await["body"]["data"], Value::Null);

    let mut nested = json!([{ "op": "count" }]);
    for _ in 0..5 {
        nested = json!([{ "op": "call", "component": "probe", "path": "/probe/run", "body": nested }]);
    }
    let mut outcome = run_step(&api, nested[0].clone()).await;
    let mut depth = 0;
    while outcome.get("body").is_some() {
        outcome = outcome["body"][0].clone();
        depth += 1;
    }
    assert_eq!((depth, outcome), (4, json!({ "too-deep": null })));

    let trapping = json!({ "op": "call", "component": "probe", "path": "/probe/run", "body": [{ "op": "trap" }] });
    assert!(
        run_step(&api, trapping).await["unavailable"].is_string(),
        "a trap of the callee is an answer to the caller"
    );

    // The callee would sleep for longer than this test waits for an answer.
    let host = Host::start(setup().probe_limit("deadline_ms", 3000));
    let slow = json!([{ "op": "call", "component": "probe", "path": "/probe/run", "body": [{ "op": "sleep", "ms": 600_000 }] }]);
    let answer = host.api().post("/probe/run", slow).await;
    assert!([200, 504].contains(&answer.status), "{}", answer.text);
}

/// A server outside: big and endless answers, redirects, a hang.
async fn outside() -> String {
    use axum::{Router, http::StatusCode, routing::get};
    let router = Router::new()
        .route("/small", get(|| async { "x" }).post(|| async { (StatusCode::CREATED, "created") }))
        .route("/large", get(|| async { "x".repeat(2 << 20) }))
        .route("/redirect", get(|| async { (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")], "") }))
        .route("/hang", get(|| async { std::future::pending::<()>().await }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    origin
}

#[tokio::test]
async fn a_component_reaches_only_the_origins_that_it_is_granted() {
    let origin = outside().await;
    let mut setup = setup().probe_limit("deadline_ms", 5000);
    setup.config = setup.config.replace("http://127.0.0.1:1", &origin);
    let host = Host::start(setup);
    let api = host.api();
    let fetch = |method: &str, url: String| json!({ "op": "fetch", "method": method, "url": url });
    assert_eq!(run_step(&api, fetch("GET", format!("{origin}/small"))).await, json!({ "status": 200, "bytes": 1 }));
    assert_eq!(run_step(&api, fetch("POST", format!("{origin}/small"))).await, json!({ "status": 201, "bytes": 7 }));
    assert_eq!(run_step(&api, fetch("GET", format!("{origin}/large"))).await, json!({ "too-large": null }));
    assert_eq!(run_step(&api, fetch("GET", format!("{origin}/redirect"))).await["status"], 302);
    let port = origin.rsplit(':').next().expect("a port");
    for url in [
        host.url.clone(),
        "http://127.0.0.1:1/".into(),
        format!("http://localhost:{port}/small"),
        format!("https://127.0.0.1:{port}/small"),
        format!("http://127.0.0.1:{port}@example.org/"),
        "file:///etc/passwd".into(),
        "http://169.254.169.254/latest/meta-data/".into(),
        String::new(),
    ] {
        assert!(run_step(&api, fetch("GET", url.clone())).await.get("denied").is_some(), "{url}");
    }
    assert!(run_step(&api, fetch("G E T", format!("{origin}/small"))).await["invalid"].is_string());
    // A provider that hangs costs its caller the deadline, and nobody else.
    api.post("/probe/run", json!([fetch("GET", format!("{origin}/hang"))])).await.expect_error(504, "REQUEST_TIMEOUT");
    api.get("/api/courses").await.expect_status(200);
}

#[tokio::test]
async fn scheduled_work_is_done_by_one_host_of_a_cluster_and_taken_over() {
    let task = "[[components.probe.tasks]]\npath = \"/probe/task\"\nevery_seconds = 1\n";
    let first = setup().config(task);
    let again = Setup { environment: first.environment.clone(), config: first.config.clone(), ..setup() };
    let hosts = [Host::start(first), Host::start(again)];
    let runs = |host: &Host| host.log().matches("the task ran for").count();
    let leader = until("a run", async || hosts.iter().position(|host| runs(host) >= 2)).await;
    assert!(hosts[leader].log().contains("{\\\"service\\\":\\\"host\\\"}"), "{}", hosts[leader].log());
    assert_eq!(runs(&hosts[1 - leader]), 0, "the other host stands by");
    hosts[leader].kill();
    until("the other host to take over", async || (runs(&hosts[1 - leader]) >= 1).then_some(())).await;
}
