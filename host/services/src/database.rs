//! PostgreSQL as the host reaches it: pools of connections, each logged in as
//! one role, and the migrations.
//!
//! A connection goes back to its pool clean or not at all: whoever borrows one
//! hands it back through [`Lease::give_back`] or drops it, which closes it. So
//! a call that is cut off in the middle cannot leave a half-read answer or an
//! open transaction to the next borrower.

use anyhow::{Context, Result, bail};
use config::Limits;
use deadpool::managed::{self, Manager, Metrics, QueueMode, RecycleError, RecycleResult};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, SqlSafeStr, SqlStr,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgDatabaseError},
};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Of `DATABASE_URL`'s own login, for migrations, principals and the relay.
const OWNER_CONNECTIONS: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call waits for a connection before it is told there is none.
const WAIT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that was idle for longer is asked whether it still lives.
const TRUSTED_IDLE: Duration = Duration::from_secs(30);
/// One that was idle for longer is closed: the server may have few.
const MAX_IDLE: Duration = Duration::from_secs(60);
const IDLE_CHECK: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const RESET_TIMEOUT: Duration = Duration::from_secs(2);
/// Distinct statements that a connection keeps prepared.
const STATEMENT_CACHE: usize = 512;
/// The database may still be starting beside the host.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes back whatever a component's SQL may have left in its session: settings
/// and locks. `discard all` would do more, but forget the prepared statements.
const RESET: &str = "reset all; select pg_advisory_unlock_all()";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no connection within {WAIT_TIMEOUT:?}")]
    Busy,
    #[error("{0}")]
    Connect(#[from] sqlx::Error),
}

/// Connections of one role.
#[derive(Clone)]
pub struct Pool(managed::Pool<Logins>);

/// A borrowed connection. Dropping it closes it.
pub struct Lease(Option<managed::Object<Logins>>);

pub struct Logins {
    options: PgConnectOptions,
    /// The role's login is repaired by the owner when it is refused.
    repair: Option<Repair>,
    /// Counts lost connections. One made before the last loss may be dead too,
    /// since a restart of the server ends them all.
    losses: AtomicU64,
}

struct Repair {
    owner: PgConnectOptions,
    role: String,
    password: String,
}

pub struct Login {
    connection: PgConnection,
    losses: u64,
}

/// The pools of the components' roles. A pool outlives the versions that use
/// it: a swap opens no connection.
pub struct Roles {
    owner: PgConnectOptions,
    secret: String,
    /// By role, statement timeout (ms) and size.
    pools: tokio::sync::Mutex<HashMap<(String, u64, usize), Pool>>,
}

impl Roles {
    /// `secret`: what the passwords of the roles follow from.
    pub fn new(owner: &PgConnectOptions, secret: &str) -> Roles {
        Roles { owner: owner.clone(), secret: secret.to_owned(), pools: tokio::sync::Mutex::default() }
    }

