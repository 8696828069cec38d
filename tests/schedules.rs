//! SCH-1 to SCH-6.

use crate::harness::{
    Answer, Expect, School, assert_has_keys, id_of, is_time, shared, unique, unknown_id, with, without,
};
use serde_json::{Value, json};

pub const SCHEDULE: &str = "id course_id instructor_id room_id course instructor room start_time end_time \
                            max_attendees current_attendees available_slots created_at updated_at";

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(id_of).collect()
}

impl School<'_> {
    async fn plan(&self, body: Value) -> Answer {
        self.admin.api.post("/api/schedules", body).await
    }

    async fn change(&self, id: &str, changes: Value) -> Answer {
        self.admin.api.put(&format!("/api/schedules/{id}"), changes).await
    }

    /// Puts somebody into a class.
    async fn fill(&self, schedule: &str) {
        self.take_seat(schedule, &self.booking().await).await.expect_data(201);
    }
}

// Creation.

#[tokio::test]
async fn a_new_class_has_everything_joined_and_emits_an_event() {
    let school = School::open(shared()).await;
    let body = with(
        &school.class_body(60),
        json!({
            "max_attendees": 4, "current_attendees": 3, "id": unknown_id(), "created_by": unknown_id(),
        }),
    );
    let answer = school.plan(body).await;
    let class = answer.expect_data(201);
    assert_has_keys(class, SCHEDULE);
    assert_eq!((&class["course_id"], &class["room_id"]), (&json!(school.course), &json!(school.room)));
    assert_eq!(class["instructor_id"], school.instructor.id);
    let course = json!({ "id": school.course, "title": "Piano", "level": "beginner", "instrument": null });
    assert_eq!(class["course"], course);
    assert_eq!(class["instructor"], json!({ "id": school.instructor.id, "full_name": "Some instructor" }));
    assert_has_keys(&class["room"], "id name capacity");
    assert_eq!((&class["room"]["id"], &class["room"]["capacity"]), (&json!(school.room), &json!(10)));
    assert_eq!((&class["start_time"], &class["end_time"]), (&json!(school.time(60)), &json!(school.time(120))));
    let seats = ["max_attendees", "current_attendees", "available_slots"].map(|name| class[name].as_i64());
    assert_eq!(seats, [Some(4), Some(0), Some(4)]);
    assert!(is_time(&class["created_at"]) && is_time(&class["updated_at"]));

    let id = id_of(class);
    let query = "select s.created_by from course.class_schedules s where s.id = $1::uuid";
    assert_eq!(school.host.rows(query, &[&id]).await[0]["created_by"], school.admin.id);
    let events = school.host.events(&format!("schedule:{id}")).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["channel"], &events[0]["component"]), (&json!("schedule.created"), &json!("course")));
    let payload = &events[0]["payload"];
    assert_has_keys(payload, "eventId eventType timestamp scheduleId courseId instructorId roomId startTime endTime");
    assert_eq!(payload["eventType"], "SCHEDULE_CREATED");
    assert_eq!((&payload["scheduleId"], &payload["courseId"]), (&json!(id), &json!(school.course)));
    assert_eq!((&payload["instructorId"], &payload["roomId"]), (&class["instructor_id"], &class["room_id"]));
    assert_eq!((&payload["startTime"], &payload["endTime"]), (&class["start_time"], &class["end_time"]));
}

#[tokio::test]
async fn a_refused_class_emits_nothing() {
    let school = School::open(shared()).await;
    school.class(60, json!({})).await;
    school.plan(school.class_body(60)).await.expect_error(409, "SCHEDULE_CONFLICT");
    let query = "select o.id from public.outbox o where o.payload ->> 'roomId' = $1";
    assert_eq!(school.host.rows(query, &[&school.room]).await.len(), 1);
}

