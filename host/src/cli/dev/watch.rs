//! Which components a change in the checkout is about.

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    path::{Component, Path},
    time::Duration,
};
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// A save is several events, and "save all" several files.
const QUIET: Duration = Duration::from_millis(100);

pub struct Watch {
    changed: UnboundedReceiver<Changes>,
    /// Sends as long as it lives.
    _watcher: RecommendedWatcher,
}

/// What has changed since the last look.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    components: BTreeSet<String>,
    /// What all components are made of.
    shared: bool,
    /// What the operator grants: nothing to build, but something to deploy.
    operator: bool,
}

impl Watch {
    pub fn start() -> Result<Watch> {
        let root = std::path::absolute(".").context("there is no current directory")?;
        let (sender, changed) = mpsc::unbounded_channel();
        let base = root.clone();
        let tell = move |event: notify::Result<Event>| {
            let changes = match event {
                Ok(event) => changes_of(&event, &base),
                // Events were lost: anything may have changed.
                Err(_) => Changes::all(),
            };
            if changes != Changes::default() {
                // An error means that nobody watches any more.
                let _ = sender.send(changes);
            }
        };
        let mut watcher = notify::recommended_watcher(tell).context("cannot watch files")?;
        let mut watch =
            |path: &str, mode| watcher.watch(&root.join(path), mode).with_context(|| format!("cannot watch {path}"));
        for tree in ["components", "wit"] {
            watch(tree, RecursiveMode::Recursive)?;
        }
        for directory in ["", "host"] {
            watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Watch { changed, _watcher: watcher })
    }

    /// Waits for a change, and then for the end of changes.
    pub async fn next(&mut self) -> Result<Changes> {
        let mut changes = self.changed.recv().await.context("files are watched no more")?;
        while let Ok(Some(more)) = tokio::time::timeout(QUIET, self.changed.recv()).await {
            changes.components.extend(more.components);
            changes.shared |= more.shared;
            changes.operator |= more.operator;
        }
        Ok(changes)
    }
}

impl Changes {
    pub fn all() -> Changes {
        Changes { shared: true, ..Changes::default() }
    }

    /// Whether the component may be another now.
    pub fn touch(&self, component: &str) -> bool {
        self.shared || self.operator || self.components.contains(component)
    }

    /// And nobody's else.
    pub fn are_of_the_operator(&self) -> bool {
        self.operator && !self.shared && self.components.is_empty()
    }
}

fn changes_of(event: &Event, root: &Path) -> Changes {
    let mut changes = Changes::default();
    if event.need_rescan() {
        return Changes::all();
    }
    if matches!(event.kind, EventKind::Access(_)) {
        return changes;
    }
    for path in event.paths.iter().filter_map(|path| path.strip_prefix(root).ok()) {
        note(path, &mut changes);
    }
    changes
}

fn note(path: &Path, changes: &mut Changes) {
    let names: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // What editors leave while they save.
    let passing = |name: &&str| name.starts_with(['.', '#']) || name.ends_with(['~', '#']) || name.ends_with(".swp");
    // Not Cargo.lock: cargo writes it itself when a component is new.
    match names.as_slice() {
        names if names.iter().any(passing) => (),
        ["components", "sdk", ..] | ["wit", ..] | ["Cargo.toml"] => changes.shared = true,
        ["components", name, ..] => {
            changes.components.insert((*name).to_owned());
        }
        ["host", "host.toml"] => changes.operator = true,
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_what_has_to_be_built() {
        let of = |path: &str| {
            let mut changes = Changes::default();
            note(Path::new(path), &mut changes);
            changes
        };
        let orders = Changes { components: BTreeSet::from(["orders".into()]), ..Changes::default() };
        assert_eq!(of("components/orders/src/lib.rs"), orders);
        assert_eq!(of("components/orders"), orders);
        for shared in ["components/sdk/src/lib.rs", "wit/world.wit", "Cargo.toml"] {
            assert_eq!(of(shared), Changes::all(), "{shared}");
        }
        assert!(of("host/host.toml").are_of_the_operator());
        for other in [
            "components",
            "Cargo.lock",
            "components/orders/src/.lib.rs.swp",
            "components/orders/src/lib.rs~",
            "host/src",
        ] {
            assert_eq!(of(other), Changes::default(), "{other}");
        }
    }
}
