//! One multiplexed connection to a Redis server, kept alive by a task of its
//! own. While there is none, commands fail at once instead of waiting.

use super::{Counter, Heard, Result, StoreError};
use anyhow::Context;
use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, Script, aio::MultiplexedConnection};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
const BACK_OFF: Duration = Duration::from_millis(100);
const MAX_BACK_OFF: Duration = Duration::from_secs(3);
/// Finds a dead peer while there is no traffic that would.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Adds, and gives a new key its time to live; returns the sum and the milliseconds
/// left.
static INCREMENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local n = redis.call('incrby', KEYS[1], ARGV[1])
         local left = redis.call('pttl', KEYS[1])
         if left < 0 then redis.call('pexpire', KEYS[1], ARGV[2]) left = tonumber(ARGV[2]) end
         return {n, left}",
    )
});

/// ARGV: 1 if a value is expected, that value, the new value, milliseconds.
static COMPARE_AND_SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local present = redis.call('get', KEYS[1])
         if ARGV[1] == '1' then
           if present ~= ARGV[2] then return 0 end
         elseif present then return 0 end
         redis.call('set', KEYS[1], ARGV[3], 'px', ARGV[4])
         return 1",
    )
});

pub struct Server {
    link: Arc<Link>,
    client: Client,
}

struct Link {
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
}

impl Server {
    /// Connects in the background, for ever.
    pub fn start(url: &str) -> anyhow::Result<Server> {
        // The URL may hold a password: it is not repeated.
        let client = Client::open(url).context("REDIS_URL: not an address that Redis is reached under")?;
        let link = Arc::new(Link { connection: ArcSwapOption::empty(), broken: Notify::new() });
        tokio::spawn(keep_connected(client.clone(), Arc::downgrade(&link)));
        Ok(Server { link, client })
    }

    pub fn is_up(&self) -> bool {
        self.link.connection.load().is_some()
    }

    fn connection(&self) -> Result<MultiplexedConnection> {
        let connection = self.link.connection.load();
        connection.as_ref().map(|connection| MultiplexedConnection::clone(connection)).ok_or(StoreError::Unavailable)
    }

    fn judge<T>(&self, outcome: std::result::Result<T, RedisError>) -> Result<T> {
        outcome.map_err(|error| {
            if is_refusal(&error) {
                return StoreError::Refused(error.to_string());
            }
            // After a timeout the connection may be fine, and is pinged.
            self.link.broken.notify_one();
            StoreError::Unavailable
        })
    }

    async fn run<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T> {
        let mut connection = self.connection()?;
        self.judge(command.query_async(&mut connection).await)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.run(redis::cmd("GET").arg(key).to_owned()).await
    }