#[tokio::test]
async fn the_seats_default_to_what_course_and_room_allow() {
    let school = School::open(shared()).await;
    let (small, wide) = (school.new_room(3).await, school.new_room(1000).await);
    let crowd = school.new_course(json!({ "max_students": 500 })).await;
    assert_eq!(school.class(0x100, json!({})).await["max_attendees"], 5, "the course's");
    assert_eq!(school.class(400, json!({ "room_id": small })).await["max_attendees"], 3, "the room's");
    assert_eq!(school.class(500, json!({ "max_attendees": null })).await["max_attendees"], 5);
    // More than the course has is the caller's choice, more than the room has is not.
    assert_eq!(school.class(600, json!({ "max_attendees": 10 })).await["max_attendees"], 10);
    let crowded = with(&school.class_body(700), json!({ "max_attendees": 11 }));
    assert_eq!(school.plan(crowded).await.problems(), ["max_attendees too_big"]);
    assert_eq!(school.class(800, json!({ "course_id": crowd, "room_id": wide })).await["max_attendees"], 500);
    // A room of old may have no capacity.
    school.host.run("update course.rooms set capacity = null where id = $1::uuid", &[&small]).await;
    let class = school.class(900, json!({ "room_id": small })).await;
    assert_eq!((&class["max_attendees"], &class["room"]["capacity"]), (&json!(5), &Value::Null));
    let class = school.class(1000, json!({ "room_id": small, "max_attendees": 5000 })).await;
    assert_eq!(class["max_attendees"], 5000);
}

#[tokio::test]
async fn the_fields_of_a_class_are_validated() {
    let school = School::open(shared()).await;
    let missing = ["course_id", "end_time", "instructor_id", "room_id", "start_time"];
    assert_eq!(school.plan(json!({})).await.problems(), missing.map(|name| format!("{name} invalid_type")));
    let class = id_of(&school.class(60, json!({})).await);
    for (changes, problem) in [
        (json!({ "course_id": "x" }), "course_id invalid_string"),
        (json!({ "instructor_id": 1 }), "instructor_id invalid_type"),
        (json!({ "room_id": "" }), "room_id invalid_string"),
        (json!({ "start_time": "2090-01-01T10:00:00" }), "start_time invalid_string"),
        (json!({ "start_time": "2090-01-01" }), "start_time invalid_string"),
        (json!({ "start_time": "2090-02-30T10:00:00Z" }), "start_time invalid_string"),
        (json!({ "start_time": "2090-01-01T25:00:00Z" }), "start_time invalid_string"),
        (json!({ "start_time": "tomorrow" }), "start_time invalid_string"),
        (json!({ "start_time": 4_000_000_000_u32 }), "start_time invalid_type"),
        (json!({ "end_time": "2090-01-01T10:00:00+0x:00" }), "end_time invalid_string"),
        (json!({ "end_time": null }), "end_time invalid_type"),
        (json!({ "max_attendees": 0 }), "max_attendees too_small"),
        (json!({ "max_attendees": 1.5 }), "max_attendees invalid_type"),
        (json!({ "max_attendees": 10_000_000_000_i64 }), "max_attendees too_big"),
    ] {
        let body = with(&school.class_body(600), changes.clone());
        assert_eq!(school.plan(body).await.problems(), [problem], "POST {changes}");
        assert_eq!(school.change(&class, changes.clone()).await.problems(), [problem], "PUT {changes}");
    }
    let body = without(&with(&school.class_body(600), json!({ "room_id": "x" })), "course_id");
    assert_eq!(school.plan(body).await.problems(), ["course_id invalid_type", "room_id invalid_string"]);
}

#[tokio::test]
async fn a_class_begins_in_the_future_and_lasts_half_an_hour_to_three_hours() {
    let school = School::open(shared()).await;
    let plan = async |start: String, end: String| {
        let times = json!({ "start_time": start, "end_time": end });
        school.plan(with(&school.class_body(0), times)).await
    };
    let from = |minutes: i64, length: i64| (school.time(minutes), school.time(minutes + length));
    for length in [-60, 0, 1, 29, 181, 24 * 60, 10_000_000] {
        let (start, end) = from(600, length);
        plan(start, end).await.expect_error(400, "SCHEDULE_INVALID_TIME");
    }
    let (start, end) = from(600, 30);
    plan(start, end).await.expect_data(201);
    let (start, end) = from(700, 180);
    plan(start, end).await.expect_data(201);
    // One millisecond too much counts.
    let end =
        chrono::DateTime::parse_from_rfc3339(&school.time(1180)).expect("a time") + chrono::Duration::milliseconds(1);
    plan(school.time(1000), end.to_rfc3339()).await.expect_error(400, "SCHEDULE_INVALID_TIME");
    for minutes in [-1, -60, -1_000_000] {
        let (start, end) = from(minutes, 60);
        plan(start, end).await.expect_error(400, "SCHEDULE_PAST_TIME");
    }
    // The order of the rules.
    let (start, end) = from(-60, 10);
    plan(start, end).await.expect_error(400, "SCHEDULE_INVALID_TIME");
}

