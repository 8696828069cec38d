//! Many bookings, confirmations and enrollments at once: whatever the order,
//! the rules hold.

use crate::{
    booking::{email, registration},
    harness::{Answer, Host, School, id_of, setup, unknown_id, with},
    races::{MANY, tally},
};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::OnceLock};
use tokio::sync::{Mutex, MutexGuard};

/// One host for all races, one race at a time: two of them would wait for each
/// other's instances instead of racing.
async fn race_host() -> (&'static Host, MutexGuard<'static, ()>) {
    static HOST: OnceLock<Host> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    (HOST.get_or_init(|| Host::start(setup().set("BOOKING_SWEEP_SECONDS", "1"))), turn)
}

#[track_caller]
fn assert_some_win(answers: &[Answer], won: &str, winners: usize, lost: &str) {
    let wanted = BTreeMap::from([(won.to_owned(), winners), (lost.to_owned(), answers.len() - winners)]);
    assert_eq!(tally(answers), wanted);
}

impl School<'_> {
    async fn register_at_once(&self, bodies: Vec<Value>) -> Vec<Answer> {
        join_all(bodies.into_iter().map(|changes| self.try_register(changes))).await
    }

    /// How many rows of bookings there are of an email.
    async fn bookings_of(&self, email: &str) -> String {
        let query = "select count(*)::text from booking.bookings b where b.applicant_email = $1::public.citext";
        self.host.query_text(query, &[email]).await
    }
}

#[tokio::test]
async fn of_identical_registrations_one_is_made() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let body = registration(&school.course);
    let answers = school.register_at_once(vec![body.clone(); MANY]).await;
    assert_some_win(&answers, "201", 1, "409 DUPLICATE_REQUEST");
    let made = answers.iter().find(|answer| answer.status == 201).expect("a winner").data()["id"].clone();
    for lost in answers.iter().filter(|answer| answer.status == 409) {
        let told = &lost.body["error"]["details"]["booking_id"];
        assert!(told.is_null() || *told == made, "{}", lost.text);
    }
    assert_eq!(school.bookings_of(body["email"].as_str().expect("a text")).await, "1");
    let again = school.try_register(body).await;
    assert_eq!(again.body["error"]["details"]["booking_id"], made);
}

#[tokio::test]
async fn of_registrations_with_one_key_one_is_made_without_redis_too() {
    let redis = crate::harness::Redis::start();
    let host = Host::start(setup().set("REDIS_URL", redis.url()));
    let school = School::open(&host).await;
    redis.kill();
    let key = unknown_id();
    // Of different people, so that they do not wait for each other's lock.
    let bodies = (0..MANY).map(|_| json!({ "idempotency_key": key })).collect();
    let answers = school.register_at_once(bodies).await;
    assert_some_win(&answers, "201", 1, "409 DUPLICATE_REQUEST");
    let same = vec![with(&registration(&school.course), json!({ "idempotency_key": unknown_id() })); MANY];
    assert_some_win(&school.register_at_once(same).await, "201", 1, "409 DUPLICATE_REQUEST");
    assert_eq!(host.count("select count(*) from booking.bookings").await, 2);
    assert_eq!(host.count("select count(*) from public.outbox where channel = 'booking.created'").await, 2);
}

#[tokio::test]
async fn of_registrations_of_one_email_for_one_course_one_is_made() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let email = email();
    let spellings = [email.clone(), email.to_uppercase()];
    let bodies = spellings.iter().cycle().take(MANY).map(|email| json!({ "email": email })).collect();
    assert_some_win(&school.register_at_once(bodies).await, "201", 1, "409 PENDING_BOOKING_EXISTS");
    assert_eq!(school.bookings_of(&email).await, "1");
}

#[tokio::test]
async fn of_registrations_of_one_email_three_are_made() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let courses = join_all((0..MANY).map(|_| school.new_course(json!({})))).await;
    let email = email();
    let bodies = courses.iter().map(|course| json!({ "email": email, "course_id": course })).collect();
    assert_some_win(&school.register_at_once(bodies).await, "201", 3, "409 PENDING_BOOKING_LIMIT");
    assert_eq!(school.bookings_of(&email).await, "3");
}

