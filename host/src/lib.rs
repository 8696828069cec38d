//! Shema: a host that answers HTTP through WebAssembly components.
//!
//! # Code map
//!
//! - [`cli`]: the commands of the `shema` binary.
//! - [`app`]: build everything, then serve, then drain.
//! - [`config`]: `host.toml` and the environment as one typed value.
//! - [`server`], [`http`]: connections, and what happens to a request.
//! - [`component`]: versions, their instances, which paths they answer.
//! - [`sockets`]: WebSockets, and which frames they get.
//! - [`capability`]: what components may reach.
//! - [`database`]: pools of PostgreSQL connections, migrations.
//! - [`embedded`]: the database where none is given.
//! - [`leader`], [`schedule`]: what one host of a cluster does for all.
//! - [`deploy`]: how versions come and go, on all hosts of a cluster.
//! - [`control`]: the operator's listener; [`notice`]: what it tells.
//! - [`builder`]: components from a source checkout.
//! - [`dev`]: builds, serves and deploys while somebody writes.
//! - [`client`]: the other end of [`control`], for the commands.
//!
//! # What is not there
//!
//! No module knows what a component is about. Only `component/bindings.rs` runs
//! `bindgen!`. Only `config` reads the environment. Nothing that a guest or a
//! client sends can panic the host.

// The host answers hostile input; a panic would be somebody else's lost request.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo))]

pub mod app;
pub mod builder;
pub mod capability;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod embedded;
pub mod gateway;
pub mod runtime;
pub mod services;
pub mod telemetry;
pub mod welcome;
