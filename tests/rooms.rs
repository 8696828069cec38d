//! ROOM-1 to ROOM-5.

use crate::harness::{Expect, School, assert_has_keys, id_of, is_time, shared, unique, unknown_id, with};
use reqwest::Method;
use serde_json::{Value, json};

const ROOM: &str = "id name capacity location description instruments created_at updated_at";

#[tokio::test]
async fn a_new_room_has_what_was_sent() {
    let host = shared();
    let (admin, student) = (host.admin().await, host.user("student").await);
    let name = unique("Grand Hall");
    let body = json!({
        "name": format!("  {name} "), "capacity": 12, "location": " 2nd floor ", "description": " With a view ",
        "instruments": [" Grand piano ", "Drums"], "id": unknown_id(), "unknown": 1,
    });
    let answer = admin.api.post("/api/rooms", body).await;
    let room = answer.expect_data(201);
    assert_has_keys(room, ROOM);
    assert_eq!(room["name"], name);
    assert_eq!(room["capacity"], 12);
    assert_eq!((&room["location"], &room["description"]), (&json!("2nd floor"), &json!("With a view")));
    assert_eq!(room["instruments"], json!(["Grand piano", "Drums"]));
    assert!(is_time(&room["created_at"]) && is_time(&room["updated_at"]));

    let read = student.api.get(&format!("/api/rooms/{}", id_of(room))).await;
    assert_has_keys(read.expect_data(200), &format!("{ROOM} upcoming_schedules"));
    assert_eq!(read.data()["upcoming_schedules"], json!([]));
    for key in ROOM.split(' ') {
        assert_eq!(read.data()[key], room[key], "{key}");
    }

    let least = admin.api.post("/api/rooms", json!({ "name": unique("Small"), "capacity": 1 })).await;
    let least = least.expect_data(201);
    assert_eq!((&least["location"], &least["description"]), (&Value::Null, &Value::Null));
    assert_eq!(least["instruments"], json!([]));
}

#[tokio::test]
async fn the_fields_of_a_room_are_validated() {
    let host = shared();
    let admin = host.admin().await;
    let good = json!({ "name": unique("Room"), "capacity": 10 });
    let path = format!("/api/rooms/{}", id_of(admin.api.post("/api/rooms", good.clone()).await.expect_data(201)));
    let missing = admin.api.post("/api/rooms", json!({})).await;
    assert_eq!(missing.problems(), ["capacity invalid_type", "name invalid_type"]);
    for (changes, problem) in [
        (json!({ "name": " x " }), "name too_small"),
        (json!({ "name": "x".repeat(101) }), "name too_big"),
        (json!({ "name": null }), "name invalid_type"),
        (json!({ "capacity": 0 }), "capacity too_small"),
        (json!({ "capacity": -1 }), "capacity too_small"),
        (json!({ "capacity": 1001 }), "capacity too_big"),
        (json!({ "capacity": 1.5 }), "capacity invalid_type"),
        (json!({ "capacity": "10" }), "capacity invalid_type"),
        (json!({ "description": "x".repeat(1001) }), "description too_big"),
        (json!({ "description": 1 }), "description invalid_type"),
        (json!({ "location": "x".repeat(256) }), "location too_big"),
        (json!({ "location": [] }), "location invalid_type"),
        (json!({ "instruments": "Piano" }), "instruments invalid_type"),
        (json!({ "instruments": vec!["x"; 21] }), "instruments too_big"),
        (json!({ "instruments": ["x", "x".repeat(51)] }), "instruments.1 too_big"),
        (json!({ "instruments": [1] }), "instruments.0 invalid_type"),
        (json!({ "instruments": [null] }), "instruments.0 invalid_type"),
    ] {
        let created = admin.api.post("/api/rooms", with(&good, changes.clone())).await;
        assert_eq!(created.problems(), [problem], "POST {changes}");
        assert_eq!(admin.api.put(&path, changes.clone()).await.problems(), [problem], "PUT {changes}");
    }
    let detail = admin.api.put(&path, json!({ "instruments": ["x", 5] })).await;
    assert_eq!(detail.expect_error(400, "VALIDATION_ERROR")["details"][0]["path"], json!(["instruments", 1]));
    for changes in [
        json!({ "name": "ab" , "capacity": 1 }),
        json!({ "name": format!("{:ü<100}", unique("")), "capacity": 1000 }),
        json!({ "description": "ü".repeat(1000), "location": "x".repeat(255) }),
        json!({ "instruments": vec!["y".repeat(50); 20] }),
    ] {
        admin.api.put(&path, changes).await.expect_data(200);
    }
}

#[tokio::test]
async fn a_name_is_taken_whatever_its_case() {
    let host = shared();
    let admin = host.admin().await;
    let (name, other) = (unique("Room"), unique("Room"));
    let create = async |name: &str| admin.api.post("/api/rooms", json!({ "name": name, "capacity": 5 })).await;
    create(&name).await.expect_data(201);
    let second = id_of(create(&other).await.expect_data(201));
    let taken = create(&format!(" {} ", name.to_uppercase())).await;
    assert_eq!(taken.expect_error(409, "DB_DUPLICATE_ENTRY")["details"]["field"], "name");
    let path = format!("/api/rooms/{second}");
    let taken = admin.api.put(&path, json!({ "name": name.to_lowercase() })).await;
    assert_eq!(taken.expect_error(409, "DB_DUPLICATE_ENTRY")["details"]["field"], "name");
    // Its own name in another case is no conflict.
    let renamed = admin.api.put(&path, json!({ "name": other.to_uppercase() })).await;
    assert_eq!(renamed.expect_data(200)["name"], other.to_uppercase());
}

