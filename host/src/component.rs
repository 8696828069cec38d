//! A component: the versions of one domain, each compiled, linked and asked for
//! its routes before it gets any traffic.
//!
//! - `bindings`: the only `bindgen!` of the host.
//! - `engine`: the one wasmtime engine.
//! - `artifact`: from `.wasm` bytes to machine code, through a cache.
//! - `linker`: imports to capabilities.
//! - `instance`, `pool`: running calls.
//! - `description`: what a component says of its routes.
//! - `registry`: paths to components.

pub mod artifact;
pub mod bindings;
pub mod description;
pub mod engine;
pub mod instance;
pub mod linker;
pub mod pool;
pub mod registry;
mod stderr;

use crate::{
    capability::{self, Held},
    config::{self, Grants},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use artifact::{Cache, VersionId};
use bindings::{
    BindingsPre, Route,
    http::{Access, Method},
};
use description::Description;
use instance::State;
use pool::Pool;
use std::{sync::Arc, time::Duration};
use wasmtime::{Engine, component::Linker};

/// What all components are built with.
pub struct Workshop {
    pub engine: Engine,
    pub linker: Linker<State>,
    pub cache: Cache,
    pub call_timeout: Duration,
}

/// One artifact of a component, ready to answer.
pub struct Version {
    pub id: VersionId,
    /// `NAME@VERSION`, as in `X-Shema-Component`.
    pub label: axum::http::HeaderValue,
    pub pool: Pool,
    pub description: Description,
    routes: Vec<Route>,
    /// Path -> indexes in `routes`, one per method.
    paths: matchit::Router<Vec<u32>>,
}

/// What a path leads to in one version.
pub enum Found<'a> {
    Route {
        index: u32,
        route: &'a Route,
        params: Vec<String>,
    },
    /// The path is there, but not for this method; these it is there for.
    OtherMethods(Vec<Method>),
    Nothing,
}

impl Workshop {
    /// Checks, compiles, links and probes an artifact. Each error is a sentence
    /// that says what its author has to change.
    pub async fn load(
        self: &Arc<Self>,
        name: &str,
        wasm: Vec<u8>,
        config: &config::Component,
        held: Arc<Held>,
    ) -> Result<Version> {
        let id = VersionId::of(&wasm);
        let (workshop, grants) = (Arc::clone(self), config.grants.clone());
        // Compilation takes seconds of every core: not for the async executor.
        let linked = tokio::task::spawn_blocking(move || workshop.link(&wasm, &grants));
        let pre = linked.await.context("the compilation was cut off")??;
        let pool = Pool::new(self.engine.clone(), pre, held, config.limits.clone(), self.call_timeout);
        let mut probe = pool.instance().await?;
        let routes = probe.routes().await.context("it failed when asked for its routes")?;
        let paths = table(&routes, &config.mounts)?;
        let description = probe.describe().await.context("it failed when asked to describe its routes")?;
        let description = Description::read(&description, name, &routes)?;
        let label = format!("{name}@{id}").parse().context("its name does not fit into a header")?;
        Ok(Version { id, label, pool, description, routes, paths })
    }

    fn link(&self, wasm: &[u8], grants: &Grants) -> Result<BindingsPre<State>> {
        ensure!(is_component(wasm), "it is not a WebAssembly component");
        let component = self.cache.load(&self.engine, wasm)?;
        for (import, _) in component.component_type().imports(&self.engine) {
            if let Some(grant) = capability::missing_grant(import, grants) {
                bail!("it imports {import}, which is not granted: add `{grant}` to its grants in host.toml");
            }
        }
        let pre = self.linker.instantiate_pre(&component);
        let pre = pre.map_err(|error| anyhow!("it imports what this host does not have: {error:#}"))?;
        BindingsPre::new(pre).map_err(|error| anyhow!("it does not export shema:http/handler@0.1.0: {error:#}"))
    }
}

/// The preamble of a component (not of a core module): magic, version 13, layer 1.
fn is_component(wasm: &[u8]) -> bool {
    wasm.starts_with(b"\0asm\x0d\0\x01\0")
}

impl Version {
    /// `internal`: whether the routes that are not for clients are there.
    pub fn find(&self, method: Option<Method>, path: &str, internal: bool) -> Found<'_> {
        let Ok(matched) = self.paths.at(path) else { return Found::Nothing };
        let all = || matched.value.iter().filter_map(|index| Some((*index, self.routes.get(*index as usize)?)));
        let routes = || all().filter(|(_, route)| internal || route.access != Access::Internal);
        if let Some((index, route)) = routes().find(|(_, route)| Some(route.method) == method) {
            let params = matched.params.iter().map(|(_, value)| decode(value)).collect();
            return Found::Route { index, route, params };
        }
        let others: Vec<Method> = routes().map(|(_, route)| route.method).collect();
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }
}

pub fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Builds the table of paths, and refuses what could never be reached.
fn table(routes: &[Route], mounts: &[String]) -> Result<matchit::Router<Vec<u32>>> {
    ensure!(!routes.is_empty(), "its table of routes is empty");
    let mut by_path: std::collections::BTreeMap<&str, Vec<u32>> = std::collections::BTreeMap::new();
    for (index, route) in (0_u32..).zip(routes) {
        let path = route.path.as_str();
        let mounted = mounts.iter().any(|mount| {
            path.strip_prefix(mount.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        ensure!(mounted, "its route {path} lies under none of its mounts ({})", mounts.join(", "));
        let well_formed = path.is_ascii() && !path.ends_with('/') && !path.contains(['{', '}', '*', '?', '#', '%']);
        ensure!(well_formed, "its route {path} is not a path");
        let indexes = by_path.entry(path).or_default();
        let taken = indexes.iter().any(|other| routes.get(*other as usize).is_some_and(|r| r.method == route.method));
        ensure!(!taken, "its route {path} is there twice for one method");
        indexes.push(index);
    }
    let mut paths = matchit::Router::new();
    for (path, indexes) in by_path {
        let pattern: Vec<String> = path
            .split('/')
            .enumerate()
            // Named by position, because two routes may call one place differently.
            .map(|(depth, segment)| match segment.strip_prefix(':') {
                Some(_) => format!("{{p{depth}}}"),
                None => segment.to_owned(),
            })
            .collect();
        paths.insert(pattern.join("/"), indexes).with_context(|| format!("its route {path} conflicts with another"))?;
    }
    Ok(paths)
}
