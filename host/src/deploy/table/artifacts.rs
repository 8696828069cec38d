//! Artifacts: what was deployed, or refused.

use super::{Entry, Error, Mode, Table, lock, version};
use crate::runtime::version_id::VersionId;
use chrono::{DateTime, Utc};
use sqlx::{Row, postgres::PgRow};

/// Artifacts of a component that are kept beside those in use.
const MAX_KEPT: i64 = 20;

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

impl Artifact {
    pub fn was_admitted(&self) -> bool {
        self.refusal.is_none()
    }
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

impl Table {
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
            // Nobody makes one of them live at this moment.
            lock(connection, Mode::Exclusive).await?;
            let prune = "delete from deploy.artifacts a using (
                             select version, row_number() over (order by deployed_at desc) as place
                             from deploy.artifacts where component = $1
                         ) as placed
                         where a.component = $1 and a.version = placed.version and placed.place > $2
                           and not exists (select from deploy.components c where c.name = $1
                                           and a.version = any(c.history || c.live || c.canary || c.seeded))";
            sqlx::query(prune).bind(artifact.component).bind(MAX_KEPT).execute(&mut *connection).await?;
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
