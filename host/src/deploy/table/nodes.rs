//! The hosts of the cluster: who is there, and who has prepared what.

use super::{Error, Mode, Table, lock, notify};
use crate::{deploy::fence::FENCED_AFTER, runtime::version_id::VersionId};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row, postgres::PgRow};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct Node {
    pub id: Uuid,
    pub public: String,
    pub control: String,
    pub started_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
    /// It has caught up, and others wait for it.
    pub ready: bool,
    /// It was not seen lately: nobody waits for it, and it answers nothing.
    pub fenced: bool,
    pub versions: serde_json::Value,
}

/// Another host, as this one sees it.
pub struct Other {
    pub id: Uuid,
    pub public: String,
    pub fenced: bool,
}

/// A node that a change has to wait for.
pub struct Unprepared {
    pub node: String,
    /// None: it has not answered yet.
    pub problem: Option<String>,
}

/// What this host says of itself.
pub struct Heartbeat<'a> {
    pub public: &'a str,
    pub control: &'a str,
    pub started_at: DateTime<Utc>,
    pub ready: bool,
    /// Everything up to here is applied.
    pub generation: i64,
    pub versions: &'a BTreeMap<String, String>,
}

/// A version that this host is asked to prepare.
pub struct Wanted {
    pub component: String,
    pub version: VersionId,
    /// Under the grants of today, whatever is in memory.
    pub fresh: bool,
}

impl Table {
    /// Asks all nodes to prepare a version; what they said before is forgotten,
    /// since they may have let it go.
    pub async fn propose(&self, component: &str, version: &VersionId, fresh: bool) -> Result<(), Error> {
        self.run(async |connection| {
            let forget = "delete from deploy.prepared where component = $1 and version = $2";
            sqlx::query(forget).bind(component).bind(version.as_str()).execute(&mut *connection).await?;
            let want = "update deploy.artifacts set wanted_at = now(), wanted_fresh = $3
                        where component = $1 and version = $2";
            let want = sqlx::query(want).bind(component).bind(version.as_str()).bind(fresh);
            want.execute(&mut *connection).await?;
            // This host has it ready already.
            let own = "insert into deploy.prepared (node, component, version)
                       select id, $2, $3 from deploy.nodes where id = $1";
            let own = sqlx::query(own).bind(self.node).bind(component).bind(version.as_str());
            own.execute(&mut *connection).await?;
            notify(connection).await
        })
        .await
    }

    /// Other nodes that changes wait for.
    pub(super) async fn count_others(&self, connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
        let count = "select count(*) from deploy.nodes where id <> $1 and ready and seen_at > now() - $2";
        let count = sqlx::query_scalar(count).bind(self.node).bind(FENCED_AFTER);
        let others: i64 = count.fetch_one(connection).await?;
        Ok(usize::try_from(others).unwrap_or(0))
    }

    /// Those among them that are not ready for this version.
    pub(super) async fn unprepared(
        &self,
        connection: &mut PgConnection,
        component: &str,
        version: &VersionId,
    ) -> Result<Vec<Unprepared>, sqlx::Error> {
        let select = "select n.public, p.problem
                      from deploy.nodes n
                      left join deploy.prepared p on p.node = n.id and p.component = $2 and p.version = $3
                      where n.id <> $1 and n.ready and n.seen_at > now() - $4
                        and (p.node is null or p.problem is not null)
                      order by n.public";
        let select = sqlx::query(select).bind(self.node).bind(component).bind(version.as_str());
        let rows = select.bind(FENCED_AFTER).fetch_all(connection).await?;
        rows.iter().map(|row| Ok(Unprepared { node: row.try_get(0)?, problem: row.try_get(1)? })).collect()
    }

    /// Whether one of them has not applied a generation yet.
    pub async fn is_lagging(&self, generation: i64) -> Result<bool, Error> {
        self.run(async |connection| {
            let exists = "select exists (select from deploy.nodes where id <> $1 and ready and seen_at > now() - $2
                                         and generation < $3)";
            let exists = sqlx::query_scalar(exists).bind(self.node).bind(FENCED_AFTER).bind(generation);
            exists.fetch_one(connection).await
        })
        .await
    }

    /// Versions that this node is asked to prepare and has not answered for.
    /// `within`: what is older was given up.
    pub async fn wanted(&self, within: Duration) -> Result<Vec<Wanted>, Error> {
        self.run(async |connection| {
            let select = "select component, version, wanted_fresh from deploy.artifacts a
                          where wanted_at > now() - $2 and wasm is not null
                            and not exists (select from deploy.prepared p where p.node = $1
                                            and p.component = a.component and p.version = a.version)";
            let select = sqlx::query_as(select).bind(self.node).bind(within);
            let rows: Vec<(String, String, bool)> = select.fetch_all(connection).await?;
            let wanted = |(component, version, fresh): (String, String, bool)| {
                Some(Wanted { component, version: VersionId::parse(&version)?, fresh })
            };
            Ok(rows.into_iter().filter_map(wanted).collect())
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

    /// Tells the others that this node is there and what it serves. Returns the
    /// others. `wake`: somebody may be waiting for this.
    pub async fn heartbeat(&self, heartbeat: Heartbeat<'_>, wake: bool) -> Result<Vec<Other>, Error> {
        self.run(async |connection| {
            // Changes of the live table are before this or after it.
            lock(connection, Mode::Shared).await?;
            let upsert = "insert into deploy.nodes (id, public, control, started_at, ready, generation, versions)
                          values ($1, $2, $3, $4, $5, $6, $7)
                          on conflict (id) do update
                          set seen_at = now(), ready = excluded.ready, generation = excluded.generation,
                              versions = excluded.versions";
            let upsert = sqlx::query(upsert).bind(self.node).bind(heartbeat.public).bind(heartbeat.control);
            let upsert = upsert.bind(heartbeat.started_at).bind(heartbeat.ready).bind(heartbeat.generation);
            upsert.bind(sqlx::types::Json(heartbeat.versions)).execute(&mut *connection).await?;
            let prune = "delete from deploy.nodes where seen_at < now() - interval '10 minutes'";
            sqlx::query(prune).execute(&mut *connection).await?;
            if wake {
                notify(connection).await?;
            }
            let others = "select id, public, seen_at <= now() - $2 from deploy.nodes where id <> $1";
            let others = sqlx::query(others).bind(self.node).bind(FENCED_AFTER).fetch_all(connection).await?;
            let other =
                |row: &PgRow| Ok(Other { id: row.try_get(0)?, public: row.try_get(1)?, fenced: row.try_get(2)? });
            others.iter().map(other).collect()
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
