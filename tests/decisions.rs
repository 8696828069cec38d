//! BKG-3, 6 and 7, and the sweeper: what becomes of a booking.

use crate::{
    booking::{BOOKING, email, payload},
    enrollments::ENROLLMENT,
    harness::{Answer, Expect, Host, School, assert_has_keys, id_of, is_time, redis, setup, shared, unknown_id, until},
};
use redis::AsyncCommands;
use serde_json::{Value, json};

impl School<'_> {
    pub async fn confirm(&self, booking: &str, body: Value) -> Answer {
        self.admin.api.post(&format!("/api/bookings/{booking}/confirm"), body).await
    }

    pub async fn reject(&self, booking: &str, body: Value) -> Answer {
        self.admin.api.post(&format!("/api/bookings/{booking}/reject"), body).await
    }

    /// Everything that a confirmation could have changed.
    async fn traces(&self, booking: &str) -> Value {
        let query = "select b.status, b.user_id, b.confirmed_at, b.confirmed_slot_id,
                (select count(*) from public.users u where u.email = b.applicant_email) as users,
                (select count(*) from booking.enrollments e where e.booking_id = b.id) as enrollments,
                (select count(*) from course.schedule_attendees a where a.booking_id = b.id) as seats,
                (select count(*) from public.outbox o where o.payload ->> 'bookingId' = b.id::text) as events
            from booking.bookings b where b.id = $1::uuid";
        self.host.rows(query, &[booking]).await.remove(0)
    }
}

// BKG-6.

#[tokio::test]
async fn a_confirmation_makes_a_student_and_an_enrollment() {
    let host = shared();
    let school = School::open(host).await;
    let email = format!("New.{}", email());
    let changes = json!({
        "email": email, "time_preferences": "after school",
        "guardian": { "name": "Rahma", "wa_number": "+628111222334" },
    });
    let made = school.register(changes).await;
    let id = id_of(&made);
    let request = school.admin.api.request(reqwest::Method::POST, &format!("/api/booking/{id}/confirm"));
    let answer = school.admin.api.finish(request, "confirm without a body").await.expect("an answer");
    let data = answer.expect_data(200);
    assert_has_keys(data, "booking enrollment message student");
    assert!(data["message"].is_string());
    assert_eq!(answer.body["meta"]["studentCreated"], true);
    assert_has_keys(&data["student"], "email full_name id");
    let student = id_of(&data["student"]);
    assert_eq!(data["student"], json!({ "id": student, "full_name": "Siti Rahma", "email": email }));

    let booking = &data["booking"];
    assert_has_keys(booking, BOOKING);
    assert_eq!((&booking["status"], &booking["user_id"]), (&json!("confirmed"), &json!(student)));
    assert_eq!(booking["confirmed_slot_id"], Value::Null);
    assert!(is_time(&booking["confirmed_at"]));
    for name in ["id", "registration_number", "applicant_email", "expires_at", "created_at", "preferred_days"] {
        assert_eq!(booking[name], made[name], "{name}");
    }
    let enrollment = &data["enrollment"];
    assert_has_keys(enrollment, ENROLLMENT);
    for (name, value) in [
        ("student_id", json!(student)),
        ("course_id", json!(school.course)),
        ("booking_id", json!(id)),
        ("status", json!("active")),
        ("completed_at", Value::Null),
        ("notes", Value::Null),
        ("student", json!({ "id": student, "full_name": "Siti Rahma", "email": email })),
        ("course", json!({ "id": school.course, "title": "Piano", "level": "beginner" })),
    ] {
        assert_eq!(enrollment[name], value, "{name}");
    }

    let query = "select u.full_name, u.email, u.wa_number, u.role, u.auth_provider, u.email_verified,
            p.parent_name, p.parent_phone_number, p.experience_level, p.learning_goal
        from public.users u join public.student_profiles p on p.user_id = u.id where u.id = $1::uuid";
    let wanted = json!({
        "full_name": "Siti Rahma", "email": email, "wa_number": "+628111222333", "role": "student",
        "auth_provider": "course_registration", "email_verified": false, "parent_name": "Rahma",
        "parent_phone_number": "+628111222334", "experience_level": "beginner", "learning_goal": "after school",
    });
    assert_eq!(host.rows(query, &[&student]).await, [wanted]);
    let by = "select b.confirmed_by::text from booking.bookings b where b.id = $1::uuid";
    assert_eq!(host.query_text(by, &[&id]).await, school.admin.id);

    let enrollment = id_of(enrollment);
    let events = host.events(&format!("booking:{id}")).await;
    assert_eq!((events.len(), &events[1]["channel"]), (2, &json!("booking.confirmed")));
    let told = json!({
        "eventType": "BOOKING_CONFIRMED", "bookingId": id, "userId": student, "courseId": school.course,
        "enrollmentId": enrollment, "confirmedSlotId": null,
    });
    assert_eq!(payload(&events[1]), told);
    let events = host.events(&format!("enrollment:{enrollment}")).await;
    assert_eq!((events.len(), &events[0]["channel"]), (1, &json!("enrollment.created")));
    let told = json!({
        "eventType": "ENROLLMENT_CREATED", "enrollmentId": enrollment, "studentId": student,
        "courseId": school.course, "status": "active",
    });
    assert_eq!(payload(&events[0]), told);
    let events = host.events(&format!("user:{student}")).await;
    assert_eq!((events.len(), &events[0]["channel"]), (1, &json!("user.registered")));
    let told = json!({
        "eventType": "USER_REGISTERED", "userId": student, "email": email, "fullName": "Siti Rahma",
        "role": "student",
    });
    assert_eq!(payload(&events[0]), told);
}

