//! `shema:database`: PostgreSQL in a session logged in as the component's role.
//!
//! The wall is PostgreSQL's: the role is a member of nothing and has just the
//! rights of the migrations. This module adds what keeps one call from
//! touching another: one connection belongs to one call, and it is rolled
//! back, reset or closed before anybody else gets it.
//!
//! - `footprint`: whether a statement leaves something in its session.
//! - `statement`: runs one statement within the caps.
//! - `value`: typed values in and out of PostgreSQL's binary format.

mod footprint;
mod numeric;
mod statement;
mod value;

use super::{CallState, Context, Granting, HasCall, Usage, bindings::{DatabaseError, Transaction, database::{Rejection, Rows, Value, self as wit}}};
use crate::{config, services::database::{Lease, Pool}};
use anyhow::Context as _;
use sqlx::Executor;
use statement::{Caps, Outcome};
use std::time::{Duration, Instant};
use wasmtime::component::{HasData, Linker, Resource};
use wit::Error;

pub const INTERFACES: &[&str] = &["shema:database/sql@0.1.0"];

/// The host waits this much longer than PostgreSQL's own statement timeout,
/// which a component can change for its session.
const GRACE: Duration = Duration::from_secs(1);
/// `begin`, `commit` and `rollback`.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// The component's connections and how much of them a call may use; None if it
/// is granted no database.
pub type Grant = Option<Access>;

pub struct Access {
    pool: Pool,
    statement_timeout: Duration,
    max_rows: usize,
    max_bytes: usize,
}

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    (interface == "shema:database/sql" && grants.database.is_none()).then_some("database = \"ROLE\"")
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let config::Component { grants, limits, .. } = granting.config;
    let Some(role) = &grants.database else { return Ok(None) };
    let pool = granting.shared.services.roles.pool(role, limits).await;
    Ok(Some(Access {
        pool: pool.context("the grant of the database")?,
        statement_timeout: Duration::from_millis(limits.statement_timeout_ms),
        max_rows: limits.max_rows,
        max_bytes: limits.max_result_kib << 10,
    }))
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Database>(linker, |state| {
        let call = state.call();
        View { access: call.grants.database.as_ref(), context: &call.context, state: &mut call.database }
    })
}

struct Database;

impl HasData for Database {
    type Data<'a> = View<'a>;
}

struct Open {
    number: u32,
    /// After a failed statement PostgreSQL can only roll back.
    failed: bool,
}

/// What one call holds of the database.
#[derive(Default)]
pub struct State {
    lease: Option<Lease>,
    open: Option<Open>,
    opened: u32,
    /// Set while the connection is in use: if the call is cut off in between,
    /// the connection is in an unknown state.
    busy: bool,
    /// Set when the session may not be as it was.
    touched: bool,
    bytes: usize,
    time: Duration,
}

/// One call's database.
pub struct View<'a> {
    pub access: Option<&'a Access>,
    pub context: &'a Context,
    pub state: &'a mut State,
}

