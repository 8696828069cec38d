//! Runs the calls that come from inside the host: of other components, of the
//! schedule, of answers that are put together from several components.

use super::{Found, registry::Registry};
use crate::capability::{
    Context,
    bindings::{
        Request, Response,
        http::{Access, Caller},
    },
    calls::{Components, InternalCall},
};
use std::{
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

impl Components for Registry {
    fn call<'a>(
        &'a self,
        call: InternalCall<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + 'a>> {
        // Boxed, because a call may hold a call.
        Box::pin(run(self, call))
    }
}

async fn run(registry: &Registry, call: InternalCall<'_>) -> Result<Response, String> {
    let slot = registry.slot(call.component).ok_or("there is no such component")?;
    let version = slot.live().ok_or("it is not loaded")?;
    let Found::Route { typed, index, route, params } = version.find(Some(call.method), call.path, call.internal) else {
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
        request_id: call.request_id,
        version: version.id.to_string(),
        token: None,
        depth: call.depth,
        deadline: call.deadline,
        read_only: call.read_only,
    };
    let (outcome, _) = version.call(typed, context, &request).await;
    outcome.map_err(|failure| failure.to_string())
}

/// A service is no user.
fn unauthorized() -> Response {
    let body = br#"{"success":false,"message":"This needs a user.","error":{"code":"AUTH_UNAUTHORIZED","message":"This needs a user."}}"#;
    Response { status: 401, headers: Vec::new(), body: body.to_vec() }
}
