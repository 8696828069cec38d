//! Postgres, Redis and the components that hosts are started on, and chats for
//! guests to sit in.

use super::clients::Seat;
use crate::{
    chat::{Setup, guest::Guest},
    environment::{self, Environment},
    processes::{self, Host, Postgres, Process},
};
use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use std::{fs, path::PathBuf, sync::Arc};
use uuid::Uuid;

/// What hosts of this proof run; others would only take time to start.
const COMPONENTS: [&str; 2] = ["auth.wasm", "cs.wasm"];
const DATABASE: &str = "bench";

pub struct Base<'a> {
    setup: &'a Setup<'a>,
    dir: PathBuf,
    components: PathBuf,
    postgres: Postgres,
    redis: Option<(Process, String)>,
}

impl<'a> Base<'a> {
    /// Its files are in a directory of that name.
    pub async fn start(setup: &'a Setup<'a>, name: &str) -> Result<Base<'a>> {
        let dir = setup.scratch.join(name);
        let components = dir.join("components");
        fs::create_dir_all(&components)?;
        for file in COMPONENTS {
            fs::copy(setup.components.join(file), components.join(file)).context(file)?;
        }
        let postgres = Postgres::start(&dir).await?;
        let redis = processes::start_redis(&dir).await?;
        let base = Base { setup, dir, components, postgres, redis };
        // The first one makes the tables.
        drop(base.host().await?);
        environment::fill(&base.database()).await?;
        Ok(base)
    }

    /// A new process; what it stores is where that of the last one is, and what
    /// that has compiled is taken over.
    pub async fn host(&self) -> Result<Host> {
        let environment = Environment {
            shema: self.setup.shema,
            components: &self.components,
            mounts: &[],
            database: &self.database(),
            redis: self.redis.as_ref().map(|(_, url)| url.as_str()),
        };
        environment.start(&self.dir.join("host")).await
    }

    /// So many guests, each with a chat of their own that is empty. Stored at
    /// once, as the component would have stored them one by one.
    pub async fn seats(&self, number: usize) -> Result<Vec<Arc<Seat>>> {
        let ids: Vec<Uuid> = (0..number).map(|_| Uuid::new_v4()).collect();
        let tokens: Vec<String> = ids.iter().map(|_| Uuid::new_v4().to_string()).collect();
        let insert = "insert into cs.sessions (id, guest_name, guest_email, session_token_hash)
                      select id, 'Guest', 'guest@example.org', sha256(convert_to(token, 'UTF8'))
                      from unnest($1::uuid[], $2::text[]) as new (id, token)";
        let mut connection = PgConnection::connect(&self.database()).await?;
        sqlx::query(insert).bind(&ids).bind(&tokens).execute(&mut connection).await?;
        sqlx::query("analyze").execute(&mut connection).await?;
        connection.close().await?;
        let guests = ids.iter().zip(tokens).map(|(id, token)| Guest { session: id.to_string(), token });
        Ok(guests.enumerate().map(|(index, guest)| Seat::new(guest, index, self.setup.seed)).collect())
    }

    fn database(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// For the notes.
    pub fn redis_in_words(&self) -> &'static str {
        if self.redis.is_some() { "Redis" } else { "no Redis (the store in the host stood in)" }
    }

    /// `cs`, as the hosts run it.
    pub fn artifact(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.components.join("cs.wasm"))?)
    }

    pub async fn stop(self) {
        self.postgres.stop().await;
    }
}
