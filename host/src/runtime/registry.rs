//! Which version of which component answers under which path.
//!
//! Two pointers lead from a path to a version: the table of mounts, which
//! changes when a component comes or moves, and the split of its component,
//! which changes with each swap. A request follows both once and keeps what it
//! found, so whatever goes live meanwhile, it ends where it began.

use super::{Version, version_id::VersionId};
use arc_swap::{ArcSwap, Guard};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One component: a name, and which of its versions answer.
pub struct Slot {
    pub name: String,
    split: ArcSwap<Split>,
    versions: Mutex<Loaded>,
}

/// The versions that requests are shared among.
#[derive(Clone, Default)]
pub struct Split {
    pub live: Option<Arc<Version>>,
    pub canary: Option<Canary>,
}

/// A version on trial.
#[derive(Clone)]
pub struct Canary {
    pub version: Arc<Version>,
    /// Share of the clients that it answers, 0 to 100.
    pub percent: u8,
    /// It answers nobody: GETs are repeated on it, and the answers compared.
    pub shadow: bool,
}

/// Versions in memory, the one that was used last at the end.
#[derive(Default)]
pub struct Loaded(Vec<Arc<Version>>);

#[derive(Clone, Default)]
struct Table {
    slots: BTreeMap<String, Arc<Slot>>,
    mounts: HashMap<String, Arc<Slot>>,
}

#[derive(Default)]
pub struct Registry {
    table: ArcSwap<Table>,
    /// Prefix -> the prefix that it stands for.
    aliases: HashMap<String, String>,
}

impl Slot {
    fn new(name: &str) -> Slot {
        Slot { name: name.to_owned(), split: ArcSwap::default(), versions: Mutex::default() }
    }

    pub fn split(&self) -> Guard<Arc<Split>> {
        self.split.load()
    }

    pub fn live(&self) -> Option<Arc<Version>> {
        self.split.load().live.clone()
    }

    /// The swap: from here on every request goes by the new split.
    pub fn store(&self, split: Split) {
        self.split.store(Arc::new(split));
    }

    /// The version for one request. `who` tells clients apart: the same one
    /// gets the same version while the share stays or grows. Asked only if there
    /// is a choice.
    pub fn choose(&self, who: impl FnOnce() -> String) -> Option<Arc<Version>> {
        let split = self.split.load();
        match &split.canary {
            Some(canary) if !canary.shadow && bucket(&canary.version.id, &who()) < canary.percent => {
                Some(Arc::clone(&canary.version))
            }
            _ => split.live.clone(),
        }
    }

    /// The version on trial whose answer is to be compared, if there is one.
    pub fn shadow(&self) -> Option<Arc<Version>> {
        let split = self.split.load();
        split.canary.as_ref().filter(|canary| canary.shadow).map(|canary| Arc::clone(&canary.version))
    }

    pub fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number below 100, the same on every host, whatever it was built with. Differs
/// by version, so that it is not always the same clients who try what is new.
fn bucket(version: &VersionId, client: &str) -> u8 {
    let digest = Sha256::digest(format!("{version} {client}"));
    let [a, b, c, d, ..]: [u8; 32] = digest.into();
    u8::try_from(u32::from_be_bytes([a, b, c, d]) % 100).unwrap_or_default()
}

impl Loaded {
    pub fn get(&self, id: &VersionId) -> Option<Arc<Version>> {
        self.0.iter().find(|version| version.id == *id).cloned()
    }

    pub fn all(&self) -> &[Arc<Version>] {
        &self.0
    }

    /// Adds a version, or marks it as used last. One with the same id gives way.
    pub fn put(&mut self, version: &Arc<Version>) {
        self.0.retain(|other| other.id != version.id);
        self.0.push(Arc::clone(version));
    }

    /// Keeps those in use and the last `keep` of the others; returns what is
    /// let go, for dropping outside of the lock.
    pub fn trim(&mut self, split: &Split, keep: usize) -> Vec<Arc<Version>> {
        let idle: Vec<VersionId> =
            self.0.iter().filter(|version| !split.uses(&version.id)).map(|version| version.id.clone()).collect();
        let surplus = idle.get(..idle.len().saturating_sub(keep)).unwrap_or_default().to_vec();
        let (gone, kept) = std::mem::take(&mut self.0).into_iter().partition(|version| surplus.contains(&version.id));
        self.0 = kept;
        gone
    }
}

impl Split {
    /// Whether a version gets calls.
    pub fn uses(&self, id: &VersionId) -> bool {
        let live = self.live.as_ref().is_some_and(|version| version.id == *id);
        live || self.canary.as_ref().is_some_and(|canary| canary.version.id == *id)
    }
}

impl Registry {
    pub fn new(aliases: BTreeMap<String, String>) -> Registry {
        Registry { aliases: aliases.into_iter().collect(), ..Registry::default() }
    }

    /// All components, by name.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.table.load().slots.values().cloned().collect()
    }

    /// Those that answer somewhere, or should.
    pub fn mounted(&self) -> Vec<Arc<Slot>> {
        let table = self.table.load();
        let has_mount = |slot: &&Arc<Slot>| table.mounts.values().any(|owner| Arc::ptr_eq(owner, slot));
        table.slots.values().filter(has_mount).cloned().collect()
    }

