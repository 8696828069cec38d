//! What the host puts together from several components: PLAT-3 to PLAT-6.

use crate::harness::{Expect, Host, Redis, Setup, setup, shared};
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

async fn book(host: &Host, course: &str, email: &str) -> Value {
    let body = json!({
        "full_name": "Siti Rahma", "wa_number": "+628111222333", "email": email, "course_id": course,
        "experience_level": "beginner", "preferred_days": ["monday"], "consent": true, "captcha_token": "t",
        "preferred_time_range": { "start": "09:00", "end": "11:00" }, "idempotency_key": uuid::Uuid::new_v4().to_string(),
    });
    host.api().post("/api/booking/register-course", body).await.expect_status(201)["data"].clone()
}

/// An admin, a course, a pending booking, an open and a closed chat.
async fn academy(host: &Host) -> (crate::harness::User, Value) {
    let admin = host.admin().await;
    let course = json!({ "title": "Piano", "level": "beginner", "price_per_session": 1, "duration_minutes": 60 });
    let course = admin.api.post("/api/courses", course).await.expect_status(201)["data"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let booking = book(host, &course, "siti@example.org").await;
    for close in [false, true] {
        let guest = json!({ "guest_name": "Guest", "guest_email": "guest@example.org", "initial_message": "Hello" });
        let session = host.api().post("/api/cs/sessions", guest).await.expect_status(201)["data"]["session"].clone();
        if close {
            let path = format!("/api/cs/admin/sessions/{}/status", session["id"].as_str().expect("an id"));
            let request = admin.api.request(reqwest::Method::PATCH, &path).header("content-type", "application/json");
            let closed = admin.api.finish(request.body(r#"{"status":"closed"}"#), &path).await.expect("an answer");
            closed.expect_status(200);
        }
    }
    (admin, booking)
}

#[tokio::test]
async fn the_dashboard_counts_what_the_components_hold() {
    let host = Host::start(setup());
    let (admin, booking) = academy(&host).await;
    host.user("student").await;
    let stats = admin.api.get("/api/dashboard/stats").await;
    let healthy = json!({ "userService": true, "bookingService": true, "chatService": true, "courseService": true });
    assert_eq!(
        stats.expect_status(200)["data"],
        json!({ "totalStudents": 1, "pendingBookings": 1, "activeChats": 1, "coursesAvailable": 1, "servicesHealth": healthy })
    );
    assert_eq!(stats.header("x-shema-component"), "", "the host made it");
    assert!(stats.body["meta"]["timestamp"].is_string());

    let page = admin.api.get("/api/dashboard/admin").await;
    let data = &page.expect_status(200)["data"];
    assert_eq!(data["pendingBookings"][0]["id"], booking["id"]);
    assert_eq!(keys(&data["pendingBookings"][0]), keys(&booking), "a plain booking, not a joined one");
    assert_eq!(data["activeChatSessions"].as_array().expect("a list").len(), 1);
    assert!(data["activeChatSessions"][0].get("last_message").is_none());
    assert_eq!(data["statistics"]["total_students"], 1);
    assert_eq!(data["servicesHealth"], json!({ "bookingService": true, "chatService": true, "userService": true }));

    for path in ["/api/dashboard/stats", "/api/dashboard/admin"] {
        host.api().get(path).await.expect_error(401, "AUTH_MISSING_TOKEN");
        host.api().with_token("bad").get(path).await.expect_error(401, "AUTH_INVALID_TOKEN");
        for role in ["student", "instructor"] {
            let refused = host.user(role).await.api.get(path).await;
            assert_eq!(refused.expect_error(403, "AUTH_FORBIDDEN")["details"]["userRole"], role);
        }
        admin.api.post(path, json!({})).await.expect_error(405, "METHOD_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn a_profile_is_for_its_user_and_for_admins() {
    let host = shared();
    let (admin, student, other) = (host.admin().await, host.user("student").await, host.user("student").await);
    let path = format!("/api/profile/{}/full", student.id);
    for api in [&admin.api, &student.api] {
        let data = &api.get(&path).await.expect_status(200)["data"].clone();
        assert_eq!(keys(data), ["bookings", "enrollments", "profile", "recommendations", "servicesHealth"]);
        let user = [
            "avatar_url",
            "created_at",
            "email",
            "full_name",
            "id",
            "last_login_at",
            "phone_number",
            "role",
            "updated_at",
        ];
        assert_eq!(keys(&data["profile"]), user);
        assert_eq!((&data["profile"]["id"], &data["recommendations"]), (&json!(student.id), &json!([])));
        assert_eq!((&data["bookings"], &data["enrollments"]), (&json!([]), &json!([])));
        assert_eq!(data["servicesHealth"], json!({ "userService": true, "bookingService": true }));
    }
    student.api.get(&path.replace(&student.id, &student.id.to_uppercase())).await.expect_status(200);
    other.api.get(&path).await.expect_error(403, "AUTH_FORBIDDEN");
    other.api.get("/api/profile/nonsense/full").await.expect_error(403, "AUTH_FORBIDDEN");
    host.api().get(&path).await.expect_error(401, "AUTH_MISSING_TOKEN");
    let malformed = admin.api.get("/api/profile/nonsense/full").await;
    assert_eq!(malformed.problems(), ["userId invalid_string"]);
    admin.api.get(&format!("/api/profile/{}/full", uuid::Uuid::new_v4())).await.expect_error(404, "NOT_FOUND");
}

/// Hosts of which some components are not there.
fn without(names: &[&str]) -> Setup {
    let dir = crate::harness::scratch_dir("components");
    for entry in std::fs::read_dir(crate::harness::components()).expect("components") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if !names.contains(&name.as_str()) {
            std::fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    setup().set("SHEMA_COMPONENTS", dir.to_string_lossy())
}

#[tokio::test]
async fn a_missing_component_makes_its_part_empty_and_never_the_whole() {
    let host = Host::start(without(&["cs", "booking"]));
    let admin = host.admin().await;
    let stats = admin.api.get("/api/dashboard/stats").await.expect_status(200)["data"].clone();
    let health = json!({ "userService": true, "bookingService": false, "chatService": false, "courseService": true });
    assert_eq!(
        (&stats["servicesHealth"], &stats["activeChats"], &stats["pendingBookings"]),
        (&health, &json!(0), &json!(0))
    );
    let page = admin.api.get("/api/dashboard/admin").await.expect_status(200)["data"].clone();
    assert_eq!((&page["pendingBookings"], &page["activeChatSessions"]), (&json!([]), &json!([])));
    assert_eq!(page["statistics"]["total_admins"], 1);
    let profile = admin.api.get(&format!("/api/profile/{}/full", admin.id)).await.expect_status(200)["data"].clone();
    assert_eq!((&profile["bookings"], &profile["profile"]["id"]), (&json!([]), &json!(admin.id)));
    assert_eq!(profile["servicesHealth"], json!({ "userService": true, "bookingService": false }));
    host.api().post("/api/cs/sessions", json!({})).await.expect_error(503, "SERVICE_UNAVAILABLE");

    let health = host.api().get("/services/health").await;
    let body = health.expect_status(503);
    assert_eq!((&body["success"], &body["overallStatus"]), (&json!(true), &json!("degraded")));
    assert_eq!(
        (&body["services"]["cs"]["status"], &body["services"]["course"]["status"]),
        (&json!("unhealthy"), &json!("healthy"))
    );
    assert!(body["services"]["cs"]["error"].is_string());
    assert_eq!(host.api().get("/services").await.expect_status(200)["data"]["services"]["cs"]["version"], Value::Null);

    let host = Host::start(without(&["admin"]));
    let admin = host.admin().await;
    let profile = admin.api.get(&format!("/api/profile/{}/full", admin.id)).await.expect_status(200)["data"].clone();
    assert_eq!((&profile["profile"], &profile["servicesHealth"]["userService"]), (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn redis_alone_is_degraded_but_well() {
    let redis = Redis::start();
    let host = Host::start(setup().set("REDIS_URL", redis.url()));
    let api = host.api();
    let well = api.get("/services/health").await;
    assert_eq!(well.expect_status(200)["overallStatus"], "healthy");
    assert_eq!(
        (&well.body["services"]["postgres"]["status"], &well.body["services"]["redis"]["status"]),
        (&json!("healthy"), &json!("healthy"))
    );
    redis.kill();
    let degraded = crate::harness::until("Redis to be missed", async || {
        let answer = api.get("/services/health").await;
        (answer.body["overallStatus"] == "degraded").then_some(answer)
    })
    .await;
    assert_eq!(degraded.expect_status(200)["services"]["redis"]["status"], "unhealthy");
}