#[tokio::test]
async fn a_user_and_an_applicant_of_one_email_share_one_limit() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let student = host.user("student").await;
    let courses = join_all((0..MANY).map(|_| school.new_course(json!({})))).await;
    let answers = join_all(courses.iter().enumerate().map(async |(index, course)| {
        if index % 2 == 0 {
            return school.try_register(json!({ "email": student.email, "course_id": course })).await;
        }
        student.api.post("/api/bookings/create", json!({ "course_id": course })).await
    }))
    .await;
    assert_some_win(&answers, "201", 3, "409 PENDING_BOOKING_LIMIT");
}

#[tokio::test]
async fn of_confirmations_of_one_booking_one_counts() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let slot = school.class_row(600, 60).await;
    let made = school.register(json!({})).await;
    let id = id_of(&made);
    let answers = join_all((0..MANY).map(|_| school.confirm(&id, json!({ "schedule_id": slot })))).await;
    assert_some_win(&answers, "200", 1, "409 BOOKING_INVALID_STATUS");
    let query = "select
            (select count(*) from public.users u where u.email = b.applicant_email) as users,
            (select count(*) from booking.enrollments e where e.booking_id = b.id) as enrollments,
            (select count(*) from course.schedule_attendees a where a.booking_id = b.id) as seats,
            (select s.current_attendees from course.class_schedules s where s.id = b.confirmed_slot_id) as taken
        from booking.bookings b where b.id = $1::uuid";
    let wanted = json!({ "users": 1, "enrollments": 1, "seats": 1, "taken": 1 });
    assert_eq!(host.rows(query, &[&id]).await, [wanted]);
    assert_eq!(school.channels(&format!("booking:{id}")).await, ["booking.created", "booking.confirmed"]);
}

#[tokio::test]
async fn confirmation_rejection_and_sweeper_agree_on_one_end() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    for overdue in [false, true] {
        let mut bookings = Vec::new();
        for _ in 0..MANY / 2 {
            bookings.push(id_of(&school.register(json!({})).await));
        }
        if overdue {
            // The sweeper, which runs every second, finds them at the same time.
            let statement = "update booking.bookings set expires_at = clock_timestamp() + interval '900 milliseconds'
                 where course_id = $1::uuid and status = 'pending'";
            host.run(statement, &[&school.course]).await;
            let due = "select count(*)::text from booking.bookings
                 where course_id = $1::uuid and expires_at <= clock_timestamp() + interval '5 milliseconds'";
            crate::harness::until("the end of their time", async || {
                (host.query_text(due, &[&school.course]).await != "0").then_some(())
            })
            .await;
        }
        let answers = join_all(bookings.iter().map(async |id| {
            let (confirmed, rejected) = join(school.confirm(id, json!({})), school.reject(id, json!({}))).await;
            (id, [confirmed, rejected])
        }))
        .await;
        for (id, answers) in answers {
            let tally = tally(&answers);
            let status = school.status_of(id).await;
            let won = tally.get("200").copied().unwrap_or_default();
            let channel = format!("booking.{status}");
            assert_eq!(school.channels(&format!("booking:{id}")).await, ["booking.created".to_owned(), channel]);
            assert_eq!(won, usize::from(status != "expired"), "{status}: {tally:?}");
            assert!(overdue || ["confirmed", "rejected"].contains(&status.as_str()), "{status}");
            let lost = tally.keys().filter(|key| *key != "200");
            assert!(
                lost.clone().all(|key| ["409 BOOKING_INVALID_STATUS", "409 BOOKING_EXPIRED"].contains(&key.as_str())),
                "{tally:?}"
            );
            let query = "select count(*)::text from booking.enrollments e where e.booking_id = $1::uuid";
            let enrolled = host.query_text(query, &[id]).await;
            assert_eq!(enrolled == "1", status == "confirmed");
        }
    }
}

