//! BKG-8 to BKG-11.

use crate::{
    booking::payload,
    harness::{Answer, Expect, Host, School, assert_has_keys, id_of, is_time, redis, setup, shared, unknown_id, with},
};
use redis::AsyncCommands;
use serde_json::{Value, json};

pub const ENROLLMENT: &str = "id student_id course_id booking_id status enrolled_at completed_at notes created_at \
                              updated_at student course";
const PATH: &str = "/api/booking/enrollments";

impl School<'_> {
    pub async fn try_enroll(&self, student: &str, changes: Value) -> Answer {
        let body = json!({ "student_id": student, "course_id": self.course });
        self.admin.api.post(PATH, with(&body, changes)).await
    }

    async fn enroll(&self, student: &str, changes: Value) -> Value {
        self.try_enroll(student, changes).await.expect_data(201).clone()
    }
}

// BKG-8.

#[tokio::test]
async fn an_admin_enrolls_a_student() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let enrollment = school.enroll(&student.id.to_uppercase(), json!({ "enrolled_at": 1, "id": unknown_id() })).await;
    assert_has_keys(&enrollment, ENROLLMENT);
    for (name, value) in [
        ("student_id", json!(student.id)),
        ("course_id", json!(school.course)),
        ("booking_id", Value::Null),
        ("status", json!("active")),
        ("completed_at", Value::Null),
        ("notes", Value::Null),
        ("student", json!({ "id": student.id, "full_name": "Some student", "email": student.email })),
        ("course", json!({ "id": school.course, "title": "Piano", "level": "beginner" })),
        ("enrolled_at", enrollment["created_at"].clone()),
        ("updated_at", enrollment["created_at"].clone()),
    ] {
        assert_eq!(enrollment[name], value, "{name}");
    }
    let id = id_of(&enrollment);
    let events = host.events(&format!("enrollment:{id}")).await;
    assert_eq!((events.len(), &events[0]["channel"]), (1, &json!("enrollment.created")));
    let told = json!({
        "eventType": "ENROLLMENT_CREATED", "enrollmentId": id, "studentId": student.id,
        "courseId": school.course, "status": "active",
    });
    assert_eq!(payload(&events[0]), told);
    // An inactive course does not stop an admin.
    let inactive = school.new_course(json!({ "is_active": false })).await;
    let changes = json!({ "course_id": inactive, "status": "completed", "notes": " n " });
    let enrollment =
        school.admin.api.post("/api/bookings/enrollments", with(&json!({ "student_id": student.id }), changes)).await;
    let enrollment = enrollment.expect_data(201);
    assert_eq!((&enrollment["status"], &enrollment["notes"]), (&json!("completed"), &json!("n")));
    assert!(is_time(&enrollment["completed_at"]));
}