    /// Connections logged in as the role. The first one is made here, so that
    /// what is wrong with the role shows at once.
    pub async fn pool(&self, role: &str, limits: &Limits) -> Result<Pool> {
        let key = (role.to_owned(), limits.statement_timeout_ms, limits.connections);
        let mut pools = self.pools.lock().await;
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let timeout = Duration::from_millis(limits.statement_timeout_ms);
        let pool = Pool::role(&self.owner, role, &self.secret, timeout, limits.connections);
        let lease = pool.get().await.with_context(|| format!("cannot log in as the database role {role}"))?;
        lease.give_back();
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

impl Pool {
    /// Connections of the owner of all tables.
    pub fn owner(options: &PgConnectOptions) -> Pool {
        let options = options.clone().application_name("shema").statement_cache_capacity(STATEMENT_CACHE);
        Pool::new(Logins { options, repair: None, losses: AtomicU64::new(0) }, OWNER_CONNECTIONS)
    }

    /// Connections logged in as `role`, for the statements of one component.
    ///
    /// The role's password follows from `secret`, so that every host with the
    /// same secrets knows it and none has to store it.
    pub fn role(owner: &PgConnectOptions, role: &str, secret: &str, statement_timeout: Duration, size: usize) -> Pool {
        let password = password(role, secret);
        let options = owner
            .clone()
            .username(role)
            .password(&password)
            .application_name(&format!("shema/{role}"))
            .statement_cache_capacity(STATEMENT_CACHE)
            .options([
                ("statement_timeout", statement_timeout.as_millis().to_string()),
                // A transaction is at most as long as a call; this ends one
                // whose host has vanished without a word.
                ("idle_in_transaction_session_timeout", "60s".to_owned()),
                // Ends a statement whose caller was cut off.
                ("client_connection_check_interval", "2s".to_owned()),
                ("search_path", "public".to_owned()),
                ("timezone", "UTC".to_owned()),
            ]);
        let repair = Repair { owner: owner.clone(), role: role.to_owned(), password };
        Pool::new(Logins { options, repair: Some(repair), losses: AtomicU64::new(0) }, size)
    }

    fn new(logins: Logins, size: usize) -> Pool {
        let pool = managed::Pool::builder(logins)
            .max_size(size)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .runtime(deadpool::Runtime::Tokio1)
            // The connection used last has the warmest caches.
            .queue_mode(QueueMode::Lifo)
            .build();
        let Ok(pool) = pool else { unreachable!("a runtime is given, which is all that can be missing") };
        tokio::spawn(close_idle(pool.weak()));
        Pool(pool)
    }

    pub async fn get(&self) -> Result<Lease, Error> {
        match self.0.get().await {
            Ok(lease) => Ok(Lease(Some(lease))),
            Err(managed::PoolError::Backend(error)) => Err(error.into()),
            Err(_) => Err(Error::Busy),
        }
    }

    /// Tells the pool that a connection was lost, so that it looks at the
    /// others before it lends them.
    pub fn lost_one(&self) {
        self.0.manager().losses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn close(&self) {
        self.0.close();
    }
}

/// Closes what a burst of calls has left behind; ends with the pool.
async fn close_idle(pool: managed::WeakPool<Logins>) {
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.retain(|_, metrics| metrics.last_used() < MAX_IDLE);
    }
}

impl Lease {
    pub fn connection(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Some(lease) => &mut lease.connection,
            None => unreachable!("only `give_back` and `drop`, which consume the lease, take it out"),
        }
    }

    /// Returns a connection that is at rest: no open transaction, no statement
    /// under way, and nothing of a component's in its session.
    pub fn give_back(mut self) {
        // deadpool's own `drop` returns it.
        drop(self.0.take());
    }

    /// Rolls back, takes back what a component left in the session, and returns
    /// the connection. Closes it where that fails.
    pub async fn clean_and_give_back(mut self, in_transaction: bool) {
        let cleaned = tokio::time::timeout(RESET_TIMEOUT, async {
            if in_transaction {
                self.connection().execute("rollback").await?;
            }
            self.connection().execute(RESET).await
        });
        if let Ok(Ok(_)) = cleaned.await {
            self.give_back();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            drop(managed::Object::take(lease));
        }
    }
}

impl Manager for Logins {
    type Type = Login;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Login, sqlx::Error> {
        let losses = self.losses.load(Ordering::Relaxed);
        let connection = match (connect(&self.options).await, &self.repair) {
            (Err(error), Some(repair)) if is_refused_login(&error) => {
                repair.run().await?;
                connect(&self.options).await?
            }
            (connection, _) => connection?,
        };
        Ok(Login { connection, losses })
    }