#[tokio::test]
async fn rooms_are_listed_by_name_in_pages() {
    let host = shared();
    let (admin, student) = (host.admin().await, host.user("student").await);
    let prefix = unique("list");
    for name in ["c", "a", "b"] {
        let body = json!({ "name": format!("{prefix} {name}"), "capacity": 5 });
        admin.api.post("/api/rooms", body).await.expect_data(201);
    }
    let list = admin.api.get("/api/rooms?limit=1000").await;
    let rooms = list.expect_list("rooms");
    let mine: Vec<_> = rooms.iter().filter_map(|room| room["name"].as_str()?.strip_prefix(&prefix)).collect();
    assert_eq!(mine, [" a", " b", " c"]);
    assert_has_keys(&rooms[0], ROOM);
    assert!(list.data()["pagination"]["total"].as_u64() >= Some(3));

    let page = student.api.get("/api/rooms?limit=2&page=2").await;
    assert_eq!((&page.data()["pagination"]["page"], &page.data()["pagination"]["limit"]), (&json!(2), &json!(2)));
    let past = student.api.get("/api/rooms?page=100000").await;
    assert!(past.expect_list("rooms").is_empty());
    assert_eq!(student.api.get("/api/rooms?limit=101&page=0").await.problems(), ["limit too_big", "page too_small"]);
    assert_eq!(admin.api.get("/api/rooms?limit=1001").await.problems(), ["limit too_big"]);
}

#[tokio::test]
async fn a_room_shows_its_next_twenty_classes() {
    let school = School::open(shared()).await;
    school.class_row(-120, 3).await;
    let mut wanted = Vec::new();
    for hour in (1..=22).rev() {
        wanted.push(school.class_row(hour * 60, 3).await);
    }
    wanted.reverse();
    let answer = school.instructor.api.get(&format!("/api/rooms/{}", school.room)).await;
    let classes = answer.expect_data(200)["upcoming_schedules"].as_array().expect("a list");
    assert_eq!(classes.iter().map(id_of).collect::<Vec<_>>(), wanted[..20]);
    assert_has_keys(&classes[0], "id course_title start_time end_time instructor_name");
    assert_eq!(classes[0]["course_title"], "Piano");
    assert_eq!(classes[0]["instructor_name"], "Some instructor");
    assert_eq!(classes[0]["start_time"], school.time(60));

    school.admin.api.get(&format!("/api/rooms/{}", unknown_id())).await.expect_error(404, "NOT_FOUND");
    assert_eq!(school.admin.api.get("/api/rooms/x").await.problems(), ["id invalid_string"]);
}

#[tokio::test]
async fn a_room_is_changed_in_part() {
    let host = shared();
    let admin = host.admin().await;
    let body =
        json!({ "name": unique("Room"), "capacity": 5, "location": "here", "description": "d", "instruments": ["a"] });
    let answer = admin.api.post("/api/rooms", body).await;
    let before = answer.expect_data(201);
    let path = format!("/api/rooms/{}", id_of(before));
    let answer = admin.api.put(&path, json!({ "capacity": 6 })).await;
    let after = answer.expect_data(200);
    assert_has_keys(after, ROOM);
    assert_eq!(after["capacity"], 6);
    for name in ["id", "name", "location", "description", "instruments", "created_at"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    let answer = admin.api.put(&path, json!({ "location": null, "description": null, "instruments": [] })).await;
    let cleared = answer.expect_data(200);
    assert_eq!((&cleared["location"], &cleared["description"]), (&Value::Null, &Value::Null));
    assert_eq!(cleared["instruments"], json!([]));
    assert_eq!(admin.api.put(&path, json!({})).await.problems(), [" custom"]);
    assert_eq!(
        admin.api.put("/api/rooms/x", json!({ "capacity": 0 })).await.problems(),
        ["capacity too_small", "id invalid_string"]
    );
    let missing = format!("/api/rooms/{}", unknown_id());
    admin.api.put(&missing, json!({ "capacity": 5 })).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_room_does_not_get_smaller_than_its_future_classes() {
    let school = School::open(shared()).await;
    let path = format!("/api/rooms/{}", school.room);
    school.class_row(-600, 10).await;
    school.admin.api.put(&path, json!({ "capacity": 8 })).await.expect_data(200);
    school.class(60, json!({ "max_attendees": 6 })).await;
    let renamed = json!({ "capacity": 5, "name": unique("Renamed") });
    school.admin.api.put(&path, renamed).await.expect_error(409, "ROOM_IN_USE");
    let read = school.admin.api.get(&path).await;
    assert_eq!(read.data()["capacity"], 8, "nothing of a refused change is kept");
    assert!(!read.data()["name"].as_str().expect("a name").starts_with("Renamed"));
    school.admin.api.put(&path, json!({ "capacity": 6 })).await.expect_data(200);
}

#[tokio::test]
async fn a_room_that_a_class_is_in_stays() {
    let school = School::open(shared()).await;
    let path = format!("/api/rooms/{}", school.room);
    let class = school.class_row(-600, 1).await;
    school.admin.api.delete(&path).await.expect_error(409, "ROOM_IN_USE");
    school.admin.api.delete(&format!("/api/schedules/{class}")).await.expect_acknowledgement();
    // A body is ignored here, whatever it is.
    let request = school.admin.api.request(Method::DELETE, &path).header("content-type", "text/plain").body("{");
    let answer = school.admin.api.finish(request, &path).await.expect("an answer");
    assert_has_keys(answer.expect_acknowledgement(), "message id");
    assert_eq!(answer.data()["id"], school.room);
    school.admin.api.delete(&path).await.expect_error(404, "NOT_FOUND");
    assert_eq!(school.admin.api.delete("/api/rooms/x").await.problems(), ["id invalid_string"]);
}
