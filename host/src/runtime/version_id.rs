//! Names of versions: by content, so that the same bytes have the same name on
//! every host.

use sha2::{Digest, Sha256};
use std::fmt;

/// Name of an artifact: the first 12 hex digits of its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId(String);

impl VersionId {
    pub fn of(wasm: &[u8]) -> VersionId {
        VersionId(digest(wasm).chars().take(12).collect())
    }

    /// None: not the name of a version.
    pub fn parse(text: &str) -> Option<VersionId> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 12 && text.bytes().all(hex)).then(|| VersionId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of an artifact, in hex.
pub fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}
