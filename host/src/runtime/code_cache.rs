//! From `.wasm` bytes to compiled code, through a cache on disk.
//!
//! `Component::deserialize` trusts its input: whoever can write a cache file
//! could run machine code in the host. So each file carries a MAC under a key
//! that only this data directory knows, and a file without the right one is
//! compiled anew.

use super::version_id::digest;
use anyhow::{Context, Result};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};
use wasmtime::{Engine, component::Component};

const MAC_BYTES: usize = 32;
/// Files of compiled code, of all components: some megabytes each.
const MAX_FILES: usize = 200;

pub struct Cache {
    dir: PathBuf,
    key: Vec<u8>,
}

impl Cache {
    pub fn new(data_dir: &Path, key: &str) -> Cache {
        Cache { dir: data_dir.join("cache"), key: key.as_bytes().to_vec() }
    }

    /// The code that an earlier run has left.
    pub fn read(&self, engine: &Engine, wasm: &[u8]) -> Option<Component> {
        let path = self.path(engine, wasm);
        let file = std::fs::read(&path).ok()?;
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        if self.mac(&path, code).verify_slice(mac).is_err() {
            tracing::warn!(path = %path.display(), "a cached component is damaged or foreign; compiling it anew");
            return None;
        }
        // SAFETY: the MAC shows that this data directory's host wrote exactly
        // these bytes for exactly this artifact and engine.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Takes the code that this host's compiler has just made, and keeps it.
    pub fn load(&self, engine: &Engine, wasm: &[u8], code: &[u8]) -> Result<Component> {
        // SAFETY: `compile` hands over what a process of this very binary
        // wrote to a pipe that nobody else has.
        let component = unsafe { Component::deserialize(engine, code) }?;
        if let Err(error) = self.write(&self.path(engine, wasm), code) {
            tracing::warn!(%error, "cannot write the cache of compiled components");
        }
        Ok(component)
    }

    /// Digest of the artifact, and of everything that decides about the code:
    /// wasmtime's version, its configuration, the CPU's features.
    fn path(&self, engine: &Engine, wasm: &[u8]) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.dir.join(format!("{}-{:016x}", digest(wasm), hasher.finish()))
    }

    fn write(&self, path: &Path, code: &[u8]) -> Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let mut file = self.mac(path, code).finalize().into_bytes().to_vec();
        file.extend_from_slice(code);
        // Renamed into place, so that nobody reads half a file.
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        std::fs::write(&draft, file)?;
        std::fs::rename(&draft, path).context("cannot move the file into place")?;
        self.prune()
    }

    /// Keeps the files that were written last: an artifact whose code is gone
    /// is compiled again.
    fn prune(&self) -> Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        for (_, path) in files.get(..files.len().saturating_sub(MAX_FILES)).unwrap_or_default() {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Covers the name too, so that one artifact's code cannot pass as another's.
    fn mac(&self, path: &Path, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, MAX_FILES};

    #[test]
    fn the_files_that_were_written_last_are_kept() {
        let dir = std::env::temp_dir().join(format!("shema-cache-{}", std::process::id()));
        let cache = Cache::new(&dir, "a key");
        let path = |number: usize| cache.dir.join(format!("{number:04}"));
        for number in 0..MAX_FILES + 5 {
            cache.write(&path(number), b"code").expect("written");
        }
        let kept = std::fs::read_dir(&cache.dir).expect("the cache").count();
        assert_eq!(kept, MAX_FILES);
        assert!(!path(0).exists() && path(MAX_FILES + 4).exists());
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
