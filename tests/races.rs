//! Many at once: whatever the order, the rules hold.

use crate::harness::{Answer, Expect, Host, School, id_of, setup, unique, unknown_id, until, with};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};
use tokio::sync::{Mutex, MutexGuard};

pub const MANY: usize = 50;

/// One host for all races, one race at a time: two of them would wait for each
/// other's instances instead of racing.
async fn race_host() -> (&'static Host, MutexGuard<'static, ()>) {
    static HOST: OnceLock<Host> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    (HOST.get_or_init(|| Host::start(setup())), turn)
}

/// How often each status and code was answered.
pub fn tally<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        let code = answer.body["error"]["code"].as_str().unwrap_or_default();
        *tally.entry(format!("{} {code}", answer.status).trim_end().to_owned()).or_default() += 1;
    }
    tally
}

#[track_caller]
fn assert_one_wins(answers: &[Answer], won: u16, lost: &str) {
    let wanted = BTreeMap::from([(won.to_string(), 1), (lost.to_owned(), answers.len() - 1)]);
    assert_eq!(tally(answers), wanted);
}

impl School<'_> {
    /// Taken and existing seats, and how many rows there are in truth.
    async fn seats(&self, schedule: &str) -> (i64, i64, i64) {
        let query = "select s.current_attendees as taken, s.max_attendees as most,
                            (select count(*) from course.schedule_attendees a where a.schedule_id = s.id) as counted
                     from course.class_schedules s where s.id = $1::uuid";
        let row = self.host.rows(query, &[schedule]).await.remove(0);
        let number = |name: &str| row[name].as_i64().expect("a number");
        (number("taken"), number("most"), number("counted"))
    }

    async fn bookings(&self, number: usize) -> Vec<String> {
        join_all((0..number).map(|_| self.booking())).await
    }
}

#[tokio::test]
async fn of_overlapping_classes_in_one_room_one_is_planned() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let instructors = join_all((0..MANY).map(|_| host.user("instructor"))).await;
    for minutes in [600, 6000] {
        let answers = join_all(instructors.iter().zip(0..).map(async |(instructor, shift)| {
            let changes = json!({
                "instructor_id": instructor.id,
                "start_time": school.time(minutes + shift), "end_time": school.time(minutes + shift + 60),
            });
            instructor.api.post("/api/schedules", with(&school.class_body(0), changes)).await
        }))
        .await;
        assert_one_wins(&answers, 201, "409 SCHEDULE_CONFLICT");
        let won = answers.iter().find(|answer| answer.status == 201).expect("a winner").data()["id"].clone();
        for lost in answers.iter().filter(|answer| answer.status == 409) {
            let conflicts = lost.body["error"]["details"]["conflicts"].as_array().expect("a list");
            assert_eq!((conflicts.len(), &conflicts[0]["type"]), (1, &json!("room")), "{}", lost.text);
            assert_eq!(conflicts[0]["schedule_id"], won);
        }
    }
}

#[tokio::test]
async fn of_overlapping_classes_of_one_instructor_one_is_planned() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let rooms = join_all((0..MANY).map(|_| school.new_room(5))).await;
    let answers = join_all(rooms.iter().map(async |room| {
        school.admin.api.post("/api/schedules", with(&school.class_body(600), json!({ "room_id": room }))).await
    }))
    .await;
    assert_one_wins(&answers, 201, "409 SCHEDULE_CONFLICT");
    let query = "select o.id from public.outbox o where o.payload ->> 'instructorId' = $1";
    assert_eq!(host.rows(query, &[&school.instructor.id]).await.len(), 1, "one class, one event");
}

#[tokio::test]
async fn classes_moved_into_one_hour_do_not_meet_there() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let mut classes = Vec::new();
    for number in 1..=MANY {
        let minutes = 1000 * i64::try_from(number).expect("a small number");
        classes.push(id_of(&school.class(minutes, json!({})).await));
    }
    let target = json!({ "start_time": school.time(500), "end_time": school.time(560) });
    let answers = join_all(classes.iter().map(|id| {
        let (api, target) = (&school.admin.api, target.clone());
        async move { api.put(&format!("/api/schedules/{id}"), target).await }
    }))
    .await;
    assert_one_wins(&answers, 200, "409 SCHEDULE_CONFLICT");
}

