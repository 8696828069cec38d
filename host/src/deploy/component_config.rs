//! What host.toml says of a component today: read again at each deploy, so that
//! a new grant needs no restart.

use super::{Deployer, Error};
use crate::{
    config::{self, Config},
    runtime::routes,
    services::crypto::sha256_hex,
};

/// Paths of the host's own, under which nothing can be mounted.
const RESERVED: [&str; 4] = ["/health", "/services", "/api/openapi.json", "/api/docs"];

pub struct Configured {
    pub component: config::Component,
    /// To be kept with the artifact; None: host.toml says it.
    pub recorded_mounts: Option<Vec<String>>,
    /// Versions loaded under the same one are the same.
    pub fingerprint: String,
}

impl Deployer {
    pub(super) async fn component_config(&self, name: &str, mounts: &[String]) -> Result<Configured, Error> {
        let read = tokio::task::spawn_blocking(Config::load).await;
        let mut config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(error)) => return Err(Error::bad_config(&format!("{error:#}"))),
            Err(_) => return Err(Error::bad_config("reading it was cut off")),
        };
        let named = config.components.remove(name);
        let mut component = named.clone().unwrap_or_else(|| config::Component::unnamed(config.default_limits));
        let mut recorded_mounts = None;
        if !mounts.is_empty() || named.is_none() {
            component.mounts = match mounts {
                [] => self.row(name).map(|row| row.mounts).filter(|mounts| !mounts.is_empty()),
                given => Some(given.to_vec()),
            }
            .unwrap_or_else(|| vec![format!("/api/{name}")]);
            recorded_mounts = Some(component.mounts.clone());
        }
        component.mounts.sort();
        component.mounts.dedup();
        self.check_mounts(name, &component.mounts)?;
        // Not the text itself, which has the settings, secret ones among them.
        let fingerprint = sha256_hex(format!("{component:?}").as_bytes());
        Ok(Configured { component, recorded_mounts, fingerprint })
    }

    fn check_mounts(&self, name: &str, mounts: &[String]) -> Result<(), Error> {
        for mount in mounts {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
            let well_formed = mount.starts_with('/') && mount.len() > 1 && !mount.ends_with('/');
            if !well_formed || !mount.bytes().all(plain) || mount.contains("//") {
                return Err(Error::bad_mount(mount));
            }
            let reserved = RESERVED.iter().any(|own| routes::lies_under(mount, own));
            let owner = self.registry.owner(mount).filter(|owner| owner.name != name);
            if reserved || owner.is_some() {
                return Err(Error::mount_taken(mount, owner.as_ref().map_or("the host", |owner| &owner.name)));
            }
        }
        Ok(())
    }
}

pub fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if first && name.len() <= 63 && name.bytes().all(plain) { Ok(()) } else { Err(Error::bad_name(name)) }
}