    pub async fn set(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<()> {
        self.run(redis::cmd("SET").arg(key).arg(value).arg("PX").arg(milliseconds(ttl)).to_owned()).await
    }

    pub async fn set_if_absent(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<bool> {
        let done: Option<String> = self
            .run(redis::cmd("SET").arg(key).arg(value).arg("NX").arg("PX").arg(milliseconds(ttl)).to_owned())
            .await?;
        Ok(done.is_some())
    }

    pub async fn delete(&self, key: &str) -> Result<bool> {
        self.run(redis::cmd("DEL").arg(key).to_owned()).await
    }

    pub async fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<Counter> {
        let mut connection = self.connection()?;
        let outcome = INCREMENT.key(key).arg(by).arg(milliseconds(ttl)).invoke_async(&mut connection).await;
        let (count, left): (i64, u64) = self.judge(outcome)?;
        Ok(Counter { count, ends_in: Duration::from_millis(left) })
    }

    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl: Duration,
    ) -> Result<bool> {
        let mut connection = self.connection()?;
        let mut call = COMPARE_AND_SET.key(key);
        call.arg(i32::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(value).arg(milliseconds(ttl));
        self.judge(call.invoke_async(&mut connection).await)
    }

    pub async fn expire(&self, key: &str, ttl: Duration) -> Result<bool> {
        self.run(redis::cmd("PEXPIRE").arg(key).arg(milliseconds(ttl)).to_owned()).await
    }

    pub async fn any_exists(&self, keys: &[String]) -> Result<bool> {
        let found: i64 = self.run(redis::cmd("EXISTS").arg(keys).to_owned()).await?;
        Ok(found > 0)
    }

    pub async fn publish(&self, channel: &str, payload: Vec<u8>) -> Result<()> {
        self.run(redis::cmd("PUBLISH").arg(channel).arg(payload).to_owned()).await
    }

    /// On a connection of its own, made again for ever.
    pub async fn listen(&self, prefix: &str, patterns: &[String], heard: mpsc::Sender<Heard>) {
        while !heard.is_closed() {
            if self.is_up()
                && let Err(error) = self.hear(prefix, patterns, &heard).await
            {
                tracing::debug!(%error, "listening to Redis begins anew");
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    async fn hear(
        &self,
        prefix: &str,
        patterns: &[String],
        heard: &mpsc::Sender<Heard>,
    ) -> std::result::Result<(), RedisError> {
        let Ok(subscribed) = tokio::time::timeout(CONNECT_TIMEOUT, self.client.get_async_pubsub()).await else {
            return Ok(());
        };
        let mut subscribed = subscribed?;
        for pattern in patterns {
            subscribed.psubscribe(format!("{prefix}{pattern}")).await?;
        }
        let mut messages = subscribed.on_message();
        let mut event = Heard::Connected;
        loop {
            if heard.send(event).await.is_err() {
                return Ok(());
            }
            let message = loop {
                match tokio::time::timeout(BACK_OFF, messages.next()).await {
                    Ok(Some(message)) => break message,
                    // The other connection finds out about a dead peer.
                    Err(_) if self.is_up() => (),
                    Ok(None) | Err(_) => return Ok(()),
                }
            };
            let channel = message.get_channel_name();
            event = Heard::Message {
                channel: channel.strip_prefix(prefix).unwrap_or(channel).to_owned(),
                payload: message.get_payload_bytes().to_vec(),
            };
        }
    }
}

fn milliseconds(ttl: Duration) -> u64 {
    // Redis refuses 0; everything shorter than a millisecond lasts one.
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The server's answer to this command, as opposed to no answer.
fn is_refusal(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => {
            !matches!(kind, redis::ServerErrorKind::BusyLoading | redis::ServerErrorKind::MasterDown)
        }
        ErrorKind::UnexpectedReturnType | ErrorKind::Extension => true,
        _ => false,
    }
}

async fn keep_connected(client: Client, link: std::sync::Weak<Link>) {
    let config = || {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT))
    };
    let mut tries: u32 = 0;
    // Ends with the store.
    while let Some(link) = link.upgrade() {
        match client.get_multiplexed_async_connection_with_config(&config()).await {
            Ok(connection) => {
                if tries > 0 {
                    tracing::info!("Redis is back after {tries} attempts");
                }
                tries = 0;
                link.connection.store(Some(Arc::new(connection.clone())));
                drop_when_broken(&link, connection).await;
                link.connection.store(None);
                tracing::warn!("the connection to Redis is lost; going on without it");
            }
            Err(error) => {
                if tries == 0 {
                    tracing::warn!(%error, "Redis cannot be reached; going on without it");
                }
                tries = tries.saturating_add(1);
                tokio::time::sleep(BACK_OFF.saturating_mul(tries).min(MAX_BACK_OFF)).await;
            }
        }
    }
}

/// Returns when the connection no longer answers.
async fn drop_when_broken(link: &Link, mut connection: MultiplexedConnection) {
    loop {
        let _ = tokio::time::timeout(PING_INTERVAL, link.broken.notified()).await;
        let answer: std::result::Result<String, RedisError> = redis::cmd("PING").query_async(&mut connection).await;
        if answer.is_err_and(|error| !is_refusal(&error)) {
            return;
        }
    }
}
