//! Ends connections whose token has expired, whose login was ended, whose user
//! is gone or has another role: on every host within a second, with or without
//! Redis, because the rows in PostgreSQL are looked at.

use super::{
    connection::{Bound, Connection},
    hub::Hub,
};
use crate::services::database::Pool;
use sqlx::Row;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LOOK_EVERY: Duration = Duration::from_millis(400);
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
                .filter_map(|connection| Some((connection.bound()?, connection)))
                .map(swap)
                .collect();
            for (connection, bound) in &bound {
                if bound.expires_at <= SystemTime::now() {
                    connection.close(UNAUTHENTICATED, "the access token has expired");
                }
            }
            if let Err(error) = look(&pool, &bound).await {
                // Nobody can do anything that needs the database meanwhile.
                tracing::warn!("cannot look at the logins of open sockets: {error:#}");
            }
            tokio::time::sleep(LOOK_EVERY.saturating_sub(started.elapsed())).await;
        }
    };
    tokio::select! {
        () = for_ever => (),
        () = stop.cancelled() => (),
    }
}

fn swap((bound, connection): (Bound, Arc<Connection>)) -> (Arc<Connection>, Bound) {
    (connection, bound)
}

/// What the rows say of a login.
struct Login {
    lives: bool,
    role: Option<String>,
}

async fn look(pool: &Pool, bound: &[(Arc<Connection>, Bound)]) -> anyhow::Result<()> {
    if bound.is_empty() {
        return Ok(());
    }
    let (users, sessions): (Vec<Uuid>, Vec<Uuid>) =
        bound.iter().map(|(_, bound)| (bound.user_id, bound.session_id)).unzip();
    let mut lease = pool.get().await?;
    let select = "select distinct t.session_id, u.role::text as role,
                         exists (select from public.refresh_sessions s
                                 where s.id = t.session_id and s.user_id = t.user_id and s.revoked_at is null) as lives
                  from unnest($1::uuid[], $2::uuid[]) as t (user_id, session_id)
                  left join public.users u on u.id = t.user_id and u.deleted_at is null";
    let rows = sqlx::query(select).bind(users).bind(sessions).fetch_all(lease.connection()).await?;
    lease.give_back();
    let mut logins: HashMap<Uuid, Login> = HashMap::new();
    for row in rows {
        logins.insert(row.try_get(0)?, Login { role: row.try_get(1)?, lives: row.try_get(2)? });
    }
    for (connection, bound) in bound {
        let Some(login) = logins.get(&bound.session_id) else { continue };
        match &login.role {
            Some(role) if login.lives && *role == bound.role => (),
            Some(_) if login.lives => connection.close(FORBIDDEN, "the user has another role now"),
            _ => connection.close(UNAUTHENTICATED, "the login has ended"),
        }
    }
    Ok(())
}
