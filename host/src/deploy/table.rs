//! The schema `deploy`: everything that hosts of a cluster know in common.

use crate::{
    component::artifact::VersionId,
    database::{Error as PoolError, Pool},
};
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _, SqlSafeStr, postgres::PgRow};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// What wakes the hosts of the cluster.
pub const CHANNEL: &str = "shema_deploy";
/// A node that was not seen for longer is fenced.
pub const FENCED_AFTER: Duration = Duration::from_secs(5);
/// Versions that were live, for going back further than one.
const HISTORY: usize = 20;
/// Artifacts of a component that are kept beside those in use.
const KEPT_ARTIFACTS: i64 = 20;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database is not reachable: {0}")]
    Pool(#[from] PoolError),
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the database did not answer within {PATIENCE:?}")]
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

/// An artifact without its bytes.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub component: String,
    pub version: VersionId,
    pub mounts: Option<Vec<String>>,
    pub size_bytes: i64,
    pub compile_ms: f64,
    pub deployed_at: DateTime<Utc>,
    pub deployed_by: String,
    pub activated_at: Option<DateTime<Utc>>,
    pub refusal: Option<String>,
}

pub struct NewArtifact<'a> {
    pub component: &'a str,
    pub version: &'a VersionId,
    pub digest: &'a str,
    pub wasm: &'a [u8],
    pub signature: Option<&'a [u8]>,
    pub mounts: Option<&'a [String]>,
    pub compile_ms: f64,
    pub actor: &'a str,
    pub refusal: Option<&'a str>,
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

#[derive(Clone, Debug)]
pub struct Node {
    pub id: Uuid,
    pub public: String,
    pub control: String,
    pub started_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
    pub ready: bool,
    pub fenced: bool,
    pub versions: serde_json::Value,
}

/// A node that a change has to wait for.
pub struct Unprepared {
    pub node: String,
    /// None: it has not answered yet.
    pub problem: Option<String>,
}

pub struct Table {
    pub pool: Pool,
    pub node: Uuid,
}

