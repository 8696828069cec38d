//! The description of the whole API, and a page to read it.
//!
//! Put together from what the live components say of themselves and from the
//! declarations of the host's own answers; nothing is listed here a second
//! time. The page needs nothing but the host: one file, without the Internet.

mod aggregates;
mod platform;
mod schema;

use super::{Gateway, dispatch};
use crate::runtime::{Version, description::Description};
use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

const PAGE: &str = include_str!("docs/page.html");
const STYLE: &str = include_str!("docs/page.css");
const SCRIPT: &str = include_str!("docs/page.js");

pub struct Documents {
    /// The document, and the labels of the versions that it describes.
    built: ArcSwapOption<(Vec<HeaderValue>, Bytes)>,
    page: Bytes,
    /// Lets the page run its own script and talk to this host, and nothing else.
    policy: HeaderValue,
}

impl Documents {
    pub fn new() -> Result<Documents> {
        let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
        let policy = format!(
            "default-src 'none'; connect-src 'self'; script-src {}; style-src {}; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE),
        );
        Ok(Documents {
            built: ArcSwapOption::empty(),
            page: PAGE.replace("/* style */", STYLE).replace("/* script */", SCRIPT).into(),
            policy: policy.parse().context("the policy of the page is not a header")?,
        })
    }
}

impl Gateway {
    /// `GET /api/openapi.json`.
    pub(super) fn openapi(&self) -> Response {
        let live: Vec<Arc<Version>> = self.registry.slots().iter().filter_map(|slot| slot.live()).collect();
        let labels: Vec<HeaderValue> = live.iter().map(|version| version.label.clone()).collect();
        let built = self.documents.built.load_full().filter(|built| built.0 == labels);
        // Two at once may both build it; they build the same.
        let built = built.unwrap_or_else(|| {
            let document = document(&live, self);
            let built = Arc::new((labels, Bytes::from(document.to_string())));
            self.documents.built.store(Some(Arc::clone(&built)));
            built
        });
        let mut response = Response::new(Body::from(built.1.clone()));
        response.headers_mut().insert(header::CONTENT_TYPE, dispatch::JSON);
        response
    }

    /// `GET /api/docs`.
    pub(super) fn docs(&self) -> Response {
        super::page(self.documents.page.clone(), self.documents.policy.clone())
    }
}

fn document(live: &[Arc<Version>], gateway: &Gateway) -> Value {
    let mut whole = Description::default();
    for version in live {
        whole.paths.extend(version.description.paths.clone());
        for (kind, members) in version.description.components.clone() {
            whole.components.entry(kind).or_default().extend(members);
        }
    }
    // After the components, so that none of them can speak for the host.
    let aggregates = aggregates::describe(gateway.aggregates.list(), &whole);
    whole.paths.extend(aggregates);
    whole.paths.extend(platform::describe());
    let mut insert =
        |kind: &str, name: &str, value| whole.components.entry(kind.into()).or_default().insert(name.into(), value);
    insert("schemas", "host.Failure", schema::failure());
    insert("securitySchemes", schema::BEARER, json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT" }));

    let names = live.iter().filter_map(|version| version.label.to_str().ok()).collect::<Vec<_>>().join(", ");
    let aliases = gateway.registry.aliases().map(|(alias, path)| format!("\n\n`{alias}` stands for `{path}`."));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shema",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("Live now: {names}.{}", aliases.collect::<String>()),
        },
        "servers": [{ "url": "/" }],
        "paths": whole.paths,
        "components": whole.components,
    })
}
