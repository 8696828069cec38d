//! The schema `deploy`: everything that hosts of a cluster know in common.
//!
//! The live table changes under one lock, exclusively, and a host tells the
//! others that it is there under the same one, shared. So generations are
//! committed in their order, and a host that comes is either waited for by a
//! change, or finds it in the table.
//!
//! - `artifacts`: the bytes.
//! - `nodes`: who is there, and who is ready for what.

mod artifacts;
mod nodes;

pub use artifacts::{Artifact, NewArtifact};
pub use nodes::{Heartbeat, Node, Other, Unprepared, Wanted};

use crate::{
    runtime::version_id::VersionId,
    services::{
        database::{Error as PoolError, Pool},
        leader::Lock,
    },
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _, SqlSafeStr, postgres::PgRow};
use std::time::Duration;
use uuid::Uuid;

/// What wakes the hosts of the cluster.
pub const CHANNEL: &str = "shema_deploy";
/// Versions that were live, for going back further than one.
const HISTORY: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database is not reachable: {0}")]
    Pool(#[from] PoolError),
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the database did not answer within {TIMEOUT:?}")]
    Timeout,
}

/// A row of the live table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub name: String,
    pub mounts: Vec<String>,
    pub live: Option<VersionId>,
    pub canary: Option<VersionId>,
    pub weight: u8,
    pub shadow: bool,
    /// Oldest first.
    pub history: Vec<VersionId>,
    pub deleted: bool,
    pub seeded: Option<VersionId>,
    pub generation: i64,
    /// The host that has changed it.
    pub changed_by: Option<Uuid>,
}

impl Row {
    pub fn go_live(&mut self, version: &VersionId, mounts: &[String]) {
        self.history.extend(self.live.replace(version.clone()));
        self.history.retain(|former| former != version);
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..surplus);
        self.mounts = mounts.to_vec();
        self.end_trial();
        self.deleted = false;
    }

    pub fn begin_trial(&mut self, version: &VersionId, weight: u8, shadow: bool, mounts: &[String]) {
        self.canary = Some(version.clone());
        self.weight = weight;
        self.shadow = shadow;
        let new = mounts.iter().filter(|mount| !self.mounts.contains(mount)).cloned().collect::<Vec<_>>();
        self.mounts.extend(new);
    }

    pub fn end_trial(&mut self) {
        self.canary = None;
        self.weight = 0;
        self.shadow = false;
    }
}

/// Who changes something, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    pub name: String,
    pub origin: String,
}

/// A line of the audit.
pub struct Entry<'a> {
    pub action: &'a str,
    pub component: &'a str,
    pub version: Option<&'a VersionId>,
    pub digest: Option<&'a str>,
    pub actor: &'a Actor,
    pub detail: Option<&'a str>,
}

/// What has become of a change.
pub enum Change {
    /// `nodes`: hosts that it waited for, this one included.
    Done { row: Row, nodes: usize },
    /// The row is not what whoever changes it thinks it is.
    Overtaken,
    /// Nothing has changed yet: these hosts are not ready.
    Unprepared(Vec<Unprepared>),
}

pub struct Table {
    pub pool: Pool,
    pub node: Uuid,
}

