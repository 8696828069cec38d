//! The operator's wishes as one typed value.
//!
//! `host.toml` says which components run, under which paths, with which
//! grants and limits; the environment (or the file's `[settings]`) says the
//! rest. This module is the only reader of the environment, so what it
//! returns is all there is to know. A bad value stops the start with a
//! sentence that names the key.

// The host answers hostile input; a panic would be somebody else's lost request.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo))]

mod access;
mod file;
mod origin;
mod rate_limit;
mod secrets;
mod setting;
mod source;

pub use access::{Access, ListenNote};
pub use file::{Aggregate, Component, Deploy, Grants, Limits, Link, Part, Task, Welcome};
pub use origin::origin_of;
pub use rate_limit::{RateCallers, RateCount, RateKey, RateLimit};
pub use secrets::Secrets;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use source::Source;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The operator's file as it ships: used when there is no `host/host.toml`.
const BUILT_IN_FILE: &str = include_str!("../../host.toml");
const DEVELOPMENT_ORIGINS: &str = "http://localhost:3000,http://localhost:5173";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Development,
    Production,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Profile::Development => "development",
            Profile::Production => "production",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub profile: Profile,
    pub listen: SocketAddr,
    pub control_listen: SocketAddr,
    pub data_dir: PathBuf,
    /// None: the embedded Postgres in the data directory.
    pub database_url: Option<String>,
    /// None: the in-process stand-in.
    pub redis_url: Option<String>,
    /// Put before every key and channel.
    pub redis_prefix: String,
    pub postgres_bin: Option<PathBuf>,
    pub search_path: Option<std::ffi::OsString>,
    pub components_dir: PathBuf,
    /// The operator named the directory, so it is taken as it is: nothing is
    /// built into it.
    pub components_dir_is_given: bool,
    pub migrate: bool,
    /// The file of a cloud provider's service account.
    pub service_account: Option<PathBuf>,
    pub log_filter: String,
    /// None: pretty on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    pub secrets: Secrets,
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    /// Empty when `RATE_LIMIT_ENABLED=false`.
    pub rate_limits: Vec<RateLimit>,
    /// Deadline of one call, unless the component's limits say less.
    pub call_timeout: Duration,
    /// Between two pings on a WebSocket.
    pub heartbeat: Duration,
    /// A WebSocket without a pong or frame for so long is closed.
    pub socket_timeout: Duration,
    /// Path prefix -> the prefix that it stands for.
    pub aliases: BTreeMap<String, String>,
    pub components: BTreeMap<String, Component>,
    pub aggregates: Vec<Aggregate>,
    pub welcome: Welcome,
    pub deploy: Deploy,
    /// Of a component that `components` does not have.
    pub default_limits: Limits,
    /// Oddities that do not stop the start, for the log once it runs.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the process environment and `host/host.toml`.
    pub fn load() -> Result<Config> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut config = Config::from(environment)?;
        config.search_path = std::env::var_os("PATH");
        Ok(config)
    }

    /// The same from a given environment.
    pub fn from(environment: BTreeMap<String, String>) -> Result<Config> {
        let file = read_file(environment.get("SHEMA_CONFIG").map(Path::new))?;
        let mut source = Source::new(environment, file.settings);

        let profile = source.choice(
            "SHEMA_PROFILE",
            Profile::Development,
            &[("development", Profile::Development), ("production", Profile::Production)],
        )?;
        let data_dir = absolute(source.text("SHEMA_DATA_DIR")?.as_deref().unwrap_or(".shema"))?;
        let components_dir = source.text("SHEMA_COMPONENTS")?;
        let default_origins = match profile {
            Profile::Development => DEVELOPMENT_ORIGINS,
            Profile::Production => "",
        };
        let mut config = Config {
            profile,
            listen: source.parse("SHEMA_LISTEN", "127.0.0.1:3000", "an address such as 127.0.0.1:3000")?,
            control_listen: source.parse(
                "SHEMA_CONTROL_LISTEN",
                "127.0.0.1:3001",
                "an address such as 127.0.0.1:3001",
            )?,
            secrets: Secrets::read(&mut source, profile, &data_dir)?,
            data_dir,
            database_url: source.url("DATABASE_URL", &["postgres", "postgresql"])?,
            redis_url: source.url("REDIS_URL", &["redis", "rediss", "redis+unix", "unix"])?,
            redis_prefix: source.text("REDIS_PREFIX")?.unwrap_or_default(),
            postgres_bin: source.text("SHEMA_POSTGRES_BIN")?.map(PathBuf::from),
            search_path: None,
            components_dir_is_given: components_dir.is_some(),
            components_dir: PathBuf::from(components_dir.as_deref().unwrap_or("target/components")),
            migrate: source.choice("SHEMA_MIGRATE", true, &[("on", true), ("off", false)])?,
            service_account: source.text("GOOGLE_APPLICATION_CREDENTIALS")?.map(PathBuf::from),
            log_filter: source.text("RUST_LOG")?.unwrap_or_else(|| "info".into()),
            log_format: source.choice(
                "SHEMA_LOG_FORMAT",
                None,
                &[("pretty", Some(LogFormat::Pretty)), ("json", Some(LogFormat::Json))],
            )?,
            access_lifetime: source.duration("JWT_EXPIRES_IN", "15m")?,
            refresh_lifetime: source.duration("JWT_REFRESH_EXPIRES_IN", "7d")?,
            allowed_origins: source.list("CORS_ALLOWED_ORIGINS", default_origins)?,
            trusted_proxies: trusted_proxies(&mut source)?,
            rate_limits: file.rate_limit,
            call_timeout: Duration::from_millis(source.integer("SERVICE_TIMEOUT", 30_000, 1..=600_000)?),
            heartbeat: Duration::from_millis(source.integer("WS_HEARTBEAT_INTERVAL", 30_000, 100..=600_000)?),
            socket_timeout: Duration::from_millis(source.integer("WS_CONNECTION_TIMEOUT", 60_000, 200..=3_600_000)?),
            aliases: file.aliases,
            components: file.components,
            aggregates: file.aggregates,
            welcome: file.welcome,
            deploy: file.deploy,
            default_limits: file.default_limits,
            warnings: Vec::new(),
        };
        if !source.boolean("RATE_LIMIT_ENABLED", true)? {
            config.rate_limits.clear();
            ensure!(
                profile == Profile::Development,
                "RATE_LIMIT_ENABLED=false is refused in production: without limits anybody may guess passwords"
            );
        }
        for (name, component) in &mut config.components {
            component.resolve(name, &mut source, profile)?;
        }
        config.check_origins()?;
        config.check_mounts()?;
        if profile == Profile::Production {
            ensure!(config.database_url.is_some(), "DATABASE_URL is required in production");
            ensure!(config.redis_url.is_some(), "REDIS_URL is required in production");
        }
        config.warnings = source.finish()?;
        Ok(config)
    }

    fn check_origins(&self) -> Result<()> {
        for origin in &self.allowed_origins {
            ensure!(
                origin != "*",
                "CORS_ALLOWED_ORIGINS: `*` is refused, because answers carry credentials; list the origins"
            );
            let parsed = url::Url::parse(origin).ok();
            let exact = parsed.is_some_and(|url| url.origin().ascii_serialization() == *origin);
            ensure!(exact, "CORS_ALLOWED_ORIGINS: `{origin}` is not an origin such as https://example.org");
        }
        Ok(())
    }

    fn check_mounts(&self) -> Result<()> {
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, component) in &self.components {
            for mount in &component.mounts {
                let well_formed = mount.starts_with('/') && mount.len() > 1 && !mount.ends_with('/');
                ensure!(well_formed, "components.{name}.mounts: `{mount}` is not a path such as /api/things");
                if let Some(other) = owner.insert(mount, name) {
                    bail!("components.{name}.mounts: `{mount}` belongs to `{other}` already");
                }
            }
        }
        Ok(())
    }
}

/// The file that was named, else `host/host.toml` of a source checkout, else
/// the one that is built in.
fn read_file(given: Option<&Path>) -> Result<file::File> {
    let checkout = Path::new("host/host.toml");
    let path = given.or_else(|| checkout.exists().then_some(checkout));
    let (text, name) = match path {
        Some(path) => (
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
            path.display().to_string(),
        ),
        None => (BUILT_IN_FILE.to_owned(), "the built-in host.toml".to_owned()),
    };
    file::parse(&text).with_context(|| format!("in {name}"))
}

fn trusted_proxies(source: &mut Source) -> Result<Vec<IpNet>> {
    source
        .list("TRUSTED_PROXIES", "")?
        .iter()
        .map(|text| {
            let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
            let network = text.parse().or(address);
            network.ok().with_context(|| {
                format!("TRUSTED_PROXIES: `{text}` is neither an address nor a range such as 10.0.0.0/8")
            })
        })
        .collect()
}

fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("SHEMA_DATA_DIR: `{path}` is not a path"))
}
