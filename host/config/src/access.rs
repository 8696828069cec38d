//! How commands find a running host: from the environment, else from the note
//! that a host leaves in its data directory.
//!
//! Deliberately not part of [`Config`](super::Config): a command has to work
//! where the host's own settings are unknown or wrong.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const NOTE: &str = "listen.json";

/// The control API of a running host.
pub struct Access {
    pub url: String,
    pub token: String,
    /// Where the two come from, for messages.
    pub url_from: String,
    pub token_from: String,
}

/// What commands need of `listen.json`.
#[derive(Deserialize)]
struct Note {
    control: String,
    control_token: String,
}

impl Access {
    /// Of the host in this process.
    pub fn local(control: SocketAddr, token: &str) -> Access {
        let from = || "this process".to_owned();
        Access { url: format!("http://{control}"), token: token.to_owned(), url_from: from(), token_from: from() }
    }

    pub fn find() -> Result<Access> {
        let url = variable("SHEMA_CONTROL_URL").map(|url| url.trim_end_matches('/').to_owned());
        let token = variable("SHEMA_CONTROL_TOKEN");
        if let Some(url) = &url {
            let scheme = url::Url::parse(url).map(|url| url.scheme().to_owned()).unwrap_or_default();
            if !["http", "https"].contains(&scheme.as_str()) {
                bail!("SHEMA_CONTROL_URL: `{url}` is not an address such as http://127.0.0.1:3001");
            }
        }
        if let (Some(url), Some(token)) = (&url, &token) {
            let from = |name: &str| name.to_owned();
            let (url, token) = (url.clone(), token.clone());
            return Ok(Access {
                url,
                token,
                url_from: from("SHEMA_CONTROL_URL"),
                token_from: from("SHEMA_CONTROL_TOKEN"),
            });
        }
        let path = data_dir().join(NOTE);
        let note = read(&path)?;
        let from = path.display().to_string();
        let Some(note) = note else {
            if url.is_some() {
                bail!("SHEMA_CONTROL_URL is set and SHEMA_CONTROL_TOKEN is not: that host's token is needed as well");
            }
            bail!("no host runs here: there is no {from}; start one with `shema serve` or set SHEMA_CONTROL_URL");
        };
        match url {
            // The token of one host is not told to another.
            Some(url) if url != note.control => bail!(
                "SHEMA_CONTROL_URL is set and SHEMA_CONTROL_TOKEN is not: \
                 the token in {from} is that of the host at {}",
                note.control
            ),
            _ => {
                let token_from = if token.is_some() { "SHEMA_CONTROL_TOKEN".to_owned() } else { from.clone() };
                let token = token.unwrap_or(note.control_token);
                Ok(Access { url: note.control, token, url_from: from, token_from })
            }
        }
    }
}

/// None: there is no note.
fn read(path: &Path) -> Result<Option<Note>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged; it is written anew when the host starts", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// As the host finds it: the environment, else the file's settings.
fn data_dir() -> PathBuf {
    let from_file = || {
        let path = variable("SHEMA_CONFIG").unwrap_or_else(|| "host/host.toml".into());
        let file: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
        Some(file.get("settings")?.get("SHEMA_DATA_DIR")?.as_str()?.to_owned())
    };
    variable("SHEMA_DATA_DIR").or_else(from_file).unwrap_or_else(|| ".shema".into()).into()
}

/// An empty value counts as unset, as for the host.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// `listen.json`: how commands and scripts on this machine find the host.
pub struct ListenNote(PathBuf);

impl ListenNote {
    /// Written when both listeners accept; readable for its owner alone.
    pub fn write(dir: &Path, public: SocketAddr, control: SocketAddr, control_token: &str) -> Result<ListenNote> {
        std::fs::create_dir_all(dir).with_context(|| format!("SHEMA_DATA_DIR: cannot make {}", dir.display()))?;
        let path = dir.join(NOTE);
        let note = json!({
            "pid": std::process::id(),
            "public": format!("http://{public}"),
            "control": format!("http://{control}"),
            "control_token": control_token,
        });
        let draft = path.with_extension("json.draft");
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(note.to_string().as_bytes())?;
            std::fs::rename(&draft, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(ListenNote(path))
    }

    /// On a clean exit.
    pub fn remove(&self) -> Result<()> {
        std::fs::remove_file(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }
}