#[tokio::test]
async fn the_last_seat_goes_to_one() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let bookings = school.bookings(MANY).await;
    let class = id_of(&school.class(600, json!({ "max_attendees": 1 })).await);
    let answers = join_all(bookings.iter().map(|booking| school.take_seat(&class, booking))).await;
    assert_one_wins(&answers, 201, "409 SCHEDULE_FULL");
    assert_eq!(school.seats(&class).await, (1, 1, 1));
}

#[tokio::test]
async fn one_booking_takes_one_seat() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let booking = school.booking().await;
    let class = id_of(&school.class(600, json!({ "max_attendees": 5 })).await);
    let answers = join_all((0..MANY).map(|_| school.take_seat(&class, &booking))).await;
    assert_one_wins(&answers, 201, "409 ATTENDANCE_ALREADY_MARKED");
    assert_eq!(school.seats(&class).await, (1, 5, 1));
}

#[tokio::test]
async fn seats_and_their_number_change_at_once_and_never_disagree() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let bookings = school.bookings(MANY).await;
    let class = id_of(&school.class(600, json!({ "max_attendees": 5 })).await);
    let resize = async |number: usize| {
        let body = json!({ "max_attendees": number % 10 + 1 });
        school.admin.api.put(&format!("/api/schedules/{class}"), body).await
    };
    let (resized, seated) = join(
        join_all((0..MANY).map(resize)),
        join_all(bookings.iter().map(|booking| school.take_seat(&class, booking))),
    )
    .await;
    let (taken, most, counted) = school.seats(&class).await;
    assert!(0 <= taken && taken <= most && taken == counted, "{taken} of {most}, {counted} rows");
    let (resized, seated) = (tally(&resized), tally(&seated));
    assert_eq!(seated.get("201").copied().unwrap_or_default(), usize::try_from(taken).expect("positive"));
    for (what, _) in resized.iter().chain(&seated) {
        assert!(["200", "201", "409 SCHEDULE_FULL"].contains(&what.as_str()), "{resized:?} {seated:?}");
    }
}

#[tokio::test]
async fn a_mark_changed_many_times_at_once_tells_each_change_once() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    let (class, booking) = (school.class_row(-30, 5).await, school.booking().await);
    school.take_seat(&class, &booking).await.expect_data(201);
    let statuses = ["present", "absent"];
    let answers = join_all((0..MANY).map(async |number| {
        let body = json!({ "status": statuses[number % 2] });
        school.admin.api.put(&format!("/api/attendance/{class}/{booking}"), body).await
    }))
    .await;
    assert_eq!(tally(&answers), BTreeMap::from([("200".to_owned(), MANY)]));
    let events = host.events(&format!("attendance:{class}:{booking}")).await;
    let told: Vec<&Value> = events.iter().map(|event| &event["payload"]["status"]).collect();
    assert!(!told.is_empty() && told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
    let list = school.admin.api.get(&format!("/api/attendance/schedule/{class}")).await;
    assert_eq!(&&list.data()["attendees"][0]["status"], told.last().expect("the last"), "events are in order");
}

#[tokio::test]
async fn a_class_is_deleted_or_has_a_seat_taken() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    for minutes in (1..=10).map(|number| number * 100) {
        let bookings = school.bookings(5).await;
        let class = id_of(&school.class(minutes, json!({})).await);
        let path = format!("/api/schedules/{class}");
        let (seated, deleted) = join(
            join_all(bookings.iter().map(|booking| school.take_seat(&class, booking))),
            school.admin.api.delete(&path),
        )
        .await;
        let seated = tally(&seated);
        match deleted.status {
            200 => assert_eq!(seated, BTreeMap::from([("404 SCHEDULE_NOT_FOUND".to_owned(), 5)])),
            _ => {
                deleted.expect_error(409, "SCHEDULE_CANNOT_DELETE");
                assert_eq!(seated, BTreeMap::from([("201".to_owned(), 5)]));
            }
        }
    }
}

