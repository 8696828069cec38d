//! ATT-1 to ATT-4: a row is both the seat in a class and the mark.

use crate::harness::{Answer, Expect, School, User, assert_has_keys, id_of, is_time, shared, unknown_id, with};
use serde_json::{Value, json};

pub const ATTENDANCE: &str = "schedule_id booking_id user_id student_name status attended attended_at \
                              recorded_by notes created_at updated_at";
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

async fn seat(by: &User, schedule: &str, booking: &str, changes: Value) -> Answer {
    let body = with(&json!({ "schedule_id": schedule, "booking_id": booking }), changes);
    by.api.post("/api/attendance", body).await
}

async fn mark(by: &User, schedule: &str, booking: &str, change: Value) -> Answer {
    by.api.put(&format!("/api/attendance/{schedule}/{booking}"), change).await
}

impl School<'_> {
    async fn taken(&self, schedule: &str) -> Value {
        let query = "select s.current_attendees from course.class_schedules s where s.id = $1::uuid";
        self.host.rows(query, &[schedule]).await[0]["current_attendees"].clone()
    }

    async fn marks(&self, schedule: &str, booking: &str) -> Vec<Value> {
        self.host.events(&format!("attendance:{schedule}:{booking}")).await
    }
}

// ATT-1.

#[tokio::test]
async fn a_seat_is_taken_before_the_class_without_a_mark() {
    let school = School::open(shared()).await;
    let student = school.host.user("student").await;
    let class = id_of(&school.class(60, json!({})).await);
    let booking = school.booking_of(&student).await;
    let answer = seat(
        &school.instructor,
        &class,
        &booking,
        json!({
            "notes": "  first lesson ", "attended": true, "student_id": unknown_id(), "recorded_by": unknown_id(),
        }),
    )
    .await;
    let row = answer.expect_data(201);
    assert_has_keys(row, ATTENDANCE);
    assert_eq!((&row["schedule_id"], &row["booking_id"]), (&json!(class), &json!(booking)));
    assert_eq!((&row["user_id"], &row["student_name"]), (&json!(student.id), &json!("Some student")));
    assert_eq!(row["status"], "not_recorded");
    for name in ["attended", "attended_at", "recorded_by"] {
        assert_eq!(row[name], Value::Null, "{name}");
    }
    assert_eq!(row["notes"], "first lesson");
    assert!(is_time(&row["created_at"]) && is_time(&row["updated_at"]));
    assert_eq!(school.taken(&class).await, 1);
    assert!(school.marks(&class, &booking).await.is_empty(), "a seat is no mark");
}

#[tokio::test]
async fn a_mark_says_who_made_it_and_emits_an_event() {
    let school = School::open(shared()).await;
    let class = school.class_row(-30, 5).await;
    for (status, attended) in [("present", json!(true)), ("absent", json!(false)), ("excused", json!(false))] {
        let booking = school.booking().await;
        let answer = seat(&school.instructor, &class, &booking, json!({ "status": status })).await;
        let row = answer.expect_data(201);
        assert_eq!((&row["status"], &row["attended"]), (&json!(status), &attended));
        assert_eq!((&row["user_id"], &row["student_name"]), (&Value::Null, &json!("Some Applicant")));
        assert_eq!(row["recorded_by"], school.instructor.id);
        assert_eq!(is_time(&row["attended_at"]), status == "present");
        assert_eq!(row["notes"], Value::Null);
        let events = school.marks(&class, &booking).await;
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["channel"], &events[0]["component"]), (&json!("attendance.marked"), &json!("course")));
        let payload = &events[0]["payload"];
        assert_has_keys(payload, "eventId eventType timestamp scheduleId bookingId courseId status");
        assert_eq!(payload["eventType"], "ATTENDANCE_MARKED");
        assert_eq!((&payload["scheduleId"], &payload["bookingId"]), (&json!(class), &json!(booking)));
        assert_eq!((&payload["courseId"], &payload["status"]), (&json!(school.course), &json!(status)));
    }
    assert_eq!(school.taken(&class).await, 3);
}