#[tokio::test]
async fn the_fields_of_an_enrollment_are_validated() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let missing = school.admin.api.post(PATH, json!({})).await;
    assert_eq!(missing.problems(), ["course_id invalid_type", "student_id invalid_type"]);
    for (changes, problem) in [
        (json!({ "student_id": "x" }), "student_id invalid_string"),
        (json!({ "course_id": 1 }), "course_id invalid_type"),
        (json!({ "booking_id": "x" }), "booking_id invalid_string"),
        (json!({ "status": "dropped" }), "status invalid_enum_value"),
        (json!({ "notes": "x".repeat(1001) }), "notes too_big"),
        (json!({ "idempotency_key": "x" }), "idempotency_key invalid_string"),
    ] {
        assert_eq!(school.try_enroll(&student.id, changes).await.problems(), [problem]);
    }
    school.try_enroll(&unknown_id(), json!({})).await.expect_error(404, "NOT_FOUND");
    school.try_enroll(&student.id, json!({ "course_id": unknown_id() })).await.expect_error(404, "COURSE_NOT_FOUND");
    school.try_enroll(&student.id, json!({ "booking_id": unknown_id() })).await.expect_error(404, "NOT_FOUND");
    for user in [&school.admin.id, &school.instructor.id] {
        school.try_enroll(user, json!({})).await.expect_error(400, "INVALID_USER_ROLE");
    }
    let gone = host.user("student").await;
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&gone.id]).await;
    school.try_enroll(&gone.id, json!({})).await.expect_error(404, "NOT_FOUND");
    for user in [&student, &school.instructor] {
        user.api.post(PATH, json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    host.api().post(PATH, json!({})).await.expect_error(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn an_enrollment_names_its_own_confirmed_booking() {
    let host = shared();
    let school = School::open(host).await;
    let (student, other) = (host.user("student").await, host.user("student").await);
    let pending = id_of(&school.register(json!({ "email": student.email })).await);
    let refused = school.try_enroll(&student.id, json!({ "booking_id": pending })).await;
    assert_eq!(refused.expect_error(409, "BOOKING_INVALID_STATUS")["details"], json!({ "status": "pending" }));
    let booking = school.booking_of(&student).await;
    let course = school.new_course(json!({})).await;
    let refused = school.try_enroll(&student.id, json!({ "booking_id": booking, "course_id": course })).await;
    assert_eq!(refused.problems(), ["course_id custom"]);
    let refused = school.try_enroll(&other.id, json!({ "booking_id": booking })).await;
    assert_eq!(refused.problems(), ["student_id custom"]);
    let enrollment = school.enroll(&student.id, json!({ "booking_id": booking, "status": "pending" })).await;
    assert_eq!((&enrollment["booking_id"], &enrollment["status"]), (&json!(booking), &json!("pending")));
}

#[tokio::test]
async fn a_student_is_in_a_course_once() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let enrollment = school.enroll(&student.id, json!({ "notes": "first" })).await;
    let update = "update booking.enrollments set status = $2::booking.enrollment_status, completed_at = now(),
         enrolled_at = '2025-01-01T00:00:00Z' where id = $1::uuid";
    for status in ["pending", "active", "completed"] {
        host.run(update, &[&id_of(&enrollment), status]).await;
        school.try_enroll(&student.id, json!({})).await.expect_error(409, "ENROLLMENT_ALREADY_EXISTS");
    }
    host.run(update, &[&id_of(&enrollment), "cancelled"]).await;
    let answer = school.try_enroll(&student.id, json!({ "status": "pending" })).await;
    let again = answer.expect_data(200);
    assert_has_keys(again, ENROLLMENT);
    assert_eq!((&again["id"], &again["status"]), (&enrollment["id"], &json!("pending")));
    assert_eq!((&again["notes"], &again["completed_at"]), (&Value::Null, &Value::Null));
    assert!(again["enrolled_at"].as_str() > Some("2025-01-02"));
    let channels = school.channels(&format!("enrollment:{}", id_of(&enrollment))).await;
    assert_eq!(channels, ["enrollment.created", "enrollment.created"]);
    // Another student, and another course.
    school.enroll(&host.user("student").await.id, json!({})).await;
    school.enroll(&student.id, json!({ "course_id": school.new_course(json!({})).await })).await;
}

#[tokio::test]
async fn a_key_makes_one_enrollment() {
    let host = Host::start(setup().set("REDIS_PREFIX", "keys-of-enrollments:"));
    let school = School::open(&host).await;
    let student = host.user("student").await;
    let mut connection = redis().client().get_multiplexed_async_connection().await.expect("Redis");
    let key = unknown_id();
    let name = format!("keys-of-enrollments:enrollment_create:{}:{key}", school.admin.id);
    let keyed = json!({ "idempotency_key": key });
    school.try_enroll(&unknown_id(), keyed.clone()).await.expect_error(404, "NOT_FOUND");
    let exists: bool = connection.exists(&name).await.expect("an answer");
    assert!(!exists, "what fails leaves the key free");
    let enrollment = school.enroll(&student.id, keyed.clone()).await;
    let value: String = connection.get(&name).await.expect("a value");
    let ttl: i64 = connection.ttl(&name).await.expect("a time");
    let done = json!({
        "state": "done", "booking_id": null, "user_id": student.id, "course_id": school.course,
        "enrollment_id": enrollment["id"],
    });
    assert_eq!(serde_json::from_str::<Value>(&value).expect("JSON"), done);
    assert!((86_340..=86_400).contains(&ttl), "{ttl}");
    let again = school.try_enroll(&unknown_id(), keyed.clone()).await;
    let told = json!({ "booking_id": null, "enrollment_id": enrollment["id"] });
    assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], told);
    // Without Redis the pair of student and course guards.
    let () = connection.del(&name).await.expect("deleted");
    school.try_enroll(&student.id, keyed).await.expect_error(409, "ENROLLMENT_ALREADY_EXISTS");
}