#[tokio::test]
async fn what_a_class_is_made_of_is_deleted_or_used() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    for minutes in (1..=25).map(|number| number * 100) {
        let (course, room) = (school.new_course(json!({})).await, school.new_room(5).await);
        let body = with(&school.class_body(minutes), json!({ "course_id": course, "room_id": room }));
        let (course, room) = (format!("/api/courses/{course}"), format!("/api/rooms/{room}"));
        let api = &school.admin.api;
        let (planned, (course, room)) =
            join(api.post("/api/schedules", body), join(api.delete(&course), api.delete(&room))).await;
        match planned.status {
            201 => {
                course.expect_error(409, "COURSE_IN_USE");
                room.expect_error(409, "ROOM_IN_USE");
            }
            _ => {
                planned.expect_status(404);
                assert!(course.status == 200 || room.status == 200, "{} {}", course.text, room.text);
            }
        }
    }
}

#[tokio::test]
async fn a_shrinking_room_and_new_classes_in_it_agree() {
    let (host, _turn) = race_host().await;
    let school = School::open(host).await;
    for round in 0..10 {
        let room = school.new_room(9).await;
        let body = with(&school.class_body(600 + 200 * round), json!({ "room_id": room, "max_attendees": 9 }));
        let path = format!("/api/rooms/{room}");
        let api = &school.admin.api;
        let (planned, shrunk) = join(api.post("/api/schedules", body), api.put(&path, json!({ "capacity": 2 }))).await;
        match planned.status {
            201 => drop(shrunk.expect_error(409, "ROOM_IN_USE").clone()),
            _ => {
                planned.expect_error(400, "VALIDATION_ERROR");
                shrunk.expect_data(200);
            }
        }
    }
}

#[tokio::test]
async fn a_name_goes_to_one_room() {
    let (host, _turn) = race_host().await;
    let (admin, name) = (host.admin().await, unique("Room"));
    let answers = join_all((0..MANY).map(async |number| {
        let name = if number % 2 == 0 { name.to_uppercase() } else { name.to_lowercase() };
        admin.api.post("/api/rooms", json!({ "name": name, "capacity": 5 })).await
    }))
    .await;
    assert_one_wins(&answers, 201, "409 DB_DUPLICATE_ENTRY");
}

#[tokio::test]
async fn an_email_goes_to_one_admin() {
    let (host, _turn) = race_host().await;
    let (admin, email) = (host.admin().await, format!("{}@example.org", unknown_id()));
    let answers = join_all((0..MANY).map(async |_| {
        let body = json!({ "email": email, "password": "Passw0rd-of-admin", "full_name": "Twin", "role": "admin" });
        admin.api.post("/api/auth/register", body).await
    }))
    .await;
    assert_one_wins(&answers, 201, "409 DB_DUPLICATE_ENTRY");
    let query = "select o.id from public.outbox o where o.payload ->> 'email' = $1";
    assert_eq!(host.rows(query, &[&email]).await.len(), 1);
}

#[tokio::test]
async fn the_first_admin_is_one() {
    let (_, _turn) = race_host().await;
    let host = Host::start(setup());
    let answers = join_all((0..MANY).map(async |number| {
        let email = format!("admin-{number}@example.org");
        let body = json!({ "email": email, "password": "Passw0rd-of-admin", "full_name": "First", "role": "admin" });
        host.api().post("/api/auth/register", body).await
    }))
    .await;
    assert_one_wins(&answers, 201, "403 AUTH_FORBIDDEN");
    let query = "select (select count(*) from public.users) as users, (select count(*) from public.outbox) as events,
                        (select count(*) from public.refresh_sessions) as sessions";
    assert_eq!(host.rows(query, &[]).await[0], json!({ "users": 1, "events": 1, "sessions": 1 }));
}

#[tokio::test]
async fn parallel_refreshes_of_one_token_get_one_pair() {
    let (host, _turn) = race_host().await;
    let mut token = host.user("student").await.refresh;
    for _ in 0..3 {
        let answers = join_all(
            (0..MANY).map(async |_| host.api().post("/api/auth/refresh", json!({ "refreshToken": token })).await),
        )
        .await;
        assert_eq!(tally(&answers), BTreeMap::from([("200".to_owned(), MANY)]));
        let pairs: BTreeSet<String> = answers.iter().map(|answer| answer.data().to_string()).collect();
        assert_eq!(pairs.len(), 1, "{pairs:?}");
        token = answers[0].data()["refreshToken"].as_str().expect("a token").to_owned();
    }
}