#[tokio::test]
async fn the_fields_of_a_seat_are_validated() {
    let school = School::open(shared()).await;
    let (class, booking) = (school.class_row(-30, 5).await, school.booking().await);
    let empty = school.admin.api.post("/api/attendance", json!({})).await;
    assert_eq!(empty.problems(), ["booking_id invalid_type", "schedule_id invalid_type"]);
    for (changes, problem) in [
        (json!({ "schedule_id": "x" }), "schedule_id invalid_string"),
        (json!({ "booking_id": 1 }), "booking_id invalid_type"),
        (json!({ "status": "late" }), "status invalid_enum_value"),
        (json!({ "status": true }), "status invalid_type"),
        (json!({ "notes": "x".repeat(501) }), "notes too_big"),
        (json!({ "notes": 1 }), "notes invalid_type"),
    ] {
        assert_eq!(seat(&school.admin, &class, &booking, changes.clone()).await.problems(), [problem], "{changes}");
    }
    let answer = seat(&school.admin, &class, &booking, json!({ "status": null, "notes": "ü".repeat(500) })).await;
    assert_eq!(answer.expect_data(201)["status"], "not_recorded");
    for (change, problem) in [
        (json!({}), "status invalid_type"),
        (json!({ "notes": "only" }), "status invalid_type"),
        (json!({ "status": null }), "status invalid_type"),
        (json!({ "status": "late" }), "status invalid_enum_value"),
        (json!({ "status": "present", "notes": "x".repeat(501) }), "notes too_big"),
    ] {
        assert_eq!(mark(&school.admin, &class, &booking, change.clone()).await.problems(), [problem], "{change}");
    }
    let present = json!({ "status": "present" });
    let answer = mark(&school.admin, "x", "y", present.clone()).await;
    assert_eq!(answer.problems(), ["bookingId invalid_string", "scheduleId invalid_string"]);
    assert_eq!(school.admin.api.get("/api/attendance/schedule/x").await.problems(), ["scheduleId invalid_string"]);
    assert_eq!(school.admin.api.get("/api/attendance/booking/x").await.problems(), ["bookingId invalid_string"]);
}

#[tokio::test]
async fn the_rules_of_a_seat_are_judged_in_order() {
    let school = School::open(shared()).await;
    let host = school.host;
    let stranger = host.user("instructor").await;
    let class = id_of(&school.class(60, json!({ "max_attendees": 1 })).await);
    let present = || json!({ "status": "present" });
    // Everything is wrong; one thing after another gets right.
    seat(&stranger, &unknown_id(), &unknown_id(), present()).await.expect_error(404, "SCHEDULE_NOT_FOUND");
    seat(&stranger, &class, &unknown_id(), present()).await.expect_error(403, "AUTH_FORBIDDEN");
    seat(&school.instructor, &class, &unknown_id(), present()).await.expect_error(404, "NOT_FOUND");
    let other = school.new_course(json!({})).await;
    for (course, status) in [
        (&school.course, "pending"),
        (&school.course, "rejected"),
        (&school.course, "expired"),
        (&school.course, "cancelled"),
        (&other, "confirmed"),
    ] {
        let booking = host.booking(course, status, "Somebody").await;
        seat(&school.instructor, &class, &booking, present())
            .await
            .expect_error(400, "ATTENDANCE_STUDENT_NOT_ENROLLED");
    }
    let booking = school.booking().await;
    for status in ["present", "absent", "excused"] {
        for by in [&school.instructor, &school.admin] {
            seat(by, &class, &booking, json!({ "status": status })).await.expect_error(400, "ATTENDANCE_INVALID_TIME");
        }
    }
    seat(&school.instructor, &class, &booking, json!({})).await.expect_data(201);
    // Who has a seat is told so, even when the class is full.
    seat(&school.instructor, &class, &booking, json!({})).await.expect_error(409, "ATTENDANCE_ALREADY_MARKED");
    let second = school.booking().await;
    seat(&school.instructor, &class, &second, json!({})).await.expect_error(409, "SCHEDULE_FULL");
    assert_eq!(school.taken(&class).await, 1);
    assert!(school.marks(&class, &booking).await.is_empty() && school.marks(&class, &second).await.is_empty());
}

#[tokio::test]
async fn instructors_mark_until_a_day_after_the_class_and_admins_for_ever() {
    let school = School::open(shared()).await;
    // The one ended a minute before the window, the other a few minutes into it.
    let before = school.time(-DAY - 1);
    let old = school.class_at(&school.time(-25 * HOUR), &before, 9).await;
    let recent = school.class_at(&before, &school.time(-DAY + 5), 9).await;
    for status in ["present", "absent", "excused", "not_recorded"] {
        let (one, two) = (school.booking().await, school.booking().await);
        let status = json!({ "status": status });
        seat(&school.instructor, &old, &one, status.clone()).await.expect_error(403, "ATTENDANCE_WINDOW_CLOSED");
        seat(&school.admin, &old, &one, status.clone()).await.expect_data(201);
        mark(&school.instructor, &old, &one, status.clone()).await.expect_error(403, "ATTENDANCE_WINDOW_CLOSED");
        mark(&school.admin, &old, &one, status.clone()).await.expect_data(200);
        seat(&school.instructor, &recent, &two, status.clone()).await.expect_data(201);
        mark(&school.instructor, &recent, &two, status).await.expect_data(200);
    }
    let ancient = school.class_row(-400 * DAY, 9).await;
    let booking = school.booking().await;
    seat(&school.admin, &ancient, &booking, json!({ "status": "present" })).await.expect_data(201);
    // Neither the seat nor the room for it matters when the window is closed.
    let full = school.class_row(-50 * HOUR, 1).await;
    seat(&school.admin, &full, &booking, json!({})).await.expect_data(201);
    seat(&school.instructor, &full, &booking, json!({})).await.expect_error(403, "ATTENDANCE_WINDOW_CLOSED");
}

