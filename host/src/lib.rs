//! Shema: a host that answers HTTP through WebAssembly components.
//!
//! The house in floors, from the ground up. A module imports from the floors below
//! its own and never from above, which `tests/architecture.rs` keeps. A request
//! enters at [`gateway`], finds its version in [`runtime`], and the component
//! reaches the world through [`capability`] and [`services`].
//!
//! # What is not there
//!
//! No module knows what a component is about. Only `capability/bindings.rs` generates
//! bindings. Only [`config`] reads the environment. Nothing that a guest or a
//! client sends can panic the host.

// The host answers hostile input; a panic would be somebody else's lost request.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo))]

/// Floor 0, a crate of its own: what the operator says, in `host.toml` and the
/// environment. Knows nothing of the others.
#[doc(inline)]
pub use ::config;

/// Floor 0, a crate of its own: a private PostgreSQL where none is given. Knows
/// nothing of the others.
#[doc(inline)]
pub use ::embedded;

/// Floor 0: builds components from a source checkout. Knows nothing of the others.
pub mod builder;

/// Floor 1: logs, and events for operators. May know the configuration.
#[doc(inline)]
pub use ::services::telemetry;

/// Floor 2, a crate of its own with telemetry: Postgres, Redis, tokens, limits. May
/// know what is below; knows nothing of WIT and of wasmtime.
#[doc(inline)]
pub use ::services;

/// Floor 3: what components may import. May know services, and nothing of versions.
pub mod capability;

/// Floor 4: compiles, checks, links, pools and runs versions. May know capabilities,
/// and nothing of where a call comes from.
pub mod runtime;

/// Floor 5: how versions come and go, on all hosts of a cluster. May know the
/// runtime, and nothing of requests.
pub mod deploy;

/// Floor 6: what triggers a call, and the operator's listener. May know all below.
pub mod gateway;

/// Floor 7: what a newcomer is told. May know configuration and services.
pub mod welcome;

/// Floor 7: puts everything together, serves, and sees it out. May know all below.
pub mod app;

/// Floor 8: the commands of `shema`. May know all below.
pub mod cli;