#[tokio::test]
async fn times_of_any_offset_are_instants() {
    let school = School::open(shared()).await;
    let body = with(
        &school.class_body(0),
        json!({
            "start_time": "2090-06-01T10:00:00+07:00", "end_time": "2090-06-01T11:00:00.5+07:00",
        }),
    );
    let answer = school.plan(body).await;
    let class = answer.expect_data(201);
    assert_eq!(class["start_time"], "2090-06-01T03:00:00.000Z");
    assert_eq!(class["end_time"], "2090-06-01T04:00:00.500Z");
    let same = json!({ "start_time": "2090-05-31T23:00:00-04:00", "end_time": "2090-06-01T00:00:00-04:00" });
    school.plan(with(&school.class_body(0), same)).await.expect_error(409, "SCHEDULE_CONFLICT");
}

#[tokio::test]
async fn an_instructor_cannot_schedule_somebody_else() {
    let school = School::open(shared()).await;
    let other = school.host.user("instructor").await;
    let own = school.instructor.api.post("/api/schedules", school.class_body(60)).await;
    own.expect_data(201);
    let foreign = with(&school.class_body(180), json!({ "instructor_id": other.id }));
    school.instructor.api.post("/api/schedules", foreign.clone()).await.expect_error(403, "AUTH_FORBIDDEN");
    // Judged before the rows are looked for, but after the body.
    let unknown = with(&foreign, json!({ "instructor_id": unknown_id(), "course_id": unknown_id() }));
    school.instructor.api.post("/api/schedules", unknown).await.expect_error(403, "AUTH_FORBIDDEN");
    let invalid = with(&foreign, json!({ "max_attendees": 0 }));
    school.instructor.api.post("/api/schedules", invalid).await.expect_error(400, "VALIDATION_ERROR");
    // One's own id in upper case is still one's own.
    let upper = with(&school.class_body(300), json!({ "instructor_id": school.instructor.id.to_uppercase() }));
    school.instructor.api.post("/api/schedules", upper).await.expect_data(201);
}

#[tokio::test]
async fn what_a_class_refers_to_is_judged_in_order() {
    let school = School::open(shared()).await;
    let host = school.host;
    let (student, deleted) = (host.user("student").await, host.user("instructor").await);
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&deleted.id]).await;
    let inactive = school.new_course(json!({ "is_active": false })).await;
    let small = school.new_room(2).await;
    school.class(60, json!({ "room_id": small, "max_attendees": 1 })).await;

    let mut body = with(
        &school.class_body(60),
        json!({
            "course_id": unknown_id(), "instructor_id": unknown_id(), "room_id": unknown_id(), "max_attendees": 3,
        }),
    );
    let mut put = |name: &str, value: &str| {
        body[name] = value.into();
        body.clone()
    };
    school.plan(put("course_id", &unknown_id())).await.expect_error(404, "COURSE_NOT_FOUND");
    school.plan(put("course_id", &inactive)).await.expect_error(400, "COURSE_INACTIVE");
    school.plan(put("course_id", &school.course)).await.expect_error(404, "NOT_FOUND");
    school.plan(put("instructor_id", &deleted.id)).await.expect_error(404, "NOT_FOUND");
    school.plan(put("instructor_id", &student.id)).await.expect_error(400, "INVALID_USER_ROLE");
    school.plan(put("instructor_id", &school.admin.id)).await.expect_error(400, "INVALID_USER_ROLE");
    school.plan(put("instructor_id", &school.instructor.id)).await.expect_error(404, "NOT_FOUND");
    assert_eq!(school.plan(put("room_id", &small)).await.problems(), ["max_attendees too_big"]);
    let fits = with(&put("room_id", &small), json!({ "max_attendees": 2 }));
    school.plan(fits.clone()).await.expect_error(409, "SCHEDULE_CONFLICT");
    let later = json!({ "start_time": school.time(120), "end_time": school.time(180) });
    school.plan(with(&fits, later)).await.expect_data(201);
}

