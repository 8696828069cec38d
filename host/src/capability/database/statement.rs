//! Runs one statement of a component within the caps of its call.

use super::value;
use crate::capability::bindings::database::{Error, Rejection, Value};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, Executor, PgConnection, Row, SqlSafeStr, Statement, postgres::PgArguments};
use std::sync::Arc;

/// Longer ones are generated, and would fill the cache of prepared statements.
const MAX_BYTES: usize = 64 << 10;
const ALLOWED: [&str; 7] = ["select", "insert", "update", "delete", "merge", "values", "with"];

pub struct Caps {
    /// 0: rows are of no interest.
    pub rows: usize,
    pub bytes: usize,
}

#[derive(Default)]
pub struct Outcome {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub affected: u64,
    pub bytes: usize,
}

/// Refuses statements that are none of a component's business: transaction
/// control would cross the call's, `set` and `listen` would reach the next
/// borrower of the connection. That one string holds only one statement is
/// PostgreSQL's own rule for prepared ones.
pub fn check_allowed(sql: &str) -> Result<(), Error> {
    if sql.len() > MAX_BYTES {
        return Err(Error::Invalid(format!("the statement is longer than {MAX_BYTES} bytes")));
    }
    let word: String = skip_comments(sql).chars().take_while(char::is_ascii_alphabetic).collect();
    if ALLOWED.contains(&word.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Error::Invalid(format!("`{word}` is not one of the allowed statements: {}", ALLOWED.join(", "))))
}

/// The rest after leading blanks, parentheses and comments. What it cannot read
/// it leaves, so that the statement is refused.
fn skip_comments(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == '(');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            // PostgreSQL nests comments: one inside another is refused.
            match comment.split_once("*/") {
                Some((inside, after)) if !inside.contains("/*") => rest = after,
                _ => return "",
            }
        } else {
            return rest;
        }
    }
}

pub async fn run(connection: &mut PgConnection, sql: String, params: &[Value], caps: &Caps) -> Result<Outcome, Error> {
    let sql: Arc<str> = sql.into();
    let statement = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map_err(explain)?;
    let arguments = encode(&statement, params)?;
    let mut outcome = Outcome::default();
    if caps.rows > 0 {
        outcome.columns = statement.columns().iter().map(|column| sqlx::Column::name(column).to_owned()).collect();
    }
    let mut answers = connection.fetch_many(statement.query_with(arguments));
    while let Some(answer) = answers.try_next().await.map_err(explain)? {
        let row = match answer {
            Either::Left(done) => {
                outcome.affected += done.rows_affected();
                continue;
            }
            Either::Right(row) if caps.rows > 0 => row,
            Either::Right(_) => continue,
        };
        if outcome.rows.len() == caps.rows {
            return Err(Error::TooLarge(format!("more than {} rows", caps.rows)));
        }
        let mut values = Vec::with_capacity(row.len());
        for index in 0..row.len() {
            let raw = row.try_get_raw(index).map_err(explain)?;
            outcome.bytes += raw.as_bytes().map_or(0, <[u8]>::len);
            if outcome.bytes > caps.bytes {
                return Err(Error::TooLarge(format!("more than {} bytes", caps.bytes)));
            }
            values.push(value::decode(&raw)?);
        }
        outcome.rows.push(values);
    }
    Ok(outcome)
}

fn encode(statement: &sqlx::postgres::PgStatement, params: &[Value]) -> Result<PgArguments, Error> {
    let Some(Either::Left(types)) = statement.parameters() else {
        return Err(Error::Invalid("the statement's parameters are unknown".into()));
    };
    if types.len() != params.len() {
        return Err(Error::Invalid(format!("{} parameters for {}", params.len(), types.len())));
    }
    let mut arguments = PgArguments::default();
    for (index, (parameter, kind)) in params.iter().zip(types).enumerate() {
        value::add(&mut arguments, parameter, kind)
            .map_err(|problem| Error::Invalid(format!("parameter ${}: {problem}", index + 1)))?;
    }
    Ok(arguments)
}

/// SQLSTATEs that mean the connection or the server, not the statement:
/// connection exceptions, shutdown and start of the server, no free slot.
fn means_unavailable(sqlstate: &str) -> bool {
    sqlstate.starts_with("08") || ["57P01", "57P02", "57P03", "53300", "25P03"].contains(&sqlstate)
}

pub fn explain(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(refusal) => {
            let sqlstate = refusal.code().unwrap_or_default().into_owned();
            if sqlstate == "57014" {
                Error::Timeout
            } else if means_unavailable(&sqlstate) {
                Error::Unavailable(refusal.message().to_owned())
            } else {
                let constraint = refusal.constraint().map(String::from);
                Error::Rejected(Rejection { sqlstate, message: refusal.message().to_owned(), constraint })
            }
        }
        sqlx::Error::Encode(error) | sqlx::Error::Decode(error) => Error::Invalid(error.to_string()),
        other => Error::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_allowed;

    #[test]
    fn only_data_statements_are_allowed() {
        for good in ["select 1", " -- why\n SELECT 1", "/* a */ with x as (select 1) select * from x", "(values (1))"] {
            assert!(check_allowed(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "set role x",
            "reset role",
            "begin",
            "commit",
            "copy t from program 'id'",
            "do $$ $$",
            "selectx 1",
            "/* a /* b */ */ select 1",
            "/* select 1",
            "--select 1",
            "listen x",
            "discard all",
            "call f()",
            "\u{a0}select 1",
            "create table t ()",
            "explain select 1",
            "prepare a as select 1",
            "table t",
        ];
        for bad in bad {
            assert!(check_allowed(bad).is_err(), "{bad}");
        }
    }
}