// ATT-4.

#[tokio::test]
async fn a_mark_can_be_changed() {
    let school = School::open(shared()).await;
    let (class, booking) = (school.class_row(-30, 5).await, school.booking().await);
    seat(&school.admin, &class, &booking, json!({ "notes": "old" })).await.expect_data(201);
    let change = async |by: &User, change: Value| mark(by, &class, &booking, change).await.expect_data(200).clone();

    let row = change(&school.instructor, json!({ "status": "present" })).await;
    assert_has_keys(&row, ATTENDANCE);
    assert_eq!((&row["status"], &row["attended"], &row["notes"]), (&json!("present"), &json!(true), &json!("old")));
    assert_eq!(row["recorded_by"], school.instructor.id);
    assert!(is_time(&row["attended_at"]));

    // The same again changes nothing, whoever says it.
    assert_eq!(change(&school.admin, json!({ "status": "present" })).await, row);
    assert_eq!(change(&school.admin, json!({ "status": "present", "notes": " old " })).await, row);
    assert_eq!(school.marks(&class, &booking).await.len(), 1);

    // New notes are no new status.
    let noted = change(&school.admin, json!({ "status": "present", "notes": "new" })).await;
    assert_eq!((&noted["notes"], &noted["attended_at"]), (&json!("new"), &row["attended_at"]));
    assert_eq!(noted["recorded_by"], school.admin.id);
    assert_eq!(school.marks(&class, &booking).await.len(), 1);

    let absent = change(&school.instructor, json!({ "status": "absent", "notes": null })).await;
    assert_eq!((&absent["attended"], &absent["attended_at"]), (&json!(false), &Value::Null));
    assert_eq!((&absent["notes"], &absent["recorded_by"]), (&Value::Null, &json!(school.instructor.id)));
    let unmarked = change(&school.instructor, json!({ "status": "not_recorded" })).await;
    for name in ["attended", "attended_at", "recorded_by"] {
        assert_eq!(unmarked[name], Value::Null, "{name}");
    }
    let events = school.marks(&class, &booking).await;
    let statuses: Vec<_> = events.iter().map(|event| event["payload"]["status"].as_str()).collect();
    assert_eq!(statuses, [Some("present"), Some("absent"), Some("not_recorded")]);
    assert_eq!(school.taken(&class).await, 1, "a mark never moves the count");
}

#[tokio::test]
async fn a_mark_needs_its_row_and_the_instructor_and_the_time() {
    let school = School::open(shared()).await;
    let stranger = school.host.user("instructor").await;
    let (class, booking) = (id_of(&school.class(60, json!({})).await), school.booking().await);
    let present = || json!({ "status": "present" });
    mark(&school.admin, &class, &booking, present()).await.expect_error(404, "NOT_FOUND");
    mark(&school.admin, &unknown_id(), &booking, present()).await.expect_error(404, "NOT_FOUND");
    seat(&school.admin, &class, &booking, json!({})).await.expect_data(201);
    mark(&stranger, &class, &booking, present()).await.expect_error(403, "AUTH_FORBIDDEN");
    mark(&school.instructor, &class, &booking, present()).await.expect_error(400, "ATTENDANCE_INVALID_TIME");
    mark(&school.admin, &class, &booking, present()).await.expect_error(400, "ATTENDANCE_INVALID_TIME");
    let noted = mark(&school.instructor, &class, &booking, json!({ "status": "not_recorded", "notes": "x" })).await;
    assert_eq!(noted.expect_data(200)["notes"], "x");
}

// ATT-2 and ATT-3.

