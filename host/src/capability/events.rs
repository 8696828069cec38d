//! `shema:events`: a transactional outbox.
//!
//! An event is a row written in the component's own transaction; `relay` ships
//! it to Redis after the commit. The component's role has no right on the
//! table: the row goes in through a function that wants a secret only the host
//! knows, so that what is checked here cannot be walked around with SQL.

use super::{
    Call,
    bindings::{
        database::Value,
        events::{Error, Event, Host},
    },
    matches_pattern,
};
use uuid::Uuid;

const MAX_BYTES: usize = 64 << 10;
const MAX_KEY_BYTES: usize = 512;

/// Timestamp of the transaction, in the format of the public API.
const EMIT: &str = r#"select public.emit_event($1, $2, $3, $4,
    $5::jsonb || jsonb_build_object('eventId', $2::uuid)
    || case when $6::text is null then '{}'::jsonb else jsonb_build_object('eventType', $6::text, 'timestamp',
        to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end)"#;

/// The channels that one component may publish on.
pub struct Grant {
    pub channels: Vec<String>,
    pub secret: String,
}

impl Host for Call {
    async fn publish(&mut self, event: Event) -> wasmtime::Result<Result<String, Error>> {
        Ok(self.emit(event).await)
    }
}

impl Call {
    async fn emit(&mut self, event: Event) -> Result<String, Error> {
        if !matches_pattern(&self.held.events.channels, &event.channel) {
            return Err(Error::Denied(event.channel));
        }
        if event.fields.len() > MAX_BYTES || event.key.is_empty() || event.key.len() > MAX_KEY_BYTES {
            return Err(Error::Invalid("fields have at most 64 KiB, a key 1 to 512 bytes".into()));
        }
        let fields: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(&event.fields);
        if let Err(error) = fields {
            return Err(Error::Invalid(format!("fields are not a JSON object: {error}")));
        }
        let id = Uuid::new_v4().to_string();
        let params = [
            Value::Text(self.held.events.secret.clone()),
            Value::Uuid(id.clone()),
            Value::Text(event.channel),
            Value::Text(event.key),
            Value::Json(event.fields),
            event.event_type.map_or(Value::Null, Value::Text),
        ];
        self.database.run_trusted(EMIT.to_owned(), &params, false).await.map_err(Error::Database)?;
        Ok(id)
    }
}

/// The secret that the host shows when it writes an event.
pub async fn read_secret(owner: &crate::services::database::Pool) -> anyhow::Result<String> {
    let mut lease = owner.get().await?;
    let secret = sqlx::query_scalar("select secret from public.outbox_secret").fetch_one(lease.connection()).await?;
    lease.give_back();
    Ok(secret)
}
