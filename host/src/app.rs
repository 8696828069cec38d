//! Builds the host from its configuration, runs it, and sees it out.
//!
//! The order is: database, components, listeners. The public socket is bound
//! last, so what answers is ready.

use crate::{
    builder::Checkout,
    capability::{
        self, Held, Shared,
        events::relay,
        redis::Store,
        tokens::{self, Signer, certificates, service_account::Account},
    },
    component::{
        Workshop,
        artifact::Cache,
        engine, linker,
        registry::{Registry, Slot},
    },
    config::{self, Config},
    control,
    database::{self, Pool},
    embedded::Cluster,
    http::Gateway,
    schedule::{self, Scheduled},
    server,
};
use anyhow::{Context, Result, anyhow, ensure};
use arc_swap::ArcSwapOption;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use std::{
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;

/// Name of the embedded database.
const DATABASE: &str = "shema";
const DEMO_DATA: &str = include_str!("../../migrations/demo.sql");
const DEMO_SEPARATOR: &str = "-- end of statement 1";
const DEMO_ADMIN: &str = "admin@demo.shema.example";

pub struct App;

impl App {
    pub async fn migrate(config: Config) -> Result<()> {
        let (options, cluster) = connect(&config).await?;
        let done = database::prepare(&options, true).await;
        stop(cluster).await;
        done
    }

    /// Runs until a signal; returns when everything is in order again.
    pub async fn serve(config: Config, demo: bool) -> Result<()> {
        install_crypto();
        let started = Instant::now();
        build_missing(&config).await?;
        let (options, cluster) = connect(&config).await?;
        let served = serve_with(&config, &options, demo, started).await;
        stop(cluster).await;
        served
    }
}

/// Both `ring` and `aws-lc-rs` are compiled in; TLS panics unless one is chosen.
pub fn install_crypto() {
    // An error means that one has been chosen before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

async fn stop(cluster: Option<Cluster>) {
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
}

async fn build_missing(config: &Config) -> Result<()> {
    let Some(checkout) = Checkout::here().filter(|_| !config.components_dir_is_given) else { return Ok(()) };
    let names: Vec<String> = config.components.keys().cloned().collect();
    let work = move || {
        let present = checkout.components()?;
        let names: Vec<String> = names.into_iter().filter(|name| present.contains(name)).collect();
        let stale = checkout.stale(&names);
        if stale.is_empty() { Ok(()) } else { checkout.build(&stale) }
    };
    tokio::task::spawn_blocking(work).await.context("the build of the components was cut off")?
}

/// The database of `DATABASE_URL`, or the embedded one.
async fn connect(config: &Config) -> Result<(PgConnectOptions, Option<Cluster>)> {
    if let Some(url) = &config.database_url {
        // The URL may hold a password: it is not repeated.
        let options = url.parse().context("DATABASE_URL: not an address that Postgres is reached under")?;
        return Ok((options, None));
    }
    make_data_dir(&config.data_dir)?;
    let dir = config.data_dir.join("postgres");
    let cluster = Cluster::start(&dir, config.postgres_bin.as_deref(), config.search_path.as_deref()).await?;
    let options = PgConnectOptions::new_without_pgpass().host(&cluster.socket_dir().to_string_lossy());
    let options = options.port(5432).username(Cluster::USER);
    match database::create_if_missing(options, DATABASE).await {
        Ok(options) => Ok((options, Some(cluster))),
        Err(error) => {
            cluster.stop().await;
            Err(error)
        }
    }
}

fn make_data_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("SHEMA_DATA_DIR: cannot make {}", dir.display()))
}