#[tokio::test]
async fn the_last_seat_goes_to_one_booking() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let slot = school.class_row(600, 1).await;
    let mut bookings = Vec::new();
    for _ in 0..MANY {
        bookings.push(id_of(&school.register(json!({})).await));
    }
    let answers = join_all(bookings.iter().map(|id| school.confirm(id, json!({ "schedule_id": slot })))).await;
    assert_some_win(&answers, "200", 1, "409 SCHEDULE_FULL");
    let query = "select s.current_attendees as taken,
            (select count(*) from course.schedule_attendees a where a.schedule_id = s.id) as seats,
            (select count(*) from booking.bookings b where b.course_id = s.course_id and b.status = 'confirmed') as confirmed,
            (select count(*) from booking.bookings b where b.course_id = s.course_id and b.status = 'pending') as pending,
            (select count(*) from booking.enrollments e where e.course_id = s.course_id) as enrollments,
            (select count(*) from public.users u join booking.bookings b on b.applicant_email = u.email
             where b.course_id = s.course_id) as users
        from course.class_schedules s where s.id = $1::uuid";
    let wanted = json!({
        "taken": 1, "seats": 1, "confirmed": 1, "pending": MANY - 1, "enrollments": 1, "users": 1,
    });
    assert_eq!(host.rows(query, &[&slot]).await, [wanted]);
}

#[tokio::test]
async fn confirmations_of_one_new_email_make_one_user() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let courses = join_all((0..MANY).map(|_| school.new_course(json!({})))).await;
    let email = email();
    // More than may wait at a time, as if they had come one after the other.
    let mut bookings = Vec::new();
    for course in &courses {
        let id = host.booking(course, "cancelled", "Siti Rahma").await;
        let statement = "update booking.bookings set status = 'pending', applicant_email = $2 where id = $1::uuid";
        host.run(statement, &[&id, &email]).await;
        bookings.push(id);
    }
    let answers = join_all(bookings.iter().map(|id| school.confirm(id, json!({})))).await;
    assert_eq!(tally(&answers), BTreeMap::from([("200".to_owned(), MANY)]));
    let created = answers.iter().filter(|answer| answer.body["meta"]["studentCreated"] == true).count();
    assert_eq!(created, 1);
    let student = answers[0].data()["student"]["id"].as_str().expect("a text").to_owned();
    assert!(answers.iter().all(|answer| answer.data()["booking"]["user_id"] == student));
    let query = "select
            (select count(*) from public.users u where u.email = $1::public.citext) as users,
            (select count(*) from booking.enrollments e where e.student_id = $2::uuid) as enrollments,
            (select count(*) from public.outbox o where o.key = 'user:' || $2) as events";
    assert_eq!(host.rows(query, &[&email, &student]).await, [json!({ "users": 1, "enrollments": MANY, "events": 1 })]);
}

#[tokio::test]
async fn a_student_is_enrolled_in_a_course_once() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let student = host.user("student").await;
    let answers = join_all((0..MANY).map(|_| school.try_enroll(&student.id, json!({})))).await;
    assert_some_win(&answers, "201", 1, "409 ENROLLMENT_ALREADY_EXISTS");
    let statement = "update booking.enrollments set status = 'cancelled' where student_id = $1::uuid";
    assert_eq!(host.run(statement, &[&student.id]).await, 1);
    let answers = join_all((0..MANY).map(|_| school.try_enroll(&student.id, json!({})))).await;
    assert_some_win(&answers, "200", 1, "409 ENROLLMENT_ALREADY_EXISTS");
    let keyed = json!({ "course_id": school.new_course(json!({})).await, "idempotency_key": unknown_id() });
    let answers = join_all((0..MANY).map(|_| school.try_enroll(&student.id, keyed.clone()))).await;
    assert_some_win(&answers, "201", 1, "409 DUPLICATE_REQUEST");
}
