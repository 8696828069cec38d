//! BKG-1, 2, 4 and 5: bookings are made and listed; keys, captcha, limits.

use crate::harness::{
    Answer, Api, Expect, Host, Redis, School, User, assert_has_keys, id_of, is_time, redis, setup, shared, unique,
    unknown_id, until, with, without,
};
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use chrono::{DateTime, Duration, Utc};
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

pub const BOOKING: &str = "id registration_number course_id user_id status applicant_full_name applicant_email \
                           applicant_wa_number experience_level time_preferences preferred_days \
                           preferred_time_range start_date_target guardian_name guardian_wa_number \
                           instrument_owned notes referral_source first_choice_slot_id second_choice_slot_id \
                           confirmed_slot_id rejection_reason created_at updated_at expires_at confirmed_at \
                           rejected_at";
pub const REGISTER: &str = "/api/booking/register-course";
const CREATE: &str = "/api/bookings/create";

pub fn email() -> String {
    format!("{}@example.org", unknown_id())
}

/// What must be sent, and nothing more, by somebody new.
pub fn registration(course: &str) -> Value {
    json!({
        "full_name": "Siti Rahma", "wa_number": "+628111222333", "email": email(), "course_id": course,
        "experience_level": "beginner", "preferred_days": ["saturday"],
        "preferred_time_range": { "start": "09:00", "end": "11:30" },
        "consent": true, "captcha_token": "t", "idempotency_key": unknown_id(),
    })
}

impl School<'_> {
    pub async fn try_register(&self, changes: Value) -> Answer {
        self.host.api().post(REGISTER, with(&registration(&self.course), changes)).await
    }

    /// A pending booking by somebody new.
    pub async fn register(&self, changes: Value) -> Value {
        self.try_register(changes).await.expect_data(201).clone()
    }

    /// Moves the end of a booking, in seconds from now.
    pub async fn let_expire(&self, booking: &str, seconds: i64) {
        let statement = "update booking.bookings set expires_at = now() + make_interval(secs => $2::int)
             where id = $1::uuid";
        assert_eq!(self.host.run(statement, &[booking, &seconds.to_string()]).await, 1);
    }

    pub async fn status_of(&self, booking: &str) -> String {
        self.host.query_text("select b.status::text from booking.bookings b where b.id = $1::uuid", &[booking]).await
    }

    /// How often each channel is named by the events of a key, in order.
    pub async fn channels(&self, key: &str) -> Vec<String> {
        let events = self.host.events(key).await;
        events.iter().map(|event| event["channel"].as_str().expect("a text").to_owned()).collect()
    }
}

fn instant(value: &Value) -> DateTime<Utc> {
    value.as_str().expect("a text").parse().expect("a time")
}

/// The fields of an event that are about what happened.
#[track_caller]
pub fn payload(event: &Value) -> Value {
    let mut payload = event["payload"].clone();
    let object = payload.as_object_mut().expect("an object");
    let id = object.remove("eventId").expect("an id");
    assert!(id.as_str().is_some_and(|id| id.len() == 36) && is_time(&object.remove("timestamp").expect("a time")));
    payload
}

// BKG-1.

#[tokio::test]
async fn a_registration_is_a_booking_without_a_user() {
    let host = shared();
    let school = School::open(host).await;
    let slots = [school.class_row(600, 3).await, school.class_row(900, 3).await];
    let email = format!("Siti.{}", email());
    let sent = json!({
        "full_name": "  Siti Rahma ", "email": format!(" {email} "), "experience_level": "intermediate",
        "preferred_days": ["Saturday", "MONDAY", "saturday"],
        "preferred_time_range": { "start": "9:00", "end": "11:30" }, "time_preferences": " after school ",
        "start_date_target": "2026-02-28", "guardian": { "name": " Rahma ", "wa_number": "+628111222334" },
        "instrument_owned": false, "notes": " left-handed ", "referral_source": "tiktok",
        "first_choice_slot_id": slots[0].to_uppercase(), "second_choice_slot_id": slots[1],
        // Not the caller's to set.
        "id": unknown_id(), "status": "confirmed", "user_id": school.admin.id, "expires_at": "2030-01-01T00:00:00Z",
        "registration_number": "REG-1", "confirmed_slot_id": slots[0],
    });
    let users = "select count(*) from public.users where email::text ilike 'siti.%'";
    let before = host.count(users).await;
    let answer = school.try_register(sent).await;
    let booking = answer.expect_data(201);
    assert_has_keys(booking, BOOKING);
    let number = booking["registration_number"].as_str().expect("a text").split('-').collect::<Vec<_>>();
    assert_eq!((number.len(), number[0], number[2].len()), (3, "REG", 6));
    assert_eq!(number[1], instant(&booking["created_at"]).format("%Y%m").to_string());
    assert!(number[2].bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(instant(&booking["expires_at"]) - instant(&booking["created_at"]), Duration::hours(72));
    for (name, value) in [
        ("course_id", json!(school.course)),
        ("user_id", Value::Null),
        ("status", json!("pending")),
        ("applicant_full_name", json!("Siti Rahma")),
        ("applicant_email", json!(email)),
        ("applicant_wa_number", json!("+628111222333")),
        ("experience_level", json!("intermediate")),
        ("time_preferences", json!("after school")),
        ("preferred_days", json!(["saturday", "monday"])),
        ("preferred_time_range", json!({ "start": "09:00", "end": "11:30" })),
        ("start_date_target", json!("2026-02-28")),
        ("guardian_name", json!("Rahma")),
        ("guardian_wa_number", json!("+628111222334")),
        ("instrument_owned", json!(false)),
        ("notes", json!("left-handed")),
        ("referral_source", json!("tiktok")),
        ("first_choice_slot_id", json!(slots[0])),
        ("second_choice_slot_id", json!(slots[1])),
        ("confirmed_slot_id", Value::Null),
        ("rejection_reason", Value::Null),
        ("confirmed_at", Value::Null),
        ("rejected_at", Value::Null),
        ("updated_at", booking["created_at"].clone()),
    ] {
        assert_eq!(booking[name], value, "{name}");
    }
    assert_eq!(host.count(users).await, before, "no user is made of an applicant");
    let id = id_of(booking);
    let consents = "select b.consent_at = b.created_at as given from booking.bookings b where b.id = $1::uuid";
    assert_eq!(host.rows(consents, &[&id]).await, [json!({ "given": true })]);

    let events = host.events(&format!("booking:{id}")).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["channel"], &events[0]["component"]), (&json!("booking.created"), &json!("booking")));
    let told = json!({
        "eventType": "BOOKING_CREATED", "bookingId": id, "userId": null, "courseId": school.course,
        "experienceLevel": "intermediate", "preferredDays": ["saturday", "monday"],
    });
    assert_eq!(payload(&events[0]), told);
}