async fn serve_with(config: &Config, options: &PgConnectOptions, demo: bool, started: Instant) -> Result<()> {
    database::prepare(options, config.migrate).await?;
    let redis = Arc::new(match &config.redis_url {
        Some(url) => Store::server(url, &config.redis_prefix)?,
        None => Store::memory(&config.redis_prefix),
    });
    let owner = Pool::owner(options);
    let http_client = capability::http_client::Client::new()?;
    let account = config.service_account.as_deref();
    let account = account.map(|path| Account::read(path, http_client.clone())).transpose()?;
    let shared = Arc::new(Shared {
        certificates: Arc::new(certificates::Store::new(http_client.clone())),
        service_account: account.map(Arc::new),
        http_client,
        directory: Arc::default(),
        outbox_secret: capability::events::read_secret(&owner).await?,
        owner,
        redis,
        signer: Arc::new(Signer::new(config)),
    });
    if demo {
        load_demo(config, &shared).await?;
    }
    let slots = load_components(config, options, &shared).await?;
    let stop = CancellationToken::new();
    let relay = tokio::spawn(relay::run(options.clone(), Arc::clone(&shared.redis), stop.clone()));
    let registry = Arc::new(Registry::new(slots, config.aliases.clone()));
    // Set once, here.
    let _ = shared.directory.set(Arc::downgrade(&registry));
    let schedule = schedule::run(options.clone(), Arc::clone(&registry), scheduled(config), stop.clone());
    let schedule = tokio::spawn(schedule);
    let served = listen(config, registry, &shared, demo, started, &stop).await;
    stop.cancel();
    if schedule.await.is_err() {
        tracing::warn!("the schedule had panicked");
    }
    if relay.await.is_err() {
        tracing::warn!("the relay of events had panicked");
    }
    shared.owner.close();
    served
}

fn scheduled(config: &Config) -> Vec<Scheduled> {
    let of_component = |(name, component): (&String, &config::Component)| {
        let scheduled = |task: &config::Task| Scheduled { component: name.clone(), task: task.clone() };
        component.tasks.iter().map(scheduled).collect::<Vec<_>>()
    };
    config.components.iter().flat_map(of_component).collect()
}

async fn load_components(config: &Config, options: &PgConnectOptions, shared: &Arc<Shared>) -> Result<Vec<Slot>> {
    let engine = engine::start()?;
    let workshop = Arc::new(Workshop {
        linker: linker::build(&engine)?,
        cache: Cache::new(&config.data_dir, &config.secrets.cache),
        call_timeout: config.call_timeout,
        engine,
    });
    let loading = config.components.iter().map(|(name, component)| {
        let workshop = &workshop;
        async move {
            let loaded = load_component(config, options, shared, workshop, name, component).await;
            loaded.with_context(|| format!("component {name}"))
        }
    });
    // Compilation uses all cores by itself; two overlap the waits between.
    stream::iter(loading).buffered(2).try_collect().await
}

async fn load_component(
    config: &Config,
    options: &PgConnectOptions,
    shared: &Arc<Shared>,
    workshop: &Arc<Workshop>,
    name: &str,
    component: &config::Component,
) -> Result<Slot> {
    let live = ArcSwapOption::empty();
    let path: PathBuf = config.components_dir.join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(wasm) => {
            let pool = match &component.grants.database {
                Some(role) => Some(role_pool(config, options, role, component).await?),
                None => None,
            };
            let held = Arc::new(Held::new(name, component, shared, pool));
            let started = Instant::now();
            let version = workshop.load(name, wasm, component, held).await?;
            tracing::info!("Loaded {name}@{} in {} ms.", version.id, started.elapsed().as_millis());
            live.store(Some(Arc::new(version)));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!("There is no {}: {} will answer 503.", path.display(), component.mounts.join(", "));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    Ok(Slot { name: name.to_owned(), mounts: component.mounts.clone(), live })
}

/// Connections logged in as the role; the first one is made here, so that what
/// is wrong with the role stops the start.
async fn role_pool(
    config: &Config,
    options: &PgConnectOptions,
    role: &str,
    component: &config::Component,
) -> Result<Pool> {
    let timeout = Duration::from_millis(component.limits.statement_timeout_ms);
    let pool = Pool::role(options, role, &config.secrets.access, timeout, component.limits.connections);
    let lease = pool.get().await.with_context(|| format!("cannot log in as the database role {role}"))?;
    lease.give_back();
    Ok(pool)
}

async fn load_demo(config: &Config, shared: &Shared) -> Result<()> {
    ensure!(config.profile == config::Profile::Development, "--demo is refused in production");
    let (admin, rest) = DEMO_DATA.split_once(DEMO_SEPARATOR).context("demo.sql has lost its separator")?;
    let hash =
        tokens::hash_password(&config.secrets.demo).map_err(|error| anyhow!("cannot hash a password: {error}"))?;
    let mut lease = shared.owner.get().await?;
    sqlx::query(admin).bind(hash).execute(lease.connection()).await.context("cannot load the demo data")?;
    sqlx::query(rest).execute(lease.connection()).await.context("cannot load the demo data")?;
    lease.give_back();
    Ok(())
}

async fn listen(
    config: &Config,
    registry: Arc<Registry>,
    shared: &Arc<Shared>,
    demo: bool,
    started: Instant,
    stop: &CancellationToken,
) -> Result<()> {
    let control = bind(config.control_listen, "SHEMA_CONTROL_LISTEN").await?;
    let public = bind(config.listen, "SHEMA_LISTEN").await?;
    let (public_at, control_at) = (public.local_addr()?, control.local_addr()?);
    let gateway = Arc::new(Gateway::new(config, registry, Arc::clone(shared), public_at.port())?);
    let note = ListenNote::write(config, public_at, control_at)?;
    let control_router = control::router(Arc::clone(&gateway), config.secrets.control.clone());
    let control_task = tokio::spawn(server::serve(control, control_router, stop.clone()));
    let public_task = tokio::spawn(server::serve(public, gateway.router(), stop.clone()));
    if demo || config.profile == config::Profile::Development {
        greet(config, shared, public_at, demo, started).await;
    }
    tracing::info!("Listening on http://{public_at}, control on http://{control_at}.");
    wait_for_signal().await?;
    tracing::info!("Stopping: requests under way are finished.");
    note.remove();
    stop.cancel();
    let second = async {
        // A second signal means: now.
        if wait_for_signal().await.is_ok() {
            std::process::exit(1);
        }
    };
    tokio::select! {
        _ = async { tokio::join!(public_task, control_task) } => (),
        () = second => (),
    }
    Ok(())
}

async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: cannot listen on {address}"))
}

