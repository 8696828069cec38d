//! Every route of auth and course, asked by nobody and by each role.

use crate::harness::{Answer, Api, Expect, setup, shared, unknown_id};
use reqwest::Method;
use serde_json::json;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    Public,
    /// Of whatever role.
    User,
    Staff,
    Admin,
    /// Public, but in fact for admins, as long as there is one.
    Guarded,
}

/// `ID` stands for an id that nothing has.
const ROUTES: [(Method, &str, Access); 26] = {
    use Access::{Admin, Guarded, Public, Staff, User};
    [
        (Method::POST, "/api/auth/refresh", Public),
        (Method::POST, "/api/auth/login", Public),
        (Method::POST, "/api/auth/register", Guarded),
        (Method::GET, "/api/auth/me", User),
        (Method::GET, "/api/courses", Public),
        (Method::GET, "/api/courses/active", Public),
        (Method::GET, "/api/courses/ID", Public),
        (Method::POST, "/api/courses", Staff),
        (Method::PUT, "/api/courses/ID", Staff),
        (Method::DELETE, "/api/courses/ID", Admin),
        (Method::GET, "/api/schedules/available", Public),
        (Method::POST, "/api/schedules", Staff),
        (Method::GET, "/api/schedules", Staff),
        (Method::GET, "/api/schedules/ID", Staff),
        (Method::PUT, "/api/schedules/ID", Staff),
        (Method::DELETE, "/api/schedules/ID", Admin),
        (Method::POST, "/api/attendance", Staff),
        (Method::GET, "/api/attendance/schedule/ID", Staff),
        (Method::GET, "/api/attendance/booking/ID", Staff),
        (Method::PUT, "/api/attendance/ID/ID", Staff),
        (Method::GET, "/api/rooms", User),
        (Method::GET, "/api/rooms/ID", User),
        (Method::POST, "/api/rooms", Admin),
        (Method::PUT, "/api/rooms/ID", Admin),
        (Method::DELETE, "/api/rooms/ID", Admin),
        // Last, because it ends the sessions that are asked with.
        (Method::POST, "/api/auth/logout", User),
    ]
};

const ROLES: [&str; 4] = ["anonymous", "student", "instructor", "admin"];

/// The refusal that a role meets, if any.
fn refusal(access: Access, role: &str) -> Option<(u16, &'static str)> {
    let allowed = match access {
        Access::Public => true,
        Access::User => role != "anonymous",
        Access::Staff => matches!(role, "instructor" | "admin"),
        Access::Admin | Access::Guarded => role == "admin",
    };
    match role {
        _ if allowed => None,
        "anonymous" if access != Access::Guarded => Some((401, "AUTH_MISSING_TOKEN")),
        _ => Some((403, "AUTH_FORBIDDEN")),
    }
}

async fn ask(api: &Api, method: &Method, path: &str, body: &str) -> Answer {
    let request = api.request(method.clone(), path);
    let request = match *method {
        Method::GET | Method::DELETE => request,
        _ => request.header("content-type", "application/json").body(body.to_owned()),
    };
    api.finish(request, path).await.expect("an answer")
}

#[tokio::test]
async fn each_role_gets_where_it_may_and_nowhere_else() {
    let host = shared();
    let (student, instructor, admin) = (host.user("student").await, host.user("instructor").await, host.admin().await);
    let callers = [host.api(), student.api, instructor.api, admin.api];
    for (method, path, access) in &ROUTES {
        let good = path.replace("ID", &unknown_id());
        let bad = path.replace("ID", "not-an-id");
        for (role, api) in ROLES.iter().zip(&callers) {
            let what = format!("{method} {path} as {role}");
            match refusal(*access, role) {
                // Whatever else is wrong with the request, this is judged first.
                Some((status, code)) => {
                    for (path, body) in [(&good, "{}"), (&bad, "{}"), (&bad, "[]"), (&bad, "{not json")] {
                        let answer = ask(api, method, path, body).await;
                        let found = (answer.status, answer.body["error"]["code"].as_str());
                        assert_eq!(found, (status, Some(code)), "{what}: {}", answer.text);
                        assert_eq!(answer.body["success"], false);
                        let named = &answer.body["error"]["details"]["userRole"];
                        assert!(status == 401 || named.is_null() || named == role, "{what}: {}", answer.text);
                    }
                }
                None => {
                    let answer = ask(api, method, &good, "{}").await;
                    let code = answer.body["error"]["code"].as_str().unwrap_or_default();
                    let wrong = matches!(answer.status, 401 | 403 | 405 | 500..) || code == "ROUTE_NOT_FOUND";
                    assert!(!wrong, "{what}: {} {}", answer.status, answer.text);
                }
            }
        }
    }
}

#[tokio::test]
async fn routes_that_need_a_token_tell_a_bad_one_from_none() {
    // With an admin there, registration is guarded.
    shared().admin().await;
    let api = shared().api();
    for (method, path, access) in &ROUTES {
        let path = path.replace("ID", &unknown_id());
        let bad = ask(&api.with_token("x.y.z"), method, &path, "{}").await;
        let malformed = ask(&api.with_header("authorization", "Bearer"), method, &path, "{}").await;
        match access {
            Access::Public => assert!(bad.status != 401 && malformed.status != 401, "{method} {path}"),
            // An invalid token counts as none.
            Access::Guarded => assert!(bad.status == 403 && malformed.status == 403, "{method} {path}"),
            _ => {
                bad.expect_error(401, "AUTH_INVALID_TOKEN");
                malformed.expect_error(401, "AUTH_INVALID_FORMAT");
            }
        }
    }
}

#[tokio::test]
async fn the_row_decides_the_role_at_the_next_request() {
    let host = shared();
    let user = host.user("student").await;
    let become_ = async |role: &str| {
        let statement = "update public.users set role = $1::public.user_role where id = $2::uuid";
        assert_eq!(host.run(statement, &[role, &user.id]).await, 1);
    };
    let status = async |path: &str| user.api.post(path, json!({})).await.status;
    for (role, courses, rooms) in
        [("student", 403, 403), ("instructor", 400, 403), ("admin", 400, 400), ("student", 403, 403)]
    {
        become_(role).await;
        assert_eq!((status("/api/courses").await, status("/api/rooms").await), (courses, rooms), "{role}");
    }
}

#[tokio::test]
async fn deleted_users_are_refused_everywhere() {
    let host = crate::harness::Host::start(setup());
    let admin = host.user("admin").await;
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&admin.id]).await;
    for (method, path, access) in &ROUTES {
        let answer = ask(&admin.api, method, &path.replace("ID", &unknown_id()), "{}").await;
        match access {
            Access::Public => assert!(answer.status != 401, "{method} {path}: {}", answer.text),
            // As if nobody had asked: without an admin it is open to the first.
            Access::Guarded => assert!(matches!(answer.status, 400 | 403), "{method} {path}: {}", answer.text),
            _ => drop(answer.expect_error(401, "AUTH_UNAUTHORIZED").clone()),
        }
    }
}
