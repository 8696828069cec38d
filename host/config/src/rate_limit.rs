//! `[[rate_limit]]` of the operator's file.

use serde::Deserialize;

/// A number of requests that one key may make in one fixed window.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Part of the key in Redis: `rate_limit:{scope}:{id}`.
    pub scope: String,
    /// Whom it counts; default everybody.
    #[serde(default)]
    pub callers: RateCallers,
    /// `METHOD /path` as in the route table; default every route.
    #[serde(default)]
    pub routes: Vec<String>,
    pub key: RateKey,
    #[serde(default)]
    pub count: RateCount,
    pub max: u64,
    pub window_seconds: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RateCallers {
    #[default]
    All,
    Anonymous,
    /// Users for whose role there is no `role` limit.
    Users,
    Role(String),
}

/// What is counted together.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RateKey {
    /// The client's address.
    Ip,
    /// The user's id.
    User,
    /// A text field of the JSON body, trimmed and in lower case.
    Body(String),
    /// A parameter of the path.
    Path(String),
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RateCount {
    #[default]
    Requests,
    /// Answers with 401; a success clears a `body` key.
    Failures,
}
