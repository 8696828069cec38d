//! What runs, and changing it.

use super::{Control, Received, refuse};
use crate::{
    deploy::{self, Actor, Artifact, Change, Request, millis},
    gateway::listener::Peer,
    runtime::{
        Version, gate,
        registry::{Slot, Split},
        stats::Snapshot,
        version_id::VersionId,
    },
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequestParts, Path, RawQuery, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc};

type Answer = Result<Response, Response>;

/// `GET /v1/components`.
pub async fn list(State(control): State<Arc<Control>>) -> Json<Value> {
    let moments: Vec<Moment> = control.registry.slots().into_iter().map(|slot| Moment::of(&control, slot)).collect();
    let artifacts = control.deployer.artifacts().await;
    let described = moments.iter().filter_map(|moment| {
        let own = artifacts.iter().filter(|artifact| artifact.component == moment.slot.name);
        describe(&control, moment, own)
    });
    Json(described.collect())
}

/// What is true of a component at one moment, so that its versions and shares
/// belong together. Taken before the artifacts are read, which therefore have
/// every version in it.
struct Moment {
    slot: Arc<Slot>,
    checking: Vec<VersionId>,
    split: Arc<Split>,
    /// Versions with calls under way.
    running: Vec<VersionId>,
}

impl Moment {
    fn of(control: &Control, slot: Arc<Slot>) -> Moment {
        let mut checking = control.deployer.being_checked(&slot.name);
        let split = Arc::clone(&slot.split());
        // A host that has told the others of its preparation may not have ended it.
        checking.retain(|id| !split.uses(id));
        let busy = |version: &&Arc<Version>| version.stats.running() > 0;
        let running = slot.loaded().all().iter().filter(busy).map(|version| version.id.clone()).collect();
        Moment { slot, checking, split, running }
    }

    /// A version's state, and its share of the clients in percent.
    fn state(&self, artifact: &Artifact) -> (&'static str, u8) {
        let id = &artifact.version;
        let canary = self.split.canary.as_ref();
        let share = canary.map_or(0, |canary| if canary.shadow { 0 } else { canary.percent });
        if canary.is_some_and(|canary| canary.version.id == *id) {
            return ("canary", share);
        }
        if self.split.live.as_ref().is_some_and(|live| live.id == *id) {
            return ("live", 100_u8.saturating_sub(share));
        }
        let state = match artifact {
            Artifact { refusal: Some(_), .. } => "refused",
            _ if self.running.contains(id) => "draining",
            Artifact { activated_at: Some(_), .. } => "retired",
            _ => "ready",
        };
        (state, 0)
    }
}

/// None: somebody has tried to deploy it, and nothing came of it.
fn describe<'a>(control: &Control, moment: &Moment, artifacts: impl Iterator<Item = &'a Artifact>) -> Option<Value> {
    let name = &moment.slot.name;
    let configured = control.deployer.configured(name);
    let checking = moment.checking.iter();
    let mut versions: Vec<Value> =
        checking.map(|id| json!({ "version": id.as_str(), "state": "checking", "weight": 0 })).collect();
    versions.extend(artifacts.filter(|artifact| !moment.checking.contains(&artifact.version)).map(|artifact| {
        let (state, weight) = moment.state(artifact);
        json!({
            "version": artifact.version.as_str(),
            "state": state,
            "weight": weight,
            "deployed_at": artifact.deployed_at,
            "deployed_by": artifact.deployed_by,
            "size_bytes": artifact.size_bytes,
            "compile_ms": artifact.compile_ms,
            "reason": artifact.refusal,
        })
    }));
    if versions.is_empty() && configured.is_none() {
        return None;
    }
    let configured = configured.unwrap_or_else(|| control.deployer.unnamed());
    Some(json!({
        "name": name,
        "mounts": control.registry.mounts(name),
        "world": moment.split.live.as_ref().map(|version| version.world()),
        "versions": versions,
        "grants": configured.grants,
        "limits": configured.limits,
    }))
}

/// `POST /v1/components/{name}/versions`.
pub async fn deploy(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    actor: Actor,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let mut request =
        Request { activate: true, canary: 0, shadow: false, mounts: Vec::new(), signature: None, actor, seed: false };
    read_query(query.as_deref().unwrap_or_default(), &mut request)
        .map_err(|message| refuse(StatusCode::BAD_REQUEST, "INVALID_QUERY", &message))?;
    if let Some(text) = headers.get("x-shema-signature") {
        let signature = text.to_str().ok().and_then(gate::read_signature).ok_or_else(|| {
            let message = "X-Shema-Signature is not the base64 of an Ed25519 signature (64 bytes).";
            refuse(StatusCode::BAD_REQUEST, "INVALID_SIGNATURE", message)
        })?;
        request.signature = Some(signature);
    }
    let wasm = receive(body, control.max_artifact_bytes).await?;
    // In a task of its own: a client that hangs up does not stop half-way.
    let deployer = Arc::clone(&control.deployer);
    let outcome = carry_through(async move { deployer.deploy(&name, wasm, request).await }).await?;
    let status = if outcome.existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(Change::from(outcome))).into_response())
}

async fn carry_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, deploy::Error>> + Send + 'static,
) -> Result<T, Response> {
    match tokio::spawn(work).await {
        Ok(done) => done.map_err(IntoResponse::into_response),
        Err(error) => {
            tracing::error!("a change panicked: {error}");
            let message = "The change failed unexpectedly; the log says more.";
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message))
        }
    }
}