#[tokio::test]
async fn a_busy_room_or_instructor_is_named() {
    let school = School::open(shared()).await;
    let (other, room) = (school.host.user("instructor").await, school.new_room(10).await);
    let first = school.class(60, json!({})).await;
    let conflicts = async |minutes: i64, changes: Value| {
        let answer = school.plan(with(&school.class_body(minutes), changes)).await;
        let error = answer.expect_error(409, "SCHEDULE_CONFLICT");
        assert_has_keys(&error["details"], "conflicts");
        error["details"]["conflicts"].as_array().expect("a list").clone()
    };
    let conflict = |kind: &str, class: &Value| {
        json!({
            "type": kind, "schedule_id": class["id"], "start_time": class["start_time"], "end_time": class["end_time"],
        })
    };
    let in_room = conflicts(60, json!({ "instructor_id": other.id })).await;
    assert_eq!(in_room, [conflict("room", &first)]);
    let of_instructor = conflicts(60, json!({ "room_id": room })).await;
    assert_eq!(of_instructor, [conflict("instructor", &first)]);
    let both = conflicts(60, json!({})).await;
    assert_eq!(both.len(), 2);
    assert!(both.contains(&conflict("room", &first)) && both.contains(&conflict("instructor", &first)));
    // Every way to overlap.
    for (start, end) in [(30, 90), (90, 150), (70, 110), (30, 150), (119, 179), (1, 61)] {
        let times = json!({ "start_time": school.time(start), "end_time": school.time(end) });
        assert_eq!(conflicts(0, times).await.len(), 2, "{start} to {end}");
    }
    // Back to back is fine, on both sides.
    school.class(120, json!({})).await;
    school.class(0x1000, json!({})).await;
    let before = json!({ "start_time": school.time(15), "end_time": school.time(60) });
    school.class(0, before).await;
    // Two classes in the way are both told.
    let across = json!({ "start_time": school.time(90), "end_time": school.time(150), "instructor_id": other.id });
    assert_eq!(conflicts(0, across).await.len(), 2);
    // Another room and instructor at the same time.
    school.class(60, json!({ "instructor_id": other.id, "room_id": room })).await;
}

// The lists.

#[tokio::test]
async fn only_classes_with_a_free_seat_in_the_future_are_available() {
    let school = School::open(shared()).await;
    let anonymous = school.host.api();
    let path = format!("/api/schedules/available?instructor_id={}", school.instructor.id);
    school.class_row(-600, 5).await;
    school.class_row(-1, 5).await;
    let late = id_of(&school.class(600, json!({ "max_attendees": 2 })).await);
    let soon = id_of(&school.class(60, json!({})).await);
    let advanced = school.new_course(json!({ "level": "advanced", "instrument": "Cello" })).await;
    let other = id_of(&school.class(300, json!({ "course_id": advanced })).await);
    let list = anonymous.get(&path).await;
    assert_eq!(ids(list.expect_list("schedules")), [&soon, &other, &late].map(String::as_str));
    for class in list.expect_list("schedules") {
        assert_has_keys(class, SCHEDULE);
        assert_has_keys(&class["instructor"], "id full_name");
        assert_has_keys(&class["course"], "id title level instrument");
        assert_has_keys(&class["room"], "id name capacity");
    }
    assert_eq!(list.data()["pagination"], json!({ "page": 1, "limit": 20, "total": 3, "total_pages": 1 }));
    let found = async |query: &str| ids(anonymous.get(&format!("{path}&{query}")).await.expect_list("schedules"));
    assert_eq!(found("level=advanced").await, [other.as_str()]);
    assert_eq!(found(&format!("course_id={}", school.course)).await, [soon.as_str(), &late]);
    assert_eq!(found("limit=1&page=2").await, [other.as_str()]);
    assert_eq!(found(&format!("start_date={}", school.time(300))).await, [other.as_str(), &late]);
    assert_eq!(found(&format!("end_date={}", school.time(300))).await, [soon.as_str(), &other]);

    for _ in 0..2 {
        school.fill(&late).await;
    }
    assert_eq!(found("").await, [soon.as_str(), &other], "a full class is gone");
    let inactive = json!({ "is_active": false });
    school.admin.api.put(&format!("/api/courses/{advanced}"), inactive).await.expect_data(200);
    assert_eq!(found("").await, [soon.as_str()], "a class of an inactive course is gone");
    let total = anonymous.get(&path).await;
    assert_eq!(total.data()["pagination"]["total"], 1);
}

