//! Ends connections whose token has expired, whose login was ended, whose user
//! is gone or has another role: on every host within a second, with or without
//! Redis, because the rows in PostgreSQL are looked at.

use super::{connection::{Bound, Connection}, hub::Hub};
use crate::services::{database::Pool, tokens::login::Login};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CHECK_INTERVAL: Duration = Duration::from_millis(400);
const UNAUTHENTICATED: u16 = 4401;
const FORBIDDEN: u16 = 4403;

/// Runs until `stop`.
pub async fn guard(hub: Arc<Hub>, pool: Pool, stop: CancellationToken) {
    let for_ever = async {
        loop {
            let started = Instant::now();
            let bound: Vec<(Arc<Connection>, Bound)> = hub
                .all()
                .into_iter()
                .filter_map(|connection| connection.bound().map(|bound| (connection, bound)))
                .collect();
            for (connection, bound) in &bound {
                if bound.expires_at <= SystemTime::now() {
                    connection.close(UNAUTHENTICATED, "the access token has expired");
                }
            }
            if let Err(error) = check(&pool, &bound).await {
                // Nobody can do anything that needs the database meanwhile.
                tracing::warn!("cannot look at the logins of open sockets: {error:#}");
            }
            tokio::time::sleep(CHECK_INTERVAL.saturating_sub(started.elapsed())).await;
        }
    };
    tokio::select! {
        () = for_ever => (),
        () = stop.cancelled() => (),
    }
}

async fn check(pool: &Pool, bound: &[(Arc<Connection>, Bound)]) -> anyhow::Result<()> {
    if bound.is_empty() {
        return Ok(());
    }
    let (users, sessions): (Vec<Uuid>, Vec<Uuid>) =
        bound.iter().map(|(_, bound)| (bound.user_id, bound.session_id)).unzip();
    let mut lease = pool.get().await?;
    let logins = Login::find_all(lease.connection(), &users, &sessions).await?;
    lease.give_back();
    let logins: HashMap<Uuid, Login> = logins.into_iter().map(|login| (login.session_id, login)).collect();
    for (connection, bound) in bound {
        match logins.get(&bound.session_id) {
            Some(login) if login.lives() && login.role == bound.role => (),
            Some(login) if login.lives() => connection.close(FORBIDDEN, "the user has another role now"),
            _ => connection.close(UNAUTHENTICATED, "the login has ended"),
        }
    }
    Ok(())
}