#[tokio::test]
async fn who_is_known_is_not_made_again_and_keeps_the_profile() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let profile = "insert into public.student_profiles (user_id, parent_name, school_origin)
         values ($1::uuid, 'Ayah', 'SD 1')";
    host.run(profile, &[&student.id]).await;
    let changes = json!({
        "email": student.email.to_uppercase(), "full_name": "Another Name",
        "guardian": { "name": "Rahma", "wa_number": "+628111222334" },
    });
    let id = id_of(&school.register(changes).await);
    // An inactive course does not stop an admin.
    school
        .admin
        .api
        .put(&format!("/api/courses/{}", school.course), json!({ "is_active": false }))
        .await
        .expect_data(200);
    let answer = school.confirm(&id, json!({})).await;
    assert_eq!(answer.expect_data(200)["student"]["id"], student.id);
    assert_eq!(answer.data()["student"]["full_name"], "Some student");
    assert_eq!(answer.data()["booking"]["applicant_full_name"], "Another Name");
    assert_eq!(answer.body["meta"]["studentCreated"], false);
    let query = "select p.parent_name, p.parent_phone_number, p.experience_level, p.learning_goal, p.school_origin
        from public.student_profiles p where p.user_id = $1::uuid";
    let kept = json!({
        "parent_name": "Ayah", "parent_phone_number": "+628111222334", "experience_level": "beginner",
        "learning_goal": null, "school_origin": "SD 1",
    });
    assert_eq!(host.rows(query, &[&student.id]).await, [kept]);
    assert!(host.events(&format!("user:{}", student.id)).await.is_empty());
}

#[tokio::test]
async fn a_users_booking_is_confirmed_for_that_user() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let create = async || {
        let body = json!({ "course_id": school.new_course(json!({})).await });
        id_of(student.api.post("/api/bookings/create", body).await.expect_data(201))
    };
    let (first, second) = (create().await, create().await);
    // The user counts, not the address that the user has had.
    let moved = "update booking.bookings set applicant_email = $2 where id = $1::uuid";
    host.run(moved, &[&first, &school.instructor.email]).await;
    let answer = school.confirm(&first, json!({})).await;
    assert_eq!(answer.expect_data(200)["student"]["id"], student.id);
    // Of a deleted user only the address is left.
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&student.id]).await;
    let answer = school.confirm(&second, json!({})).await;
    assert_ne!(answer.expect_data(200)["student"]["id"], student.id);
    assert_eq!(answer.data()["student"]["email"], student.email);
    assert_eq!(answer.body["meta"]["studentCreated"], true);
    assert_eq!(answer.data()["booking"]["user_id"], answer.data()["student"]["id"]);
}

#[tokio::test]
async fn only_students_are_enrolled() {
    let host = shared();
    let school = School::open(host).await;
    let id = id_of(&school.register(json!({ "email": school.instructor.email.to_uppercase() })).await);
    let before = school.traces(&id).await;
    school.confirm(&id, json!({})).await.expect_error(400, "INVALID_USER_ROLE");
    assert_eq!(school.traces(&id).await, before);
    let body = json!({ "course_id": school.new_course(json!({})).await });
    let own = id_of(school.instructor.api.post("/api/bookings/create", body).await.expect_data(201));
    school.confirm(&own, json!({})).await.expect_error(400, "INVALID_USER_ROLE");
}

