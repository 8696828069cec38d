//! `host.toml` as types: unknown keys are errors everywhere.

use super::{
    Profile, RateLimit,
    origin::origin_of,
    setting::{self, Setting},
    source,
};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    #[serde(default)]
    pub rate_limit: Vec<RateLimit>,
    #[serde(default)]
    pub components: BTreeMap<String, Component>,
    #[serde(default)]
    pub aggregates: Vec<Aggregate>,
    #[serde(default)]
    pub welcome: Welcome,
    pub deploy: Deploy,
    /// Of a component that the file does not name.
    pub default_limits: Limits,
}

/// What a person is told who starts the host for the first time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// What this is, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Pages and paths that are worth a look, on the public listener.
    #[serde(default)]
    pub links: Vec<Link>,
    /// The account that `--demo` makes.
    #[serde(default)]
    pub demo_login: String,
    /// A query for one boolean: whether `first_step` has been done.
    pub is_set_up: Option<String>,
    /// What to do first where there is no demo data; `{url}` stands for the
    /// public listener's.
    #[serde(default)]
    pub first_step: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub name: String,
    pub path: String,
    /// What is there, in a few words.
    #[serde(default)]
    pub about: String,
}

/// How new versions get in, and when one is taken back by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    pub max_artifact_mib: usize,
    /// For one artifact.
    pub compile_seconds: u64,
    pub compile_memory_mib: u64,
    /// Former versions of a component that stay compiled.
    pub keep: usize,
    /// Base64 of an Ed25519 public key; then every artifact needs a signature.
    pub public_key: Option<String>,
    /// How long a new version is compared with the one before it.
    pub watch_seconds: u64,
    /// With fewer, nothing is said about a version.
    pub min_requests: u64,
    /// Percentage points of failed requests more than before.
    pub max_error_percent: f64,
    /// Percentage points of trapped requests more than before.
    pub max_trap_percent: f64,
    /// The new p99 divided by the one before.
    pub max_p99_factor: f64,
    /// A p99 below it is good enough, whatever the one before was.
    pub min_p99_ms: f64,
}

/// An answer that the host puts together from several components.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Of a `GET`; parameters (`:name`) are UUIDs.
    pub path: String,
    /// Roles that may ask.
    pub roles: Vec<String>,
    /// The parameter that names a user who may ask, whatever the role.
    pub owner: Option<String>,
    /// Members of the answer that never change.
    #[serde(default)]
    pub constants: serde_json::Map<String, serde_json::Value>,
    pub parts: Vec<Part>,
}

/// One call, and what is taken of its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The member of the answer.
    pub field: String,
    /// Under this name `servicesHealth` tells whether the call went well.
    pub service: String,
    pub component: String,
    /// With query, and with the parameters of the aggregate's path.
    pub path: String,
    /// JSON pointer (RFC 6901) into the component's answer.
    pub pick: String,
    /// Members of an object, or of each of a list, that are kept; default all.
    #[serde(default)]
    pub only: Vec<String>,
    /// The value when the call fails; null if it is not given.
    #[serde(default)]
    pub otherwise: serde_json::Value,
    /// 404 of this part is 404 of the whole.
    #[serde(default)]
    pub required: bool,
    /// Called as the host, also where access is `internal`, instead of as the
    /// user who asks.
    #[serde(default)]
    pub as_host: bool,
}

/// `limits` of a component are the file's `limits` with its own keys on top.
pub fn parse(text: &str) -> Result<File> {
    let mut table: toml::Table = text.parse()?;
    let built_in: toml::Table = super::BUILT_IN_FILE.parse()?;
    // A file that says nothing of them leaves them as they ship.
    let shared = merged(&built_in, &mut table, "limits")?;
    let deploy = merged(&built_in, &mut table, "deploy")?;
    table.insert("default_limits".into(), shared.clone().into());
    table.insert("deploy".into(), deploy.into());
    if let Some(components) = table.get_mut("components").and_then(toml::Value::as_table_mut) {
        for (name, component) in components {
            let component = component.as_table_mut().with_context(|| format!("components.{name}: not a table"))?;
            let own = component.remove("limits").unwrap_or_else(|| toml::Table::new().into());
            let mut merged = shared.clone();
            merged.extend(own.as_table().with_context(|| format!("components.{name}.limits: not a table"))?.clone());
            component.insert("limits".into(), merged.into());
        }
    }
    let file: File = serde_path_to_error::deserialize(table)
        .map_err(|error| anyhow::anyhow!("{}: {}", error.path(), error.inner().message()))?;
    for (index, limit) in file.rate_limit.iter().enumerate() {
        ensure!(limit.max > 0, "rate_limit[{index}].max: has to be at least 1");
        ensure!(limit.window_seconds > 0, "rate_limit[{index}].window_seconds: has to be at least 1");
    }
    Ok(file)
}

