//! Builds the host from its configuration, runs it, and sees it out.
//!
//! The order is: database, components, listeners. The public socket is bound
//! last, so what answers is ready.

use crate::{
    builder::Checkout,
    capability::{
        Shared,
        calls::Components,
        sockets::{presence, session_guard},
    },
    config::{self, Access, Config, ListenNote},
    deploy::{self, Deployer},
    embedded::Cluster,
    gateway::{
        control,
        http::{Gateway, PublicListener},
        listener,
        schedule::{self, Scheduled},
        sockets::channel,
    },
    runtime::{Loader, code_cache::Cache, compile::Compiler, engine, linker, registry::Registry, wasi_http},
    services::{
        Services, crypto,
        database::{self, Pool, Roles},
        http_client::Client,
        outbox,
        rate_limit::Limiter,
        redis::Store,
        tokens::{Signer, Verifier, certificates::Certificates, service_account::ServiceAccount},
    },
    telemetry::operator_events::OperatorEvents,
    welcome,
};
use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use sqlx::postgres::PgConnectOptions;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Name of the embedded database.
const DATABASE: &str = "shema";
pub struct App;

impl App {
    pub async fn migrate(config: Config) -> Result<()> {
        let (options, cluster) = connect(&config).await?;
        let done = database::prepare(&options, true).await;
        stop(cluster).await;
        done
    }

    /// Runs until a signal; returns when everything is in order again. `ready`
    /// is told where the control API listens, once it does.
    pub async fn serve(config: Config, demo: bool, ready: impl FnOnce(Access) + Send) -> Result<()> {
        crypto::install_tls_provider();
        listener::open_many_files();
        let started = Instant::now();
        build_missing(&config).await?;
        let (options, cluster) = connect(&config).await?;
        let served = serve_with(&config, &options, demo, started, ready).await;
        stop(cluster).await;
        served
    }
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

async fn serve_with(
    config: &Config,
    options: &PgConnectOptions,
    demo: bool,
    started: Instant,
    ready: impl FnOnce(Access) + Send,
) -> Result<()> {
    database::prepare(options, config.migrate).await?;
    let node = Uuid::new_v4();
    let shared = Arc::new(Shared {
        services: Arc::new(services(config, options, node).await?),
        hub: Arc::default(),
        components: Arc::default(),
    });
    if demo {
        welcome::load_demo(config, &shared.services).await?;
    }
    let loader = Arc::new(loader(config, &shared)?);
    let registry = Arc::new(Registry::new(config.aliases.clone()));
    // Set once, here.
    let components: Arc<dyn Components> = registry.clone();
    let _ = shared.components.set(Arc::downgrade(&components));
    let deployer = Deployer::new(config, options, loader, Arc::clone(&registry), node);
    deployer.start().await?;
    let stop = CancellationToken::new();
    let relay = tokio::spawn(outbox::run(options.clone(), Arc::clone(&shared.services.redis), stop.clone()));
    let sockets = hold_sockets(options, &shared, &registry, node, &stop);
    let schedule = schedule::run(options.clone(), Arc::clone(&registry), scheduled(config), stop.clone());
    let schedule = tokio::spawn(schedule);
    let serving = Serving { config, registry, shared: &shared, deployer, demo, started };
    let served = listen(serving, ready, &stop).await;
    stop.cancel();
    if schedule.await.is_err() {
        tracing::warn!("the schedule had panicked");
    }
    sockets.join_all().await;
    if relay.await.is_err() {
        tracing::warn!("the relay of events had panicked");
    }
    shared.services.owner.close();
    served
}

async fn services(config: &Config, options: &PgConnectOptions, node: Uuid) -> Result<Services> {
    let redis = Arc::new(match &config.redis_url {
        Some(url) => Store::server(url, &config.redis_prefix)?,
        None => Store::memory(&config.redis_prefix),
    });
    let owner = Pool::owner(options);
    let http_client = Client::new()?;
    let account = config.service_account.as_deref();
    let account = account.map(|path| ServiceAccount::read(path, http_client.clone())).transpose()?;
    let signer = Arc::new(Signer::new(config));
    let verifier = Verifier { signer: Arc::clone(&signer), pool: owner.clone(), redis: Arc::clone(&redis) };
    Ok(Services {
        roles: Roles::new(options, &config.secrets.access),
        operator_events: Arc::new(OperatorEvents::new(&node.to_string())),
        limiter: Arc::new(Limiter::new(config.rate_limits.clone(), Arc::clone(&redis))),
        certificates: Arc::new(Certificates::new(http_client.clone())),
        service_account: account.map(Arc::new),
        verifier: Arc::new(verifier),
        outbox_secret: outbox::read_secret(&owner).await?,
        http_client,
        owner,
        redis,
        signer,
    })
}

/// The tasks around the connections that components hold.
fn hold_sockets(
    options: &PgConnectOptions,
    shared: &Arc<Shared>,
    registry: &Arc<Registry>,
    node: Uuid,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let hub = || Arc::clone(&shared.hub);
    // Not those of the requests, which may all be taken.
    let pool = Pool::owner(options);
    tasks.spawn(session_guard::guard(hub(), pool.clone(), stop.clone()));
    tasks.spawn(presence::announce(hub(), pool, node, stop.clone()));
    let (registry, redis) = (Arc::clone(registry), Arc::clone(&shared.services.redis));
    tasks.spawn(channel::listen(hub(), registry, redis, stop.clone()));
    tasks
}

fn scheduled(config: &Config) -> Vec<Scheduled> {
    let of_component = |(name, component): (&String, &config::Component)| {
        let scheduled = |task: &config::Task| Scheduled { component: name.clone(), task: task.clone() };
        component.tasks.iter().map(scheduled).collect::<Vec<_>>()
    };
    config.components.iter().flat_map(of_component).collect()
}

fn loader(config: &Config, shared: &Arc<Shared>) -> Result<Loader> {
    let engine = engine::start(engine::Kind::Typed)?;
    let wasi_http_engine = engine::start(engine::Kind::WasiHttp)?;
    let public_key = config.deploy.public_key.as_ref().map(|text| {
        let key = BASE64_STANDARD.decode(text).ok().filter(|key| key.len() == 32);
        key.context("deploy.public_key: not the base64 of an Ed25519 public key (32 bytes)")
    });
    Ok(Loader {
        linker: linker::build(&engine)?,
        wasi_http_linker: wasi_http::linker(&wasi_http_engine)?,
        compiler: Compiler {
            // Also when the file has been replaced since.
            program: PathBuf::from("/proc/self/exe"),
            timeout: Duration::from_secs(config.deploy.compile_seconds),
            memory_mib: config.deploy.compile_memory_mib,
        },
        cache: Cache::new(&config.data_dir, &config.secrets.cache),
        call_timeout: config.call_timeout,
        max_artifact_bytes: config.deploy.max_artifact_mib << 20,
        public_key: public_key.transpose()?,
        shared: Arc::clone(shared),
        engine,
        wasi_http_engine,
    })
}

struct Serving<'a> {
    config: &'a Config,
    registry: Arc<Registry>,
    shared: &'a Arc<Shared>,
    deployer: Arc<Deployer>,
    demo: bool,
    started: Instant,
}

