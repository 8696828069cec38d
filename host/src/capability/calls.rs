//! `shema:components`: one component calls another, inside the process. The
//! callee learns the caller's name from the host, which is why it can trust it.

use super::{
    Call, Context,
    bindings::{
        Request, Response,
        calls::{self, Error, Host},
        http::{Access, Caller, Method},
    },
};
use crate::runtime::{Found, registry::Registry};
use std::{
    sync::{Arc, OnceLock, Weak},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Deeper ones are a loop, as a rule.
const MAX_DEPTH: u8 = 4;

/// The components that one component may call.
pub struct Grant {
    pub components: Vec<String>,
    pub directory: Arc<OnceLock<Weak<Registry>>>,
}

/// A call that comes from inside the host.
pub struct Inside<'a> {
    pub component: &'a str,
    pub method: Method,
    pub path: &'a str,
    pub query: String,
    pub body: Vec<u8>,
    pub caller: Caller,
    /// Whether routes with access `internal` answer.
    pub internal: bool,
    pub request_id: String,
    pub depth: u8,
    pub deadline: Option<Instant>,
    pub read_only: bool,
}

impl Registry {
    /// Runs a call as a client's request would run, without limits. The error
    /// is for the log.
    pub async fn call(&self, call: Inside<'_>) -> Result<Response, String> {
        let slot = self.slot(call.component).ok_or("there is no such component")?;
        let version = slot.live().ok_or("it is not loaded")?;
        let Found::Route { typed, index, route, params } = version.find(Some(call.method), call.path, call.internal)
        else {
            return Err(format!("it has no route for {}", call.path));
        };
        if route.access == Access::User && !matches!(call.caller, Caller::User(_)) {
            return Ok(unauthorized());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = Request {
            route: index,
            params,
            query: call.query,
            headers: vec![("content-type".into(), "application/json".into())],
            body: call.body,
            caller: call.caller,
            id: call.request_id.clone(),
            received_at: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        };
        let context = Context {
            depth: call.depth,
            deadline: call.deadline,
            read_only: call.read_only,
            ..Context::new(&call.request_id, &version, None)
        };
        let (outcome, _) = version.call(typed, context, &request).await;
        outcome.map_err(|failure| failure.to_string())
    }
}

/// A service is no user.
fn unauthorized() -> Response {
    let body = br#"{"success":false,"message":"This needs a user.","error":{"code":"AUTH_UNAUTHORIZED","message":"This needs a user."}}"#;
    Response { status: 401, headers: Vec::new(), body: body.to_vec() }
}

impl Host for Call {
    async fn send(&mut self, call: calls::Call) -> wasmtime::Result<Result<Response, Error>> {
        if !self.held.calls.components.contains(&call.component) {
            return Ok(Err(Error::Denied(call.component)));
        }
        let (depth, deadline) = self.context.as_ref().map_or((0, None), |context| (context.depth, context.deadline));
        if depth >= MAX_DEPTH {
            return Ok(Err(Error::TooDeep));
        }
        let Some(registry) = self.held.calls.directory.get().and_then(Weak::upgrade) else {
            return Ok(Err(Error::Unavailable("the host is not ready".into())));
        };
        let inside = Inside {
            component: &call.component,
            method: call.method,
            path: &call.path,
            query: call.query,
            body: call.body,
            caller: Caller::Service(self.held.name.clone()),
            internal: false,
            request_id: self.request_id().to_owned(),
            depth: depth + 1,
            deadline,
            read_only: self.is_read_only(),
        };
        // Boxed, because a call may hold a call.
        let answered = Box::pin(registry.call(inside)).await;
        Ok(answered.map_err(|why| {
            tracing::warn!(component = self.held.name, to = call.component, "a call failed: {why}");
            Error::Unavailable("the component did not answer".into())
        }))
    }
}