#[tokio::test]
async fn dates_are_whole_days_of_utc_and_instants_are_included() {
    let school = School::open(shared()).await;
    let mut classes = Vec::new();
    for (start, end) in [
        ("2090-03-01T00:00:00Z", "2090-03-01T01:00:00Z"),
        ("2090-03-01T23:59:59.999Z", "2090-03-02T01:00:00Z"),
        ("2090-03-02T10:00:00Z", "2090-03-02T11:00:00Z"),
    ] {
        classes.push(school.class_at(start, end, 5).await);
    }
    for (query, from, to) in [
        ("", 0, 3),
        ("start_date=2090-03-01", 0, 3),
        ("start_date=2090-03-02", 2, 3),
        ("end_date=2090-03-01", 0, 2),
        ("start_date=2090-03-01&end_date=2090-03-01", 0, 2),
        ("start_date=2090-03-02&end_date=2090-03-02", 2, 3),
        ("start_date=2090-03-03", 0, 0),
        ("end_date=2090-02-28", 0, 0),
        ("end_date=2090-03-01T00:00:00Z", 0, 1),
        ("start_date=2090-03-01T00:00:00.001Z", 1, 3),
        ("start_date=2090-03-02T17:00:00%2B07:00", 2, 3),
        ("start_date=2090-03-02T10:00:00Z&end_date=2090-03-02T10:00:00Z", 2, 3),
        ("start_date=2090-03-01T12:00:00Z&end_date=2090-03-01", 1, 2),
    ] {
        for path in ["/api/schedules", "/api/schedules/available"] {
            let answer = school.admin.api.get(&format!("{path}?course_id={}&{query}", school.course)).await;
            assert_eq!(ids(answer.expect_list("schedules")), classes[from..to], "{path} {query}");
            assert_eq!(answer.data()["pagination"]["total"], to - from, "{path} {query}");
        }
    }
}

#[tokio::test]
async fn the_filters_of_classes_are_validated() {
    let admin = shared().admin().await;
    for (query, problem) in [
        ("course_id=x", "course_id invalid_string"),
        ("instructor_id=1", "instructor_id invalid_string"),
        ("start_date=2090-02-30", "start_date invalid_string"),
        ("start_date=2090-03-01T10:00:00", "start_date invalid_string"),
        ("start_date=tomorrow", "start_date invalid_string"),
        ("end_date=01.03.2090", "end_date invalid_string"),
        ("start_date=2090-03-02&end_date=2090-03-01", "end_date custom"),
        ("start_date=2090-03-01T10:00:00Z&end_date=2090-03-01T09:59:59Z", "end_date custom"),
        ("page=0", "page too_small"),
        ("limit=1001", "limit too_big"),
    ] {
        for path in ["/api/schedules", "/api/schedules/available"] {
            assert_eq!(admin.api.get(&format!("{path}?{query}")).await.problems(), [problem], "{path}?{query}");
        }
    }
    assert_eq!(admin.api.get("/api/schedules?room_id=x").await.problems(), ["room_id invalid_string"]);
    let level = admin.api.get("/api/schedules/available?level=expert").await;
    assert_eq!(level.problems(), ["level invalid_enum_value"]);
}

