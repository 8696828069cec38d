//! What an artifact has to pass before any request reaches it. Each refusal is
//! a sentence for the person who deploys: what is wrong, and what to do.

use super::{
    Loader, call, compile,
    description::Description,
    engine,
    instance::Prepared,
    pool::Pool,
    routes,
    version::{Parts, Runner, Typed, Version},
    version_id::VersionId,
    wasi_http::{self, WasiHttp},
};
use crate::{
    capability::{self, Granting, Grants, http_client::Grant},
    config,
};
use anyhow::Context;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::{Engine, component::Component, component::types::ComponentItem};

/// What a component of the host's own world exports.
const HANDLER: &str = "shema:http/handler@0.1.0";

/// Why an artifact is refused, or cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.message)]
    Rejected(Rejection),
    /// The host's own trouble, which says nothing of the artifact.
    #[error("{0:#}")]
    Host(anyhow::Error),
}

/// A refusal that says what the artifact's author has to change.
#[derive(Debug)]
pub struct Rejection {
    /// As in section 5 of the operator's contract: `WRONG_WORLD`, ….
    pub code: &'static str,
    pub message: String,
    pub details: Value,
}

fn reject(code: &'static str, message: impl Into<String>, details: Value) -> Error {
    Error::Rejected(Rejection { code, message: message.into(), details })
}

/// How long the parts of the way in took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Everything but the compilation.
    pub check: Duration,
    /// Zero if the code was there already.
    pub compile: Duration,
}

impl Loader {
    /// Checks, compiles, links and probes an artifact. `fingerprint`: stands
    /// for `config`.
    pub async fn load(
        &self,
        name: &str,
        wasm: &[u8],
        config: &config::Component,
        fingerprint: &str,
    ) -> Result<(Version, Timing), Error> {
        let started = Instant::now();
        check_preamble(wasm, self.max_artifact_bytes)?;
        let engine = match engine::Kind::of(wasm) {
            engine::Kind::Typed => &self.engine,
            engine::Kind::WasiHttp => &self.wasi_http_engine,
        };
        let (component, compiled) = match self.compiler.compile(engine, &self.cache, wasm).await {
            Ok(compiled) => compiled,
            Err(compile::Failure::Host(error)) => return Err(Error::Host(error)),
            Err(compile::Failure::Invalid(why)) => {
                let message = format!("It is not a valid component: {}.", why.trim_end_matches('.'));
                return Err(reject("NOT_A_COMPONENT", message, Value::Null));
            }
            Err(failure) => return Err(probe_failed(format!("{failure}"))),
        };
        let imports = imports(engine, &component);
        let world = world(engine, &component)?;
        self.check_imports(&imports, world)?;
        let mut parts = match world {
            World::Ours => self.typed(name, wasm, config, &component, imports).await?,
            World::WasiHttp(world) => self.wasi_http(name, wasm, config, &component, world).await?,
        };
        fingerprint.clone_into(&mut parts.config);
        let version = Version::new(parts).context("its name does not fit into a header").map_err(Error::Host)?;
        Ok((version, Timing { check: started.elapsed().saturating_sub(compiled), compile: compiled }))
    }

    async fn typed(
        &self,
        name: &str,
        wasm: &[u8],
        config: &config::Component,
        component: &Component,
        imports: Vec<String>,
    ) -> Result<Parts, Error> {
        check_grants(name, &imports, &config.grants)?;
        let pre = self.linker.instantiate_pre(component).map_err(|error| unknown_function(&error))?;
        let prepared = Prepared::new(pre).map_err(|error| {
            let message = format!("It exports {HANDLER}, but not as this host knows it: {}.", flat(&error));
            reject("WRONG_WORLD", message, json!({ "export": HANDLER }))
        })?;
        let granting = Granting { component: name, config, shared: &self.shared };
        // What does not work here, such as a database role, is the operator's mistake.
        let grants = Arc::new(Grants::new(&granting).await.map_err(Error::Host)?);
        self.probe(name, wasm, config, prepared, grants, imports).await
    }