#[tokio::test]
async fn what_is_not_sent_is_null_and_both_prefixes_lead_here() {
    let school = School::open(shared()).await;
    let body = registration(&school.course);
    let answer = shared().api().post("/api/bookings/register-course", body).await;
    let booking = answer.expect_data(201);
    for name in [
        "user_id",
        "time_preferences",
        "start_date_target",
        "guardian_name",
        "guardian_wa_number",
        "instrument_owned",
        "notes",
        "referral_source",
        "first_choice_slot_id",
        "second_choice_slot_id",
    ] {
        assert_eq!(booking[name], Value::Null, "{name}");
    }
    let null = json!({
        "time_preferences": null, "start_date_target": null, "guardian": null, "instrument_owned": null,
        "notes": null, "referral_source": null, "first_choice_slot_id": null, "second_choice_slot_id": null,
    });
    school.register(null).await;
    // A token of whomever changes nothing.
    let body = registration(&school.course);
    let booking = school.admin.api.post(REGISTER, body).await.expect_data(201).clone();
    assert_eq!(booking["user_id"], Value::Null);
}

#[tokio::test]
async fn the_fields_of_a_registration_are_validated() {
    let host = shared();
    let school = School::open(host).await;
    let missing = host.api().post(REGISTER, json!({})).await;
    assert_eq!(
        missing.problems(),
        [
            "captcha_token invalid_type",
            "consent invalid_type",
            "course_id invalid_type",
            "email invalid_type",
            "experience_level invalid_type",
            "full_name invalid_type",
            "idempotency_key invalid_type",
            "preferred_days invalid_type",
            "preferred_time_range invalid_type",
            "wa_number invalid_type",
        ]
    );
    let (range, days) = (|start: &str, end: &str| json!({ "start": start, "end": end }), vec!["monday"; 8]);
    let guardian = |name: &str, number: &str| json!({ "guardian": { "name": name, "wa_number": number } });
    for (changes, problem) in [
        (json!({ "full_name": " x " }), "full_name too_small"),
        (json!({ "full_name": "x".repeat(256) }), "full_name too_big"),
        (json!({ "full_name": 5 }), "full_name invalid_type"),
        (json!({ "full_name": "a\u{0}b" }), "full_name invalid_string"),
        (json!({ "wa_number": "+6281122233" }), "wa_number invalid_string"),
        (json!({ "wa_number": "+628112223334445" }), "wa_number invalid_string"),
        (json!({ "wa_number": "08111222333" }), "wa_number invalid_string"),
        (json!({ "wa_number": 628_111_222_333_u64 }), "wa_number invalid_type"),
        (json!({ "email": "siti" }), "email invalid_string"),
        (json!({ "email": format!("{}@example.org", "x".repeat(244)) }), "email too_big"),
        (json!({ "course_id": "piano" }), "course_id invalid_string"),
        (json!({ "course_id": 1 }), "course_id invalid_type"),
        (json!({ "experience_level": "all_levels" }), "experience_level invalid_enum_value"),
        (json!({ "experience_level": null }), "experience_level invalid_type"),
        (json!({ "preferred_days": [] }), "preferred_days too_small"),
        (json!({ "preferred_days": days }), "preferred_days too_big"),
        (json!({ "preferred_days": "monday" }), "preferred_days invalid_type"),
        (json!({ "preferred_days": ["monday", "mon"] }), "preferred_days.1 invalid_enum_value"),
        (json!({ "preferred_days": [1] }), "preferred_days.0 invalid_type"),
        (json!({ "preferred_time_range": "9-11" }), "preferred_time_range invalid_type"),
        (json!({ "preferred_time_range": range("9", "11:00") }), "preferred_time_range.start invalid_string"),
        (json!({ "preferred_time_range": range("09:00", "24:00") }), "preferred_time_range.end invalid_string"),
        (json!({ "preferred_time_range": { "start": "09:00" } }), "preferred_time_range.end invalid_type"),
        (json!({ "preferred_time_range": range("9:00", "09:00") }), "preferred_time_range.end custom"),
        (json!({ "preferred_time_range": range("10:00", "9:00") }), "preferred_time_range.end custom"),
        (json!({ "time_preferences": "x".repeat(501) }), "time_preferences too_big"),
        (json!({ "start_date_target": "2026-02-29" }), "start_date_target invalid_string"),
        (json!({ "start_date_target": "2026-2-1" }), "start_date_target invalid_string"),
        (json!({ "start_date_target": "2026-02-01T00:00:00Z" }), "start_date_target invalid_string"),
        (guardian("x", "+628111222334"), "guardian.name too_small"),
        (guardian("Rahma", "0811"), "guardian.wa_number invalid_string"),
        (json!({ "guardian": { "name": "Rahma" } }), "guardian.wa_number invalid_type"),
        (json!({ "guardian": "Rahma" }), "guardian invalid_type"),
        (json!({ "instrument_owned": "yes" }), "instrument_owned invalid_type"),
        (json!({ "notes": "x".repeat(1001) }), "notes too_big"),
        (json!({ "referral_source": "radio" }), "referral_source invalid_enum_value"),
        (json!({ "first_choice_slot_id": "x" }), "first_choice_slot_id invalid_string"),
        (json!({ "second_choice_slot_id": "x" }), "second_choice_slot_id invalid_string"),
        (json!({ "consent": false }), "consent custom"),
        (json!({ "consent": "true" }), "consent invalid_type"),
        (json!({ "captcha_token": " " }), "captcha_token too_small"),
        (json!({ "captcha_token": "x".repeat(4097) }), "captcha_token too_big"),
        (json!({ "idempotency_key": "key" }), "idempotency_key invalid_string"),
    ] {
        assert_eq!(school.try_register(changes.clone()).await.problems(), [problem], "{changes}");
    }
    let detail = school.try_register(json!({ "preferred_time_range": range("x", "y") })).await;
    let details = &detail.expect_error(400, "VALIDATION_ERROR")["details"];
    assert_eq!(details[0]["path"], json!(["preferred_time_range", "start"]));
    assert_eq!(details[1]["path"], json!(["preferred_time_range", "end"]));
    school
        .register(json!({
            "full_name": "ü".repeat(255), "wa_number": "+62812345678901", "notes": "x".repeat(1000),
            "time_preferences": "x".repeat(500), "captcha_token": "x".repeat(4096),
            "preferred_days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
            "guardian": { "name": "xy", "wa_number": "+62812345678" },
        }))
        .await;
    for body in ["", "{", "[]", "null"] {
        let request = host.api().request(Method::POST, REGISTER).header("content-type", "application/json").body(body);
        let answer = host.api().finish(request, REGISTER).await.expect("an answer");
        assert_eq!(answer.problems().len(), 1, "{body}");
    }
    host.api().get(REGISTER).await.expect_error(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_course_must_exist_and_be_active() {
    let school = School::open(shared()).await;
    school.try_register(json!({ "course_id": unknown_id() })).await.expect_error(404, "COURSE_NOT_FOUND");
    let inactive = school.new_course(json!({ "is_active": false })).await;
    school.try_register(json!({ "course_id": inactive })).await.expect_error(400, "COURSE_INACTIVE");
    let student = shared().user("student").await;
    student.api.post(CREATE, json!({ "course_id": unknown_id() })).await.expect_error(404, "COURSE_NOT_FOUND");
    student.api.post(CREATE, json!({ "course_id": inactive })).await.expect_error(400, "COURSE_INACTIVE");
}

#[tokio::test]
async fn choices_are_free_classes_of_the_course_to_come() {
    let host = shared();
    let school = School::open(host).await;
    let good = [school.class_row(600, 1).await, school.class_row(700, 1).await];
    let past = school.class_row(-600, 1).await;
    let full = school.class_row(800, 1).await;
    school.take_seat(&full, &school.booking().await).await.expect_data(201);
    let other = School::open(host).await.class_row(600, 1).await;
    let (first, second) = ("first_choice_slot_id", "second_choice_slot_id");
    let student = host.user("student").await;
    for (changes, fields) in [
        (json!({ second: good[0] }), vec![first]),
        (json!({ first: good[0], second: good[0] }), vec![second]),
        (json!({ first: unknown_id() }), vec![first]),
        (json!({ first: past }), vec![first]),
        (json!({ first: full }), vec![first]),
        (json!({ first: other }), vec![first]),
        (json!({ first: good[0], second: past }), vec![second]),
        (json!({ first: full, second: other }), vec![first, second]),
        (json!({ "schedule_id": past }), vec![first]),
    ] {
        let public = school.try_register(changes.clone()).await;
        let mine = student.api.post(CREATE, with(&json!({ "course_id": school.course }), changes.clone())).await;
        for answer in [public, mine] {
            let details =
                answer.expect_error(400, "BOOKING_INVALID_SLOTS")["details"].as_array().expect("a list").clone();
            let found: Vec<_> = details.iter().map(|detail| detail["field"].as_str().expect("a field")).collect();
            assert_eq!(found, fields, "{changes}");
        }
    }
    let booking = school.register(json!({ "schedule_id": good[0], second: good[1] })).await;
    assert_eq!((&booking[first], &booking[second]), (&json!(good[0]), &json!(good[1])));
    let taken = "select sum(s.current_attendees) from course.class_schedules s where s.course_id = $1::uuid";
    assert_eq!(host.rows(taken, &[&school.course]).await, [json!({ "sum": 1 })], "a choice takes no seat");
}

// Pending bookings.

#[tokio::test]
async fn one_booking_of_an_email_may_wait_per_course() {
    let school = School::open(shared()).await;
    let email = format!("a.{}", email());
    let first = school.register(json!({ "email": email })).await;
    let again = school.try_register(json!({ "email": email.to_uppercase() })).await;
    again.expect_error(409, "PENDING_BOOKING_EXISTS");
    // Another course, and another address, though of the same mailbox.
    school.register(json!({ "email": email, "course_id": school.new_course(json!({})).await })).await;
    school.register(json!({ "email": email.replacen("a.", "a+b.", 1) })).await;
    let path = format!("/api/booking/{}/reject", id_of(&first));
    school.admin.api.post(&path, json!({})).await.expect_data(200);
    school.register(json!({ "email": email })).await;
}

#[tokio::test]
async fn three_bookings_of_an_email_may_wait_in_all() {
    let school = School::open(shared()).await;
    let email = email();
    let mut bookings = Vec::new();
    for _ in 0..3 {
        let course = school.new_course(json!({})).await;
        bookings.push(school.register(json!({ "email": email, "course_id": course })).await);
    }
    school.try_register(json!({ "email": email })).await.expect_error(409, "PENDING_BOOKING_LIMIT");
    // The course comes first.
    let same = school.try_register(json!({ "email": email, "course_id": bookings[0]["course_id"] })).await;
    same.expect_error(409, "PENDING_BOOKING_EXISTS");
    school.let_expire(&id_of(&bookings[0]), 0).await;
    school.register(json!({ "email": email })).await;
    school
        .try_register(json!({ "email": email, "course_id": bookings[0]["course_id"] }))
        .await
        .expect_error(409, "PENDING_BOOKING_LIMIT");
}

#[tokio::test]
async fn an_overdue_booking_makes_way_and_is_told_expired_once() {
    let school = School::open(shared()).await;
    let email = email();
    let first = id_of(&school.register(json!({ "email": email })).await);
    school.let_expire(&first, 0).await;
    assert_eq!(school.status_of(&first).await, "pending");
    let second = school.register(json!({ "email": email.to_uppercase() })).await;
    assert_eq!(school.status_of(&first).await, "expired");
    let events = shared().events(&format!("booking:{first}")).await;
    let told = json!({ "eventType": "BOOKING_EXPIRED", "bookingId": first, "courseId": school.course });
    assert_eq!(payload(&events[1]), told);
    assert_eq!(school.channels(&format!("booking:{first}")).await, ["booking.created", "booking.expired"]);
    assert_eq!(school.channels(&format!("booking:{}", id_of(&second))).await, ["booking.created"]);
}

#[tokio::test]
async fn the_operator_sets_how_long_and_how_many_bookings_wait() {
    let settings = setup().set("BOOKING_EXPIRY_HOURS", "5").set("BOOKING_MAX_PENDING_PER_EMAIL", "4");
    let host = Host::start(settings);
    let school = School::open(&host).await;
    let email = email();
    for number in 0..5 {
        let course = school.new_course(json!({})).await;
        let answer = school.try_register(json!({ "email": email, "course_id": course })).await;
        if number == 4 {
            answer.expect_error(409, "PENDING_BOOKING_LIMIT");
            break;
        }
        let booking = answer.expect_data(201);
        assert_eq!(instant(&booking["expires_at"]) - instant(&booking["created_at"]), Duration::hours(5));
    }
}

#[tokio::test]
async fn no_answer_tells_whether_an_email_has_an_account() {
    let school = School::open(shared()).await;
    for user in [&school.admin, &shared().user("student").await] {
        let known = school.register(json!({ "email": user.email })).await;
        let unknown = school.register(json!({})).await;
        let told = |booking: &Value| -> Vec<(String, bool)> {
            let object = booking.as_object().expect("an object");
            object.iter().map(|(name, value)| (name.clone(), value.is_null())).collect()
        };
        assert_eq!(told(&known), told(&unknown));
        shared().run("delete from booking.bookings where id = $1::uuid", &[&id_of(&known)]).await;
    }
}

// Idempotency.

struct Keys {
    connection: redis::aio::MultiplexedConnection,
    prefix: &'static str,
}

impl Keys {
    async fn open(prefix: &'static str) -> Keys {
        Keys { connection: redis().client().get_multiplexed_async_connection().await.expect("Redis"), prefix }
    }

    /// Value and seconds to live.
    async fn get(&mut self, key: &str) -> Option<(Value, i64)> {
        let key = format!("{}{key}", self.prefix);
        let value: Option<String> = self.connection.get(&key).await.expect("a value");
        let ttl = self.connection.ttl(&key).await.expect("a time");
        value.map(|value| (serde_json::from_str(&value).expect("JSON"), ttl))
    }

    async fn set(&mut self, key: &str, value: &str) {
        let () = self.connection.set_ex(format!("{}{key}", self.prefix), value, 60).await.expect("set");
    }

    async fn forget(&mut self, key: &str) {
        let () = self.connection.del(format!("{}{key}", self.prefix)).await.expect("deleted");
    }
}

#[tokio::test]
async fn a_key_makes_one_booking() {
    let host = Host::start(setup().set("REDIS_PREFIX", "keys-of-booking:"));
    let school = School::open(&host).await;
    let mut keys = Keys::open("keys-of-booking:").await;
    let key = unknown_id();
    let name = format!("course_registration:{key}");

    // What fails leaves the key free.
    for changes in
        [json!({ "course_id": unknown_id() }), json!({ "email": "x" }), json!({ "schedule_id": unknown_id() })]
    {
        let answer = school.try_register(with(&json!({ "idempotency_key": key }), changes)).await;
        assert!([400, 404].contains(&answer.status), "{}", answer.text);
        assert_eq!(keys.get(&name).await, None);
    }
    // One that runs is known by nothing but its key.
    keys.set(&name, r#"{"state":"running"}"#).await;
    let running = school.try_register(json!({ "idempotency_key": key })).await;
    assert_eq!(running.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": null }));
    keys.forget(&name).await;

    let id = id_of(&school.register(json!({ "idempotency_key": key.to_uppercase() })).await);
    let (value, ttl) = keys.get(&name).await.expect("a key");
    let done = json!({ "state": "done", "booking_id": id, "user_id": null, "course_id": school.course });
    assert_eq!(value, done);
    assert!((86_340..=86_400).contains(&ttl), "{ttl}");
    let told = json!({ "booking_id": id });
    for changes in [json!({}), json!({ "course_id": unknown_id() }), json!({ "full_name": "Somebody else" })] {
        let again = school.try_register(with(&json!({ "idempotency_key": key }), changes)).await;
        assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], told);
    }
    // Long after.
    keys.forget(&name).await;
    for changes in [json!({}), json!({ "course_id": unknown_id() })] {
        let again = school.try_register(with(&json!({ "idempotency_key": key }), changes)).await;
        assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], told);
        assert_eq!(keys.get(&name).await, None);
    }
    assert_eq!(host.count("select count(*) from booking.bookings").await, 1);
    // A body that is not valid never gets to the key.
    let invalid = school.try_register(json!({ "idempotency_key": key, "email": "x" })).await;
    assert_eq!(invalid.problems(), ["email invalid_string"]);
}

