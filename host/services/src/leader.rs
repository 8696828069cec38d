//! Work that exactly one host of a cluster does: the one that holds an advisory
//! lock in the database they share.
//!
//! The lock belongs to a connection. Whoever leads works on that connection or
//! looks at it often enough, so that with the connection it loses both the lock
//! and the work; then it stands by again.

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a host without the lock tries for it; another's death is noticed
/// within this.
const STANDBY_INTERVAL: Duration = Duration::from_secs(2);
/// A peer that vanished without a word must not hold the leader for ever.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Advisory locks of the host: "shema" and a number each.
#[derive(Clone, Copy)]
#[repr(i64)]
pub enum Lock {
    Relay = 0x73_68_65_6d_61_01,
    Schedule = 0x73_68_65_6d_61_02,
    Start = 0x73_68_65_6d_61_03,
    Live = 0x73_68_65_6d_61_04,
}

/// Runs `work` whenever this host leads, until `stop`. An error of `work` ends
/// its lead, and it stands by for the next.
pub async fn lead<F: Future<Output = Result<()>>>(
    options: PgConnectOptions,
    lock: Lock,
    name: &'static str,
    stop: CancellationToken,
    work: impl Fn(PgConnection) -> F,
) {
    let options = options.application_name(&format!("shema/{name}"));
    let for_ever = async {
        loop {
            let led = async {
                let connection = take(&options, lock).await?;
                tracing::debug!("this host leads the {name}");
                work(connection).await
            };
            if let Err(error) = led.await {
                tracing::warn!("the {name} starts again: {error:#}");
            }
            tokio::time::sleep(STANDBY_INTERVAL).await;
        }
    };
    tokio::select! {
        () = for_ever => (),
        () = stop.cancelled() => (),
    }
}

/// Waits for the lock.
async fn take(options: &PgConnectOptions, lock: Lock) -> Result<PgConnection> {
    let mut connection = within(PgConnection::connect_with(options)).await?;
    loop {
        let taken = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(lock as i64);
        if within(taken.fetch_one(&mut connection)).await? {
            return Ok(connection);
        }
        tokio::time::sleep(STANDBY_INTERVAL).await;
    }
}

/// Bounds one step with the database.
pub async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(done) => done.context("the database"),
        Err(_) => anyhow::bail!("the database did not answer within {TIMEOUT:?}"),
    }
}