/// A table of the file on top of that of the file that ships.
fn merged(built_in: &toml::Table, table: &mut toml::Table, key: &str) -> Result<toml::Table> {
    let mut merged = built_in.get(key).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    if let Some(own) = table.remove(key) {
        merged.extend(own.as_table().with_context(|| format!("{key}: has to be a table"))?.clone());
    }
    Ok(merged)
}

/// One component: where it answers, what it may reach, how much it may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Path prefixes; all its routes lie under them.
    pub mounts: Vec<String>,
    #[serde(default)]
    pub grants: Grants,
    pub limits: Limits,
    #[serde(default)]
    settings: BTreeMap<String, Setting>,
    /// Work that one host of the cluster does every so often.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// What `grants.http` comes to; filled by `resolve`.
    #[serde(skip)]
    pub origins: Vec<String>,
    /// Name -> value of the settings above; filled by `resolve`.
    #[serde(skip)]
    pub values: BTreeMap<String, String>,
}

/// The operator's permission to import a capability. `log` and `settings`
/// need none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// The Postgres role that the component's statements run as.
    pub database: Option<String>,
    /// Key patterns: `*` at the end matches any rest.
    #[serde(default)]
    pub redis: Vec<String>,
    /// Channels; `*` as in `redis`.
    #[serde(default)]
    pub events: Vec<String>,
    /// Some of [`TOKEN_GRANTS`].
    #[serde(default)]
    pub tokens: Vec<String>,
    /// Origins that the component may send requests to; `$NAME` stands for the
    /// origin of that setting's value.
    #[serde(default)]
    pub http: Vec<String>,
    /// Components that it may call.
    #[serde(default)]
    pub calls: Vec<String>,
    /// It may hold WebSockets, and listens to these channels; `*` as in `redis`.
    #[serde(default)]
    pub sockets: Option<Vec<String>>,
}

const TOKEN_GRANTS: [&str; 4] = ["sessions", "passwords", "certificates", "service-account"];

/// A call of a component that no client makes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Of a `POST` route with access `internal`.
    pub path: String,
    every_seconds: Every,
    /// Filled by `resolve`.
    #[serde(skip)]
    pub every: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Every {
    Seconds(u64),
    /// A setting of the component.
    Setting(String),
}

/// What one call, and all calls of one component, may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds for one call, waiting for an instance not counted; 0: the
    /// setting `SERVICE_TIMEOUT`.
    pub deadline_ms: u64,
    /// Calls at a time.
    pub max_calls: usize,
    /// How long a request waits for one of them before it is answered 503.
    pub max_wait_ms: u64,
    /// Linear memory of one instance.
    pub memory_mib: usize,
    /// Calls that one instance serves; 1: each call has a fresh one.
    pub reuse: u32,
    /// An instance that has grown past this serves no further call.
    pub recycle_above_mib: usize,
    pub max_response_kib: usize,
    /// Postgres sessions at a time; fewer than `max_calls` make calls wait for
    /// one.
    pub connections: usize,
    pub statement_timeout_ms: u64,
    /// Rows that one statement may return.
    pub max_rows: usize,
    /// Bytes that the statements of one call may return in all.
    pub max_result_kib: usize,
}

impl Limits {
    /// For one call; `call_timeout` is the longest, and stands where none is named.
    pub fn deadline(&self, call_timeout: Duration) -> Duration {
        match self.deadline_ms {
            0 => call_timeout,
            own => Duration::from_millis(own).min(call_timeout),
        }
    }
}