impl Table {
    /// Runs statements on one connection, in a transaction, within a time.
    async fn run<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>) -> Result<T, Error> {
        let mut lease = self.pool.get().await?;
        let done = tokio::time::timeout(TIMEOUT, async {
            let mut transaction = lease.connection().begin().await?;
            let value = work(&mut transaction).await?;
            transaction.commit().await?;
            Ok::<T, sqlx::Error>(value)
        });
        // An error drops the lease, which closes the connection.
        let value = done.await.map_err(|_| Error::Timeout)??;
        lease.give_back();
        Ok(value)
    }

    /// Rows that have changed since a generation, in the order of their changes.
    pub async fn rows(&self, since: i64) -> Result<Vec<Row>, Error> {
        self.run(async |connection| {
            let select = "select * from deploy.components where generation > $1 order by generation";
            let rows = sqlx::query(select).bind(since).fetch_all(connection).await?;
            rows.iter().map(row).collect()
        })
        .await
    }

    /// Changes a component's row, once all hosts that are there have prepared
    /// the version that it is about. `change` says what to make of the row, or
    /// None to leave it. That of a new component has generation 0.
    pub async fn change(
        &self,
        name: &str,
        prepared: Option<&VersionId>,
        entry: &Entry<'_>,
        change: impl FnOnce(Row) -> Option<Row>,
    ) -> Result<Change, Error> {
        self.run(async |connection| {
            lock(connection, Mode::Exclusive).await?;
            let select = sqlx::query("select * from deploy.components where name = $1").bind(name);
            let found = select.fetch_optional(&mut *connection).await?;
            let found = found.as_ref().map(row).transpose()?;
            let former = found.unwrap_or_else(|| Row { name: name.to_owned(), ..Row::default() });
            let Some(mut next) = change(former) else { return Ok(Change::Overtaken) };
            if let Some(version) = prepared {
                let unprepared = self.unprepared(connection, name, version).await?;
                if !unprepared.is_empty() {
                    return Ok(Change::Unprepared(unprepared));
                }
            }
            for version in [&next.live, &next.canary].into_iter().flatten() {
                let touch = "update deploy.artifacts set activated_at = now(), wanted_at = null
                             where component = $1 and version = $2 and wasm is not null";
                let touched = sqlx::query(touch).bind(name).bind(version.as_str()).execute(&mut *connection).await?;
                // Somebody has deployed many others meanwhile.
                if touched.rows_affected() == 0 {
                    return Ok(Change::Overtaken);
                }
            }
            next.changed_by = Some(self.node);
            next.generation = write(connection, &next).await?;
            self.audit(connection, entry).await?;
            notify(connection).await?;
            let nodes = self.count_others(connection).await? + 1;
            Ok(Change::Done { row: next, nodes })
        })
        .await
    }

    async fn audit(&self, connection: &mut PgConnection, entry: &Entry<'_>) -> Result<(), sqlx::Error> {
        let insert = "insert into deploy.audit (action, component, version, digest, actor, origin, node, detail)
                      values ($1, $2, $3, coalesce($4, (select digest from deploy.artifacts
                                                        where component = $2 and version = $3)), $5, $6, $7, $8)";
        let insert = sqlx::query(insert).bind(entry.action).bind(entry.component);
        let insert = insert.bind(entry.version.map(VersionId::as_str)).bind(entry.digest);
        let insert = insert.bind(&entry.actor.name).bind(&entry.actor.origin).bind(self.node).bind(entry.detail);
        insert.execute(connection).await.map(drop)
    }
}

/// How the lock of the live table is held.
#[derive(Clone, Copy)]
enum Mode {
    Exclusive,
    Shared,
}

/// Takes the lock of the live table until the end of the transaction.
async fn lock(connection: &mut PgConnection, mode: Mode) -> Result<(), sqlx::Error> {
    // A host that stops in the middle must not hold the beats of all others
    // until they are fenced: after this the server ends its transaction.
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = '2s'").execute(&mut *connection).await?;
    let statement = match mode {
        Mode::Exclusive => "select pg_advisory_xact_lock($1)",
        Mode::Shared => "select pg_advisory_xact_lock_shared($1)",
    };
    sqlx::query(statement).bind(Lock::Live as i64).execute(connection).await.map(drop)
}

async fn notify(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(format!("notify {CHANNEL}")).into_sql_str();
    sqlx::raw_sql(statement).execute(connection).await.map(drop)
}

/// Returns the new generation.
async fn write(connection: &mut PgConnection, row: &Row) -> Result<i64, sqlx::Error> {
    let text = |version: &Option<VersionId>| version.as_ref().map(VersionId::to_string);
    let history: Vec<&str> = row.history.iter().map(VersionId::as_str).collect();
    let upsert = "insert into deploy.components
                      (name, mounts, live, canary, weight, shadow, history, deleted, seeded, changed_by)
                  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                  on conflict (name) do update
                  set mounts = excluded.mounts, live = excluded.live, canary = excluded.canary,
                      weight = excluded.weight, shadow = excluded.shadow, history = excluded.history,
                      deleted = excluded.deleted, seeded = excluded.seeded,
                      changed_by = excluded.changed_by, generation = excluded.generation
                  returning generation";
    let upsert = sqlx::query_scalar(upsert).bind(&row.name).bind(&row.mounts).bind(text(&row.live));
    let upsert = upsert.bind(text(&row.canary)).bind(i16::from(row.weight)).bind(row.shadow).bind(history);
    upsert.bind(row.deleted).bind(text(&row.seeded)).bind(row.changed_by).fetch_one(connection).await
}

fn version(row: &PgRow, column: &str) -> Result<Option<VersionId>, sqlx::Error> {
    let text: Option<String> = row.try_get(column)?;
    Ok(text.as_deref().and_then(VersionId::parse))
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let history: Vec<String> = row.try_get("history")?;
    Ok(Row {
        name: row.try_get("name")?,
        mounts: row.try_get("mounts")?,
        live: version(row, "live")?,
        canary: version(row, "canary")?,
        weight: u8::try_from(row.try_get::<i16, _>("weight")?).unwrap_or(0),
        shadow: row.try_get("shadow")?,
        history: history.iter().filter_map(|text| VersionId::parse(text)).collect(),
        deleted: row.try_get("deleted")?,
        seeded: version(row, "seeded")?,
        generation: row.try_get("generation")?,
        changed_by: row.try_get("changed_by")?,
    })
}