#[tokio::test]
async fn an_insert_that_fails_says_so_and_frees_the_key() {
    let host = Host::start(setup().set("REDIS_PREFIX", "failures-of-booking:"));
    let school = School::open(&host).await;
    let mut keys = Keys::open("failures-of-booking:").await;
    let break_it = "create function public.break_it() returns trigger language plpgsql as
         $$ begin raise exception 'the disk is on fire'; end $$";
    host.run(break_it, &[]).await;
    let trigger = "create trigger break_it before insert on booking.bookings
         for each row execute function public.break_it()";
    host.run(trigger, &[]).await;
    let key = unknown_id();
    let student = host.user("student").await;
    let mine = json!({ "course_id": school.course, "idempotency_key": key });
    let (public, own) =
        (school.try_register(json!({ "idempotency_key": key })).await, student.api.post(CREATE, mine.clone()).await);
    for answer in [public, own] {
        assert!(answer.expect_error(500, "BOOKING_CREATION_FAILED").get("details").is_none());
        assert!(!answer.text.contains("fire"), "{}", answer.text);
    }
    assert!(host.log().contains("the disk is on fire"), "the operator is told why");
    assert_eq!(keys.get(&format!("course_registration:{key}")).await, None);
    assert_eq!(keys.get(&format!("booking_create:{}:{key}", student.id)).await, None);
    host.run("drop trigger break_it on booking.bookings", &[]).await;
    school.register(json!({ "idempotency_key": key })).await;
}