    async fn wasi_http(
        &self,
        name: &str,
        wasm: &[u8],
        config: &config::Component,
        component: &Component,
        world: wasi_http::World,
    ) -> Result<Parts, Error> {
        let outbound = Grant { origins: config.origins.clone(), client: self.shared.services.http_client.clone() };
        let (limits, linker) = (config.limits.clone(), &self.wasi_http_linker);
        // Its world is known, so what fails here is an import.
        let guest = WasiHttp::new(linker, component, world, limits, self.call_timeout, outbound, name);
        let guest = guest.map_err(|error| unknown_function(&error))?;
        guest.probe().await.map_err(|failure| probe_failed(format!("its instance {failure}")))?;
        Ok(Parts {
            id: VersionId::of(wasm),
            component: name.to_owned(),
            mounts: config.mounts.clone(),
            config: String::new(),
            imports: Vec::new(),
            description: Description::default(),
            stats: Arc::clone(guest.stats()),
            runner: Runner::WasiHttp(guest),
            events: Arc::clone(&self.shared.services.operator_events),
        })
    }

    fn check_imports(&self, imports: &[String], world: World) -> Result<(), Error> {
        let known: &[&str] = match world {
            World::Ours => &capability::interfaces().collect::<Vec<_>>(),
            World::WasiHttp(_) => &[],
        };
        let unknown = imports.iter().find(|import| !import.starts_with("wasi:") && !known.contains(&import.as_str()));
        let Some(unknown) = unknown else { return Ok(()) };
        let interface = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
        let near: Vec<&str> = known.iter().copied().filter(|known| interface(known) == interface(unknown)).collect();
        let host = env!("CARGO_PKG_VERSION");
        let message = match near.as_slice() {
            [] if world != World::Ours => format!(
                "It is a component of {}, and imports {unknown}, which only components of shema:host/component may.",
                world.name()
            ),
            [] => format!("It imports {unknown}, which no version of this host has (this one is {host})."),
            near => format!(
                "It imports {unknown}, which this host ({host}) does not have: hosts since 1.0.0 have {}. \
                 Build the component against the `wit` folder of this host, or deploy to a newer one.",
                near.join(", ")
            ),
        };
        Err(reject("UNKNOWN_IMPORT", message, json!({ "import": unknown, "host": host, "available": near })))
    }

    /// Instantiates the component under its limits and asks it what it is.
    async fn probe(
        &self,
        name: &str,
        wasm: &[u8],
        config: &config::Component,
        prepared: Prepared,
        grants: Arc<Grants>,
        imports: Vec<String>,
    ) -> Result<Parts, Error> {
        let pool = Pool::new(self.engine.clone(), prepared, grants, config.limits.clone(), self.call_timeout);
        let failed = |what: &str| {
            let what = what.to_owned();
            move |failure: call::Failure| probe_failed(format!("{what} {failure}"))
        };
        let mut probe = pool.instance().await.map_err(failed("its instance"))?;
        let table = probe.routes().await.map_err(failed("asked for its routes, it"))?;
        let faulty = |error: anyhow::Error| probe_failed(format!("{error:#}"));
        let paths = routes::table(&table, &config.mounts).map_err(faulty)?;
        let text = probe.describe().await.map_err(failed("asked to describe its routes, it"))?;
        let description = Description::read(&text, name, &table).map_err(faulty)?;
        let endpoints = probe.endpoints().await.map_err(failed("asked for its endpoints, it"))?;
        routes::check_endpoints(&endpoints, &config.mounts).map_err(faulty)?;
        drop(probe);
        match pool.check_health().await {
            Ok(Ok(())) => (),
            Ok(Err(why)) => return Err(probe_failed(format!("its own health check says: {why}"))),
            Err(failure) => return Err(probe_failed(format!("its health check {failure}"))),
        }
        let stats = Arc::clone(&pool.stats);
        Ok(Parts {
            id: VersionId::of(wasm),
            component: name.to_owned(),
            mounts: config.mounts.clone(),
            config: String::new(),
            imports: capabilities(imports),
            description,
            stats,
            runner: Runner::Typed(Box::new(Typed { pool, routes: table, paths, endpoints })),
            events: Arc::clone(&self.shared.services.operator_events),
        })
    }
}

fn probe_failed(why: String) -> Error {
    let message = format!("It failed when it was probed: {}.", why.trim_end_matches('.'));
    reject("PROBE_FAILED", message, json!({ "reason": why }))
}

