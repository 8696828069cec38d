//! What one would write without a host: axum and sqlx, the same statements, the
//! same answers, the same check of the token. Prints its port first.

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{
    FromRow, PgPool, Row,
    postgres::{PgPoolOptions, PgRow},
};
use std::sync::Arc;
use uuid::Uuid;

/// The host's own bound for one component, so that both have as many.
const CONNECTIONS: u32 = 24;

struct App {
    pool: PgPool,
    key: jsonwebtoken::DecodingKey,
    validation: jsonwebtoken::Validation,
}

#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    data: T,
    meta: Meta,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    timestamp: String,
    request_id: String,
}

#[derive(Serialize)]
struct Greeting {
    message: &'static str,
}

#[derive(Serialize)]
struct Course {
    id: Uuid,
    title: String,
    description: Option<String>,
    level: String,
    instrument: Option<String>,
    price_per_session: f64,
    duration_minutes: i32,
    max_students: i32,
    is_active: bool,
    #[serde(serialize_with = "rfc3339")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "rfc3339")]
    updated_at: DateTime<Utc>,
}

// By hand, because the derive builds a second sqlx with a runtime and TLS.
impl FromRow<'_, PgRow> for Course {
    fn from_row(row: &PgRow) -> sqlx::Result<Course> {
        Ok(Course {
            id: row.try_get("id")?,
            title: row.try_get("title")?,
            description: row.try_get("description")?,
            level: row.try_get("level")?,
            instrument: row.try_get("instrument")?,
            price_per_session: row.try_get("price_per_session")?,
            duration_minutes: row.try_get("duration_minutes")?,
            max_students: row.try_get("max_students")?,
            is_active: row.try_get("is_active")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

#[derive(Serialize)]
struct Courses {
    courses: Vec<Course>,
    pagination: Pagination,
}

#[derive(Serialize)]
struct Pagination {
    page: i64,
    limit: i64,
    total: i64,
    total_pages: i64,
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
}

#[derive(Deserialize)]
struct NewCourse {
    title: String,
    level: String,
    price_per_session: f64,
    duration_minutes: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    user_id: Uuid,
    sid: Uuid,
}

fn rfc3339<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn envelope<T: Serialize>(status: StatusCode, data: T) -> Response {
    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let meta = Meta { timestamp, request_id: Uuid::new_v4().simple().to_string() };
    (status, Json(Envelope { success: true, data, meta })).into_response()
}

fn failed(error: sqlx::Error) -> Response {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

// The statements of the component, with types that sqlx reads without help.
const FIND: &str = "select c.id, c.title, c.description, c.level::text as level, c.instrument,
    c.price_per_session::float8 as price_per_session, c.duration_minutes, c.max_students, c.is_active,
    c.created_at, c.updated_at from course.courses c where c.id = $1";
const LIST: &str = "select c.id, c.title, c.description, c.level::text as level, c.instrument,
    c.price_per_session::float8 as price_per_session, c.duration_minutes, c.max_students, c.is_active,
    c.created_at, c.updated_at from course.courses c order by c.created_at desc, c.id desc limit $1";
const COUNT: &str = "select count(*) from course.courses c";
const INSERT: &str = "insert into course.courses as c (title, level, price_per_session, duration_minutes)
    values ($1, $2::course.course_level, $3::float8, $4)
    returning c.id, c.title, c.description, c.level::text as level, c.instrument,
    c.price_per_session::float8 as price_per_session, c.duration_minutes, c.max_students, c.is_active,
    c.created_at, c.updated_at";
const CALLER: &str = "select u.role::text, exists (select from public.refresh_sessions s
    where s.id = $2 and s.user_id = u.id and s.revoked_at is null)
    from public.users u where u.id = $1 and u.deleted_at is null";

async fn hello() -> Response {
    envelope(StatusCode::OK, Greeting { message: "Hello, world!" })
}

async fn find(State(app): State<Arc<App>>, Path(id): Path<Uuid>) -> Response {
    match sqlx::query_as::<_, Course>(FIND).bind(id).fetch_optional(&app.pool).await {
        Ok(Some(course)) => envelope(StatusCode::OK, course),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => failed(error),
    }
}

async fn list(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(20);
    let read = async {
        let courses = sqlx::query_as::<_, Course>(LIST).bind(limit).fetch_all(&app.pool).await?;
        let total: i64 = sqlx::query_scalar(COUNT).fetch_one(&app.pool).await?;
        Ok(Courses {
            courses,
            pagination: Pagination { page: 1, limit, total, total_pages: (total + limit - 1) / limit },
        })
    };
    read.await.map_or_else(failed, |courses| envelope(StatusCode::OK, courses))
}

async fn create(State(app): State<Arc<App>>, headers: HeaderMap, Json(new): Json<NewCourse>) -> Response {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let claims = bearer.and_then(|token| jsonwebtoken::decode::<Claims>(token, &app.key, &app.validation).ok());
    let Some(claims) = claims.map(|data| data.claims) else { return StatusCode::UNAUTHORIZED.into_response() };
    let create = async {
        let caller: Option<(String, bool)> =
            sqlx::query_as(CALLER).bind(claims.user_id).bind(claims.sid).fetch_optional(&app.pool).await?;
        if !caller.is_some_and(|(role, lives)| lives && role != "student") {
            return Ok(StatusCode::FORBIDDEN.into_response());
        }
        let insert = sqlx::query_as::<_, Course>(INSERT).bind(new.title).bind(new.level);
        let course = insert.bind(new.price_per_session).bind(new.duration_minutes).fetch_one(&app.pool).await?;
        Ok(envelope(StatusCode::CREATED, course))
    };
    create.await.unwrap_or_else(failed)
}

pub async fn serve(database_url: &str, access_secret: &str) -> Result<()> {
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&["shema-music-api"]);
    validation.set_issuer(&["shema-music-auth"]);
    let app = App {
        // Without the ping before each use, which is sqlx's default: the faster
        // native server is the fairer one.
        pool: PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .connect(database_url)
            .await?,
        key: jsonwebtoken::DecodingKey::from_secret(access_secret.as_bytes()),
        validation,
    };
    let router = Router::new()
        .route("/hello", get(hello))
        .route("/api/courses", get(list).post(create))
        .route("/api/courses/{id}", get(find))
        .with_state(Arc::new(app));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
