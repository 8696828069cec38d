//! Which paths a component may answer: all of them under its mounts, none twice.

use crate::capability::bindings::{Route, sockets::Endpoint};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// Builds the table of paths, and refuses what could never be reached.
pub fn table(routes: &[Route], mounts: &[String]) -> Result<matchit::Router<Vec<u32>>> {
    ensure!(!routes.is_empty(), "its table of routes is empty");
    let mut by_path: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (index, route) in (0_u32..).zip(routes) {
        let path = route.path.as_str();
        let mounted = mounts.iter().any(|mount| lies_under(path, mount));
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
        if let Err(error) = paths.insert(pattern.join("/"), indexes) {
            bail!("its route {path} conflicts with another: {error}");
        }
    }
    Ok(paths)
}

/// Frames are kept in memory whole.
const MAX_FRAME_BYTES: u32 = 1 << 20;

pub fn check_endpoints(endpoints: &[Endpoint], mounts: &[String]) -> Result<()> {
    for Endpoint { path, max_frame_bytes, .. } in endpoints {
        let mounted = mounts.iter().any(|mount| lies_under(path, mount));
        ensure!(mounted, "its endpoint {path} lies under none of its mounts ({})", mounts.join(", "));
        ensure!(*max_frame_bytes <= MAX_FRAME_BYTES, "its endpoint {path} takes frames of over 1 MiB");
        let twice = endpoints.iter().filter(|endpoint| endpoint.path == *path).count() > 1;
        ensure!(!twice, "its endpoint {path} is there twice");
    }
    Ok(())
}

pub fn lies_under(path: &str, mount: &str) -> bool {
    path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
