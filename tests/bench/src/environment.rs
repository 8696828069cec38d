//! The environment of a host under test: its settings, some courses, and an admin.

use crate::{
    load::{Connection, Request},
    processes::{self, Host, root},
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use std::{net::SocketAddr, path::Path, sync::Arc};
use uuid::Uuid;

/// Secrets of the hosts under test, so that other servers can check their
/// tokens, and hosts of a cluster each other's.
pub const ACCESS_SECRET: &str = "access-secret-of-the-bench-0123456789";
const REFRESH_SECRET: &str = "refresh-secret-of-the-bench-0123456789";
const SERVICE_SECRET: &str = "service-secret-of-the-bench-0123456789";
const PASSWORD: &str = "Bench-passw0rd";
/// Rows that lists are read from.
pub const COURSES: i32 = 1_000;

/// What differs from host to host.
pub struct Environment<'a> {
    pub shema: &'a Path,
    pub components: &'a Path,
    /// Fixtures among them, and where each is mounted.
    pub mounts: &'a [(&'a str, &'a str)],
    pub database: &'a str,
    /// None: the store in its process.
    pub redis: Option<&'a str>,
}

impl Environment<'_> {
    /// Starts the host, with its data in `dir`.
    pub async fn start(&self, dir: &Path) -> Result<Host> {
        std::fs::create_dir_all(dir)?;
        let config = dir.join("host.toml");
        let mut text = std::fs::read_to_string(root().join("host/host.toml"))?;
        for (name, mount) in self.mounts {
            text += &format!("\n[components.{name}]\nmounts = [\"{mount}\"]\n");
        }
        std::fs::write(&config, text)?;
        let text = |path: &Path| path.to_str().map(String::from).context("the path is no text");
        let (config, components) = (text(&config)?, text(self.components)?);
        let mut settings = vec![
            ("SHEMA_CONFIG", config.as_str()),
            ("SHEMA_COMPONENTS", components.as_str()),
            ("DATABASE_URL", self.database),
            ("JWT_SECRET", ACCESS_SECRET),
            ("JWT_REFRESH_SECRET", REFRESH_SECRET),
            ("SERVICE_JWT_SECRET", SERVICE_SECRET),
            ("RATE_LIMIT_ENABLED", "false"),
            // Other servers write no line per request either.
            ("RUST_LOG", "warn"),
        ];
        settings.extend(self.redis.map(|url| ("REDIS_URL", url)));
        processes::start_host(self.shema, dir, &settings).await
    }
}

/// Courses to read and an admin to log in as.
pub async fn fill(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query(
        "insert into course.courses (title, description, level, price_per_session, duration_minutes, instrument)
         select 'Course ' || n, 'A course that is read by a benchmark', 'beginner', 100000 + n, 60, 'piano'
         from generate_series(1, $1) n",
    )
    .bind(COURSES)
    .execute(&mut connection)
    .await?;
    let hash =
        host::services::tokens::passwords::hash_blocking(PASSWORD).map_err(|error| anyhow::anyhow!("{error}"))?;
    sqlx::query(
        "insert into public.users (full_name, email, password_hash, role) values ('Bench', 'bench@example.org', $1, 'admin')",
    )
    .bind(hash)
    .execute(&mut connection)
    .await?;
    sqlx::query("analyze").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// One of the courses.
pub async fn course(url: &str) -> Result<Uuid> {
    let mut connection = PgConnection::connect(url).await?;
    let id = sqlx::query_scalar("select id from course.courses where title = 'Course 500'");
    Ok(id.fetch_one(&mut connection).await?)
}

/// The admin's token.
pub async fn log_in(address: SocketAddr) -> Result<String> {
    let request = Request {
        method: "POST",
        path: "/api/auth/login".into(),
        token: None,
        body: Some(Arc::new(|_| json!({ "email": "bench@example.org", "password": PASSWORD }).to_string())),
        expect: 200,
    };
    let mut connection = Connection::open(address).await?;
    let body: Value = serde_json::from_slice(connection.exchange(&request.bytes(0)).await?.body)?;
    body["data"]["accessToken"].as_str().map(String::from).with_context(|| format!("the login failed: {body}"))
}
