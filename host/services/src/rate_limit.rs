//! Rate limiting: fixed-window counters in Redis, with a local fallback.
//!
//! While Redis is away the same counters run inside the process: a request is
//! never refused because Redis is down.
//!
//! A limit on *failures* counts answers with 401. Attempts under one key that
//! stands for a person (`body`) run one after the other, so that many guesses
//! at once are not all let through before the first of them is counted.

use super::{
    crypto::sha256_hex,
    redis::{Counter, Store},
    tokens::{Identity, User},
};
use config::{RateCallers, RateCount, RateKey, RateLimit};
use futures_util::future::join_all;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::OwnedMutexGuard;

/// How long an attempt waits for the one before it under the same key.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer key is counted under its digest.
const MAX_ID_BYTES: usize = 200;

pub struct Limiter {
    rules: Vec<RateLimit>,
    /// Roles that have a limit of their own.
    roles: Vec<String>,
    redis: Arc<Store>,
    local: Store,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Where a caller stands with one limit.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Requests in one window.
    pub max: u64,
    pub used: u64,
    /// End of the window, in seconds since the Unix epoch.
    pub ends_at: u64,
}

impl Standing {
    pub fn remaining(&self) -> u64 {
        self.max.saturating_sub(self.used)
    }

    /// Until the window ends; at least 1.
    pub fn seconds_left(&self) -> u64 {
        self.ends_at.saturating_sub(unix_time().as_secs()).max(1)
    }
}

/// A request that is over a limit.
#[derive(Clone, Debug)]
pub struct Exceeded {
    pub limit: Standing,
    /// All limits that were looked at, `limit` among them.
    pub standings: Vec<Standing>,
}

/// What of a request decides about its limits.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub method: &'a str,
    /// As in the table of routes, with `:name` for parameters.
    pub route: &'a str,
    /// Values of the parameters, in their order.
    pub params: &'a [String],
    pub body: &'a [u8],
    pub identity: Option<&'a Identity>,
    pub client: IpAddr,
}

/// A request that passed, and what is left to count when its outcome is known.
pub struct Admitted {
    standings: Vec<Standing>,
    failures: Vec<Failures>,
}

struct Failures {
    rule: usize,
    key: String,
    standing: Standing,
    /// Held until the outcome is counted.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Limiter {
    pub fn new(rules: Vec<RateLimit>, redis: Arc<Store>) -> Limiter {
        let roles = rules
            .iter()
            .filter_map(|rule| match &rule.callers {
                RateCallers::Role(role) => Some(role.clone()),
                _ => None,
            })
            .collect();
        Limiter { rules, roles, redis, local: Store::memory(""), turns: Mutex::default() }
    }

    /// Counts the request.
    pub async fn admit(&self, asking: Asking<'_>) -> Result<Admitted, Exceeded> {
        let mut admitted = Admitted { standings: Vec::new(), failures: Vec::new() };
        // Other services are not counted.
        if self.rules.is_empty() || matches!(asking.identity, Some(Identity::Service(_))) {
            return Ok(admitted);
        }
        let applying = |count: RateCount| {
            let rules = self.rules.iter().enumerate().filter(move |(_, rule)| rule.count == count);
            rules.filter_map(|(index, rule)| Some((index, rule, self.key(rule, &asking)?)))
        };
        let requests = applying(RateCount::Requests).map(|(_, rule, key)| async move {
            let counter = self.add(&key, 1, rule).await;
            standing(rule, counter)
        });
        admitted.standings = join_all(requests).await;
        if let Some(over) = admitted.standings.iter().find(|standing| standing.used > standing.max) {
            return Err(Exceeded { limit: *over, standings: admitted.standings });
        }
        for (index, rule, key) in applying(RateCount::Failures).collect::<Vec<_>>() {
            let turn = match &rule.key {
                RateKey::Body(_) => Some(self.turn(&key).await.ok_or_else(|| busy(rule))?),
                _ => None,
            };
            // Adding nothing reads the counter, and opens its window at most.
            let now = standing(rule, self.add(&key, 0, rule).await);
            admitted.standings.push(now);
            if now.used >= now.max {
                return Err(Exceeded { limit: now, standings: admitted.standings });
            }
            admitted.failures.push(Failures { rule: index, key, standing: now, _turn: turn });
        }
        Ok(admitted)
    }