// BKG-9 and BKG-10.

#[tokio::test]
async fn enrollments_are_listed_from_the_newest_on() {
    let host = shared();
    let school = School::open(host).await;
    let students = [host.user("student").await, host.user("student").await, host.user("student").await];
    let mut made = Vec::new();
    for (student, status) in students.iter().zip(["active", "pending", "active"]) {
        made.push(id_of(&school.enroll(&student.id, json!({ "status": status })).await));
    }
    let list = async |query: &str| {
        let answer = school.admin.api.get(&format!("{PATH}?course_id={}&{query}", school.course)).await;
        answer.expect_list("enrollments").iter().map(id_of).collect::<Vec<_>>()
    };
    let pick = |picked: &[usize]| picked.iter().map(|index| made[*index].clone()).collect::<Vec<_>>();
    assert_eq!(list("").await, pick(&[2, 1, 0]));
    assert_eq!(list("status=active").await, pick(&[2, 0]));
    assert_eq!(list("status=completed").await, pick(&[]));
    assert_eq!(list(&format!("student_id={}", students[1].id)).await, pick(&[1]));
    assert_eq!(list("limit=2&page=2").await, pick(&[0]));
    let tied = "update booking.enrollments set enrolled_at = '2025-01-01T00:00:00Z' where id = $1::uuid";
    host.run(tied, &[&made[2]]).await;
    assert_eq!(list("").await, pick(&[1, 0, 2]));
    host.run(tied, &[&made[1]]).await;
    host.run(tied, &[&made[0]]).await;
    let mut sorted = made.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(list("").await, sorted);

    // A deleted student stays in the list.
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&students[0].id]).await;
    let answer = school.admin.api.get(&format!("/api/bookings/enrollments?student_id={}", students[0].id)).await;
    assert_has_keys(&answer.expect_list("enrollments")[0], ENROLLMENT);
    assert_eq!(answer.data()["pagination"], json!({ "page": 1, "limit": 20, "total": 1, "total_pages": 1 }));
    let wrong = school.admin.api.get(&format!("{PATH}?student_id=x&course_id=x&status=x&limit=0")).await;
    assert_eq!(
        wrong.problems(),
        ["course_id invalid_string", "limit too_small", "status invalid_enum_value", "student_id invalid_string"]
    );
    for user in [&students[1], &school.instructor] {
        for path in [PATH.to_owned(), format!("{PATH}/{}", made[0]), format!("{PATH}/x")] {
            user.api.get(&path).await.expect_error(403, "AUTH_FORBIDDEN");
        }
    }
    host.api().get(PATH).await.expect_error(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn an_enrollment_shows_how_often_the_student_was_there() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let booking = school.booking_of(&student).await;
    let id = id_of(&school.enroll(&student.id, json!({ "booking_id": booking })).await);
    let show = async |id: &str| school.admin.api.get(&format!("{PATH}/{id}")).await;
    let answer = show(&id).await;
    assert_has_keys(answer.expect_data(200), &format!("{ENROLLMENT} attendance_rate"));
    assert_eq!(answer.data()["attendance_rate"], Value::Null);
    for (minutes, status) in [
        (-1000, "present"),
        (-900, "present"),
        (-800, "present"),
        (-700, "absent"),
        (-600, "excused"),
        (-500, "not_recorded"),
    ] {
        let class = school.class_row(minutes, 3).await;
        let body = json!({ "schedule_id": class, "booking_id": booking, "status": status });
        school.admin.api.post("/api/attendance", body).await.expect_data(201);
    }
    assert_eq!(show(&id).await.expect_data(200)["attendance_rate"], 0.75);
    let bare = id_of(&school.enroll(&host.user("student").await.id, json!({})).await);
    assert_eq!(show(&bare).await.expect_data(200)["attendance_rate"], Value::Null);
    show(&unknown_id()).await.expect_error(404, "ENROLLMENT_NOT_FOUND");
    assert_eq!(show("x").await.problems(), ["id invalid_string"]);
}