async fn receive(body: Body, max_bytes: usize) -> Result<Vec<u8>, Response> {
    match super::receive(body, max_bytes, max_bytes).await {
        Received::Whole(wasm) => Ok(wasm),
        Received::TooLarge => Err(deploy::Error::from(gate::too_large(max_bytes)).into_response()),
        Received::Broken => {
            let message = "The artifact did not arrive whole.";
            Err(refuse(StatusCode::BAD_REQUEST, "INVALID_BODY", message))
        }
    }
}

/// `activate`, `canary`, `shadow`, `mount`; the error is a sentence.
fn read_query(query: &str, request: &mut Request) -> Result<(), String> {
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let boolean = || match &*value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{key}` is `true` or `false`, not `{value}`.")),
        };
        match &*key {
            "activate" => request.activate = boolean()?,
            "shadow" => request.shadow = boolean()?,
            "canary" => {
                let percent = value.parse().ok().filter(|percent: &u8| *percent <= 100);
                request.canary =
                    percent.ok_or_else(|| format!("`canary` is a percentage from 0 to 100, not `{value}`."))?;
            }
            // Sent empty by forms and scripts that have nothing to say.
            "mount" if value.is_empty() => (),
            "mount" => request.mounts.push(value.into_owned()),
            _ => return Err(format!("`{key}` is no parameter; there are activate, canary, shadow and mount.")),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    version: String,
    weight: Option<u8>,
    #[serde(default)]
    shadow: bool,
}

/// `POST /v1/components/{name}/activate`.
pub async fn activate(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    actor: Actor,
    body: Bytes,
) -> Answer {
    let invalid = |message: &str| refuse(StatusCode::BAD_REQUEST, "INVALID_BODY", message);
    let asked: Activation = serde_json::from_slice(&body)
        .map_err(|error| invalid(&format!("The body is not {{\"version\", \"weight\"}}: {error}.")))?;
    let weight = asked.weight.unwrap_or(100);
    if !(1..=100).contains(&weight) {
        return Err(invalid("`weight` is a percentage from 1 to 100; `rollback` ends a trial."));
    }
    let deployer = Arc::clone(&control.deployer);
    let work = async move { deployer.activate(&name, &asked.version, weight, asked.shadow, &actor).await };
    Ok(Json(Change::from(carry_through(work).await?)).into_response())
}

/// `POST /v1/components/{name}/rollback`.
pub async fn rollback(State(control): State<Arc<Control>>, Path(name): Path<String>, actor: Actor) -> Answer {
    let deployer = Arc::clone(&control.deployer);
    let work = async move { deployer.rollback(&name, &actor).await };
    Ok(Json(Change::from(carry_through(work).await?)).into_response())
}

/// `DELETE /v1/components/{name}`.
pub async fn delete(State(control): State<Arc<Control>>, Path(name): Path<String>, actor: Actor) -> Answer {
    let deployer = Arc::clone(&control.deployer);
    let component = name.clone();
    carry_through(async move { deployer.delete(&name, &actor).await }).await?;
    let message = format!("{component} was deleted; its mounts answer 503 until it is deployed again.");
    Ok(Json(json!({ "component": component, "message": message })).into_response())
}

/// Whoever changes something may say who it is; the token says that it may.
impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Actor, Infallible> {
        let name = parts.headers.get("x-shema-actor").and_then(|name| name.to_str().ok()).map(str::trim);
        let name = name.filter(|name| !name.is_empty()).unwrap_or("control token");
        let origin = parts.extensions.get().map(|Peer(address)| address.to_string());
        Ok(Actor { name: name.chars().take(200).collect(), origin: origin.unwrap_or_default() })
    }
}

/// `GET /v1/components/{name}/stats`.
pub async fn stats(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Answer {
    let slot = control.registry.slot(&name).ok_or_else(|| {
        refuse(StatusCode::NOT_FOUND, "COMPONENT_NOT_FOUND", &format!("There is no component `{name}`."))
    })?;
    let loaded = slot.loaded().all().to_vec();
    let split = slot.split();
    let state = |id: &VersionId| match &split.live {
        Some(live) if live.id == *id => "live",
        _ if split.uses(id) => "canary",
        _ => "retired",
    };
    let versions: Vec<Value> = loaded
        .iter()
        .rev()
        .map(|version| {
            let running = version.stats.running();
            let state = match state(&version.id) {
                "retired" if running > 0 => "draining",
                state => state,
            };
            numbers(version.id.as_str(), state, running, &version.stats.snapshot())
        })
        .collect();
    Ok(Json(json!({ "component": name, "versions": versions })).into_response())
}

fn numbers(version: &str, state: &str, running: usize, stats: &Snapshot) -> Value {
    json!({
        "version": version,
        "state": state,
        "requests": stats.requests,
        "errors": stats.errors,
        "traps": stats.traps,
        "timeouts": stats.timeouts,
        "p50_ms": stats.percentile_ms(50.0),
        "p95_ms": stats.percentile_ms(95.0),
        "p99_ms": stats.percentile_ms(99.0),
        "cpu_ms": millis(stats.cpu),
        "peak_memory_bytes": stats.peak_memory,
        "instances": stats.instances,
        "running": running,
        "compared": stats.compared.all,
        "different": stats.compared.different,
    })
}

/// `GET /v1/nodes`.
pub async fn nodes(State(control): State<Arc<Control>>) -> Json<Value> {
    let nodes = control.deployer.nodes().await;
    let nodes = nodes
        .iter()
        .map(|node| {
            json!({
                "node": node.id,
                "public": node.public,
                "control": node.control,
                "state": if node.fenced { "fenced" } else if node.ready { "ready" } else { "catching-up" },
                "started_at": node.started_at,
                "seen_at": node.seen_at,
                "versions": node.versions,
            })
        })
        .collect();
    Json(nodes)
}
