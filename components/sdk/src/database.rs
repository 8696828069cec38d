//! PostgreSQL, in a session of the component's role.
//!
//! Statements are constants, because the host keeps a plan for each text; there
//! is no way here to build one. Rows come back as the types that [`row!`]
//! declares.
//!
//! [`row!`]: crate::row!

use crate::{
    bindings::shema::database::sql,
    error::Result as Answer,
    log,
    row::{FromRow, Row},
};

pub use crate::{
    database_error::Error,
    value::{Column, Param, Value},
};

/// How often a transaction is tried that PostgreSQL aborts because of a deadlock
/// or a serialization failure.
const ATTEMPTS: u32 = 3;

/// All rows.
pub fn all<T: FromRow>(statement: &'static str, params: &[Value]) -> Result<Vec<T>, Error> {
    let rows = query(statement, params)?;
    rows.rows.iter().map(|values| T::from_row(&Row::new(&rows.columns, values))).collect()
}

/// The first row, if there is one.
pub fn first<T: FromRow>(statement: &'static str, params: &[Value]) -> Result<Option<T>, Error> {
    let rows = query(statement, params)?;
    rows.rows.first().map(|values| T::from_row(&Row::new(&rows.columns, values))).transpose()
}

/// The row of a statement that always has one.
pub fn one<T: FromRow>(statement: &'static str, params: &[Value]) -> Result<T, Error> {
    first(statement, params)?.ok_or_else(no_row)
}

/// The first column of a statement that always has a row.
pub fn scalar<T: Column>(statement: &'static str, params: &[Value]) -> Result<T, Error> {
    let rows = query(statement, params)?;
    first_column(rows.rows.first().ok_or_else(no_row)?)
}

/// The first column of the first row, if there is one.
pub fn find<T: Column>(statement: &'static str, params: &[Value]) -> Result<Option<T>, Error> {
    let rows = query(statement, params)?;
    rows.rows.first().map(|values| first_column(values)).transpose()
}

/// The number of rows affected.
pub fn execute(statement: &'static str, params: &[Value]) -> Result<u64, Error> {
    may_trap();
    sql::execute(statement, params)
}

fn query(statement: &'static str, params: &[Value]) -> Result<sql::Rows, Error> {
    may_trap();
    sql::query(statement, params)
}

/// Before each statement and commit, and after each commit: where it matters
/// most what of a call remains.
fn may_trap() {
    #[cfg(feature = "traps")]
    {
        use std::hash::{BuildHasher, RandomState};
        // Seeded by the system; one in twelve.
        assert!(RandomState::new().hash_one(()) % 12 != 0, "a trap, as the feature `traps` asks for");
    }
}

/// Proof that a transaction is open, for what is right only inside one: locks,
/// events.
pub struct Transaction(());

/// Commits what `work` did if it returns Ok, and rolls it back if not.
///
/// Every statement of the call runs in it while it is open. `work` may run
/// several times, so it must do nothing outside the database.
pub fn transaction<T>(mut work: impl FnMut(&Transaction) -> Answer<T>) -> Answer<T> {
    for _ in 1..ATTEMPTS {
        match attempt(&mut work) {
            Err(error) if error.database().is_some_and(Error::is_transient) => {
                log::info("a transaction gave way to another one and is tried again");
            }
            result => return result,
        }
    }
    attempt(&mut work)
}

fn attempt<T>(work: &mut impl FnMut(&Transaction) -> Answer<T>) -> Answer<T> {
    let open = sql::begin()?;
    let value = work(&Transaction(()))?;
    may_trap();
    open.commit()?;
    may_trap();
    Ok(value)
}

fn first_column<T: Column>(values: &[Value]) -> Result<T, Error> {
    let value = values.first().and_then(T::from_value);
    value.ok_or_else(|| Error::Invalid(format!("the first column is {:?}", values.first())))
}

fn no_row() -> Error {
    Error::Invalid("the statement returned no row".into())
}