    /// Counts one against the limit of a scope; the error is the number of
    /// seconds until the next may come. A scope without a limit admits all.
    pub async fn count(&self, scope: &str, id: &str) -> Result<(), u64> {
        let Some(rule) = self.rules.iter().find(|rule| rule.scope == scope) else { return Ok(()) };
        let now = standing(rule, self.add(&key(rule, id.to_owned()), 1, rule).await);
        if now.used <= now.max { Ok(()) } else { Err(now.seconds_left()) }
    }

    /// None: the rule does not apply.
    fn key(&self, rule: &RateLimit, asking: &Asking<'_>) -> Option<String> {
        let user: Option<&User> = asking.identity.and_then(Identity::user);
        let role = user.map(|user| user.principal.role.as_str());
        let for_caller = match &rule.callers {
            RateCallers::All => true,
            RateCallers::Anonymous => role.is_none(),
            RateCallers::Users => role.is_some_and(|role| !self.roles.iter().any(|limited| limited == role)),
            RateCallers::Role(limited) => role == Some(limited),
        };
        let is_route = |text: &String| text.split_once(' ') == Some((asking.method, asking.route));
        let for_route = rule.routes.is_empty() || rule.routes.iter().any(is_route);
        if !for_caller || !for_route {
            return None;
        }
        let id = match &rule.key {
            RateKey::Ip => asking.client.to_string(),
            RateKey::User => user?.principal.user_id.clone(),
            RateKey::Body(field) => {
                let body: serde_json::Value = serde_json::from_slice(asking.body).ok()?;
                body.get(field)?.as_str()?.trim().to_lowercase()
            }
            RateKey::Path(name) => {
                let segments = asking.route.split('/').filter_map(|segment| segment.strip_prefix(':'));
                segments.zip(asking.params).find(|(param, _)| param == name)?.1.to_lowercase()
            }
        };
        Some(key(rule, id))
    }

    async fn add(&self, key: &str, by: i64, rule: &RateLimit) -> Counter {
        let window = window(rule);
        if let Ok(counter) = self.redis.increment(key, by, window).await {
            return counter;
        }
        // Only ever counted by this module, so it cannot be refused.
        self.local.increment(key, by, window).await.unwrap_or(Counter { count: 0, ends_in: window })
    }

    async fn clear(&self, key: &str) {
        // Both, since Redis may have been away for some of the attempts.
        let _ = self.redis.delete(key).await;
        let _ = self.local.delete(key).await;
    }

    async fn turn(&self, key: &str) -> Option<OwnedMutexGuard<()>> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are only in the map.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key.to_owned()).or_default())
        };
        tokio::time::timeout(TURN_TIMEOUT, turn.lock_owned()).await.ok()
    }
}

fn key(rule: &RateLimit, id: String) -> String {
    let id = if id.len() > MAX_ID_BYTES { sha256_hex(id.as_bytes()) } else { id };
    format!("rate_limit:{}:{id}", rule.scope)
}

/// What is left of a window that opens now. It ends at a whole second, so that
/// each answer in it names the same end.
fn window(rule: &RateLimit) -> Duration {
    let now = unix_time();
    let end = Duration::from_secs((now + Duration::from_secs(rule.window_seconds)).as_secs());
    end.saturating_sub(now)
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn rounded(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

impl Admitted {
    /// Counts the outcome, by the status of the answer; returns where the caller
    /// stands now.
    pub async fn settle(mut self, limiter: &Limiter, status: u16) -> Vec<Standing> {
        for failures in &self.failures {
            let Some(rule) = limiter.rules.get(failures.rule) else { continue };
            if status == 401 {
                self.standings.push(standing(rule, limiter.add(&failures.key, 1, rule).await));
            } else if (200..300).contains(&status) && matches!(rule.key, RateKey::Body(_)) && failures.standing.used > 0
            {
                limiter.clear(&failures.key).await;
            }
        }
        self.standings
    }
}

fn standing(rule: &RateLimit, counter: Counter) -> Standing {
    Standing {
        max: rule.max,
        used: u64::try_from(counter.count).unwrap_or(0),
        ends_at: rounded(unix_time() + counter.ends_in),
    }
}

/// Too many attempts at once under one key.
fn busy(rule: &RateLimit) -> Exceeded {
    let limit = Standing { max: rule.max, used: rule.max, ends_at: unix_time().as_secs() + 1 };
    Exceeded { limit, standings: vec![limit] }
}