#[tokio::test]
async fn who_is_in_the_course_is_not_enrolled_again() {
    let host = shared();
    let school = School::open(host).await;
    let email = email();
    let first = id_of(&school.register(json!({ "email": email })).await);
    let enrollment = school.confirm(&first, json!({})).await.expect_data(200)["enrollment"].clone();
    let second = id_of(&school.register(json!({ "email": email })).await);
    let before = school.traces(&second).await;
    let update = "update booking.enrollments set status = $2::booking.enrollment_status,
            notes = 'a note', completed_at = now(), enrolled_at = '2025-01-01T00:00:00Z' where id = $1::uuid";
    for status in ["active", "pending", "completed"] {
        host.run(update, &[&id_of(&enrollment), status]).await;
        school.confirm(&second, json!({})).await.expect_error(409, "ENROLLMENT_ALREADY_EXISTS");
        assert_eq!(school.traces(&second).await, before);
    }
    host.run(update, &[&id_of(&enrollment), "cancelled"]).await;
    let again = school.confirm(&second, json!({})).await.expect_data(200)["enrollment"].clone();
    assert_eq!(id_of(&again), id_of(&enrollment));
    assert_eq!((&again["booking_id"], &again["status"]), (&json!(second), &json!("active")));
    assert_eq!((&again["completed_at"], &again["created_at"]), (&Value::Null, &enrollment["created_at"]));
    assert!(again["enrolled_at"].as_str() > Some("2025-01-02"));
    let channels = school.channels(&format!("enrollment:{}", id_of(&enrollment))).await;
    assert_eq!(channels, ["enrollment.created", "enrollment.created"]);
}

#[tokio::test]
async fn a_confirmation_takes_a_seat_in_the_class_that_it_names() {
    let host = shared();
    let school = School::open(host).await;
    let (first, second) = (school.class_row(600, 2).await, school.class_row(700, 2).await);
    let (third, past) = (school.class_row(800, 2).await, school.class_row(-600, 2).await);
    let other = School::open(host).await.class_row(600, 2).await;
    let seats = async |slot: &str| {
        let query = "select s.current_attendees::text from course.class_schedules s where s.id = $1::uuid";
        host.query_text(query, &[slot]).await
    };

    let choosing = json!({ "first_choice_slot_id": first, "second_choice_slot_id": second });
    let id = id_of(&school.register(choosing).await);
    let before = school.traces(&id).await;
    for (slot, status, code) in [
        (unknown_id(), 404, "SCHEDULE_NOT_FOUND"),
        (third.clone(), 400, "BOOKING_INVALID_SLOTS"),
        (past.clone(), 400, "BOOKING_INVALID_SLOTS"),
        (other.clone(), 400, "BOOKING_INVALID_SLOTS"),
    ] {
        school.confirm(&id, json!({ "schedule_id": slot })).await.expect_error(status, code);
        assert_eq!(school.traces(&id).await, before, "a refused confirmation changes nothing");
    }
    assert_eq!(school.confirm(&id, json!({ "schedule_id": "x" })).await.problems(), ["schedule_id invalid_string"]);
    let answer = school.confirm(&id, json!({ "confirmed_slot_id": second.to_uppercase() })).await;
    assert_eq!(answer.expect_data(200)["booking"]["confirmed_slot_id"], second);
    assert_eq!([seats(&first).await, seats(&second).await], ["0", "1"]);
    let student = &answer.data()["student"]["id"];
    let query = "select a.booking_id, a.user_id, a.status, a.attended, a.recorded_by
        from course.schedule_attendees a where a.schedule_id = $1::uuid";
    let seat = json!({
        "booking_id": id, "user_id": student, "status": "not_recorded", "attended": null, "recorded_by": null,
    });
    assert_eq!(host.rows(query, &[&second]).await, [seat]);
    let events = host.events(&format!("booking:{id}")).await;
    assert_eq!(payload(&events[1])["confirmedSlotId"], second);

    // Without choices any class of the course will do.
    let id = id_of(&school.register(json!({})).await);
    let before = school.traces(&id).await;
    for slot in [&past, &other] {
        school.confirm(&id, json!({ "schedule_id": slot })).await.expect_error(400, "BOOKING_INVALID_SLOTS");
    }
    school.take_seat(&second, &school.booking().await).await.expect_data(201);
    school.confirm(&id, json!({ "schedule_id": second })).await.expect_error(409, "SCHEDULE_FULL");
    assert_eq!(school.traces(&id).await, before);
    school.confirm(&id, json!({ "schedule_id": third })).await.expect_data(200);
    assert_eq!(seats(&third).await, "1");

    // Choices alone take no seat.
    let id = id_of(&school.register(json!({ "first_choice_slot_id": first })).await);
    let answer = school.confirm(&id, json!({})).await;
    assert_eq!(answer.expect_data(200)["booking"]["confirmed_slot_id"], Value::Null);
    assert_eq!(seats(&first).await, "0");
}