impl Table {
    /// Runs statements on one connection, in a transaction, within a time.
    async fn run<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>) -> Result<T, Error> {
        let mut lease = self.pool.get().await?;
        let done = tokio::time::timeout(PATIENCE, async {
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

    /// The whole live table: generations of different components may be
    /// committed in another order than they were taken.
    pub async fn rows(&self) -> Result<Vec<Row>, Error> {
        self.run(async |connection| {
            let rows = sqlx::query("select * from deploy.components order by name").fetch_all(connection).await?;
            rows.iter().map(row).collect()
        })
        .await
    }

    /// Changes a component's row under its lock. `change` says what to make of
    /// it, or None to leave it; it is not asked again.
    pub async fn change(
        &self,
        name: &str,
        entry: &Entry<'_>,
        change: impl FnOnce(Row) -> Option<Row>,
    ) -> Result<Option<Row>, Error> {
        self.run(async |connection| {
            let insert = "insert into deploy.components (name) values ($1) on conflict do nothing";
            sqlx::query(insert).bind(name).execute(&mut *connection).await?;
            let select = sqlx::query("select * from deploy.components where name = $1 for update").bind(name);
            let Some(mut next) = change(row(&select.fetch_one(&mut *connection).await?)?) else { return Ok(None) };
            next.generation = write(connection, &next).await?;
            for version in [&next.live, &next.canary].into_iter().flatten() {
                let touch = "update deploy.artifacts set activated_at = now() where component = $1 and version = $2";
                sqlx::query(touch).bind(name).bind(version.as_str()).execute(&mut *connection).await?;
            }
            self.audit(connection, entry).await?;
            notify(connection).await?;
            Ok(Some(next))
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

    /// Keeps an artifact, or that it was refused; drops those nobody needs.
    pub async fn add(&self, artifact: &NewArtifact<'_>, entry: &Entry<'_>) -> Result<(), Error> {
        let size = i64::try_from(artifact.wasm.len()).unwrap_or(i64::MAX);
        let wasm = artifact.refusal.is_none().then_some(artifact.wasm);
        self.run(async |connection| {
            // What was refused before may pass today; what passed stays.
            let insert = "insert into deploy.artifacts
                              (component, version, digest, wasm, signature, mounts, size_bytes, compile_ms,
                               deployed_by, refusal)
                          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                          on conflict (component, version) do update
                          set wasm = excluded.wasm, signature = excluded.signature, mounts = excluded.mounts,
                              compile_ms = excluded.compile_ms, deployed_by = excluded.deployed_by,
                              refusal = excluded.refusal, deployed_at = now()
                          where excluded.wasm is not null";
            let insert = sqlx::query(insert).bind(artifact.component).bind(artifact.version.as_str());
            let insert = insert.bind(artifact.digest).bind(wasm).bind(artifact.signature).bind(artifact.mounts);
            let insert = insert.bind(size).bind(artifact.compile_ms).bind(artifact.actor).bind(artifact.refusal);
            insert.execute(&mut *connection).await?;
            self.audit(connection, entry).await?;
            let prune = "delete from deploy.artifacts a using (
                             select version, row_number() over (order by deployed_at desc) as place
                             from deploy.artifacts where component = $1
                         ) as placed
                         where a.component = $1 and a.version = placed.version and placed.place > $2
                           and not exists (select from deploy.components c where c.name = $1
                                           and a.version = any(c.history || c.live || c.canary || c.seeded))";
            sqlx::query(prune).bind(artifact.component).bind(KEPT_ARTIFACTS).execute(&mut *connection).await?;
            Ok(())
        })
        .await
    }

    /// The bytes and the signature.
    pub async fn wasm(
        &self,
        component: &str,
        version: &VersionId,
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, Error> {
        self.run(async |connection| {
            let select = "select wasm, signature from deploy.artifacts
                          where component = $1 and version = $2 and wasm is not null";
            let select = sqlx::query_as(select).bind(component).bind(version.as_str());
            select.fetch_optional(connection).await
        })
        .await
    }

    /// All artifacts, or those of one component, the newest first.
    pub async fn artifacts(&self, component: Option<&str>) -> Result<Vec<Artifact>, Error> {
        self.run(async |connection| {
            let select = "select component, version, mounts, size_bytes, compile_ms, deployed_at, deployed_by,
                                 activated_at, refusal
                          from deploy.artifacts where $1::text is null or component = $1
                          order by deployed_at desc, version";
            let rows = sqlx::query(select).bind(component).fetch_all(connection).await?;
            rows.iter().map(artifact).collect()
        })
        .await
    }

    /// Asks all nodes to prepare a version; what they said before is forgotten,
    /// since they may have let it go. True if there is another node to wait for.
    pub async fn propose(&self, component: &str, version: &VersionId) -> Result<bool, Error> {
        self.run(async |connection| {
            let others = "select exists (select from deploy.nodes where id <> $1 and seen_at > now() - $2)";
            let others = sqlx::query_scalar(others).bind(self.node).bind(FENCED_AFTER);
            if !others.fetch_one(&mut *connection).await? {
                return Ok(false);
            }
            let forget = "delete from deploy.prepared where component = $1 and version = $2";
            sqlx::query(forget).bind(component).bind(version.as_str()).execute(&mut *connection).await?;
            let want = "update deploy.artifacts set wanted_at = now() where component = $1 and version = $2";
            sqlx::query(want).bind(component).bind(version.as_str()).execute(&mut *connection).await?;
            notify(connection).await?;
            Ok(true)
        })
        .await
    }

    /// Nodes that are there and not ready for this version.
    pub async fn unprepared(&self, component: &str, version: &VersionId) -> Result<Vec<Unprepared>, Error> {
        self.run(async |connection| {
            let select = "select n.public, p.problem
                          from deploy.nodes n
                          left join deploy.prepared p
                              on p.node = n.id and p.component = $2 and p.version = $3
                          where n.id <> $1 and n.seen_at > now() - $4
                            and (p.node is null or p.problem is not null)
                          order by n.public";
            let select = sqlx::query(select).bind(self.node).bind(component).bind(version.as_str());
            let rows = select.bind(FENCED_AFTER).fetch_all(connection).await?;
            let read = |row: &PgRow| Ok(Unprepared { node: row.try_get(0)?, problem: row.try_get(1)? });
            rows.iter().map(read).collect()
        })
        .await
    }

    /// Versions that this node is asked to prepare and has not answered for.
    pub async fn wanted(&self) -> Result<Vec<(String, VersionId)>, Error> {
        self.run(async |connection| {
            let select = "select component, version from deploy.artifacts a
                          where wanted_at > now() - interval '2 minutes' and wasm is not null
                            and not exists (select from deploy.prepared p where p.node = $1
                                            and p.component = a.component and p.version = a.version)";
            let rows: Vec<(String, String)> = sqlx::query_as(select).bind(self.node).fetch_all(connection).await?;
            Ok(rows.into_iter().filter_map(|(name, version)| Some((name, VersionId::parse(&version)?))).collect())
        })
        .await
    }

    pub async fn prepared(&self, component: &str, version: &VersionId, problem: Option<&str>) -> Result<(), Error> {
        self.run(async |connection| {
            let insert = "insert into deploy.prepared (node, component, version, problem) values ($1, $2, $3, $4)
                          on conflict (component, version, node) do update set problem = excluded.problem";
            let insert = sqlx::query(insert).bind(self.node).bind(component).bind(version.as_str()).bind(problem);
            insert.execute(&mut *connection).await?;
            notify(connection).await
        })
        .await
    }

    /// Tells the others that this node is there and what it serves.
    pub async fn beat(
        &self,
        public: &str,
        control: &str,
        generation: i64,
        versions: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.run(async |connection| {
            let upsert = "insert into deploy.nodes (id, public, control, ready, generation, versions)
                          values ($1, $2, $3, true, $4, $5)
                          on conflict (id) do update
                          set seen_at = now(), generation = excluded.generation, versions = excluded.versions";
            let upsert = sqlx::query(upsert).bind(self.node).bind(public).bind(control).bind(generation);
            upsert.bind(sqlx::types::Json(versions)).execute(&mut *connection).await?;
            let bury = "delete from deploy.nodes where seen_at < now() - interval '10 minutes'";
            sqlx::query(bury).execute(connection).await.map(drop)
        })
        .await
    }

    /// Takes this node off the list.
    pub async fn leave(&self) -> Result<(), Error> {
        self.run(async |connection| {
            sqlx::query("delete from deploy.nodes where id = $1").bind(self.node).execute(&mut *connection).await?;
            notify(connection).await
        })
        .await
    }

    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.run(async |connection| {
            let select = "select id, public, control, started_at, seen_at, ready, versions,
                                 seen_at <= now() - $1 as fenced
                          from deploy.nodes order by started_at, id";
            let rows = sqlx::query(select).bind(FENCED_AFTER).fetch_all(connection).await?;
            rows.iter().map(node).collect()
        })
        .await
    }
}

async fn notify(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(format!("notify {CHANNEL}")).into_sql_str();
    sqlx::raw_sql(statement).execute(connection).await.map(drop)
}

/// Returns the new generation.
async fn write(connection: &mut PgConnection, row: &Row) -> Result<i64, sqlx::Error> {
    let text = |version: &Option<VersionId>| version.as_ref().map(VersionId::to_string);
    let history: Vec<&str> = row.history.iter().map(VersionId::as_str).collect();
    let update = "update deploy.components
                  set mounts = $2, live = $3, canary = $4, weight = $5, shadow = $6, history = $7, deleted = $8,
                      seeded = $9, generation = nextval('deploy.generation')
                  where name = $1 returning generation";
    let update = sqlx::query_scalar(update).bind(&row.name).bind(&row.mounts).bind(text(&row.live));
    let update = update.bind(text(&row.canary)).bind(i16::from(row.weight)).bind(row.shadow).bind(history);
    update.bind(row.deleted).bind(text(&row.seeded)).fetch_one(connection).await
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
    })
}

fn artifact(row: &PgRow) -> Result<Artifact, sqlx::Error> {
    Ok(Artifact {
        component: row.try_get("component")?,
        version: version(row, "version")?.ok_or(sqlx::Error::RowNotFound)?,
        mounts: row.try_get("mounts")?,
        size_bytes: row.try_get("size_bytes")?,
        compile_ms: row.try_get("compile_ms")?,
        deployed_at: row.try_get("deployed_at")?,
        deployed_by: row.try_get("deployed_by")?,
        activated_at: row.try_get("activated_at")?,
        refusal: row.try_get("refusal")?,
    })
}

fn node(row: &PgRow) -> Result<Node, sqlx::Error> {
    Ok(Node {
        id: row.try_get("id")?,
        public: row.try_get("public")?,
        control: row.try_get("control")?,
        started_at: row.try_get("started_at")?,
        seen_at: row.try_get("seen_at")?,
        ready: row.try_get("ready")?,
        fenced: row.try_get("fenced")?,
        versions: row.try_get("versions")?,
    })
}
