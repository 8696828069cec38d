//! What a person who starts the host for the first time wants to know, as
//! `[welcome]` of the operator's file has it: on the terminal, and in development
//! on a page at `/`. Beside it the data of `--demo`.

mod page;

pub use page::page;

use crate::{
    config::{self, Config},
    services::{Services, tokens::passwords},
};
use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use std::{io::Write, net::SocketAddr, time::Instant};

const DEMO_DATA: &str = include_str!("../../migrations/demo.sql");
const DEMO_SEPARATOR: &str = "-- end of statement 1";

/// Loads the data of `migrations/demo.sql`; again and again does no harm. Its
/// first statement takes the hash of the demo account's password.
pub async fn load_demo(config: &Config, services: &Services) -> Result<()> {
    ensure!(config.profile == config::Profile::Development, "--demo is refused in production");
    let (account, rest) = DEMO_DATA.split_once(DEMO_SEPARATOR).context("demo.sql has lost its separator")?;
    let hash = passwords::hash(config.secrets.demo.clone()).await?;
    let mut lease = services.owner.get().await?;
    sqlx::query(account).bind(hash).execute(lease.connection()).await.context("cannot load the demo data")?;
    sqlx::query(rest).execute(lease.connection()).await.context("cannot load the demo data")?;
    lease.give_back();
    Ok(())
}

/// Greets whoever sits at the terminal.
pub async fn greet(config: &Config, services: &Services, public: SocketAddr, demo: bool, started: Instant) {
    let seconds = started.elapsed().as_secs_f32();
    let data = match &config.database_url {
        Some(_) => "in the database of DATABASE_URL".to_owned(),
        None => config.data_dir.display().to_string(),
    };
    let mut text = format!("\nShema is ready after {seconds:.1} s.\n");
    for link in &config.welcome.links {
        text += &format!("  {:<10} http://{public}{}\n", link.name, link.path);
    }
    text += &format!("  {:<10} {data}\n", "Data");
    if demo {
        text += &format!("  Demo admin {} with the password {}\n", config.welcome.demo_login, config.secrets.demo);
    } else if !is_set_up(config, services).await {
        let first_step = config.welcome.first_step.trim_end().replace("{url}", &format!("http://{public}"));
        text += &format!("{first_step}\n  Demo data: start with --demo\n");
    }
    // Not the log: a greeting is for people. Nobody may be listening.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Whether the first step has been done; true where it cannot be told.
async fn is_set_up(config: &Config, services: &Services) -> bool {
    let Some(query) = config.welcome.is_set_up.clone() else { return true };
    let Ok(mut lease) = services.owner.get().await else { return true };
    // The operator's own words, as all of the file.
    let found = sqlx::query_scalar(AssertSqlSafe(query).into_sql_str()).fetch_one(lease.connection()).await;
    lease.give_back();
    found.unwrap_or_else(|error| {
        tracing::warn!("welcome.is_set_up: {error}");
        true
    })
}