#[tokio::test]
async fn nothing_outlives_a_logout_not_even_what_a_refresh_got_meanwhile() {
    let (host, _turn) = race_host().await;
    let email = host.user("student").await.email;
    for _ in 0..5 {
        let user = host.login(&email).await;
        let refresh = async || host.api().post("/api/auth/refresh", json!({ "refreshToken": user.refresh })).await;
        let logout = user.api.post("/api/auth/logout", json!({}));
        let (refreshed, logged_out) = join(join_all((0..MANY).map(|_| refresh())), logout).await;
        logged_out.expect_acknowledgement();
        let mut access = BTreeSet::from([user.access.clone()]);
        let mut tokens = BTreeSet::from([user.refresh.clone()]);
        for answer in &refreshed {
            match answer.status {
                200 => {
                    let token = |name: &str| answer.data()[name].as_str().expect("a token").to_owned();
                    access.insert(token("accessToken"));
                    tokens.insert(token("refreshToken"));
                }
                _ => drop(answer.expect_error(401, "AUTH_INVALID_TOKEN").clone()),
            }
        }
        assert!(access.len() <= 2, "one token is exchanged once");
        for token in &access {
            host.api().with_token(token).get("/api/auth/me").await.expect_error(401, "AUTH_INVALID_TOKEN");
        }
        for token in &tokens {
            let answer = host.api().post("/api/auth/refresh", json!({ "refreshToken": token })).await;
            answer.expect_error(401, "AUTH_INVALID_TOKEN");
        }
    }
}

/// Asks for a new pair with each of the tokens, all at once.
async fn refresh_all(host: &Host, tokens: impl IntoIterator<Item = &String>) -> Vec<Answer> {
    let refresh = async |token: &String| host.api().post("/api/auth/refresh", json!({ "refreshToken": token })).await;
    join_all(tokens.into_iter().map(refresh)).await
}

/// The tokens of those that got a pair: access and refresh.
fn pairs(answers: &[Answer]) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a token").to_owned();
    let won = answers.iter().filter(|answer| answer.status == 200);
    won.map(|answer| (text(&answer.data()["accessToken"]), text(&answer.data()["refreshToken"]))).collect()
}

#[tokio::test]
async fn a_stolen_token_ends_the_session_whoever_comes_first() {
    let (host, _turn) = race_host().await;
    let email = host.user("student").await.email;
    for _ in 0..3 {
        let user = host.login(&email).await;
        let first = pairs(&refresh_all(host, [&user.refresh]).await).pop_first().expect("a pair");
        let statement = "update public.refresh_sessions set rotated_at = rotated_at - interval '10 seconds'
                         where token_hash = sha256(convert_to($1, 'UTF8'))";
        assert_eq!(host.run(statement, &[&first.1]).await, 1);
        // The thief has the old token, the owner the new one.
        let tokens: Vec<&String> = (0..MANY).map(|n| if n % 2 == 0 { &user.refresh } else { &first.1 }).collect();
        let answers = refresh_all(host, tokens).await;
        let found = tally(&answers);
        assert!(found.keys().all(|what| what == "200" || what == "401 AUTH_INVALID_TOKEN"), "{found:?}");
        for (access, refresh) in pairs(&answers).iter().chain([&first]) {
            host.api().with_token(access).get("/api/auth/me").await.expect_error(401, "AUTH_INVALID_TOKEN");
            refresh_all(host, [refresh]).await[0].expect_error(401, "AUTH_INVALID_TOKEN");
        }
    }
}