#[tokio::test]
async fn staff_see_all_classes_of_everybody() {
    let school = School::open(shared()).await;
    let other = school.host.user("instructor").await;
    let room = school.new_room(5).await;
    let past = school.class_row(-600, 5).await;
    let second = school.class(600, json!({ "room_id": room })).await;
    let first = school.class(60, json!({ "instructor_id": other.id })).await;
    let find = async |query: &str| {
        let path = format!("/api/schedules?course_id={}&{query}", school.course);
        let answer = school.instructor.api.get(&path).await;
        answer.expect_list("schedules").clone()
    };
    let all = find("").await;
    assert_eq!(ids(&all), [past.clone(), id_of(&first), id_of(&second)]);
    assert_has_keys(&all[1], SCHEDULE);
    assert_eq!(all[1], first);
    assert_eq!(ids(&find(&format!("room_id={room}")).await), [id_of(&second)]);
    assert_eq!(ids(&find(&format!("instructor_id={}", other.id)).await), [id_of(&first)]);
    assert_eq!(ids(&find("limit=1&page=3").await), [id_of(&second)]);
    assert!(find(&format!("room_id={}", unknown_id())).await.is_empty());
}

// One class.

#[tokio::test]
async fn a_class_is_shown_with_its_attendees_by_name() {
    let school = School::open(shared()).await;
    let class = school.class(60, json!({})).await;
    let path = format!("/api/schedules/{}", id_of(&class));
    let empty = school.instructor.api.get(&path).await;
    assert_has_keys(empty.expect_data(200), &format!("{SCHEDULE} attendees"));
    assert_eq!(empty.data()["attendees"], json!([]));
    for name in ["Cecilia", "Anna", "Bruno"] {
        let booking = school.host.booking(&school.course, "confirmed", name).await;
        let body = json!({ "schedule_id": class["id"], "booking_id": booking });
        school.admin.api.post("/api/attendance", body).await.expect_data(201);
    }
    let other = school.host.user("instructor").await;
    let full = other.api.get(&path).await;
    let attendees = full.expect_data(200)["attendees"].as_array().expect("a list");
    let names: Vec<_> = attendees.iter().map(|attendee| attendee["student_name"].as_str()).collect();
    assert_eq!(names, [Some("Anna"), Some("Bruno"), Some("Cecilia")]);
    assert_has_keys(&attendees[0], crate::attendance::ATTENDANCE);
    assert_eq!((&full.data()["current_attendees"], &full.data()["available_slots"]), (&json!(3), &json!(2)));
    school.admin.api.get(&format!("/api/schedules/{}", unknown_id())).await.expect_error(404, "SCHEDULE_NOT_FOUND");
    assert_eq!(school.admin.api.get("/api/schedules/x").await.problems(), ["id invalid_string"]);
}