impl View<'_> {
    /// Runs a statement of the component.
    async fn run(&mut self, sql: String, params: &[Value], rows: bool) -> Result<Outcome, Error> {
        statement::check_allowed(&sql)?;
        self.state.touched |= footprint::leaves_something(&sql);
        self.run_trusted(sql, params, rows).await
    }

    /// Runs a statement of the host's own.
    pub async fn run_trusted(&mut self, sql: String, params: &[Value], rows: bool) -> Result<Outcome, Error> {
        let access = self.access()?;
        let caps = Caps { rows: if rows { access.max_rows } else { 0 }, bytes: access.max_bytes.saturating_sub(self.state.bytes) };
        let limit = access.statement_timeout + GRACE;
        self.connect().await?;
        let started = Instant::now();
        self.state.busy = true;
        let outcome = match &mut self.state.lease {
            Some(lease) => tokio::time::timeout(limit, statement::run(lease.connection(), sql, params, &caps)).await,
            None => return Err(lost()),
        };
        self.state.busy = false;
        self.state.time += started.elapsed();
        match outcome {
            Ok(Ok(outcome)) => {
                self.state.bytes = self.state.bytes.saturating_add(outcome.bytes);
                Ok(outcome)
            }
            Ok(Err(error)) => Err(self.fail(error)),
            Err(_) => Err(self.fail(Error::Timeout)),
        }
    }

    /// Draws the consequences of a failed statement for the connection.
    fn fail(&mut self, error: Error) -> Error {
        if let Some(open) = &mut self.state.open {
            open.failed = true;
        }
        let keep = match &error {
            // PostgreSQL has refused it, and the connection is fine. A plan
            // that no longer fits its tables (0A000) is forgotten with it.
            Error::Rejected(rejection) => rejection.sqlstate != "0A000",
            Error::Invalid(_) => true,
            // PostgreSQL's own timeout leaves the connection fine, the host's
            // does not; they look alike here.
            Error::Timeout | Error::TooLarge(_) | Error::Unavailable(_) => false,
        };
        if !keep {
            self.state.lease = None;
        }
        if matches!(error, Error::Unavailable(_))
            && let Some(access) = self.access
        {
            access.pool.lost_one();
        }
        error
    }

    fn access(&self) -> Result<&Access, Error> {
        self.access.ok_or_else(|| Error::Invalid("the database is not granted to this component".into()))
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if self.state.lease.is_some() {
            return Ok(());
        }
        if self.state.open.is_some() {
            return Err(lost());
        }
        let started = Instant::now();
        let lease = self.access()?.pool.get().await;
        self.state.time += started.elapsed();
        self.state.lease = Some(lease.map_err(|error| Error::Unavailable(error.to_string()))?);
        if self.context.read_only {
            self.state.touched = true;
            self.control("set session characteristics as transaction read only").await?;
        }
        Ok(())
    }

    async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let Some(lease) = &mut self.state.lease else { return Err(lost()) };
        let started = Instant::now();
        self.state.busy = true;
        let done = tokio::time::timeout(CONTROL_TIMEOUT, lease.connection().execute(statement)).await;
        self.state.busy = false;
        self.state.time += started.elapsed();
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.fail(statement::explain(error))),
            Err(_) => Err(self.fail(Error::Unavailable("no answer".into()))),
        }
    }

    async fn begin(&mut self) -> Result<u32, Error> {
        if self.state.open.is_some() {
            return Err(Error::Invalid("a transaction is open already".into()));
        }
        self.connect().await?;
        let begin = match self.context.read_only {
            true => "begin isolation level read committed read only",
            false => "begin isolation level read committed read write",
        };
        self.control(begin).await?;
        self.state.opened += 1;
        self.state.open = Some(Open { number: self.state.opened, failed: false });
        Ok(self.state.opened)
    }

    async fn commit(&mut self, number: u32) -> Result<(), Error> {
        let Some(open) = self.state.open.take_if(|open| open.number == number) else {
            return Err(Error::Invalid("this transaction has ended".into()));
        };
        if !open.failed {
            return self.control("commit").await;
        }
        if self.state.lease.is_none() {
            return Err(lost());
        }
        self.control("rollback").await?;
        Err(Error::Rejected(Rejection {
            sqlstate: "25P02".into(),
            message: "a statement of the transaction failed, so it was rolled back".into(),
            constraint: None,
        }))
    }

    async fn roll_back(&mut self, number: u32) {
        if self.state.open.take_if(|open| open.number == number).is_some() && self.state.lease.is_some() {
            // A failure closes the connection, which rolls back as well.
            let _ = self.control("rollback").await;
        }
    }
}

impl State {
    /// Gives the connection back while the component does something slow that
    /// needs none, unless a transaction holds it.
    pub fn release(&mut self) {
        if self.open.is_none() && !self.busy {
            self.leave();
        }
    }

    /// Parts with the connection. If it has to be cleaned, then behind the
    /// answer: nobody waits for it.
    fn leave(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if self.busy {
            // Cut off in the middle of a statement: closed, not cleaned.
            return;
        }
        let in_transaction = self.open.take().is_some();
        if !in_transaction && !std::mem::take(&mut self.touched) {
            lease.give_back();
            return;
        }
        // Outside a runtime (the host is stopping) dropping closes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(lease.clean_and_give_back(in_transaction));
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.leave();
    }
}

impl CallState for State {
    fn end(self, _component: &str, _context: &Context, usage: &mut Usage) {
        usage.database = self.time;
    }
}

fn lost() -> Error {
    Error::Unavailable("the connection of the transaction was lost".into())
}

impl wit::Host for View<'_> {
    async fn query(&mut self, statement: String, params: Vec<Value>) -> Result<Rows, DatabaseError> {
        let outcome = self.run(statement, &params, true).await?;
        Ok(Rows { columns: outcome.columns, rows: outcome.rows })
    }

    async fn execute(&mut self, statement: String, params: Vec<Value>) -> Result<u64, DatabaseError> {
        Ok(self.run(statement, &params, false).await?.affected)
    }

    async fn begin(&mut self) -> Result<Resource<Transaction>, DatabaseError> {
        Ok(Resource::new_own(View::begin(self).await?))
    }

    fn convert_error(&mut self, error: DatabaseError) -> wasmtime::Result<Error> {
        error.downcast()
    }
}

impl wit::HostTransaction for View<'_> {
    async fn commit(&mut self, transaction: Resource<Transaction>) -> Result<(), DatabaseError> {
        Ok(View::commit(self, transaction.rep()).await?)
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        self.roll_back(transaction.rep()).await;
        Ok(())
    }
}
