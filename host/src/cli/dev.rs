//! `shema dev`: serves, and deploys what changes while somebody writes.
//!
//! Sources are watched, built by cargo and deployed like anything else, through
//! the control API of the host in this process. So a change is checked, swapped
//! and refused here as it is in production, and everything that has not changed
//! stays as it is.

mod watch;

use super::client::{
    Client, Upload,
    print::{Paint, microseconds, milliseconds},
};
use crate::{
    app::App,
    builder::{Checkout, QUICK_OUTPUT},
    config::{Access, Config},
    deploy::Change,
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use watch::{Changes, Watch};

/// Runs until a signal.
pub async fn run(mut config: Config, demo: bool) -> Result<()> {
    let checkout = Checkout::here().context("`shema dev` runs in the root of a source checkout")?;
    // Before the first build, so that nothing that is written meanwhile is missed.
    let watch = Watch::start()?;
    config.components_dir = PathBuf::from(QUICK_OUTPUT);
    config.components_dir_is_given = true;
    let mut workbench =
        Workbench { checkout: Arc::new(checkout), pending: BTreeSet::new(), paint: Paint::for_stdout() };
    workbench.tell("Building the components, which takes a minute the first time.");
    let built = workbench.build(Changes::all()).await?;
    let (ready, running) = oneshot::channel();
    // An error means that this function has ended.
    let serve = App::serve(config, demo, |access| drop(ready.send(access)));
    tokio::select! {
        served = serve => served,
        worked = workbench.work(watch, built, running) => worked,
    }
}

struct Workbench {
    checkout: Arc<Checkout>,
    /// What has to be built anew: changed, and maybe broken at the last try.
    pending: BTreeSet<String>,
    paint: Paint,
}

/// What a run of cargo has made, by name.
struct Built {
    artifacts: BTreeMap<String, PathBuf>,
    time: Duration,
}

impl Workbench {
    async fn work(mut self, mut watch: Watch, first: Built, running: oneshot::Receiver<Access>) -> Result<()> {
        let Ok(access) = running.await else {
            // The host has not come up, and says why.
            return std::future::pending().await;
        };
        let client = Client::new(access)?;
        self.deploy(&client, first, Quiet::WhatIsUnchanged).await;
        self.tell("Watching components/, wit/ and host/host.toml.");
        loop {
            let changes = watch.next().await?;
            let quiet = if changes.are_of_the_operator() { Quiet::WhatIsUnchanged } else { Quiet::Nothing };
            let built = self.build(changes).await?;
            self.deploy(&client, built, quiet).await;
        }
    }

    async fn build(&mut self, changes: Changes) -> Result<Built> {
        let known = self.checkout.components()?;
        self.pending.extend(known.iter().filter(|name| changes.touch(name)).cloned());
        self.pending.retain(|name| known.contains(name));
        let names: Vec<String> = self.pending.iter().cloned().collect();
        if names.is_empty() {
            return Ok(Built { artifacts: BTreeMap::new(), time: Duration::ZERO });
        }
        let (checkout, started) = (Arc::clone(&self.checkout), Instant::now());
        let build = tokio::task::spawn_blocking(move || checkout.rebuild(&names));
        let artifacts = build.await.context("the build was cut off")??;
        // What has not been built is tried again with the next change: it may
        // have broken on something that is not its own.
        self.pending.retain(|name| !artifacts.contains_key(name));
        if !self.pending.is_empty() {
            let names: Vec<&str> = self.pending.iter().map(String::as_str).collect();
            self.tell(&self.paint.red(format!("{}  not built; what was live stays live", names.join(", "))));
        }
        Ok(Built { artifacts, time: started.elapsed() })
    }

    async fn deploy(&self, client: &Client, built: Built, quiet: Quiet) {
        for (name, path) in built.artifacts {
            let line = match deploy(client, &name, &path).await {
                Ok(change) if change.unchanged && quiet == Quiet::WhatIsUnchanged => continue,
                Ok(change) => self.line(&change, built.time),
                Err(error) => format!("{}  {}", self.paint.bold(&name), self.paint.red(format!("{error:#}"))),
            };
            self.tell(&line);
        }
    }

    /// One line per change.
    fn line(&self, change: &Change, build: Duration) -> String {
        let mut parts = vec![self.paint.bold(&change.component)];
        parts.push(format!("built {}", milliseconds(build.as_secs_f64() * 1e3)));
        if change.unchanged {
            parts.push(self.paint.dim("unchanged"));
        } else {
            parts.push(format!("checked {}", milliseconds(change.check_ms)));
            parts.push(format!("compiled {}", milliseconds(change.compile_ms)));
            let time = microseconds(change.swap_us);
            parts.push(self.paint.state(&change.state, format!("{} in {time}", change.state)));
        }
        parts.push(self.paint.dim(format!("{}@{}", change.component, change.version)));
        parts.join("  ")
    }

    fn tell(&self, line: &str) {
        // Nobody may be looking.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// Which outcomes are no news.
#[derive(Clone, Copy, PartialEq)]
enum Quiet {
    Nothing,
    WhatIsUnchanged,
}

async fn deploy(client: &Client, name: &str, path: &Path) -> Result<Change> {
    let wasm = tokio::fs::read(path).await.with_context(|| format!("cannot read {}", path.display()))?;
    let upload = Upload {
        name: name.to_owned(),
        wasm: wasm.into(),
        activate: true,
        canary: 0,
        shadow: false,
        mounts: Vec::new(),
        signature: None,
    };
    client.deploy(upload, |_| ()).await
}