#[tokio::test]
async fn a_class_is_changed_in_part() {
    let school = School::open(shared()).await;
    let (other, room) = (school.host.user("instructor").await, school.new_room(7).await);
    let course = school.new_course(json!({ "title": "Drums" })).await;
    let before = school.class(60, json!({})).await;
    let id = id_of(&before);
    let answer = school.change(&id, json!({ "max_attendees": 6, "current_attendees": 6, "id": unknown_id() })).await;
    let after = answer.expect_data(200);
    assert_has_keys(after, SCHEDULE);
    let seats = ["max_attendees", "current_attendees", "available_slots"].map(|name| after[name].as_i64());
    assert_eq!(seats, [Some(6), Some(0), Some(6)]);
    for name in ["id", "course", "instructor", "room", "start_time", "end_time", "created_at"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    let all = json!({
        "course_id": course, "room_id": room, "instructor_id": other.id,
        "start_time": school.time(600), "end_time": school.time(690),
    });
    let answer = school.change(&id, all).await;
    let moved = answer.expect_data(200);
    assert_eq!(moved["course"]["title"], "Drums");
    assert_eq!((&moved["room"]["id"], &moved["instructor"]["id"]), (&json!(room), &json!(other.id)));
    assert_eq!((&moved["start_time"], &moved["end_time"]), (&json!(school.time(600)), &json!(school.time(690))));
    assert_eq!(moved["max_attendees"], 6);
    assert_eq!(school.change(&id, json!({})).await.problems(), [" custom"]);
    for name in ["course_id", "instructor_id", "room_id", "start_time", "end_time", "max_attendees"] {
        assert_eq!(school.change(&id, json!({ name: null })).await.problems(), [format!("{name} invalid_type")]);
    }
    school.change(&unknown_id(), json!({ "max_attendees": 1 })).await.expect_error(404, "SCHEDULE_NOT_FOUND");
    assert_eq!(school.change("x", json!({ "max_attendees": 1 })).await.problems(), ["id invalid_string"]);
}

#[tokio::test]
async fn an_instructor_changes_only_own_classes_and_keeps_them() {
    let school = School::open(shared()).await;
    let other = school.host.user("instructor").await;
    let own = id_of(&school.class(60, json!({})).await);
    let foreign = id_of(&school.class(180, json!({ "instructor_id": other.id })).await);
    let change =
        async |id: &str, changes: Value| school.instructor.api.put(&format!("/api/schedules/{id}"), changes).await;
    change(&own, json!({ "max_attendees": 2 })).await.expect_data(200);
    change(&own, json!({ "instructor_id": school.instructor.id })).await.expect_data(200);
    change(&own, json!({ "instructor_id": other.id })).await.expect_error(403, "AUTH_FORBIDDEN");
    change(&foreign, json!({ "max_attendees": 2 })).await.expect_error(403, "AUTH_FORBIDDEN");
    change(&foreign, json!({ "instructor_id": school.instructor.id })).await.expect_error(403, "AUTH_FORBIDDEN");
    // Existence is judged before the ownership that needs the row.
    change(&unknown_id(), json!({ "max_attendees": 2 })).await.expect_error(404, "SCHEDULE_NOT_FOUND");
    change(&foreign, json!({ "max_attendees": 0 })).await.expect_error(400, "VALIDATION_ERROR");
    school.change(&foreign, json!({ "instructor_id": school.instructor.id })).await.expect_data(200);
}

#[tokio::test]
async fn a_changed_class_obeys_the_rules_of_a_new_one() {
    let school = School::open(shared()).await;
    let (student, small) = (school.host.user("student").await, school.new_room(2).await);
    let inactive = school.new_course(json!({ "is_active": false })).await;
    let fixed = school.class(600, json!({})).await;
    let id = id_of(&school.class(60, json!({})).await);
    let change = async |changes: Value| school.change(&id, changes).await;

    change(json!({ "course_id": unknown_id() })).await.expect_error(404, "COURSE_NOT_FOUND");
    change(json!({ "course_id": inactive })).await.expect_error(400, "COURSE_INACTIVE");
    change(json!({ "instructor_id": unknown_id() })).await.expect_error(404, "NOT_FOUND");
    change(json!({ "instructor_id": student.id })).await.expect_error(400, "INVALID_USER_ROLE");
    change(json!({ "room_id": unknown_id() })).await.expect_error(404, "NOT_FOUND");
    assert_eq!(change(json!({ "max_attendees": 11 })).await.problems(), ["max_attendees too_big"]);
    assert_eq!(change(json!({ "room_id": small })).await.problems(), ["max_attendees too_big"]);
    change(json!({ "end_time": school.time(60) })).await.expect_error(400, "SCHEDULE_INVALID_TIME");
    change(json!({ "end_time": school.time(89) })).await.expect_error(400, "SCHEDULE_INVALID_TIME");
    change(json!({ "end_time": school.time(241) })).await.expect_error(400, "SCHEDULE_INVALID_TIME");
    change(json!({ "start_time": school.time(-30) })).await.expect_error(400, "SCHEDULE_PAST_TIME");
    change(json!({ "start_time": school.time(-30), "end_time": school.time(30) }))
        .await
        .expect_error(400, "SCHEDULE_PAST_TIME");

    let times = json!({ "start_time": school.time(630), "end_time": school.time(690) });
    let answer = change(times).await;
    let conflicts = answer.expect_error(409, "SCHEDULE_CONFLICT")["details"]["conflicts"].as_array().expect("a list");
    assert_eq!(conflicts.len(), 2);
    assert!(conflicts.iter().all(|conflict| conflict["schedule_id"] == fixed["id"]));
    // Not in its own way.
    change(json!({ "start_time": school.time(70), "end_time": school.time(130) })).await.expect_data(200);
    change(json!({ "room_id": small, "max_attendees": 2 })).await.expect_data(200);
}

#[tokio::test]
async fn a_class_of_a_course_that_was_deactivated_can_still_be_moved() {
    let school = School::open(shared()).await;
    let id = id_of(&school.class(60, json!({})).await);
    let path = format!("/api/courses/{}", school.course);
    school.admin.api.put(&path, json!({ "is_active": false })).await.expect_data(200);
    school.change(&id, json!({ "max_attendees": 3 })).await.expect_data(200);
    school.change(&id, json!({ "start_time": school.time(80), "end_time": school.time(140) })).await.expect_data(200);
    school.plan(school.class_body(600)).await.expect_error(400, "COURSE_INACTIVE");
}

#[tokio::test]
async fn taken_seats_bind_a_class() {
    let school = School::open(shared()).await;
    let other = school.new_course(json!({})).await;
    let id = id_of(&school.class(60, json!({})).await);
    school.change(&id, json!({ "course_id": other })).await.expect_data(200);
    school.change(&id, json!({ "course_id": school.course })).await.expect_data(200);
    for _ in 0..2 {
        school.fill(&id).await;
    }
    school.change(&id, json!({ "max_attendees": 1 })).await.expect_error(409, "SCHEDULE_FULL");
    let answer = school.change(&id, json!({ "max_attendees": 2 })).await;
    assert_eq!(answer.expect_data(200)["available_slots"], 0);
    school.change(&id, json!({ "course_id": other })).await.expect_error(409, "SCHEDULE_CANNOT_DELETE");
    school.change(&id, json!({ "course_id": school.course, "max_attendees": 3 })).await.expect_data(200);
    school.admin.api.delete(&format!("/api/schedules/{id}")).await.expect_error(409, "SCHEDULE_CANNOT_DELETE");
}

#[tokio::test]
async fn of_a_class_that_has_started_only_the_seats_change() {
    let school = School::open(shared()).await;
    let (other, room) = (school.host.user("instructor").await, school.new_room(10).await);
    let course = school.new_course(json!({})).await;
    for minutes in [-30, -600] {
        let id = school.class_row(minutes, 5).await;
        assert_eq!(school.change(&id, json!({ "max_attendees": 6 })).await.expect_data(200)["max_attendees"], 6);
        for changes in [
            json!({ "start_time": school.time(600), "end_time": school.time(660) }),
            json!({ "end_time": school.time(45) }),
            json!({ "course_id": course }),
            json!({ "instructor_id": other.id }),
            json!({ "room_id": room }),
            json!({ "room_id": room, "max_attendees": 4 }),
        ] {
            school.change(&id, changes).await.expect_error(400, "SCHEDULE_PAST_TIME");
        }
    }
}

#[tokio::test]
async fn a_class_without_attendees_is_deleted() {
    let school = School::open(shared()).await;
    let id = id_of(&school.class(60, json!({})).await);
    let path = format!("/api/schedules/{id}");
    school.instructor.api.delete(&path).await.expect_error(403, "AUTH_FORBIDDEN");
    let answer = school.admin.api.delete(&path).await;
    assert_has_keys(answer.expect_acknowledgement(), "message id");
    assert_eq!(answer.data()["id"], id);
    school.admin.api.delete(&path).await.expect_error(404, "SCHEDULE_NOT_FOUND");
    assert_eq!(school.admin.api.delete("/api/schedules/x").await.problems(), ["id invalid_string"]);
    school.class(60, json!({})).await;
}

#[tokio::test]
async fn literal_paths_go_before_ids() {
    let host = shared();
    host.api().get("/api/schedules/available").await.expect_data(200);
    host.api().get("/api/courses/active").await.expect_data(200);
    host.api()
        .get(&format!("/api/schedules/{}", unique("x").replace(' ', "-")))
        .await
        .expect_error(401, "AUTH_MISSING_TOKEN");
}