#[tokio::test]
async fn what_is_refreshed_while_the_user_changes_does_not_outlive_the_change() {
    let (host, _turn) = race_host().await;
    for (statement, code, access_code) in [
        ("update public.users set role = 'instructor' where id = $1::uuid", "AUTH_INVALID_TOKEN", None),
        (
            "update public.users set deleted_at = now() where id = $1::uuid",
            "AUTH_UNAUTHORIZED",
            Some("AUTH_UNAUTHORIZED"),
        ),
    ] {
        let user = host.user("student").await;
        let tokens = vec![&user.refresh; MANY];
        let (answers, changed) = join(refresh_all(host, tokens), host.run(statement, &[&user.id])).await;
        assert_eq!(changed, 1);
        let found = tally(&answers);
        let lost = format!("401 {code}");
        assert!(found.keys().all(|what| what == "200" || *what == lost), "{found:?}");
        for (access, refresh) in &pairs(&answers) {
            refresh_all(host, [refresh]).await[0].expect_error(401, code);
            let me = host.api().with_token(access).get("/api/auth/me").await;
            match access_code {
                Some(code) => drop(me.expect_error(401, code).clone()),
                None => assert_eq!(me.expect_data(200)["role"], "instructor"),
            }
        }
    }
}

// Two nodes on one database.

/// The second has a Redis of its own inside, as if the shared one were away.
async fn nodes() -> (Host, Host, MutexGuard<'static, ()>) {
    let (_, turn) = race_host().await;
    let first = Host::start(setup());
    let database = first.database_url.clone().expect("a database");
    let second = Host::start(setup().set("DATABASE_URL", database).unset("REDIS_URL"));
    (first, second, turn)
}

#[tokio::test]
async fn two_nodes_refresh_one_token_to_one_pair_and_both_see_a_logout() {
    let (one, two, _turn) = nodes().await;
    let user = one.user("student").await;
    two.api().with_token(&user.access).get("/api/auth/me").await.expect_data(200);
    let (a, b) =
        join(refresh_all(&one, vec![&user.refresh; MANY / 2]), refresh_all(&two, vec![&user.refresh; MANY / 2])).await;
    assert_eq!(tally(a.iter().chain(&b)), BTreeMap::from([("200".to_owned(), MANY)]));
    let pair = pairs(&a);
    assert_eq!((pair.len(), &pair), (1, &pairs(&b)));

    let (access, refresh) = pair.first().expect("a pair");
    two.api().with_token(access).get("/api/auth/me").await.expect_data(200);
    one.api().with_token(access).post("/api/auth/logout", json!({})).await.expect_acknowledgement();
    // The contract gives other nodes one second, which a busy machine does not.
    let refused = async || {
        let answer = two.api().with_token(access).get("/api/auth/me").await;
        (answer.status == 401).then_some(answer)
    };
    until("the logout to be known", refused).await.expect_error(401, "AUTH_INVALID_TOKEN");
    refresh_all(&two, [refresh]).await[0].expect_error(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn two_nodes_make_one_first_admin() {
    let (one, two, _turn) = nodes().await;
    let answers = join_all((0..MANY).map(async |number| {
        let host = if number % 2 == 0 { &one } else { &two };
        let email = format!("admin-{number}@example.org");
        let body = json!({ "email": email, "password": "Passw0rd-of-admin", "full_name": "First", "role": "admin" });
        host.api().post("/api/auth/register", body).await
    }))
    .await;
    assert_one_wins(&answers, 201, "403 AUTH_FORBIDDEN");
}

#[tokio::test]
async fn two_nodes_plan_one_class_and_give_its_last_seat_once() {
    let (one, two, _turn) = nodes().await;
    let school = School::open(&one).await;
    let bookings = school.bookings(MANY).await;
    let apis = [school.admin.api.clone(), two.api().with_token(&school.admin.access)];
    let body = with(&school.class_body(600), json!({ "max_attendees": 1 }));
    let answers = join_all((0..MANY).map(|number| apis[number % 2].post("/api/schedules", body.clone()))).await;
    assert_one_wins(&answers, 201, "409 SCHEDULE_CONFLICT");
    let class = id_of(answers.iter().find(|answer| answer.status == 201).expect("a winner").data());
    let answers = join_all(bookings.iter().enumerate().map(async |(number, booking)| {
        let body = json!({ "schedule_id": class, "booking_id": booking });
        apis[number % 2].post("/api/attendance", body).await
    }))
    .await;
    assert_one_wins(&answers, 201, "409 SCHEDULE_FULL");
    assert_eq!(school.seats(&class).await, (1, 1, 1));
}