    async fn recycle(&self, login: &mut Login, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        let losses = self.losses.load(Ordering::Relaxed);
        if login.losses == losses && metrics.last_used() < TRUSTED_IDLE {
            return Ok(());
        }
        match tokio::time::timeout(PING_TIMEOUT, login.connection.ping()).await {
            Ok(Ok(())) => {
                login.losses = losses;
                Ok(())
            }
            Ok(Err(error)) => Err(RecycleError::Backend(error)),
            Err(_) => Err(RecycleError::message("no answer to a ping")),
        }
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connection) => connection,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Class 28: invalid authorization, which includes "not permitted to log in".
fn is_refused_login(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("28"))
}

impl Repair {
    /// Gives the role its login. Another host, or another database of the same
    /// cluster, may do so at this moment: roles belong to the cluster.
    async fn run(&self) -> Result<(), sqlx::Error> {
        // Both are checked or made by the host: a name of letters, hex digits.
        let statement = format!("alter role {} login password '{}'", self.role, self.password);
        let mut owner = connect(&self.owner).await?;
        let mut tries = 20;
        loop {
            match owner.execute(AssertSqlSafe(statement.clone()).into_sql_str()).await {
                Ok(_) => break,
                Err(error) if tries > 0 && is_concurrent_update(&error) => tries -= 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        owner.close().await
    }
}

/// "tuple concurrently updated", which has no code of its own.
fn is_concurrent_update(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "XX000")
}

fn password(role: &str, secret: &str) -> String {
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(b"database role ");
    mac.update(role.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name and text of each file of `migrations/`, from the build script.
const MIGRATIONS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// As sqlx' own macro reads them, which would build a second sqlx with a runtime
/// and TLS into the compiler.
fn migrator() -> Result<Migrator> {
    let read = |(name, sql): &(&'static str, &'static str)| {
        let (version, rest) = name.split_once('_').with_context(|| format!("migrations/{name}.sql has no number"))?;
        let version = version.parse().with_context(|| format!("migrations/{name}.sql has no number"))?;
        let no_transaction = sql.starts_with("-- no-transaction");
        let sql = SqlStr::from_static(sql);
        Ok(Migration::new(version, rest.replace('_', " ").into(), MigrationType::Simple, sql, no_transaction))
    };
    Ok(Migrator::with_migrations(MIGRATIONS.iter().map(read).collect::<Result<_>>()?))
}

/// Waits for the database and makes sure that it exists, is new enough, and
/// has all migrations (or applies them).
pub async fn prepare(options: &PgConnectOptions, migrate: bool) -> Result<()> {
    let mut connection = first_connection(options).await?;
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut connection)
        .await
        .context("cannot ask the database for its version")?;
    if version < 140_000 {
        bail!("the database is PostgreSQL {}, and 14 or newer is needed", version / 10_000);
    }
    let migrator = migrator()?;
    if migrate {
        let started = Instant::now();
        migrator.run(&mut connection).await.map_err(explain_migration)?;
        tracing::debug!(ms = started.elapsed().as_millis() as u64, "migrations are applied");
    } else {
        let applied: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(&mut connection)
            .await
            .context("SHEMA_MIGRATE=off, but the database has not been migrated: run `shema migrate`")?;
        let wanted = migrator.iter().map(|migration| migration.version).max();
        if applied < wanted {
            bail!("SHEMA_MIGRATE=off, but migrations are missing in the database: run `shema migrate`");
        }
    }
    connection.close().await.context("cannot close the first connection to the database")
}

async fn first_connection(options: &PgConnectOptions) -> Result<PgConnection> {
    let until = Instant::now() + START_TIMEOUT;
    let mut told = false;
    loop {
        let error = match connect(options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let may_come = matches!(&error, sqlx::Error::Io(_))
            || error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "57P03");
        if !may_come || Instant::now() > until {
            return Err(error).context("cannot connect to the database of DATABASE_URL");
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("Waiting up to {START_TIMEOUT:?} for the database: {error}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Our own migrations explain themselves in message and hint.
fn explain_migration(error: sqlx::migrate::MigrateError) -> anyhow::Error {
    let source = match &error {
        sqlx::migrate::MigrateError::ExecuteMigration(error, _) | sqlx::migrate::MigrateError::Execute(error) => {
            error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        }
        _ => None,
    };
    match source {
        Some(refusal) => {
            let hint = refusal.hint().map(|hint| format!(" {hint}")).unwrap_or_default();
            anyhow::anyhow!("the migrations were refused: {}{hint}", refusal.message())
        }
        None => anyhow::Error::new(error).context("the migrations failed"),
    }
}

/// The database of the embedded cluster, made at the first start.
pub async fn create_if_missing(cluster: PgConnectOptions, name: &str) -> Result<PgConnectOptions> {
    let mut connection = connect(&cluster.clone().database("postgres")).await.context("cannot open the database")?;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        let statement = format!("create database {name}");
        connection.execute(AssertSqlSafe(statement).into_sql_str()).await.context("cannot make the database")?;
    }
    connection.close().await?;
    Ok(cluster.database(name))
}