/// Says what the bytes are if they are no component, before anything is spent on
/// them.
fn check_preamble(wasm: &[u8], max_bytes: usize) -> Result<(), Error> {
    if wasm.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    let not = |why: &str| Err(reject("NOT_A_COMPONENT", why, Value::Null));
    match wasm {
        [] => not("The artifact is empty: send the bytes of a component as the body."),
        // Magic, version 13, layer 1.
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            not("It is a core WebAssembly module, not a component: build it for the target wasm32-wasip2, \
             or wrap it with `wasm-tools component new`.")
        }
        [0, b'a', b's', b'm', ..] => {
            not("It is WebAssembly, but of a binary version that is neither a module nor a component of today.")
        }
        [b'(', ..] => not("It is WebAssembly as text: deploy the binary form."),
        [0x7f, b'E', b'L', b'F', ..] => {
            not("It is a native program, not WebAssembly: build it for the target wasm32-wasip2.")
        }
        _ => not("It is not WebAssembly: it does not begin with the bytes of a component."),
    }
}

pub fn too_large(max_bytes: usize) -> Error {
    let mib = max_bytes >> 20;
    let message = format!("The artifact is larger than {mib} MiB (`max_artifact_mib` in host.toml).");
    reject("TOO_LARGE", message, json!({ "max_artifact_mib": mib }))
}

/// An Ed25519 signature (RFC 8032) over the artifact's bytes.
pub fn check_signature(wasm: &[u8], signature: Option<&[u8]>, key: &[u8]) -> Result<(), Error> {
    let Some(signature) = signature else {
        let message = "This host takes only signed artifacts (`public_key` in host.toml): send the signature with it.";
        return Err(reject("NOT_SIGNED", message, Value::Null));
    };
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(wasm, signature).map_err(|_| {
        let message = "The signature is not one of this artifact by the key in host.toml.";
        reject("NOT_SIGNED", message, Value::Null)
    })
}

/// A signature as files and headers hold it: base64 of its 64 bytes.
pub fn read_signature(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text.trim()).ok().filter(|signature| signature.len() == 64)
}

/// What a component was built for, by what it exports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum World {
    Ours,
    WasiHttp(wasi_http::World),
}

impl World {
    fn name(self) -> &'static str {
        match self {
            World::Ours => "shema:host/component",
            World::WasiHttp(world) => world.name(),
        }
    }
}

fn world(engine: &Engine, component: &Component) -> Result<World, Error> {
    let exports: Vec<String> = component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect();
    if exports.iter().any(|export| export == HANDLER) {
        return Ok(World::Ours);
    }
    // With an export of the host's own it was compiled for the engine of those.
    let ours = exports.iter().any(|export| export.starts_with("shema:"));
    if let Some(world) = wasi_http::World::of(component, engine).filter(|_| !ours) {
        return Ok(World::WasiHttp(world));
    }
    let has = match exports.as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    };
    let begins = |prefix: &str| exports.iter().any(|export| export.starts_with(prefix));
    let hint = if begins("wasi:cli/run@") {
        " It is a command, which runs once; the host runs what answers requests."
    } else if begins("shema:http/handler@") {
        " It was built against the `wit` folder of another host."
    } else {
        ""
    };
    let message = format!(
        "It does not export {HANDLER}, nor wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3. \
         It exports {has}.{hint}"
    );
    Err(reject("WRONG_WORLD", message, json!({ "missing": HANDLER, "exports": exports })))
}

fn unknown_function(error: &wasmtime::Error) -> Error {
    let host = env!("CARGO_PKG_VERSION");
    let message = format!(
        "It imports something that this host ({host}) does not have, or has with another type: {}.",
        flat(error)
    );
    reject("UNKNOWN_IMPORT", message, json!({ "host": host, "reason": flat(error) }))
}

fn check_grants(name: &str, imports: &[String], grants: &config::Grants) -> Result<(), Error> {
    let missing = imports.iter().find_map(|import| Some((import, capability::missing_grant(import, grants)?)));
    let Some((import, grant)) = missing else { return Ok(()) };
    let word = grant.split(' ').next().unwrap_or_default();
    let message = format!(
        "It imports {import}, which is not granted: add `{grant}` to [components.{name}.grants] in host.toml \
         and deploy again; the host need not be restarted."
    );
    Err(reject("NOT_GRANTED", message, json!({ "import": import, "capability": word, "grant": grant })))
}

/// Names of what a component imports; a bare function counts as well.
fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let of_value = |item: &ComponentItem| !matches!(item, ComponentItem::Type(_));
    let imports = component.component_type();
    imports.imports(engine).filter(|(_, import)| of_value(&import.ty)).map(|(name, _)| name.to_owned()).collect()
}

/// Those that are more than WASI's closed world.
fn capabilities(mut imports: Vec<String>) -> Vec<String> {
    imports.retain(|import| import.starts_with("shema:"));
    imports
}

/// An error with its causes on one line.
fn flat(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