#[tokio::test]
async fn keys_of_users_are_their_own() {
    let host = Host::start(setup().set("REDIS_PREFIX", "user-keys-of-booking:").set("IDEMPOTENCY_KEY_TTL", "100"));
    let school = School::open(&host).await;
    let mut keys = Keys::open("user-keys-of-booking:").await;
    let (student, other) = (host.user("student").await, host.user("student").await);
    let key = unknown_id();
    let name = |user: &User| format!("booking_create:{}:{key}", user.id);
    let body = json!({ "course_id": school.course, "idempotency_key": key });

    student
        .api
        .post(CREATE, with(&body, json!({ "course_id": unknown_id() })))
        .await
        .expect_error(404, "COURSE_NOT_FOUND");
    assert_eq!(keys.get(&name(&student)).await, None);
    let id = id_of(student.api.post(CREATE, body.clone()).await.expect_data(201));
    let (value, ttl) = keys.get(&name(&student)).await.expect("a key");
    let done = json!({ "state": "done", "booking_id": id, "user_id": student.id, "course_id": school.course });
    assert_eq!(value, done);
    assert!((90..=100).contains(&ttl), "{ttl}");
    for forgotten in [false, true] {
        if forgotten {
            keys.forget(&name(&student)).await;
        }
        let again = student.api.post(CREATE, body.clone()).await;
        assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": id }));
    }
    // Somebody else's key is taken as well, but tells nothing.
    let foreign = other.api.post(CREATE, body.clone()).await;
    assert_eq!(foreign.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": null }));
    assert_eq!(keys.get(&name(&other)).await, None);
    let foreign = school.try_register(json!({ "idempotency_key": key })).await;
    assert_eq!(foreign.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": null }));

    // An admin who books for a student is told what was made.
    let key = unknown_id();
    let body = json!({ "course_id": school.course, "user_id": other.id, "idempotency_key": key });
    let id = id_of(school.admin.api.post(CREATE, body.clone()).await.expect_data(201));
    let name = format!("booking_create:{}:{key}", school.admin.id);
    assert_eq!(keys.get(&name).await.expect("a key").0["user_id"], other.id);
    for forgotten in [false, true] {
        if forgotten {
            keys.forget(&name).await;
        }
        let again = school.admin.api.post(CREATE, body.clone()).await;
        assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": id }));
    }
}

#[tokio::test]
async fn without_redis_the_answers_are_the_same() {
    let redis = Redis::start();
    let host = Host::start(setup().set("REDIS_URL", redis.url()));
    let school = School::open(&host).await;
    let student = host.user("student").await;
    redis.kill();
    let key = unknown_id();
    let failed = json!({ "idempotency_key": key, "course_id": unknown_id() });
    school.try_register(failed).await.expect_error(404, "COURSE_NOT_FOUND");
    let body = with(&registration(&school.course), json!({ "idempotency_key": key }));
    let id = id_of(host.api().post(REGISTER, body.clone()).await.expect_data(201));
    let again = host.api().post(REGISTER, body.clone()).await;
    assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": id }));
    let mine = json!({ "course_id": school.course, "idempotency_key": unknown_id() });
    let own = id_of(student.api.post(CREATE, mine.clone()).await.expect_data(201));
    let again = student.api.post(CREATE, mine.clone()).await;
    assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": own }));
    school.admin.api.post(&format!("/api/bookings/{own}/confirm"), json!({})).await.expect_data(200);
    school.admin.api.post(&format!("/api/bookings/{id}/reject"), json!({})).await.expect_data(200);
    assert_eq!(host.count("select count(*) from public.outbox where published_at is not null").await, 0);

    // An empty Redis comes back, which knows no key.
    redis.run();
    until("the events", async || {
        let waiting = host.count("select count(*) from public.outbox where published_at is null").await;
        (waiting == 0).then_some(())
    })
    .await;
    let again = host.api().post(REGISTER, body).await;
    assert_eq!(again.expect_error(409, "DUPLICATE_REQUEST")["details"], json!({ "booking_id": id }));
}

// Captcha.

type Asked = Arc<Mutex<Vec<String>>>;

/// A provider of captchas that does as the token says, and keeps what it was
/// asked.
async fn provider() -> (String, Asked) {
    async fn verify(State(asked): State<Asked>, body: String) -> axum::response::Response {
        asked.lock().expect("no panic").push(body.clone());
        let response = body.split('&').find_map(|pair| pair.strip_prefix("response=")).unwrap_or_default();
        match response {
            "good" => Json(json!({ "success": true })).into_response(),
            "ours" => Json(json!({ "success": false, "error-codes": ["invalid-input-secret"] })).into_response(),
            "broken" => (StatusCode::INTERNAL_SERVER_ERROR, "oh no").into_response(),
            "html" => "<html>".into_response(),
            _ => Json(json!({ "success": false, "error-codes": ["invalid-input-response"] })).into_response(),
        }
    }
    let asked = Asked::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/siteverify", listener.local_addr().expect("an address"));
    let router = Router::new().route("/siteverify", post(verify)).with_state(asked.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn the_provider_says_whether_a_captcha_is_good() {
    let (url, asked) = provider().await;
    let host = Host::start(setup().set("CAPTCHA_SECRET", "s&cret").set("CAPTCHA_VERIFY_URL", url));
    let school = School::open(&host).await;
    let key = unknown_id();
    let mut body = with(&registration(&school.course), json!({ "idempotency_key": key }));
    for (token, status, code) in [
        ("bad & =", 400, "CAPTCHA_INVALID"),
        ("ours", 503, "CAPTCHA_VERIFICATION_FAILED"),
        ("broken", 503, "CAPTCHA_VERIFICATION_FAILED"),
        ("html", 503, "CAPTCHA_VERIFICATION_FAILED"),
    ] {
        body["captcha_token"] = json!(token);
        host.api().post(REGISTER, body.clone()).await.expect_error(status, code);
    }
    assert_eq!(asked.lock().expect("no panic")[0], "secret=s%26cret&response=bad%20%26%20%3D");
    // Judged before the course, and after validation and key.
    body["course_id"] = json!(unknown_id());
    host.api()
        .post(REGISTER, with(&body, json!({ "captcha_token": "bad" })))
        .await
        .expect_error(400, "CAPTCHA_INVALID");
    host.api()
        .post(REGISTER, with(&body, json!({ "captcha_token": "good" })))
        .await
        .expect_error(404, "COURSE_NOT_FOUND");
    let before = asked.lock().expect("no panic").len();
    host.api().post(REGISTER, without(&body, "captcha_token")).await.expect_error(400, "VALIDATION_ERROR");
    assert_eq!(asked.lock().expect("no panic").len(), before);

    body["course_id"] = json!(school.course);
    body["captcha_token"] = json!("good");
    host.api().post(REGISTER, body.clone()).await.expect_data(201);
    let before = asked.lock().expect("no panic").len();
    host.api().post(REGISTER, body.clone()).await.expect_error(409, "DUPLICATE_REQUEST");
    assert_eq!(asked.lock().expect("no panic").len(), before, "a repetition costs no captcha");
    let log = host.log();
    assert!(!log.contains("s&cret") && !log.contains("bad & ="), "neither secret nor token is logged");
    // Users who are logged in need none.
    host.user("student").await.api.post(CREATE, json!({ "course_id": school.course })).await.expect_data(201);
}

#[tokio::test]
async fn a_provider_that_is_away_lets_nobody_through() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let host = Host::start(setup().set("CAPTCHA_SECRET", "secret").set("CAPTCHA_VERIFY_URL", url));
    let school = School::open(&host).await;
    let error = school.try_register(json!({})).await;
    assert!(error.expect_error(503, "CAPTCHA_VERIFICATION_FAILED").get("details").is_none());
    assert!(!error.text.contains("127.0.0.1"));
    assert_eq!(host.count("select count(*) from booking.bookings").await, 0);
}

#[tokio::test]
async fn registrations_of_one_address_are_limited() {
    let host = Host::start(setup().set("RATE_LIMIT_ENABLED", "true"));
    for _ in 0..10 {
        host.api().post(REGISTER, json!({})).await.expect_error(400, "VALIDATION_ERROR");
    }
    for path in [REGISTER, "/api/bookings/register-course"] {
        let answer = host.api().post(path, json!({})).await;
        answer.expect_error(429, "RATE_LIMIT_EXCEEDED");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    }
}

// BKG-4.

#[tokio::test]
async fn a_users_booking_has_the_users_data() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let wa_number = "update public.users set wa_number = '+628123456789' where id = $1::uuid";
    host.run(wa_number, &[&student.id]).await;
    let body = json!({
        "course_id": school.course,
        // Neither the caller's to set, nor even looked at.
        "user_id": "no id", "full_name": 5, "email": "x", "status": "confirmed", "expires_at": 1,
    });
    let answer = student.api.post("/api/booking/create", body).await;
    let booking = answer.expect_data(201);
    assert_has_keys(booking, BOOKING);
    for (name, value) in [
        ("user_id", json!(student.id)),
        ("status", json!("pending")),
        ("applicant_full_name", json!("Some student")),
        ("applicant_email", json!(student.email)),
        ("applicant_wa_number", json!("+628123456789")),
        ("experience_level", Value::Null),
        ("preferred_days", json!([])),
        ("preferred_time_range", Value::Null),
    ] {
        assert_eq!(booking[name], value, "{name}");
    }
    assert_eq!(instant(&booking["expires_at"]) - instant(&booking["created_at"]), Duration::hours(72));
    let told = json!({
        "eventType": "BOOKING_CREATED", "bookingId": booking["id"], "userId": student.id, "courseId": school.course,
        "experienceLevel": null, "preferredDays": [],
    });
    assert_eq!(payload(&host.events(&format!("booking:{}", id_of(booking))).await[0]), told);

    let full = json!({
        "course_id": school.new_course(json!({})).await, "experience_level": "advanced",
        "preferred_days": ["SUNDAY"], "preferred_time_range": { "start": "7:05", "end": "08:00" },
        "time_preferences": "early", "start_date_target": "2026-01-31", "instrument_owned": true,
        "guardian": { "name": "Rahma", "wa_number": "+628111222334" }, "notes": "n", "referral_source": "other",
    });
    let booking = student.api.post(CREATE, full).await.expect_data(201).clone();
    assert_eq!(booking["preferred_time_range"], json!({ "start": "07:05", "end": "08:00" }));
    assert_eq!((&booking["preferred_days"], &booking["experience_level"]), (&json!(["sunday"]), &json!("advanced")));
    assert_eq!((&booking["guardian_name"], &booking["referral_source"]), (&json!("Rahma"), &json!("other")));
}

#[tokio::test]
async fn the_fields_of_a_users_booking_are_validated() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    host.api().post(CREATE, json!({})).await.expect_error(401, "AUTH_MISSING_TOKEN");
    assert_eq!(student.api.post(CREATE, json!({})).await.problems(), ["course_id invalid_type"]);
    for (changes, problem) in [
        (json!({ "course_id": "x" }), "course_id invalid_string"),
        (json!({ "schedule_id": "x" }), "schedule_id invalid_string"),
        (json!({ "second_choice_slot_id": 1 }), "second_choice_slot_id invalid_type"),
        (json!({ "experience_level": "expert" }), "experience_level invalid_enum_value"),
        (json!({ "preferred_days": [] }), "preferred_days too_small"),
        (json!({ "preferred_time_range": {} }), "preferred_time_range.end invalid_type"),
        (json!({ "guardian": {} }), "guardian.name invalid_type"),
        (json!({ "notes": "x".repeat(1001) }), "notes too_big"),
        (json!({ "idempotency_key": "x" }), "idempotency_key invalid_string"),
    ] {
        let answer = student.api.post(CREATE, with(&json!({ "course_id": school.course }), changes)).await;
        assert_eq!(answer.problems()[0], problem);
    }
    let both = school.admin.api.post(CREATE, json!({ "course_id": "x", "user_id": "x" })).await;
    assert_eq!(both.problems(), ["course_id invalid_string", "user_id invalid_string"]);
    let request = school.admin.api.request(Method::POST, CREATE);
    let empty = school.admin.api.finish(request, CREATE).await.expect("an answer");
    assert_eq!(empty.problems(), [" invalid_type"]);
}

#[tokio::test]
async fn an_admin_may_book_for_a_student() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let body = |user: &str| json!({ "course_id": school.course, "user_id": user });
    let api = &school.admin.api;
    api.post(CREATE, body(&unknown_id())).await.expect_error(404, "NOT_FOUND");
    api.post(CREATE, body(&school.instructor.id)).await.expect_error(400, "INVALID_USER_ROLE");
    let gone = host.user("student").await;
    host.run("update public.users set deleted_at = now() where id = $1::uuid", &[&gone.id]).await;
    api.post(CREATE, body(&gone.id)).await.expect_error(404, "NOT_FOUND");
    let booking = api.post(CREATE, body(&student.id)).await.expect_data(201).clone();
    assert_eq!((&booking["user_id"], &booking["applicant_email"]), (&json!(student.id), &json!(student.email)));
    // For others the member does not exist.
    let other = host.user("student").await;
    let booking = other.api.post(CREATE, body(&student.id)).await.expect_data(201).clone();
    assert_eq!(booking["user_id"], other.id);
}

