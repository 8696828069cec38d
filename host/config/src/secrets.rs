//! The host's secrets: given, or in development made once and kept.

use super::{Profile, source::Source};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// RFC 7518 3.2: an HS256 key has to be at least as long as the hash.
const MIN_BYTES: usize = 32;
const FILE: &str = "secrets.json";

#[derive(Clone)]
pub struct Secrets {
    /// Signs access tokens.
    pub access: String,
    /// Signs refresh tokens.
    pub refresh: String,
    /// Signs service tokens.
    pub service: String,
    /// Bearer token of the control API.
    pub control: String,
    /// Authenticates cached machine code; never leaves this data directory.
    pub cache: String,
    /// Password of the demo admin.
    pub demo: String,
}

// So that no log line and no panic can print one.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

#[derive(Serialize, Deserialize)]
struct Generated {
    access: String,
    refresh: String,
    service: String,
    control: String,
    cache: String,
    demo: String,
}

impl Secrets {
    pub(super) fn read(source: &mut Source, profile: Profile, data_dir: &Path) -> Result<Secrets> {
        let names = ["JWT_SECRET", "JWT_REFRESH_SECRET", "SERVICE_JWT_SECRET", "SHEMA_CONTROL_TOKEN"];
        let mut given = Vec::with_capacity(names.len());
        for name in names {
            let value = source.text(name)?;
            if let Some(value) = &value {
                ensure!(value.len() >= MIN_BYTES, "{name}: has to be at least {MIN_BYTES} bytes long");
            } else if profile == Profile::Production {
                bail!("{name} is required in production");
            }
            given.push(value);
        }
        for (index, name) in names.iter().enumerate() {
            for (other, value) in names.iter().zip(&given).take(index) {
                let equal = value.is_some() && given.get(index) == Some(value);
                ensure!(!equal, "{name}: has to differ from {other}");
            }
        }
        let generated = Generated::load_or_make(data_dir)?;
        let mut given = given.into_iter();
        let mut next = |fallback: String| given.next().flatten().unwrap_or(fallback);
        Ok(Secrets {
            access: next(generated.access),
            refresh: next(generated.refresh),
            service: next(generated.service),
            control: next(generated.control),
            cache: generated.cache,
            demo: generated.demo,
        })
    }
}

impl Generated {
    fn load_or_make(data_dir: &Path) -> Result<Generated> {
        let path = data_dir.join(FILE);
        if !path.exists() {
            Generated::make().save(data_dir).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| {
            format!("{} is damaged; remove it to have new secrets made (everybody logs in again)", path.display())
        })
    }

    fn make() -> Generated {
        // 244 bits from the operating system each, in letters that need no escape.
        let random = || format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        Generated {
            access: random(),
            refresh: random(),
            service: random(),
            control: random(),
            cache: random(),
            demo: format!("Demo-{}", &random()[..12]),
        }
    }

    /// Written beside and linked into place: of two hosts that start at once
    /// one wins, and the other reads the winner's.
    fn save(&self, data_dir: &Path) -> Result<()> {
        std::fs::create_dir_all(data_dir)?;
        let draft = data_dir.join(format!("{FILE}.{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&draft, data_dir.join(FILE));
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }
}
