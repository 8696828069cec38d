//! A music school to test in: people, a course, a room, classes and bookings.
//!
//! They are made by the API where it can; past classes and bookings are inserted
//! into the tables.

use super::{Answer, Expect, Host, User};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

/// With a course and a room of its own, so that schools on one host do not
/// disturb each other.
pub struct School<'a> {
    pub host: &'a Host,
    pub admin: User,
    pub instructor: User,
    /// Active, for 5 students.
    pub course: String,
    /// For 10 people.
    pub room: String,
    /// The time that all others are relative to.
    now: DateTime<Utc>,
}

impl<'a> School<'a> {
    pub async fn open(host: &'a Host) -> School<'a> {
        let (admin, instructor) = (host.admin().await, host.user("instructor").await);
        let mut school =
            School { host, admin, instructor, course: String::new(), room: String::new(), now: Utc::now() };
        school.course = school.new_course(json!({})).await;
        school.room = school.new_room(10).await;
        school
    }

    /// So many minutes after the beginning of the test.
    pub fn time(&self, minutes: i64) -> String {
        (self.now + Duration::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    pub async fn new_course(&self, changes: Value) -> String {
        let answer = self.admin.api.post("/api/courses", with(&course_body(), changes)).await;
        id_of(answer.expect_data(201))
    }

    pub async fn new_room(&self, capacity: i64) -> String {
        let body = json!({ "name": unique("Room"), "capacity": capacity });
        id_of(self.admin.api.post("/api/rooms", body).await.expect_data(201))
    }

    /// The body for a class of one hour.
    pub fn class_body(&self, minutes: i64) -> Value {
        json!({
            "course_id": self.course, "instructor_id": self.instructor.id, "room_id": self.room,
            "start_time": self.time(minutes), "end_time": self.time(minutes + 60),
        })
    }

    /// A future class of one hour, made by the API; returns the schedule.
    pub async fn class(&self, minutes: i64, changes: Value) -> Value {
        let body = with(&self.class_body(minutes), changes);
        self.admin.api.post("/api/schedules", body).await.expect_data(201).clone()
    }

    /// A class of one hour at any time, inserted into the table; returns its id.
    pub async fn class_row(&self, minutes: i64, seats: i64) -> String {
        self.class_at(&self.time(minutes), &self.time(minutes + 60), seats).await
    }

    pub async fn class_at(&self, start: &str, end: &str, seats: i64) -> String {
        let statement = "insert into course.class_schedules
                (course_id, instructor_id, room_id, start_time, end_time, max_attendees)
             values ($1::uuid, $2::uuid, $3::uuid, $4::timestamptz, $5::timestamptz, $6::int)
             returning id::text";
        let seats = seats.to_string();
        self.host.query_text(statement, &[&self.course, &self.instructor.id, &self.room, start, end, &seats]).await
    }

    /// A confirmed booking of the school's course by somebody without account.
    pub async fn booking(&self) -> String {
        self.host.booking(&self.course, "confirmed", "Some Applicant").await
    }

    /// A confirmed booking of the school's course by a user.
    pub async fn booking_of(&self, user: &User) -> String {
        let statement = "insert into booking.bookings (course_id, status, user_id)
             values ($1::uuid, 'confirmed', $2::uuid) returning id::text";
        self.host.query_text(statement, &[&self.course, &user.id]).await
    }

    /// Requests a seat in a class for a booking, without marking attendance.
    pub async fn take_seat(&self, schedule: &str, booking: &str) -> Answer {
        let body = json!({ "schedule_id": schedule, "booking_id": booking });
        self.admin.api.post("/api/attendance", body).await
    }
}

impl Host {
    pub async fn booking(&self, course: &str, status: &str, name: &str) -> String {
        let email = format!("{}@example.org", Uuid::new_v4());
        let statement = "insert into booking.bookings
                (course_id, status, applicant_full_name, applicant_email, experience_level)
             values ($1::uuid, $2::booking.booking_status, $3, $4, 'beginner')
             returning id::text";
        self.query_text(statement, &[course, status, name, &email]).await
    }

    /// The single text that a statement returns.
    pub async fn query_text(&self, statement: &'static str, values: &[&str]) -> String {
        let mut query = sqlx::query_scalar(statement);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.fetch_one(&mut self.sql().await).await.expect("a text")
    }

    /// Runs a statement; returns how many rows it changed.
    pub async fn run(&self, statement: &'static str, values: &[&str]) -> u64 {
        let mut query = sqlx::query(statement);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.execute(&mut self.sql().await).await.expect("it runs").rows_affected()
    }

    /// The rows of a query, each as a JSON object.
    pub async fn rows(&self, query: &str, values: &[&str]) -> Vec<Value> {
        let statement = format!("select to_jsonb(found) from ({query}) as found");
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(statement));
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.fetch_all(&mut self.sql().await).await.expect("rows")
    }

    /// The outbox events of a key, oldest first: channel, component and payload.
    pub async fn events(&self, key: &str) -> Vec<Value> {
        let query = "select o.channel, o.component, o.payload from public.outbox o where o.key = $1 order by o.id";
        self.rows(query, &[key]).await
    }
}

impl Answer {
    /// It is the API's success envelope with this status; returns `data`.
    #[track_caller]
    pub fn expect_data(&self, status: u16) -> &Value {
        let body = self.expect_status(status);
        assert_eq!(body["success"], true, "{}", self.text);
        assert!(is_time(&body["meta"]["timestamp"]), "{}", self.text);
        assert!(body.get("error").is_none(), "a success has no error: {}", self.text);
        body.get("data").expect("a success has data")
    }

    /// It is a 200 whose `data` has a message; returns `data`.
    #[track_caller]
    pub fn expect_acknowledgement(&self) -> &Value {
        let data = self.expect_data(200);
        let message = data["message"].as_str().expect("a text");
        assert!(!message.is_empty() && self.body["message"] == message, "{}", self.text);
        data
    }

    /// It is a 200 with a page of items under `key`; returns the items.
    #[track_caller]
    pub fn expect_list(&self, key: &str) -> &Vec<Value> {
        let data = self.expect_data(200);
        assert_has_keys(data, &format!("pagination {key}"));
        assert_has_keys(&data["pagination"], "limit page total total_pages");
        data[key].as_array().expect("a list")
    }
}

pub fn course_body() -> Value {
    json!({
        "title": "Piano", "level": "beginner", "price_per_session": 150_000, "duration_minutes": 60, "max_students": 5,
    })
}

pub fn unique(name: &str) -> String {
    format!("{name} {}", Uuid::new_v4().simple())
}

#[track_caller]
pub fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

/// A new id, which belongs to nothing.
pub fn unknown_id() -> String {
    Uuid::new_v4().to_string()
}

/// The object with the fields of `changes` added or replaced.
pub fn with(base: &Value, changes: Value) -> Value {
    let mut object = base.as_object().expect("an object").clone();
    object.extend(changes.as_object().expect("an object").clone());
    object.into()
}

pub fn without(base: &Value, key: &str) -> Value {
    let mut object = base.as_object().expect("an object").clone();
    object.remove(key).expect("it is there");
    object.into()
}

/// The object has exactly these keys; `names` are separated by spaces.
#[track_caller]
pub fn assert_has_keys(value: &Value, names: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = names.split_whitespace().collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{value}");
}

/// RFC 3339 in UTC with milliseconds and `Z`.
pub fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2025-10-15T08:00:00.000Z".len() && text.ends_with('Z') && DateTime::parse_from_rfc3339(text).is_ok()
}