#[tokio::test]
async fn a_user_waits_or_learns_in_a_course_only_once() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let create = async |course: &str| student.api.post(CREATE, json!({ "course_id": course })).await;
    let booking = id_of(create(&school.course).await.expect_data(201));
    create(&school.course).await.expect_error(409, "PENDING_BOOKING_EXISTS");
    let public = school.try_register(json!({ "email": student.email.to_uppercase() })).await;
    public.expect_error(409, "PENDING_BOOKING_EXISTS");
    // By the user, whatever the address was then.
    host.run("update booking.bookings set applicant_email = 'old@example.org' where id = $1::uuid", &[&booking]).await;
    create(&school.course).await.expect_error(409, "PENDING_BOOKING_EXISTS");

    school.admin.api.post(&format!("/api/bookings/{booking}/confirm"), json!({})).await.expect_data(200);
    create(&school.course).await.expect_error(409, "ENROLLMENT_ALREADY_EXISTS");
    for (status, answer) in [("cancelled", 201), ("completed", 409)] {
        let statement = "update booking.enrollments set status = $2::booking.enrollment_status
             where student_id = $1::uuid";
        host.run(statement, &[&student.id, status]).await;
        assert_eq!(create(&school.course).await.status, answer, "{status}");
    }
    // Those of the public form count, too.
    let mut courses = Vec::new();
    for _ in 0..3 {
        courses.push(school.new_course(json!({})).await);
    }
    create(&courses[0]).await.expect_data(201);
    school.register(json!({ "email": student.email, "course_id": courses[1] })).await;
    create(&courses[2]).await.expect_error(409, "PENDING_BOOKING_LIMIT");
}

