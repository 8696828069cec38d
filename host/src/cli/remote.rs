//! The commands that ask a running host.

use super::client::{
    Client, Upload,
    print::{self, Paint, Progress},
    segment,
};
use crate::deploy::Change;
use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use clap::{Args, value_parser};
use futures_util::StreamExt;
use serde_json::json;
use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

pub const DEPLOY_EXAMPLES: &str = "\
Examples:
  shema deploy greeting target/components/greeting.wasm
  shema deploy greeting greeting.wasm --canary 5        # a twentieth of the traffic at first
  shema deploy greeting hello.wasm --mount /hello   # any wasi:http component";

/// Of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

#[derive(Args)]
pub struct Deploy {
    /// The component.
    name: String,
    /// The artifact, a WebAssembly component.
    file: PathBuf,
    /// Give it this share of the traffic only, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = value_parser!(u8).range(1..=99))]
    canary: Option<u8>,
    /// Send it copies of requests whose answers nobody gets.
    #[arg(long)]
    shadow: bool,
    /// Answer below this path; may be given several times.
    #[arg(long = "mount", value_name = "PATH")]
    mounts: Vec<String>,
    /// Only upload and check it; `shema activate` gives it traffic.
    #[arg(long, conflicts_with_all = ["canary", "shadow"])]
    no_activate: bool,
    /// The artifact's Ed25519 signature: 64 bytes, or the same in base64.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

#[derive(Args)]
pub struct Activate {
    /// The component.
    name: String,
    /// As `shema status` shows it.
    version: String,
    /// The share of the traffic, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = value_parser!(u8).range(1..=100))]
    weight: u8,
    /// Send it copies of requests whose answers nobody gets.
    #[arg(long)]
    shadow: bool,
}

pub async fn deploy(arguments: Deploy) -> Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let wasm = read(&arguments.file)?;
    let signature = arguments.signature.map(|path| signature(&path, read(&path)?)).transpose()?;
    let client = Client::find()?;
    let upload = Upload {
        name: arguments.name,
        wasm: wasm.into(),
        activate: !arguments.no_activate,
        canary: arguments.canary.unwrap_or(0),
        shadow: arguments.shadow,
        mounts: arguments.mounts,
        signature,
    };
    let progress = Arc::new(Progress::for_stderr());
    let (told, total) = (Arc::clone(&progress), upload.wasm.len());
    let deployed = client.deploy(upload, move |sent| told.uploaded(sent, total)).await;
    progress.end();
    show(&deployed?)
}

/// As the control API wants it.
fn signature(path: &Path, file: Vec<u8>) -> Result<String> {
    let bytes = if file.len() == SIGNATURE_BYTES {
        Some(file)
    } else {
        BASE64_STANDARD.decode(file.trim_ascii()).ok().filter(|bytes| bytes.len() == SIGNATURE_BYTES)
    };
    let bytes = bytes.with_context(|| {
        format!("{}: not an Ed25519 signature, which is {SIGNATURE_BYTES} bytes or the same in base64", path.display())
    })?;
    Ok(BASE64_STANDARD.encode(bytes))
}

pub async fn activate(arguments: Activate) -> Result<()> {
    let Activate { name, version, weight, shadow } = arguments;
    // `NAME@VERSION` is what logs and answers call it.
    let version = version.strip_prefix(&format!("{name}@")).unwrap_or(&version);
    let body = json!({ "version": version, "weight": weight, "shadow": shadow });
    show(&Client::find()?.activate(&name, &body).await?)
}

pub async fn rollback(name: &str) -> Result<()> {
    show(&Client::find()?.rollback(name).await?)
}

pub async fn status(json: bool) -> Result<()> {
    let client = Client::find()?;
    let (components, nodes, health) =
        tokio::try_join!(client.get("/v1/components"), client.get("/v1/nodes"), client.health())?;
    if json {
        let all = json!({ "components": components, "nodes": nodes, "health": health });
        return write(&format!("{all}\n"));
    }
    write(&print::status(&components, &nodes, &health, Paint::for_stdout()))
}

pub async fn logs(name: Option<&str>, follow: bool) -> Result<()> {
    let path = match name {
        Some(name) => format!("/v1/components/{}/logs", segment(name)),
        None => "/v1/logs".into(),
    };
    let answer = Client::find()?.stream(&format!("{path}?follow={follow}")).await?;
    let (terminal, paint) = (io::stdout().is_terminal(), Paint::for_stdout());
    let (mut chunks, mut rest) = (answer.bytes_stream(), Vec::new());
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            // This is how one stops to follow.
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(chunk) = chunk else { break };
        rest.extend_from_slice(&chunk.context("the host was cut off")?);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let shown = if terminal { print::log_line(line.trim_end(), paint) } else { line.trim_end().to_owned() };
            write(&format!("{shown}\n"))?;
        }
    }
    ensure!(!follow, "the host has stopped");
    Ok(())
}

fn show(change: &Change) -> Result<()> {
    write(&print::change(change, Paint::for_stdout()))
}

/// A reader that has seen enough (`| head`) is no failure.
fn write(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write to standard output"),
    }
}
