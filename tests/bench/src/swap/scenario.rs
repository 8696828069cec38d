//! A host with its artifacts, ready for requests and deploys.

use super::{
    Setup,
    traffic::{Expected, Lane},
};
use crate::{
    control::{Change, Control},
    environment::{self, Environment},
    load::{Body, Request},
    processes::{self, Host},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use uuid::Uuid;

/// What the versions of `hello` say.
pub const FIRST: &str = "Hello, world!";
pub const SECOND: &str = "Hello again!";

/// Artifacts that versions are made of.
pub struct Artifacts {
    pub hello: Vec<u8>,
    /// The same, with another answer.
    pub second: Vec<u8>,
    /// The same; traps once in five requests.
    pub flaky: Vec<u8>,
    pub course: Vec<u8>,
    pub booking: Vec<u8>,
    seed: u64,
    made: AtomicU64,
}

impl Artifacts {
    pub fn build(components: &Path, seed: u64) -> Result<Artifacts> {
        let read = |name: &str| {
            let path = components.join(format!("{name}.wasm"));
            std::fs::read(&path).with_context(|| path.display().to_string())
        };
        Ok(Artifacts {
            hello: read("hello")?,
            second: processes::build_fixture("hello", &["second"])?,
            flaky: processes::build_fixture("hello", &["flaky"])?,
            course: read("course")?,
            booking: read("booking")?,
            seed,
            made: AtomicU64::new(0),
        })
    }

    /// An artifact that does the same and that no host has seen yet.
    pub fn fresh(&self, artifact: &[u8]) -> Vec<u8> {
        processes::marked(artifact, self.seed, self.made.fetch_add(1, SeqCst))
    }
}

/// A host that answers, with an operator beside it.
pub struct Scenario<'a> {
    pub host: Host,
    pub control: Control,
    pub artifacts: &'a Artifacts,
    pub database: String,
    pub course: Arc<Expected>,
    pub booking: Arc<Expected>,
    pub hello: Arc<Expected>,
    token: String,
    course_id: Uuid,
}

impl<'a> Scenario<'a> {
    pub async fn set(setup: &Setup<'_>, artifacts: &'a Artifacts) -> Result<Scenario<'a>> {
        let database = setup.postgres.url("bench");
        let environment = Environment {
            shema: setup.shema,
            components: setup.components,
            mounts: &[("hello", "/hello")],
            database: &database,
            redis: setup.redis,
        };
        let host = environment.start(&setup.scratch.join("host")).await?;
        environment::fill(&database).await?;
        let scenario = Scenario {
            control: Control::of(&host),
            artifacts,
            course: Expected::new("course"),
            booking: Expected::new("booking"),
            hello: Expected::new("hello"),
            token: environment::log_in(host.process.address).await?,
            course_id: environment::course(&database).await?,
            database,
            host,
        };
        // As the host has loaded them at its start.
        for (expected, artifact, says) in [
            (&scenario.course, &artifacts.course, None),
            (&scenario.booking, &artifacts.booking, None),
            (&scenario.hello, &artifacts.hello, Some(FIRST)),
        ] {
            scenario.deploy(expected, artifact, says, "").await?;
        }
        Ok(scenario)
    }

    /// Uploads a version; with an empty query it is live when this returns.
    pub async fn deploy(
        &self,
        expected: &Expected,
        artifact: &[u8],
        says: Option<&'static str>,
        query: &str,
    ) -> Result<Change> {
        // Its name is known before the host has answered, and so may answer.
        expected.add(host::runtime::version_id::VersionId::of(artifact).as_str(), says);
        if query.is_empty() {
            expected.unsettle();
        }
        let change = self.control.deploy(expected.component, query, artifact).await?;
        if query.is_empty() {
            expected.settle(&change.version);
        }
        Ok(change)
    }

    pub async fn activate(&self, expected: &Expected, version: &str) -> Result<Change> {
        expected.unsettle();
        let change = self.control.activate(expected.component, version).await?;
        expected.settle(version);
        Ok(change)
    }

    /// Everything that is asked at full load.
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        let course = self.course_id;
        let registration: Body = Arc::new(move |number| {
            json!({
                "full_name": "Siti Rahma", "wa_number": "+628111222333", "course_id": course, "consent": true,
                "email": format!("bench-{number}@example.org"), "experience_level": "beginner",
                "preferred_days": ["saturday"], "preferred_time_range": { "start": "09:00", "end": "11:30" },
                "captcha_token": "t", "idempotency_key": Uuid::new_v4(),
            })
            .to_string()
        });
        let pending = Request { token: Some(self.token.clone()), ..Request::get("/api/booking/pending?limit=20") };
        let register = Request {
            method: "POST",
            path: "/api/booking/register-course".into(),
            token: None,
            body: Some(registration),
            expect: 201,
        };
        let lane =
            |name, request, expected: &Arc<Expected>| Arc::new(Lane { name, request, expected: Arc::clone(expected) });
        vec![
            lane("GET /api/courses/:id", Request::get(format!("/api/courses/{course}")), &self.course),
            lane("GET /api/courses?limit=20", Request::get("/api/courses?limit=20"), &self.course),
            lane("GET /api/booking/pending", pending, &self.booking),
            lane("POST /api/booking/register-course", register, &self.booking),
            lane("GET /hello (no database)", Request::get("/hello"), &self.hello),
        ]
    }

    /// Only what needs no database, by clients that are told apart by the token
    /// they show (nobody checks it on a public route).
    pub fn hello_lanes(&self) -> Vec<Arc<Lane>> {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        (0..crate::load::CONNECTIONS)
            .map(|client| {
                let payload = BASE64_URL_SAFE_NO_PAD.encode(json!({ "sub": format!("client {client}") }).to_string());
                let request = Request { token: Some(format!("x.{payload}.x")), ..Request::get("/hello") };
                Arc::new(Lane { name: "GET /hello", request, expected: Arc::clone(&self.hello) })
            })
            .collect()
    }
}
