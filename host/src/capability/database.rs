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

use super::{
    Call,
    bindings::database::{Error, Host, HostTransaction, Rejection, Rows, Value},
};
use crate::{
    config::Limits,
    services::database::{Lease, Pool},
};
use sqlx::Executor;
use statement::{Caps, Outcome};
use std::time::{Duration, Instant};
use wasmtime::component::Resource;

/// The host waits this much longer than PostgreSQL's own statement timeout,
/// which a component can change for its session.
const GRACE: Duration = Duration::from_secs(1);
/// `begin`, `commit` and `rollback`.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// The component's connections and how much of them a call may use.
#[derive(Clone)]
pub struct Grant {
    pool: Pool,
    statement_timeout: Duration,
    max_rows: usize,
    max_bytes: usize,
}

impl Grant {
    pub fn new(pool: Pool, limits: &Limits) -> Grant {
        Grant {
            pool,
            statement_timeout: Duration::from_millis(limits.statement_timeout_ms),
            max_rows: limits.max_rows,
            max_bytes: limits.max_result_kib << 10,
        }
    }
}

/// The type behind `resource transaction`: only a number, because a call has at
/// most one.
pub struct Transaction;

struct Open {
    number: u32,
    /// After a failed statement PostgreSQL can only roll back.
    failed: bool,
}

/// What one call holds of the database.
#[derive(Default)]
pub struct Session {
    grant: Option<Grant>,
    lease: Option<Lease>,
    open: Option<Open>,
    opened: u32,
    /// Set while the connection is in use: if the call is cut off in between,
    /// the connection is in an unknown state.
    busy: bool,
    /// Set when the session may not be as it was.
    touched: bool,
    read_only: bool,
    bytes_left: usize,
    time: Duration,
}

impl Session {
    /// `read_only`: PostgreSQL refuses every change.
    pub fn new(grant: Option<&Grant>, read_only: bool) -> Session {
        let mut session = Session::default();
        session.read_only = read_only;
        session.bytes_left = grant.map_or(0, |grant| grant.max_bytes);
        session.grant = grant.cloned();
        session
    }

    pub fn time(&self) -> Duration {
        self.time
    }

    /// Gives the connection back while the component does something slow that
    /// needs none, unless a transaction holds it.
    pub fn release(&mut self) {
        if self.open.is_none() && !self.busy {
            self.leave();
        }
    }

    /// Runs a statement of the component.
    async fn run(&mut self, sql: String, params: &[Value], rows: bool) -> Result<Outcome, Error> {
        statement::check_allowed(&sql)?;
        self.touched |= footprint::leaves_something(&sql);
        self.run_trusted(sql, params, rows).await
    }

    /// Runs a statement of the host's own.
    pub async fn run_trusted(&mut self, sql: String, params: &[Value], rows: bool) -> Result<Outcome, Error> {
        let grant = self.grant()?;
        let caps = Caps { rows: if rows { grant.max_rows } else { 0 }, bytes: self.bytes_left };
        let limit = grant.statement_timeout + GRACE;
        self.connect().await?;
        let started = Instant::now();
        self.busy = true;
        let outcome = match &mut self.lease {
            Some(lease) => tokio::time::timeout(limit, statement::run(lease.connection(), sql, params, &caps)).await,
            None => return Err(lost()),
        };
        self.busy = false;
        self.time += started.elapsed();
        match outcome {
            Ok(Ok(outcome)) => {
                self.bytes_left = self.bytes_left.saturating_sub(outcome.bytes);
                Ok(outcome)
            }
            Ok(Err(error)) => Err(self.fail(error)),
            Err(_) => Err(self.fail(Error::Timeout)),
        }
    }

    /// Draws the consequences of a failed statement for the connection.
    fn fail(&mut self, error: Error) -> Error {
        if let Some(open) = &mut self.open {
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
            self.lease = None;
        }
        if matches!(error, Error::Unavailable(_))
            && let Some(grant) = &self.grant
        {
            grant.pool.lost_one();
        }
        error
    }

    fn grant(&self) -> Result<&Grant, Error> {
        self.grant.as_ref().ok_or_else(|| Error::Invalid("the database is not granted to this component".into()))
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if self.lease.is_some() {
            return Ok(());
        }
        if self.open.is_some() {
            return Err(lost());
        }
        let started = Instant::now();
        let lease = self.grant()?.pool.get().await;
        self.time += started.elapsed();
        self.lease = Some(lease.map_err(|error| Error::Unavailable(error.to_string()))?);
        if self.read_only {
            self.touched = true;
            self.control("set session characteristics as transaction read only").await?;
        }
        Ok(())
    }

    async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let Some(lease) = &mut self.lease else { return Err(lost()) };
        let started = Instant::now();
        self.busy = true;
        let done = tokio::time::timeout(CONTROL_TIMEOUT, lease.connection().execute(statement)).await;
        self.busy = false;
        self.time += started.elapsed();
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.fail(statement::explain(error))),
            Err(_) => Err(self.fail(Error::Unavailable("no answer".into()))),
        }
    }

    async fn begin(&mut self) -> Result<u32, Error> {
        if self.open.is_some() {
            return Err(Error::Invalid("a transaction is open already".into()));
        }
        self.connect().await?;
        let begin = match self.read_only {
            true => "begin isolation level read committed read only",
            false => "begin isolation level read committed read write",
        };
        self.control(begin).await?;
        self.opened += 1;
        self.open = Some(Open { number: self.opened, failed: false });
        Ok(self.opened)
    }

    async fn commit(&mut self, number: u32) -> Result<(), Error> {
        let Some(open) = self.open.take_if(|open| open.number == number) else {
            return Err(Error::Invalid("this transaction has ended".into()));
        };
        if !open.failed {
            return self.control("commit").await;
        }
        if self.lease.is_none() {
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
        if self.open.take_if(|open| open.number == number).is_some() && self.lease.is_some() {
            // A failure closes the connection, which rolls back as well.
            let _ = self.control("rollback").await;
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

impl Drop for Session {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lost() -> Error {
    Error::Unavailable("the connection of the transaction was lost".into())
}

impl Host for Call {
    async fn query(&mut self, statement: String, params: Vec<Value>) -> wasmtime::Result<Result<Rows, Error>> {
        let outcome = self.database.run(statement, &params, true).await;
        Ok(outcome.map(|outcome| Rows { columns: outcome.columns, rows: outcome.rows }))
    }

    async fn execute(&mut self, statement: String, params: Vec<Value>) -> wasmtime::Result<Result<u64, Error>> {
        let outcome = self.database.run(statement, &params, false).await;
        Ok(outcome.map(|outcome| outcome.affected))
    }

    async fn begin(&mut self) -> wasmtime::Result<Result<Resource<Transaction>, Error>> {
        Ok(self.database.begin().await.map(Resource::new_own))
    }
}

impl HostTransaction for Call {
    async fn commit(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.database.commit(transaction.rep()).await)
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        self.database.roll_back(transaction.rep()).await;
        Ok(())
    }
}
