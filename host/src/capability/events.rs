//! `shema:events`: a transactional outbox.
//!
//! An event is a row written in the component's own transaction; the relay of
//! `services/outbox.rs` ships it to Redis after the commit. The component's role
//! has no right on the table: the row goes in through a function that wants a
//! secret only the host knows, so that what is checked here cannot be walked
//! around with SQL.

use super::{Granting, HasCall, bindings::{EventError, database::Value, events::{Event, self as wit}}, database};
use crate::{config, services::patterns};
use uuid::Uuid;
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:events/outbox@0.1.0"];

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
    secret: String,
}

pub type State = ();

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    (interface == "shema:events/outbox" && grants.events.is_empty()).then_some("events = [\"CHANNEL\"]")
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let secret = granting.shared.services.outbox_secret.clone();
    Ok(Grant { channels: granting.config.grants.events.clone(), secret })
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Events>(linker, |state| {
        let call = state.call();
        let access = call.grants.database.as_ref();
        let database = database::View { access, context: &call.context, state: &mut call.database };
        View { grant: &call.grants.events, database }
    })
}

struct Events;

impl HasData for Events {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grant: &'a Grant,
    database: database::View<'a>,
}

impl wit::Host for View<'_> {
    async fn publish(&mut self, event: Event) -> Result<String, EventError> {
        if !patterns::matches(&self.grant.channels, &event.channel) {
            return Err(wit::Error::Denied(event.channel).into());
        }
        if event.fields.len() > MAX_BYTES || event.key.is_empty() || event.key.len() > MAX_KEY_BYTES {
            return Err(wit::Error::Invalid("fields have at most 64 KiB, a key 1 to 512 bytes".into()).into());
        }
        let fields: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(&event.fields);
        if let Err(error) = fields {
            return Err(wit::Error::Invalid(format!("fields are not a JSON object: {error}")).into());
        }
        let id = Uuid::new_v4().to_string();
        let params = [
            Value::Text(self.grant.secret.clone()),
            Value::Uuid(id.clone()),
            Value::Text(event.channel),
            Value::Text(event.key),
            Value::Json(event.fields),
            event.event_type.map_or(Value::Null, Value::Text),
        ];
        self.database.run_trusted(EMIT.to_owned(), &params, false).await.map_err(wit::Error::Database)?;
        Ok(id)
    }

    fn convert_error(&mut self, error: EventError) -> wasmtime::Result<wit::Error> {
        error.downcast()
    }
}