#[tokio::test]
async fn the_list_of_a_class_counts_its_marks() {
    let school = School::open(shared()).await;
    let class = school.class_row(-30, 9).await;
    let path = format!("/api/attendance/schedule/{class}");
    let stranger = school.host.user("instructor").await;
    let empty = stranger.api.get(&path).await;
    assert_has_keys(empty.expect_data(200), "schedule attendees total_enrolled total_attended summary");
    let nobody = json!({ "present": 0, "absent": 0, "excused": 0, "not_recorded": 0 });
    assert_eq!((&empty.data()["attendees"], &empty.data()["summary"]), (&json!([]), &nobody));
    assert_eq!((&empty.data()["total_enrolled"], &empty.data()["total_attended"]), (&json!(0), &json!(0)));

    for (name, status) in [
        ("Dora", "absent"),
        ("Anna", "present"),
        ("Emil", "not_recorded"),
        ("Bruno", "present"),
        ("Cecilia", "excused"),
    ] {
        let booking = school.host.booking(&school.course, "confirmed", name).await;
        seat(&school.admin, &class, &booking, json!({ "status": status })).await.expect_data(201);
    }
    let list = school.admin.api.get(&path).await;
    let data = list.expect_data(200);
    let schedule = json!({
        "id": class, "course_title": "Piano", "start_time": school.time(-30), "end_time": school.time(30),
    });
    assert_eq!(data["schedule"], schedule);
    assert_eq!(data["summary"], json!({ "present": 2, "absent": 1, "excused": 1, "not_recorded": 1 }));
    assert_eq!((&data["total_enrolled"], &data["total_attended"]), (&json!(5), &json!(2)));
    let attendees = data["attendees"].as_array().expect("a list");
    assert_has_keys(&attendees[0], ATTENDANCE);
    let names: Vec<_> = attendees.iter().filter_map(|attendee| attendee["student_name"].as_str()).collect();
    assert_eq!(names, ["Anna", "Bruno", "Cecilia", "Dora", "Emil"]);
    school
        .admin
        .api
        .get(&format!("/api/attendance/schedule/{}", unknown_id()))
        .await
        .expect_error(404, "SCHEDULE_NOT_FOUND");
}

#[tokio::test]
async fn the_record_of_a_booking_has_a_rate_and_instructors_see_only_their_part() {
    let school = School::open(shared()).await;
    let booking = school.booking().await;
    let path = format!("/api/attendance/booking/{booking}");
    let empty = school.admin.api.get(&path).await;
    assert_has_keys(empty.expect_data(200), "booking_id records summary");
    assert_eq!(empty.data()["records"], json!([]));
    let summary = json!({
        "total_classes": 0, "attended": 0, "absent": 0, "excused": 0, "not_recorded": 0, "attendance_rate": null,
    });
    assert_eq!(empty.data()["summary"], summary);

    let mut classes = Vec::new();
    for (hours, status) in [(-1, "excused"), (-9, "present"), (-5, "absent"), (-3, "not_recorded"), (-7, "present")] {
        let class = school.class_row(hours * HOUR, 5).await;
        seat(&school.admin, &class, &booking, json!({ "status": status })).await.expect_data(201);
        classes.push((hours, class));
    }
    classes.sort_unstable();
    let answer = school.admin.api.get(&path).await;
    let data = answer.expect_data(200);
    assert_eq!(data["booking_id"], booking);
    let records = data["records"].as_array().expect("a list");
    assert_has_keys(&records[0], &format!("{ATTENDANCE} schedule"));
    let found: Vec<String> = records.iter().map(|record| id_of(&record["schedule"])).collect();
    assert_eq!(found, classes.iter().map(|(_, class)| class.clone()).collect::<Vec<_>>());
    let schedule = json!({
        "id": found[0], "course_title": "Piano",
        "start_time": school.time(-9 * HOUR), "end_time": school.time(-8 * HOUR),
    });
    assert_eq!(records[0]["schedule"], schedule);
    let counts =
        ["total_classes", "attended", "absent", "excused", "not_recorded"].map(|name| data["summary"][name].as_i64());
    assert_eq!(counts, [Some(5), Some(2), Some(1), Some(1), Some(1)]);
    let rate = data["summary"]["attendance_rate"].as_f64().expect("a rate");
    assert!((rate - 2.0 / 3.0).abs() < 1e-9, "{rate}");

    // An instructor counts only classes of their own.
    let stranger = school.host.user("instructor").await;
    let theirs = stranger.api.get(&path).await;
    assert_eq!((&theirs.expect_data(200)["records"], &theirs.data()["summary"]), (&json!([]), &summary));
    let statement = "update course.class_schedules set instructor_id = $1::uuid where id = $2::uuid";
    school.host.run(statement, &[&stranger.id, &found[0]]).await;
    let theirs = stranger.api.get(&path).await;
    assert_eq!(theirs.data()["records"].as_array().expect("a list").len(), 1);
    assert_eq!(theirs.data()["summary"]["attendance_rate"].as_f64(), Some(1.0));
    let mine = school.instructor.api.get(&path).await;
    assert_eq!(mine.data()["records"].as_array().expect("a list").len(), 4);
    assert_eq!(mine.data()["summary"]["attendance_rate"].as_f64(), Some(0.5));

    school.admin.api.get(&format!("/api/attendance/booking/{}", unknown_id())).await.expect_error(404, "NOT_FOUND");
    school
        .instructor
        .api
        .get(&format!("/api/attendance/booking/{}", unknown_id()))
        .await
        .expect_error(404, "NOT_FOUND");
}