impl Component {
    /// Looks the declared settings up and checks them, so that a component
    /// only ever sees good values.
    pub(super) fn resolve(&mut self, name: &str, source: &mut source::Source, profile: Profile) -> Result<()> {
        for word in &self.grants.tokens {
            let known = TOKEN_GRANTS.contains(&word.as_str());
            ensure!(known, "components.{name}.grants.tokens: `{word}` is none of {}", TOKEN_GRANTS.join(", "));
        }
        if let Some(role) = &self.grants.database {
            // It is put into statements, which take no parameter there.
            let plain = role.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            ensure!(plain, "components.{name}.grants.database: `{role}` is not a role name such as shema_{name}");
        }
        self.limits.check(name)?;
        for (key, setting) in &self.settings {
            let text = source.text(key)?.or_else(|| setting.default_in(profile));
            let value = text.map(|text| setting.check(key, &text)).transpose()?;
            if profile == Profile::Production {
                setting.check_production(key, value.as_deref())?;
            }
            if let Some(value) = value {
                self.values.insert(key.clone(), value);
            }
        }
        for (key, setting) in &self.settings {
            let with = setting.required_with.as_ref().filter(|with| self.values.contains_key(*with));
            if let Some(with) = with.filter(|_| !self.values.contains_key(key)) {
                bail!("{key} is required when {with} is set");
            }
        }
        for task in &mut self.tasks {
            let seconds = match &task.every_seconds {
                Every::Seconds(seconds) => Some(*seconds),
                Every::Setting(key) => self.values.get(key).and_then(|value| value.parse().ok()),
            };
            let seconds = seconds.filter(|seconds| *seconds > 0).with_context(|| {
                format!("components.{name}.tasks: `every_seconds` of {} is neither a number nor a setting", task.path)
            })?;
            task.every = Duration::from_secs(seconds);
        }
        self.origins = self.granted_origins(name)?;
        Ok(())
    }

    /// The granted origins, with what `$NAME` stands for; a setting without a
    /// value grants nothing.
    fn granted_origins(&self, name: &str) -> Result<Vec<String>> {
        let mut origins = Vec::new();
        for granted in &self.grants.http {
            let Some(key) = granted.strip_prefix('$') else {
                let origin = origin_of(granted).filter(|origin| origin == granted);
                let origin = origin.with_context(|| {
                    format!("components.{name}.grants.http: `{granted}` is not an origin such as https://example.org")
                })?;
                origins.push(origin);
                continue;
            };
            let setting = self.settings.get(key).with_context(|| {
                format!("components.{name}.grants.http: `{granted}` names no setting of the component")
            })?;
            if let Some(value) = self.values.get(key) {
                let url =
                    if matches!(setting.kind, setting::Kind::Host) { format!("http://{value}") } else { value.clone() };
                origins.extend(origin_of(&url));
            }
        }
        Ok(origins)
    }
}

impl Component {
    /// One that the file does not name: it may do nothing but answer.
    pub fn unnamed(limits: Limits) -> Component {
        Component {
            mounts: Vec::new(),
            grants: Grants::default(),
            limits,
            settings: BTreeMap::new(),
            tasks: Vec::new(),
            origins: Vec::new(),
            values: BTreeMap::new(),
        }
    }
}

impl Limits {
    fn check(&self, name: &str) -> Result<()> {
        let at_least_one: [(&str, u64); 7] = [
            ("max_calls", self.max_calls as u64),
            ("memory_mib", self.memory_mib as u64),
            ("reuse", u64::from(self.reuse)),
            ("max_response_kib", self.max_response_kib as u64),
            ("connections", self.connections as u64),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("max_rows", self.max_rows as u64),
        ];
        for (key, value) in at_least_one {
            ensure!(value > 0, "components.{name}.limits.{key}: has to be at least 1");
        }
        // The pooling allocator reserves address space for the largest.
        ensure!(self.memory_mib <= 1024, "components.{name}.limits.memory_mib: at most 1024");
        Ok(())
    }
}
