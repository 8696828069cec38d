//! Which component answers under which path.

use super::Version;
use arc_swap::ArcSwapOption;
use std::{collections::BTreeMap, sync::Arc};

/// One component of `host.toml` and the version that is live.
pub struct Slot {
    pub name: String,
    pub mounts: Vec<String>,
    pub live: ArcSwapOption<Version>,
}

#[derive(Default)]
pub struct Registry {
    slots: BTreeMap<String, Arc<Slot>>,
    mounts: std::collections::HashMap<String, Arc<Slot>>,
    /// Prefix -> the prefix that it stands for.
    aliases: std::collections::HashMap<String, String>,
}

impl Registry {
    pub fn new(slots: Vec<Slot>, aliases: BTreeMap<String, String>) -> Registry {
        let mut registry = Registry { aliases: aliases.into_iter().collect(), ..Registry::default() };
        for slot in slots {
            let slot = Arc::new(slot);
            for mount in &slot.mounts {
                registry.mounts.insert(mount.clone(), Arc::clone(&slot));
            }
            registry.slots.insert(slot.name.clone(), slot);
        }
        registry
    }

    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.values()
    }

    /// Prefixes, each with the one that it stands for, in order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let sorted: BTreeMap<&str, &str> =
            self.aliases.iter().map(|(alias, path)| (alias.as_str(), path.as_str())).collect();
        sorted.into_iter()
    }

    /// The component with the longest mount that `path` lies under.
    pub fn find(&self, path: &str) -> Option<&Arc<Slot>> {
        prefixes(path).find_map(|prefix| self.mounts.get(prefix))
    }

    /// The path that is meant: without trailing slashes and aliases.
    pub fn canonical(&self, path: &str) -> String {
        let trimmed = path.trim_end_matches('/');
        let path = if trimmed.is_empty() { "/" } else { trimmed };
        let meant = prefixes(path).find_map(|prefix| Some((self.aliases.get(prefix)?, path.get(prefix.len()..)?)));
        match meant {
            Some((target, rest)) => format!("{target}{rest}"),
            None => path.to_owned(),
        }
    }
}

/// The path and its parents, the longest first: `/a/b`, `/a`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let cut = path.rfind('/')?;
        (cut > 0).then(|| &path[..cut])
    })
}

#[cfg(test)]
mod tests {
    use super::{Registry, Slot};
    use arc_swap::ArcSwapOption;
    use std::collections::BTreeMap;

    fn slot(name: &str, mounts: &[&str]) -> Slot {
        let mounts = mounts.iter().map(|mount| (*mount).to_owned()).collect();
        Slot { name: name.into(), mounts, live: ArcSwapOption::empty() }
    }

    #[test]
    fn the_longest_mount_wins_and_only_whole_segments_count() {
        let registry = Registry::new(vec![slot("a", &["/api/a"]), slot("b", &["/api/a/b"])], BTreeMap::new());
        let find = |path: &str| registry.find(path).map(|slot| slot.name.clone());
        assert_eq!(find("/api/a").as_deref(), Some("a"));
        assert_eq!(find("/api/a/x/y").as_deref(), Some("a"));
        assert_eq!(find("/api/a/b/y").as_deref(), Some("b"));
        assert_eq!(find("/api/ab"), None);
        assert_eq!(find("/"), None);
    }

    #[test]
    fn aliases_and_trailing_slashes_mean_the_same_path() {
        let aliases = BTreeMap::from([("/auth".to_owned(), "/api/auth".to_owned())]);
        let registry = Registry::new(Vec::new(), aliases);
        assert_eq!(registry.canonical("/auth/login"), "/api/auth/login");
        assert_eq!(registry.canonical("/auth/"), "/api/auth");
        assert_eq!(registry.canonical("/authors"), "/authors");
        assert_eq!(registry.canonical("//"), "/");
        assert_eq!(registry.canonical("/api/auth/auth"), "/api/auth/auth");
    }
}