async fn listen(serving: Serving<'_>, ready: impl FnOnce(Access) + Send, stop: &CancellationToken) -> Result<()> {
    let Serving { config, registry, shared, deployer, demo, started } = serving;
    let control = bind(config.control_listen, "SHEMA_CONTROL_LISTEN").await?;
    let public = bind(config.listen, "SHEMA_LISTEN").await?;
    let (public_at, control_at) = (public.local_addr()?, control.local_addr()?);
    let gateway = Arc::new(Gateway::new(
        config,
        Arc::clone(&registry),
        shared,
        Arc::clone(&deployer),
        stop.clone(),
        PublicListener {
            port: public_at.port(),
            max_sockets: listener::max_sockets(),
            home: welcome::page(config, control_at)?,
        },
    )?);
    let address = deploy::Address { public: format!("http://{public_at}"), control: format!("http://{control_at}") };
    // Connections wait in the queue of the sockets until this host has missed
    // nothing.
    deployer.join(address).await?;
    let following = tokio::spawn(Arc::clone(&deployer).run(stop.clone()));
    // Before anybody can know that this host is there and stop it.
    let mut signals = Signals::catch()?;
    let note = ListenNote::write(&config.data_dir, public_at, control_at, &config.secrets.control)?;
    let max_artifact_bytes = config.deploy.max_artifact_mib << 20;
    let token = config.secrets.control.clone();
    let control_router =
        control::router(registry, Arc::clone(&shared.services), deployer, token, max_artifact_bytes, stop.clone());
    let control_task = tokio::spawn(listener::serve(control, control_router, stop.clone()));
    let public_task = tokio::spawn(listener::serve(public, gateway.router(), stop.clone()));
    if demo || config.profile == config::Profile::Development {
        welcome::greet(config, &shared.services, public_at, demo, started).await;
    }
    tracing::info!("Listening on http://{public_at}, control on http://{control_at}.");
    ready(Access::local(control_at, &config.secrets.control));
    signals.receive().await;
    tracing::info!("Stopping: requests under way are finished.");
    if let Err(error) = note.remove() {
        tracing::warn!("{error:#}");
    }
    stop.cancel();
    let second = async {
        // A second signal means: now.
        signals.receive().await;
        std::process::exit(1);
    };
    tokio::select! {
        _ = async { tokio::join!(public_task, control_task, following, shared.hub.drained()) } => (),
        () = second => (),
    }
    Ok(())
}

async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// The two signals that stop the host.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on a signal waits to be received instead of ending the process.
    fn catch() -> Result<Signals> {
        let catch = |kind| signal(kind).context("cannot wait for a signal");
        Ok(Signals { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    async fn receive(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}
