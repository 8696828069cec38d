//! CRS-1 to CRS-6.

use crate::harness::{
    Expect, Host, School, assert_has_keys, course_body, id_of, is_time, shared, unique, unknown_id, with, without,
};
use serde_json::{Value, json};

pub const COURSE: &str = "id title description level instrument price_per_session duration_minutes max_students \
                          is_active created_at updated_at";

/// Courses that only this test knows, by their instrument.
async fn create(host: &Host, courses: &[Value]) -> (String, Vec<String>) {
    let (admin, instrument) = (host.admin().await, unique("Instrument"));
    let mut ids = Vec::new();
    for changes in courses {
        let body = with(&course_body(), with(&json!({ "instrument": instrument }), changes.clone()));
        ids.push(id_of(admin.api.post("/api/courses", body).await.expect_data(201)));
    }
    (instrument.replace(' ', "%20"), ids)
}

fn titles(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

// The lists.

#[tokio::test]
async fn the_newest_course_comes_first_and_ties_are_broken_by_id() {
    let host = shared();
    let titled = ["a", "b", "c", "d", "e"].map(|title| json!({ "title": title, "is_active": title != "b" }));
    let (instrument, ids) = create(host, &titled).await;
    let list = host.api().get(&format!("/api/courses?instrument={instrument}")).await;
    assert_eq!(titles(list.expect_list("courses")), ["e", "d", "c", "b", "a"]);
    for course in list.expect_list("courses") {
        assert_has_keys(course, COURSE);
    }
    assert_eq!(list.data()["pagination"], json!({ "page": 1, "limit": 20, "total": 5, "total_pages": 1 }));

    for id in &ids[1..] {
        let statement = "update course.courses set created_at = '2020-01-01T00:00:00Z' where id = $1::uuid";
        assert_eq!(host.run(statement, &[id]).await, 1);
    }
    let list = host.api().get(&format!("/api/courses?instrument={instrument}")).await;
    let mut wanted = ids[1..].to_vec();
    wanted.sort_by(|a, b| b.cmp(a));
    wanted.insert(0, ids[0].clone());
    let found: Vec<String> = list.expect_list("courses").iter().map(id_of).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_list_has_pages() {
    let host = shared();
    let (instrument, ids) = create(host, &vec![json!({}); 5]).await;
    let mut seen = Vec::new();
    for (page, length) in [(1, 2), (2, 2), (3, 1), (4, 0), (1_000_000, 0)] {
        let list = host.api().get(&format!("/api/courses?instrument={instrument}&page={page}&limit=2")).await;
        assert_eq!(list.expect_list("courses").len(), length);
        let pagination = json!({ "page": page, "limit": 2, "total": 5, "total_pages": 3 });
        assert_eq!(list.data()["pagination"], pagination);
        seen.extend(list.expect_list("courses").iter().map(id_of));
    }
    seen.reverse();
    assert_eq!(seen, ids);
    let empty = host.api().get(&format!("/api/courses?instrument={}", unknown_id())).await;
    assert!(empty.expect_list("courses").is_empty());
    assert_eq!(empty.data()["pagination"], json!({ "page": 1, "limit": 20, "total": 0, "total_pages": 0 }));
}

#[tokio::test]
async fn pages_have_bounds_that_are_wider_for_admins() {
    let host = shared();
    let (admin, instructor) = (host.admin().await, host.user("instructor").await);
    for path in ["/api/courses", "/api/courses/active", "/api/schedules/available"] {
        for (query, problem) in [
            ("page=0", "page too_small"),
            ("page=-1", "page too_small"),
            ("page=x", "page invalid_type"),
            ("page=1.5", "page invalid_type"),
            ("page=", "page invalid_type"),
            ("limit=0", "limit too_small"),
            ("limit=101", "limit too_big"),
            ("limit=ten", "limit invalid_type"),
            ("page=99999999999999999999", "page too_big"),
        ] {
            assert_eq!(host.api().get(&format!("{path}?{query}")).await.problems(), [problem], "{path}?{query}");
        }
        let both = host.api().get(&format!("{path}?limit=0&page=0")).await;
        assert_eq!(both.problems(), ["limit too_small", "page too_small"]);
        assert_eq!(instructor.api.get(&format!("{path}?limit=101")).await.problems(), ["limit too_big"]);
        instructor.api.get(&format!("{path}?limit=100")).await.expect_data(200);
        admin.api.get(&format!("{path}?limit=1000")).await.expect_data(200);
        assert_eq!(admin.api.get(&format!("{path}?limit=1001")).await.problems(), ["limit too_big"]);
        host.api().get(&format!("{path}?page=9223372036854775807&limit=100")).await.expect_data(200);
        host.api().get(&format!("{path}?unknown=x")).await.expect_data(200);
    }
}

#[tokio::test]
async fn courses_are_filtered() {
    let host = shared();
    let (instrument, _) = create(
        host,
        &[
            json!({ "title": "a", "level": "beginner", "price_per_session": 100 }),
            json!({ "title": "b", "level": "advanced", "price_per_session": 200.55, "is_active": false }),
            json!({ "title": "c", "level": "all_levels", "price_per_session": 300 }),
        ],
    )
    .await;
    let find = async |path: &str, query: &str| {
        let answer = host.api().get(&format!("{path}?instrument={instrument}&{query}")).await;
        titles(answer.expect_list("courses")).join("")
    };
    for (query, found) in [
        ("", "cba"),
        ("level=advanced", "b"),
        ("level=intermediate", ""),
        ("is_active=true", "ca"),
        ("is_active=false", "b"),
        ("active=true", "ca"),
        ("active=false", "b"),
        ("min_price=100", "cba"),
        ("min_price=100.01", "cb"),
        ("min_price=200.55", "cb"),
        ("max_price=200.55", "ba"),
        ("max_price=200.54", "a"),
        ("min_price=200.55&max_price=200.55", "b"),
        ("min_price=0&max_price=99", ""),
        ("level=beginner&is_active=true&max_price=100&search=a", "a"),
    ] {
        assert_eq!(find("/api/courses", query).await, found, "{query}");
    }
    assert_eq!(find("/api/courses/active", "").await, "ca");
    assert_eq!(find("/api/courses/active", "is_active=false").await, "ca");
    assert_eq!(find("/api/courses/active", "level=all_levels").await, "c");
    let upper = host.api().get(&format!("/api/courses?instrument={}", instrument.to_uppercase())).await;
    assert_eq!(upper.expect_list("courses").len(), 3);
    let part = host.api().get(&format!("/api/courses?instrument={}", &instrument[..instrument.len() - 1])).await;
    assert!(part.expect_list("courses").is_empty());
}

#[tokio::test]
async fn wildcards_in_a_search_stand_for_themselves() {
    let host = shared();
    let (instrument, _) = create(
        host,
        &[
            json!({ "title": "50% off" }),
            json!({ "title": "500 off" }),
            json!({ "title": "a_b" }),
            json!({ "title": "axb", "description": "hidden in here" }),
            json!({ "title": "back\\slash" }),
            json!({ "title": "it's \"quoted\"; drop table" }),
        ],
    )
    .await;
    for (search, found) in [
        ("50%25", "50% off"),
        ("%25", "50% off"),
        ("a_b", "a_b"),
        ("_", "a_b"),
        ("hidden+in", "axb"),
        ("hidden%20in", "axb"),
        ("%5C", "back\\slash"),
        ("%5C%25", ""),
        ("%27s%20%22quoted%22%3B", "it's \"quoted\"; drop table"),
        ("0%20off", "500 off"),
        ("%20%20slash%20", "back\\slash"),
        ("nowhere", ""),
    ] {
        let answer = host.api().get(&format!("/api/courses?instrument={instrument}&search={search}")).await;
        assert_eq!(titles(answer.expect_list("courses")).join("|"), found, "{search}");
    }
}

#[tokio::test]
async fn filters_are_validated_all_at_once() {
    let api = shared().api();
    let long = format!("search={}", "x".repeat(101));
    for (query, problems) in [
        ("level=expert", &["level invalid_enum_value"][..]),
        ("level=Beginner", &["level invalid_enum_value"]),
        ("is_active=maybe", &["is_active invalid_type"]),
        ("is_active=1", &["is_active invalid_type"]),
        ("min_price=-1", &["min_price too_small"]),
        ("min_price=cheap", &["min_price invalid_type"]),
        ("min_price=NaN", &["min_price invalid_type"]),
        ("max_price=inf", &["max_price invalid_type"]),
        ("min_price=1e400", &["min_price invalid_type"]),
        ("min_price=5&max_price=4.99", &["max_price custom"]),
        (&long, &["search too_big"]),
        ("search=%00", &["search invalid_string"]),
        ("level=x&min_price=y&page=0", &["level invalid_enum_value", "min_price invalid_type", "page too_small"]),
    ] {
        for path in ["/api/courses", "/api/courses/active"] {
            assert_eq!(api.get(&format!("{path}?{query}")).await.problems(), problems, "{path}?{query}");
        }
    }
    let longest = "%C3%BC".repeat(100);
    api.get(&format!("/api/courses?search={longest}")).await.expect_data(200);
    // Not an error of ours, whatever it is.
    assert!(api.get("/api/courses?search=%ff%fe").await.status < 500);
    assert!(api.get("/api/courses?min_price=1e300&max_price=1e301").await.status < 500);
    assert!(api.get("/api/courses?max_price=1e-300").await.status < 500);
}

// One course.

#[tokio::test]
async fn a_course_is_shown_to_everybody() {
    let host = shared();
    let (_, ids) = create(host, &[json!({ "is_active": false })]).await;
    let answer = host.api().get(&format!("/api/courses/{}", ids[0])).await;
    assert_has_keys(answer.expect_data(200), COURSE);
    assert_eq!(answer.data()["id"], ids[0]);
    // Ids are well-formed in either case, and canonical in answers.
    let upper = host.api().get(&format!("/api/courses/{}", ids[0].to_uppercase())).await;
    assert_eq!(upper.expect_data(200)["id"], ids[0]);
    host.api().get(&format!("/api/courses/{}", unknown_id())).await.expect_error(404, "COURSE_NOT_FOUND");
    // The version digit is not judged.
    host.api().get("/api/courses/00000000-0000-0000-0000-000000000000").await.expect_error(404, "COURSE_NOT_FOUND");
    for id in ["1", "null", &ids[0].replace('-', ""), &format!("{}0", ids[0]), "g0000000-0000-4000-8000-000000000000"] {
        assert_eq!(host.api().get(&format!("/api/courses/{id}")).await.problems(), ["id invalid_string"], "{id}");
    }
}

#[tokio::test]
async fn a_course_can_come_with_its_next_twenty_classes() {
    let school = School::open(shared()).await;
    let path = format!("/api/courses/{}", school.course);
    let empty = school.host.api().get(&format!("{path}?include=upcoming_schedules")).await;
    assert_eq!(empty.expect_data(200)["upcoming_schedules"], json!([]));
    school.class_row(-600, 3).await;
    let mut wanted = Vec::new();
    for hour in (1..=22).rev() {
        wanted.push(school.class_row(hour * 60, 3).await);
    }
    wanted.reverse();
    let answer = school.host.api().get(&format!("{path}?include=upcoming_schedules")).await;
    assert_has_keys(answer.expect_data(200), &format!("{COURSE} upcoming_schedules"));
    let classes = answer.data()["upcoming_schedules"].as_array().expect("a list");
    assert_eq!(classes.iter().map(id_of).collect::<Vec<_>>(), wanted[..20]);
    assert_has_keys(&classes[0], crate::schedules::SCHEDULE);
}

// Changes.

#[tokio::test]
async fn a_new_course_has_what_was_sent_and_defaults() {
    let host = shared();
    let instructor = host.user("instructor").await;
    let body = json!({
        "title": "  Violin for all  ", "description": " Bow \n and strings ", "level": "all_levels",
        "instrument": " Violin ", "price_per_session": 175_000.5, "duration_minutes": 45, "max_students": 8,
        "is_active": false, "id": unknown_id(), "created_at": "2020-01-01T00:00:00Z", "unknown": [1],
    });
    let answer = instructor.api.post("/api/courses", body).await;
    let course = answer.expect_data(201);
    assert_has_keys(course, COURSE);
    let sent = json!({
        "title": "Violin for all", "description": "Bow \n and strings", "level": "all_levels", "instrument": "Violin",
        "price_per_session": 175_000.5, "duration_minutes": 45, "max_students": 8, "is_active": false,
    });
    for (name, value) in sent.as_object().expect("an object") {
        assert_eq!(course[name], *value, "{name}");
    }
    assert!(is_time(&course["created_at"]) && course["created_at"] == course["updated_at"]);
    assert!(!course["created_at"].as_str().expect("a text").starts_with("2020"));
    let read = host.api().get(&format!("/api/courses/{}", id_of(course))).await;
    assert_eq!(read.expect_data(200), course);

    let least = without(&course_body(), "max_students");
    let nulls = json!({ "description": null, "instrument": null, "max_students": null, "is_active": null });
    for body in [least.clone(), with(&least, nulls)] {
        let answer = instructor.api.post("/api/courses", body).await;
        let course = answer.expect_data(201);
        assert_eq!((&course["description"], &course["instrument"]), (&Value::Null, &Value::Null));
        assert_eq!((&course["max_students"], &course["is_active"]), (&json!(1), &json!(true)));
    }
}

/// A change of the good body, and the one problem that it makes.
fn wrong_fields() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "title": "" }), "title too_small"),
        (json!({ "title": "   " }), "title too_small"),
        (json!({ "title": "x".repeat(256) }), "title too_big"),
        (json!({ "title": null }), "title invalid_type"),
        (json!({ "title": 1 }), "title invalid_type"),
        (json!({ "title": "nul \u{0}" }), "title invalid_string"),
        (json!({ "description": "x".repeat(5001) }), "description too_big"),
        (json!({ "description": [] }), "description invalid_type"),
        (json!({ "level": "expert" }), "level invalid_enum_value"),
        (json!({ "level": 1 }), "level invalid_type"),
        (json!({ "price_per_session": -0.01 }), "price_per_session too_small"),
        (json!({ "price_per_session": 100_000_000 }), "price_per_session too_big"),
        (json!({ "price_per_session": 1.234 }), "price_per_session custom"),
        (json!({ "price_per_session": "10" }), "price_per_session invalid_type"),
        (json!({ "price_per_session": null }), "price_per_session invalid_type"),
        (json!({ "duration_minutes": 0 }), "duration_minutes too_small"),
        (json!({ "duration_minutes": 1441 }), "duration_minutes too_big"),
        (json!({ "duration_minutes": 1.5 }), "duration_minutes invalid_type"),
        (json!({ "duration_minutes": true }), "duration_minutes invalid_type"),
        (json!({ "max_students": 0 }), "max_students too_small"),
        (json!({ "max_students": 1001 }), "max_students too_big"),
        (json!({ "max_students": "5" }), "max_students invalid_type"),
        (json!({ "instrument": "x".repeat(101) }), "instrument too_big"),
        (json!({ "instrument": {} }), "instrument invalid_type"),
        (json!({ "is_active": "true" }), "is_active invalid_type"),
        (json!({ "is_active": 1 }), "is_active invalid_type"),
    ]
}

