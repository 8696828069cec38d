//! Each statement of a component fits the schema, and the rights of its role.

use crate::harness::{root, shared};
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr};
use std::fs;

/// Prepares a statement and has it explained, which looks up its names and
/// types, and then the rights, without running it.
async fn try_out(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    let run = async |connection: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql).into_sql_str()).execute(connection).await.map(drop)
    };
    run(connection, format!("prepare tried as {statement}")).await?;
    let parameters = "select cardinality(parameter_types) from pg_catalog.pg_prepared_statements where name = 'tried'";
    let parameters: i32 = sqlx::query_scalar(parameters).fetch_one(&mut *connection).await?;
    let nulls = vec!["null"; usize::try_from(parameters).expect("a count")].join(", ");
    let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let explained = run(connection, format!("explain execute tried{arguments}")).await;
    run(connection, "deallocate tried".into()).await?;
    explained
}

#[tokio::test]
async fn every_statement_fits_the_schema_and_the_rights_of_its_component() {
    let host = shared();
    let mut tried = 0;
    let mut failures = Vec::new();
    for component in fs::read_dir(root().join("components")).expect("the components") {
        let component = component.expect("a directory").path();
        let Ok(files) = fs::read_dir(component.join("sql")) else { continue };
        let name = component.file_name().and_then(|name| name.to_str()).expect("a name");
        let mut connection = host.sql().await;
        let login = format!("set session authorization shema_{name}");
        sqlx::raw_sql(AssertSqlSafe(login).into_sql_str())
            .execute(&mut connection)
            .await
            .expect("the component's role");
        for file in files {
            let file = file.expect("a file").path();
            let statement = fs::read_to_string(&file).expect("a text");
            if let Err(error) = try_out(&mut connection, &statement).await {
                failures.push(format!("{}: {error}", file.display()));
            }
            tried += 1;
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(tried > 50, "only {tried} statements were found");
}

#[tokio::test]
async fn a_statement_beyond_the_rights_of_its_component_is_found() {
    let mut connection = shared().sql().await;
    sqlx::raw_sql("set session authorization shema_cs").execute(&mut connection).await.expect("the role");
    for (statement, found) in [
        ("select u.password_hash from public.users u where u.id = $1", "permission denied"),
        ("delete from cs.messages where id = $1", "permission denied"),
        ("select m.body from cs.messages m where m.id = $1", "does not exist"),
        ("select b.id from booking.bookings b where b.id = $1", "permission denied"),
    ] {
        let error = try_out(&mut connection, statement).await.expect_err("it is not allowed").to_string();
        assert!(error.contains(found), "{statement}: {error}");
    }
    try_out(&mut connection, "select u.full_name from public.users u where u.id = $1").await.expect("it is allowed");
}