#[tokio::test]
async fn a_confirmation_drops_the_cached_user() {
    let host = Host::start(setup().set("REDIS_PREFIX", "cache-of-booking:"));
    let school = School::open(&host).await;
    let student = host.user("student").await;
    let key = format!("cache-of-booking:user:{}", student.id);
    let mut connection = redis().client().get_multiplexed_async_connection().await.expect("Redis");
    let id = id_of(&school.register(json!({ "email": student.email })).await);
    let () = connection.set_ex(&key, "{}", 300).await.expect("set");
    school.confirm(&id, json!({})).await.expect_data(200);
    let cached: Option<String> = connection.get(&key).await.expect("an answer");
    assert_eq!(cached, None);
}

// Every decision.

#[tokio::test]
async fn a_decided_booking_stays_decided() {
    let school = School::open(shared()).await;
    let made = async || id_of(&school.register(json!({})).await);
    let (confirmed, rejected, expired) = (made().await, made().await, made().await);
    school.confirm(&confirmed, json!({})).await.expect_data(200);
    school.reject(&rejected, json!({})).await.expect_data(200);
    school.let_expire(&expired, 0).await;
    school.reject(&expired, json!({})).await.expect_error(409, "BOOKING_EXPIRED");
    let cancelled = shared().booking(&school.course, "cancelled", "Some Applicant").await;
    for (id, status) in
        [(confirmed, "confirmed"), (rejected, "rejected"), (expired, "expired"), (cancelled, "cancelled")]
    {
        // Of a decided booking the end of its time says nothing.
        school.let_expire(&id, -3600).await;
        for answer in [school.confirm(&id, json!({})).await, school.reject(&id, json!({})).await] {
            let error = answer.expect_error(409, "BOOKING_INVALID_STATUS");
            assert_eq!(error["details"], json!({ "status": status }));
        }
        assert_eq!(school.status_of(&id).await, status);
    }
}

#[tokio::test]
async fn an_overdue_booking_expires_instead_of_being_decided() {
    let host = shared();
    let school = School::open(host).await;
    for path in ["confirm", "reject"] {
        let id = id_of(&school.register(json!({})).await);
        school.let_expire(&id, 0).await;
        let decide = async || school.admin.api.post(&format!("/api/booking/{id}/{path}"), json!({})).await;
        decide().await.expect_error(409, "BOOKING_EXPIRED");
        let traces = school.traces(&id).await;
        assert_eq!(
            (&traces["status"], &traces["users"], &traces["enrollments"]),
            (&json!("expired"), &json!(0), &json!(0))
        );
        let events = host.events(&format!("booking:{id}")).await;
        assert_eq!(school.channels(&format!("booking:{id}")).await, ["booking.created", "booking.expired"]);
        let told = json!({ "eventType": "BOOKING_EXPIRED", "bookingId": id, "courseId": school.course });
        assert_eq!(payload(&events[1]), told);
        decide().await.expect_error(409, "BOOKING_INVALID_STATUS");
        assert_eq!(host.events(&format!("booking:{id}")).await.len(), 2, "told once");
    }
}

#[tokio::test]
async fn a_rejection_has_a_reason_or_none() {
    let host = shared();
    let school = School::open(host).await;
    for (body, reason) in [
        (json!({}), Value::Null),
        (json!({ "reason": null }), Value::Null),
        (json!({ "reason": " full " }), json!("full")),
    ] {
        let id = id_of(&school.register(json!({})).await);
        let answer = school.reject(&id, body).await;
        let booking = answer.expect_data(200);
        assert_has_keys(booking, BOOKING);
        assert_eq!((&booking["status"], &booking["rejection_reason"]), (&json!("rejected"), &reason));
        assert!(is_time(&booking["rejected_at"]) && booking["confirmed_at"].is_null() && booking["user_id"].is_null());
        let told = json!({
            "eventType": "BOOKING_REJECTED", "bookingId": id, "courseId": school.course, "reason": reason,
        });
        let events = host.events(&format!("booking:{id}")).await;
        assert_eq!((events.len(), &events[1]["channel"], payload(&events[1])), (2, &json!("booking.rejected"), told));
        let by = "select b.rejected_by::text from booking.bookings b where b.id = $1::uuid";
        assert_eq!(host.query_text(by, &[&id]).await, school.admin.id);
        assert_eq!(school.traces(&id).await["users"], 0);
    }
    let id = id_of(&school.register(json!({})).await);
    assert_eq!(school.reject(&id, json!({ "reason": "x".repeat(501) })).await.problems(), ["reason too_big"]);
    assert_eq!(school.reject(&id, json!({ "reason": 5 })).await.problems(), ["reason invalid_type"]);
    school.reject(&id, json!({ "reason": "x".repeat(500) })).await.expect_data(200);
}

