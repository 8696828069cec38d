//! The page at `/` in development: what this is, and where to go from here.

use crate::config::{Config, Profile};
use anyhow::{Context, Result};
use axum::http::HeaderValue;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// HTML, and the content security policy that goes with it. None in production.
/// `control`: where the console is.
pub fn page(config: &Config, control: SocketAddr) -> Result<Option<(Bytes, HeaderValue)>> {
    if config.profile == Profile::Production {
        return Ok(None);
    }
    let link = |path: &str, name: &str, about: &str| {
        format!("<li><a href=\"{}\"><b>{}</b><span>{}</span></a>", escaped(path), escaped(name), escaped(about))
    };
    let own = config.welcome.links.iter().map(|entry| link(&entry.path, &entry.name, &entry.about));
    let console =
        link(&format!("http://{control}/"), "Console", "what runs, and taking it back; it asks for the token");
    let row = |(name, mounts): (&String, String)| format!("<tr><td>{}<td>{}</tr>", escaped(name), escaped(&mounts));
    let components = config.components.iter().map(|(name, component)| row((name, component.mounts.join(", "))));
    let any = config.components.keys().next().map_or("NAME", String::as_str);
    let html = PAGE
        .replace("{about}", &escaped(&config.welcome.about))
        .replace("{links}", &own.chain([console]).collect::<Vec<_>>().join("\n"))
        .replace("{component}", &escaped(any))
        .replace("{components}", &components.collect::<Vec<_>>().join("\n"))
        .replace("/* style */", STYLE);
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Ok(Some((html.into(), policy.parse().context("the policy of the page is not a header")?)))
}

/// Text as it may stand in HTML, between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_the_operator_writes_is_text() {
        assert_eq!(escaped("<b title=\"a&b\">"), "&lt;b title=&quot;a&amp;b&quot;&gt;");
    }
}