// Lists.

fn ids(bookings: &[Value]) -> Vec<String> {
    bookings.iter().map(id_of).collect()
}

#[tokio::test]
async fn pending_bookings_are_listed_from_the_oldest_on() {
    let host = shared();
    let school = School::open(host).await;
    let mut wanted = Vec::new();
    for _ in 0..4 {
        wanted.push(id_of(&school.register(json!({})).await));
    }
    let list = async |query: &str| {
        school.admin.api.get(&format!("/api/booking/pending?course_id={}{query}", school.course)).await
    };
    let answer = list("").await;
    assert_eq!(ids(answer.expect_list("bookings")), wanted);
    for booking in answer.expect_list("bookings") {
        assert_has_keys(booking, &format!("{BOOKING} course"));
        let course = json!({
            "id": school.course, "title": "Piano", "level": "beginner", "instrument": null,
            "price_per_session": 150_000,
        });
        assert_eq!(booking["course"]["id"], course["id"]);
        assert_has_keys(&booking["course"], "id title level instrument price_per_session");
        assert_eq!(booking["course"]["price_per_session"].as_f64(), Some(150_000.0));
    }
    assert_eq!(ids(list("&limit=3&page=2").await.expect_list("bookings")), wanted[3..]);
    // Overdue, whether or not it has been swept; and decided.
    school.let_expire(&wanted[0], 0).await;
    school.admin.api.post(&format!("/api/booking/{}/reject", wanted[1]), json!({})).await.expect_data(200);
    let answer = list("&limit=1").await;
    assert_eq!(ids(answer.expect_list("bookings")), [wanted[2].clone()]);
    assert_eq!(answer.data()["pagination"], json!({ "page": 1, "limit": 1, "total": 2, "total_pages": 2 }));
    // Ties are broken by the id.
    let statement = "update booking.bookings set created_at = '2025-01-01T00:00:00Z' where course_id = $1::uuid";
    host.run(statement, &[&school.course]).await;
    let mut tied = wanted[2..].to_vec();
    tied.sort();
    assert_eq!(ids(list("").await.expect_list("bookings")), tied);

    let all = school.admin.api.get("/api/bookings/pending?limit=1000").await;
    assert!(tied.iter().all(|id| ids(all.expect_list("bookings")).contains(id)));
    let none = school.admin.api.get(&format!("/api/booking/pending?course_id={}", unknown_id())).await;
    assert_eq!(none.expect_list("bookings").len(), 0);
    let wrong = school.admin.api.get("/api/booking/pending?course_id=x&limit=1001&page=0").await;
    assert_eq!(wrong.problems(), ["course_id invalid_string", "limit too_big", "page too_small"]);
    for api in [&school.instructor.api, &host.user("student").await.api] {
        api.get("/api/booking/pending").await.expect_error(403, "AUTH_FORBIDDEN");
    }
    host.api().get("/api/booking/pending").await.expect_error(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn users_see_their_own_bookings_from_the_newest_on() {
    let host = shared();
    let school = School::open(host).await;
    let student = host.user("student").await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let body = json!({ "course_id": school.new_course(json!({})).await });
        made.push(id_of(student.api.post(CREATE, body).await.expect_data(201)));
    }
    school.admin.api.post(&format!("/api/booking/{}/reject", made[0]), json!({})).await.expect_data(200);
    school.let_expire(&made[1], 0).await;
    let path = format!("/api/bookings/user/{}", student.id);
    let list = async |api: &Api, query: &str| api.get(&format!("{path}?{query}")).await;
    let newest: Vec<String> = made.iter().rev().cloned().collect();
    for api in [&student.api, &school.admin.api] {
        let answer = list(api, "").await;
        assert_eq!(ids(answer.expect_list("bookings")), newest);
        let statuses: Vec<_> = answer.expect_list("bookings").iter().map(|booking| booking["status"].clone()).collect();
        assert_eq!(statuses, ["pending", "expired", "rejected"]);
        assert_has_keys(&answer.expect_list("bookings")[0], &format!("{BOOKING} course"));
    }
    assert_eq!(school.status_of(&made[1]).await, "pending", "reading writes nothing");
    for (query, wanted) in [
        ("status=pending", vec![&made[2]]),
        ("status=expired", vec![&made[1]]),
        ("status=rejected", vec![&made[0]]),
        ("status=confirmed", vec![]),
        ("limit=1&page=2", vec![&made[1]]),
        ("limit=2&page=3", vec![]),
    ] {
        let answer = list(&student.api, query).await;
        assert_eq!(ids(answer.expect_list("bookings")).iter().collect::<Vec<_>>(), wanted, "{query}");
    }
    let page = list(&student.api, "status=pending&limit=1&page=2").await;
    assert_eq!(page.data()["pagination"], json!({ "page": 2, "limit": 1, "total": 1, "total_pages": 1 }));
    assert_eq!(list(&student.api, "status=open").await.problems(), ["status invalid_enum_value"]);
    assert_eq!(list(&student.api, "limit=101").await.problems(), ["limit too_big"]);
    list(&school.admin.api, "limit=1000").await.expect_data(200);

    let upper = format!("/api/booking/user/{}", student.id.to_uppercase());
    assert_eq!(student.api.get(&upper).await.expect_list("bookings").len(), 3);
    for api in [&school.instructor.api, &host.user("student").await.api] {
        api.get(&path).await.expect_error(403, "AUTH_FORBIDDEN");
        api.get("/api/bookings/user/x").await.expect_error(403, "AUTH_FORBIDDEN");
    }
    host.api().get(&path).await.expect_error(401, "AUTH_MISSING_TOKEN");
    let unknown = school.admin.api.get(&format!("/api/bookings/user/{}", unknown_id())).await;
    assert_eq!(unknown.expect_list("bookings").len(), 0);
    assert_eq!(school.admin.api.get("/api/bookings/user/x").await.problems(), ["userId invalid_string"]);
    let name = unique("nobody").replace(' ', "");
    school.admin.api.get(&format!("/api/bookings/{name}")).await.expect_error(405, "METHOD_NOT_ALLOWED");
}