#[tokio::test]
async fn the_fields_of_a_course_are_validated() {
    let host = shared();
    let admin = host.admin().await;
    let path = format!("/api/courses/{}", create(host, &[json!({})]).await.1[0]);
    let missing =
        ["duration_minutes", "level", "price_per_session", "title"].map(|name| format!("{name} invalid_type"));
    assert_eq!(admin.api.post("/api/courses", json!({})).await.problems(), missing);
    let before = host.api().get(&path).await;
    for (changes, problem) in wrong_fields() {
        let created = admin.api.post("/api/courses", with(&course_body(), changes.clone())).await;
        assert_eq!(created.problems(), [problem], "POST {changes}");
        let updated = admin.api.put(&path, changes.clone()).await;
        assert_eq!(updated.problems(), [problem], "PUT {changes}");
    }
    assert_eq!(host.api().get(&path).await.data(), before.data());
    let all = wrong_fields().into_iter().step_by(3).fold(json!({}), |all, (changes, _)| with(&all, changes));
    assert!(admin.api.put(&path, all).await.problems().len() > 4, "all problems are told at once");
}

#[tokio::test]
async fn the_bounds_of_a_course_are_included() {
    let admin = shared().admin().await;
    for changes in [
        json!({ "title": "x" }),
        json!({ "title": "ü".repeat(255) }),
        json!({ "title": format!(" {} ", "x".repeat(255)) }),
        json!({ "description": "ü".repeat(5000) }),
        json!({ "description": "" }),
        json!({ "price_per_session": 0 }),
        json!({ "price_per_session": 99_999_999.99 }),
        json!({ "price_per_session": 0.07 }),
        json!({ "duration_minutes": 1 }),
        json!({ "duration_minutes": 1440 }),
        json!({ "max_students": 1 }),
        json!({ "max_students": 1000 }),
        json!({ "instrument": "x".repeat(100) }),
    ] {
        let answer = admin.api.post("/api/courses", with(&course_body(), changes.clone())).await;
        let (name, value) = changes.as_object().and_then(|object| object.iter().next()).expect("a field");
        let found = &answer.expect_data(201)[name];
        match value.as_str() {
            Some(text) => assert_eq!(found, text.trim()),
            None => assert_eq!(found.as_f64(), value.as_f64()),
        }
    }
}