async fn wait_for_signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        done = tokio::signal::ctrl_c() => done.context("cannot wait for a signal"),
    }
}

/// What a person who starts the host for the first time wants to know.
async fn greet(config: &Config, shared: &Shared, public: SocketAddr, demo: bool, started: Instant) {
    let mut text = format!(
        "\nShema is ready after {:.1} s.\n  API        http://{public}/api/courses\n  \
         Docs       http://{public}/api/docs\n  Data       {}\n",
        started.elapsed().as_secs_f32(),
        match &config.database_url {
            Some(_) => "in the database of DATABASE_URL".to_owned(),
            None => config.data_dir.display().to_string(),
        },
    );
    if demo {
        text += &format!("  Demo admin {DEMO_ADMIN} with the password {}\n", config.secrets.demo);
    } else if !has_admin(shared).await {
        text += &format!(
            "  First admin (the first such call wins):\n    curl -X POST http://{public}/api/auth/register \
             -H 'content-type: application/json' \\\n      -d '{{\"email\":\"you@example.org\",\"password\":\"Choose-1-yourself\",\
             \"full_name\":\"Your Name\",\"role\":\"admin\"}}'\n  Demo data: start with --demo\n"
        );
    }
    // Not the log: a greeting is for people. Nobody may be listening.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

async fn has_admin(shared: &Shared) -> bool {
    let Ok(mut lease) = shared.owner.get().await else { return true };
    let query = "select exists (select from public.users where role = 'admin' and deleted_at is null)";
    let found = sqlx::query_scalar(query).fetch_one(lease.connection()).await;
    lease.give_back();
    found.unwrap_or(true)
}

/// `listen.json`: how commands and scripts on this machine find the host.
struct ListenNote(PathBuf);

impl ListenNote {
    fn write(config: &Config, public: SocketAddr, control: SocketAddr) -> Result<ListenNote> {
        make_data_dir(&config.data_dir)?;
        let path = config.data_dir.join("listen.json");
        let note = json!({
            "pid": std::process::id(),
            "public": format!("http://{public}"),
            "control": format!("http://{control}"),
            "control_token": config.secrets.control,
        });
        let draft = path.with_extension("json.draft");
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(note.to_string().as_bytes())?;
            std::fs::rename(&draft, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(ListenNote(path))
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "cannot remove {}", self.0.display());
        }
    }
}