    pub fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        self.table.load().slots.get(name).cloned()
    }

    /// The component of this name, made if it is new; it has no mounts then.
    pub fn slot_or_new(&self, name: &str) -> Arc<Slot> {
        if let Some(slot) = self.slot(name) {
            return slot;
        }
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.slots.entry(name.to_owned()).or_insert_with(|| Arc::new(Slot::new(name)));
            table
        });
        self.slot_or_new(name)
    }

    /// Where a component answers now, in order.
    pub fn mounts(&self, name: &str) -> Vec<String> {
        let table = self.table.load();
        let own = table.mounts.iter().filter(|(_, slot)| slot.name == name);
        let mut own: Vec<String> = own.map(|(mount, _)| mount.clone()).collect();
        own.sort();
        own
    }

    /// Makes a component answer under these prefixes and no others. A prefix
    /// that belongs to another stays with it.
    pub fn mount(&self, slot: &Arc<Slot>, mounts: &[String]) {
        if self.mounts(&slot.name) == mounts {
            return;
        }
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.mounts.retain(|mount, owner| owner.name != slot.name || mounts.contains(mount));
            for mount in mounts {
                table.mounts.entry(mount.clone()).or_insert_with(|| Arc::clone(slot));
            }
            table
        });
    }

    /// The component that owns exactly this prefix.
    pub fn owner(&self, mount: &str) -> Option<Arc<Slot>> {
        self.table.load().mounts.get(mount).cloned()
    }

    /// Prefixes, each with the one that it stands for, in order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let sorted: BTreeMap<&str, &str> =
            self.aliases.iter().map(|(alias, path)| (alias.as_str(), path.as_str())).collect();
        sorted.into_iter()
    }

    /// The component with the longest mount that `path` lies under, and that
    /// mount.
    pub fn find<'a>(&self, path: &'a str) -> Option<(Arc<Slot>, &'a str)> {
        let table = self.table.load();
        prefixes(path).find_map(|prefix| Some((Arc::clone(table.mounts.get(prefix)?), prefix)))
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
pub fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let cut = path.rfind('/')?;
        (cut > 0).then(|| &path[..cut])
    })
}

#[cfg(test)]
mod tests {
    use super::{Registry, VersionId, bucket};
    use std::collections::BTreeMap;

    #[test]
    fn a_client_is_in_the_same_bucket_on_every_host() {
        let version = VersionId::parse("0123456789ab").expect("a version");
        for (client, expected) in
            [("127.0.0.1", 47), ("2001:db8::1", 40), ("6f1c8a52-3a3f-4b0e-9d0c-2f6d1f5a7b10", 81), ("", 80)]
        {
            assert_eq!(bucket(&version, client), expected, "{client}");
        }
        let other = VersionId::parse("ba9876543210").expect("a version");
        assert_ne!(bucket(&version, "127.0.0.1"), bucket(&other, "127.0.0.1"));
        let below_ten = (0..10_000).filter(|client| bucket(&version, &client.to_string()) < 10).count();
        assert!((900..1_100).contains(&below_ten), "{below_ten} of 10,000 in a tenth");
    }

    fn registry(components: &[(&str, &[&str])]) -> Registry {
        let registry = Registry::default();
        for (name, mounts) in components {
            let mounts: Vec<String> = mounts.iter().map(|mount| (*mount).to_owned()).collect();
            registry.mount(&registry.slot_or_new(name), &mounts);
        }
        registry
    }

    fn found(registry: &Registry, path: &str) -> Option<String> {
        registry.find(path).map(|(slot, mount)| format!("{} at {mount}", slot.name))
    }

    #[test]
    fn the_longest_mount_wins_and_only_whole_segments_count() {
        let registry = registry(&[("a", &["/api/a"]), ("b", &["/api/a/b"])]);
        assert_eq!(found(&registry, "/api/a").as_deref(), Some("a at /api/a"));
        assert_eq!(found(&registry, "/api/a/x/y").as_deref(), Some("a at /api/a"));
        assert_eq!(found(&registry, "/api/a/b/y").as_deref(), Some("b at /api/a/b"));
        assert_eq!(found(&registry, "/api/ab"), None);
        assert_eq!(found(&registry, "/"), None);
    }

    #[test]
    fn a_component_moves_whole_and_takes_nothing_from_another() {
        let registry = registry(&[("a", &["/a", "/b"]), ("c", &["/c"])]);
        registry.mount(&registry.slot_or_new("a"), &["/b".into(), "/c".into(), "/d".into()]);
        assert_eq!(found(&registry, "/a"), None);
        assert_eq!(found(&registry, "/b/x").as_deref(), Some("a at /b"));
        assert_eq!(found(&registry, "/c").as_deref(), Some("c at /c"));
        assert_eq!(found(&registry, "/d").as_deref(), Some("a at /d"));
    }

    #[test]
    fn aliases_and_trailing_slashes_mean_the_same_path() {
        let aliases = BTreeMap::from([("/auth".to_owned(), "/api/auth".to_owned())]);
        let registry = Registry::new(aliases);
        assert_eq!(registry.canonical("/auth/login"), "/api/auth/login");
        assert_eq!(registry.canonical("/auth/"), "/api/auth");
        assert_eq!(registry.canonical("/authors"), "/authors");
        assert_eq!(registry.canonical("//"), "/");
        assert_eq!(registry.canonical("/api/auth/auth"), "/api/auth/auth");
    }
}