#[tokio::test]
async fn a_course_is_changed_in_part() {
    let host = shared();
    let instructor = host.user("instructor").await;
    let (_, ids) = create(host, &[json!({ "description": "old" })]).await;
    let path = format!("/api/courses/{}", ids[0]);
    let before = host.api().get(&path).await.data().clone();
    let answer =
        instructor.api.put(&path, json!({ "title": " New ", "price_per_session": 1.25, "id": unknown_id() })).await;
    let after = answer.expect_data(200);
    assert_has_keys(after, COURSE);
    assert_eq!((&after["title"], &after["price_per_session"]), (&json!("New"), &json!(1.25)));
    for name in ["id", "description", "level", "instrument", "duration_minutes", "max_students", "created_at"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    assert_eq!(host.api().get(&path).await.data(), after, "a change shows in the next read");

    let cleared = instructor.api.put(&path, json!({ "description": null, "instrument": null })).await;
    let cleared = cleared.expect_data(200);
    assert_eq!((&cleared["description"], &cleared["instrument"]), (&Value::Null, &Value::Null));
    for name in ["level", "duration_minutes", "max_students", "is_active"] {
        let problem = format!("{name} invalid_type");
        assert_eq!(instructor.api.put(&path, json!({ name: null })).await.problems(), [problem]);
    }
    for nothing_to_do in [json!({}), json!({ "unknown": 1 })] {
        assert_eq!(instructor.api.put(&path, nothing_to_do).await.problems(), [" custom"]);
    }
    let missing = format!("/api/courses/{}", unknown_id());
    instructor.api.put(&missing, json!({ "title": "x" })).await.expect_error(404, "COURSE_NOT_FOUND");
    // What is wrong with the request goes before whether there is such a course.
    instructor.api.put(&missing, json!({ "title": "" })).await.expect_error(400, "VALIDATION_ERROR");
    let both = instructor.api.put("/api/courses/x", json!({ "title": "" })).await;
    assert_eq!(both.problems(), ["id invalid_string", "title too_small"]);
}

#[tokio::test]
async fn fewer_students_concern_only_classes_to_be_planned() {
    let school = School::open(shared()).await;
    let old = school.class(60, json!({})).await;
    assert_eq!(old["max_attendees"], 5);
    let path = format!("/api/courses/{}", school.course);
    school.admin.api.put(&path, json!({ "max_students": 2 })).await.expect_data(200);
    let read = school.admin.api.get(&format!("/api/schedules/{}", id_of(&old))).await;
    assert_eq!(read.expect_data(200)["max_attendees"], 5);
    assert_eq!(school.class(120, json!({})).await["max_attendees"], 2);
}

#[tokio::test]
async fn an_unused_course_is_deleted() {
    let host = shared();
    let admin = host.admin().await;
    let (_, ids) = create(host, &[json!({})]).await;
    let path = format!("/api/courses/{}", ids[0]);
    let answer = admin.api.delete(&path).await;
    assert_has_keys(answer.expect_acknowledgement(), "message deleted_course_id");
    assert_eq!(answer.data()["deleted_course_id"], ids[0]);
    admin.api.delete(&path).await.expect_error(404, "COURSE_NOT_FOUND");
    host.api().get(&path).await.expect_error(404, "COURSE_NOT_FOUND");
    assert_eq!(admin.api.delete("/api/courses/x").await.problems(), ["id invalid_string"]);
}

#[tokio::test]
async fn a_course_that_something_refers_to_stays() {
    let host = shared();
    let school = School::open(host).await;
    let used = async |course: &str| {
        let answer = school.admin.api.delete(&format!("/api/courses/{course}")).await;
        let error = answer.expect_error(409, "COURSE_IN_USE");
        host.api().get(&format!("/api/courses/{course}")).await.expect_data(200);
        error["details"].clone()
    };
    school.class_row(-600, 1).await;
    assert_eq!(used(&school.course).await, json!({ "bookings": 0, "enrollments": 0, "schedules": 1 }));

    let booked = school.new_course(json!({})).await;
    for status in ["rejected", "pending"] {
        host.booking(&booked, status, "Somebody").await;
    }
    assert_eq!(used(&booked).await, json!({ "bookings": 2, "enrollments": 0, "schedules": 0 }));

    let enrolled = school.new_course(json!({})).await;
    let student = host.user("student").await;
    let statement = "insert into booking.enrollments (student_id, course_id, status)
                     values ($1::uuid, $2::uuid, 'cancelled')";
    host.run(statement, &[&student.id, &enrolled]).await;
    assert_eq!(used(&enrolled).await, json!({ "bookings": 0, "enrollments": 1, "schedules": 0 }));
}