// BKG-11.

#[tokio::test]
async fn an_enrollment_changes_its_status_and_notes_alone() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let made = school.enroll(&student.id, json!({})).await;
    let (id, path) = (id_of(&made), format!("{PATH}/{}", id_of(&made)));
    let put = async |body: Value| school.admin.api.put(&path, body).await.expect_data(200).clone();
    let told = async || host.events(&format!("enrollment:{id}")).await.len() - 1;

    let ignored = json!({
        "student_id": unknown_id(), "course_id": 5, "booking_id": unknown_id(), "enrolled_at": 1, "notes": " a note ",
    });
    let changed = put(ignored).await;
    assert_has_keys(&changed, ENROLLMENT);
    assert_eq!(changed["notes"], "a note");
    for name in ["student_id", "course_id", "booking_id", "enrolled_at", "status", "completed_at", "student"] {
        assert_eq!(changed[name], made[name], "{name}");
    }
    assert_eq!(told().await, 1);
    assert_eq!(put(json!({ "notes": "a note", "status": "active" })).await, changed, "nothing changes");
    assert_eq!(told().await, 1);

    let done = put(json!({ "status": "completed" })).await;
    assert!(is_time(&done["completed_at"]) && done["notes"] == "a note");
    let events = host.events(&format!("enrollment:{id}")).await;
    let payload = payload(events.last().expect("an event"));
    let wanted = json!({
        "eventType": "ENROLLMENT_UPDATED", "enrollmentId": id, "studentId": student.id,
        "courseId": school.course, "status": "completed",
    });
    assert_eq!(payload, wanted);
    assert_eq!(events.last().expect("an event")["channel"], "enrollment.updated");
    let noted = put(json!({ "notes": null })).await;
    assert_eq!((&noted["completed_at"], &noted["notes"]), (&done["completed_at"], &Value::Null));
    for status in ["cancelled", "completed", "pending", "active"] {
        let changed = put(json!({ "status": status })).await;
        assert_eq!(changed["status"], status);
        assert_eq!(changed["completed_at"].is_null(), status != "completed", "{status}");
    }
    assert_eq!(told().await, 7);
}

#[tokio::test]
async fn the_changes_of_an_enrollment_are_validated() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let path = format!("{PATH}/{}", id_of(&school.enroll(&student.id, json!({})).await));
    for (body, problem) in [
        (json!({}), " custom"),
        (json!({ "student_id": unknown_id() }), " custom"),
        (json!({ "status": "failed" }), "status invalid_enum_value"),
        (json!({ "status": null }), "status invalid_type"),
        (json!({ "notes": 1 }), "notes invalid_type"),
        (json!({ "notes": "x".repeat(1001) }), "notes too_big"),
    ] {
        assert_eq!(school.admin.api.put(&path, body.clone()).await.problems(), [problem], "{body}");
    }
    let body = json!({ "status": "active" });
    school
        .admin
        .api
        .put(&format!("{PATH}/{}", unknown_id()), body.clone())
        .await
        .expect_error(404, "ENROLLMENT_NOT_FOUND");
    assert_eq!(school.admin.api.put(&format!("{PATH}/x"), body.clone()).await.problems(), ["id invalid_string"]);
    for user in [&student, &school.instructor] {
        user.api.put(&path, json!({})).await.expect_error(403, "AUTH_FORBIDDEN");
    }
    host.api().put(&path, body).await.expect_error(401, "AUTH_MISSING_TOKEN");
}