#[tokio::test]
async fn what_is_not_confirmed_can_be_deleted() {
    let host = shared();
    let school = School::open(host).await;
    let delete = async |id: &str| school.admin.api.delete(&format!("/api/booking/{id}")).await;
    for status in ["pending", "rejected", "expired", "cancelled"] {
        let id = host.booking(&school.course, status, "Some Applicant").await;
        let answer = delete(&id).await;
        assert_eq!(answer.expect_acknowledgement()["id"], id);
        delete(&id).await.expect_error(404, "NOT_FOUND");
    }
    let id = id_of(&school.register(json!({})).await);
    school.confirm(&id, json!({})).await.expect_data(200);
    let refused = delete(&id).await;
    assert_eq!(refused.expect_error(409, "BOOKING_INVALID_STATUS")["details"], json!({ "status": "confirmed" }));
    assert_eq!(school.status_of(&id).await, "confirmed");
}

#[tokio::test]
async fn only_admins_decide() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let body = json!({ "course_id": school.course });
    let id = id_of(student.api.post("/api/bookings/create", body).await.expect_data(201));
    for api in [&student.api, &school.instructor.api] {
        api.delete(&format!("/api/bookings/{id}")).await.expect_error(403, "AUTH_FORBIDDEN");
        for path in ["confirm", "reject"] {
            // The role is judged before the id and the body.
            for id in [&id, "x"] {
                let answer = api.post(&format!("/api/bookings/{id}/{path}"), json!({ "schedule_id": 1 })).await;
                answer.expect_error(403, "AUTH_FORBIDDEN");
            }
        }
    }
    host.api().delete(&format!("/api/booking/{id}")).await.expect_error(401, "AUTH_MISSING_TOKEN");
    host.api().post(&format!("/api/booking/{id}/confirm"), json!({})).await.expect_error(401, "AUTH_MISSING_TOKEN");
    host.api().post(&format!("/api/booking/{id}/reject"), json!({})).await.expect_error(401, "AUTH_MISSING_TOKEN");
    for (id, status, code) in [("x", 400, "VALIDATION_ERROR"), (&unknown_id(), 404, "NOT_FOUND")] {
        school.confirm(id, json!({})).await.expect_error(status, code);
        school.reject(id, json!({})).await.expect_error(status, code);
        school.admin.api.delete(&format!("/api/booking/{id}")).await.expect_error(status, code);
    }
    assert_eq!(school.status_of(&id).await, "pending");
}

// The sweeper.

#[tokio::test]
async fn the_sweeper_expires_what_is_overdue_and_says_so_once() {
    let host = Host::start(setup().set("BOOKING_SWEEP_SECONDS", "1"));
    let school = School::open(&host).await;
    let kept = id_of(&school.register(json!({})).await);
    // More than one batch of it.
    let many = "insert into booking.bookings
            (course_id, applicant_full_name, applicant_email, experience_level, expires_at)
         select $1::uuid, 'Some Applicant', n || '@example.net', 'beginner', now() - interval '1 second'
         from generate_series(1, 1100) n";
    assert_eq!(host.run(many, &[&school.course]).await, 1100);
    let expired = "select count(*) from booking.bookings where status = 'expired'";
    until("the sweeper", async || (host.count(expired).await == 1100).then_some(())).await;
    let told = "select count(*) from public.outbox where channel = 'booking.expired'";
    assert_eq!(host.count(told).await, 1100);
    let different = "select count(distinct payload ->> 'bookingId') from public.outbox
         where channel = 'booking.expired' and key = 'booking:' || (payload ->> 'bookingId')";
    assert_eq!(host.count(different).await, 1100);
    assert_eq!(school.status_of(&kept).await, "pending");
    // For clients there is no such path.
    for api in [&host.api(), &school.admin.api] {
        api.post("/api/booking/tasks/expire", json!({})).await.expect_error(404, "ROUTE_NOT_FOUND");
        let path = format!("/api/booking/internal/enrollments/{}", school.admin.id);
        api.get(&path).await.expect_error(404, "ROUTE_NOT_FOUND");
    }
}
