//! `shema:components`: one component calls another, inside the process. The
//! callee learns the caller's name from the host, which is why it can trust it.

use super::{Context, Granting, HasCall, bindings::{CallError, Response, calls::self as wit, http::{Caller, Method}}};
use crate::config;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:components/calls@0.1.0", "shema:http/types@0.1.0"];

/// Deeper nesting is usually a loop.
const MAX_DEPTH: u8 = 4;

/// Runs calls from inside the host; the floor above implements it.
pub trait Components: Send + Sync {
    /// As a client's request would run, without limits. The error is for the log.
    fn call<'a>(&'a self, call: InternalCall<'a>) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + 'a>>;
}

/// A call that comes from inside the host.
pub struct InternalCall<'a> {
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

/// The components that one component may call.
pub struct Grant {
    granted: Vec<String>,
    components: Arc<OnceLock<Weak<dyn Components>>>,
}

pub type State = ();

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    (interface == "shema:components/calls" && grants.calls.is_empty()).then_some("calls = [\"COMPONENT\"]")
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let components = Arc::clone(&granting.shared.components);
    Ok(Grant { granted: granting.config.grants.calls.clone(), components })
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Calls>(linker, |state| {
        let call = state.call();
        View { grant: &call.grants.calls, component: &call.grants.component, context: &call.context }
    })
}

struct Calls;

impl HasData for Calls {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grant: &'a Grant,
    /// The caller's name.
    component: &'a str,
    context: &'a Context,
}

impl wit::Host for View<'_> {
    async fn send(&mut self, call: wit::Call) -> Result<Response, CallError> {
        if !self.grant.granted.contains(&call.component) {
            return Err(wit::Error::Denied(call.component).into());
        }
        if self.context.depth >= MAX_DEPTH {
            return Err(wit::Error::TooDeep.into());
        }
        let Some(components) = self.grant.components.get().and_then(Weak::upgrade) else {
            return Err(wit::Error::Unavailable("the host is not ready".into()).into());
        };
        let internal = InternalCall {
            component: &call.component,
            method: call.method,
            path: &call.path,
            query: call.query,
            body: call.body,
            caller: Caller::Service(self.component.to_owned()),
            internal: false,
            request_id: self.context.request_id.clone(),
            depth: self.context.depth + 1,
            deadline: self.context.deadline,
            read_only: self.context.read_only,
        };
        Ok(components.call(internal).await.map_err(|why| {
            tracing::warn!(component = self.component, to = call.component, "a call failed: {why}");
            wit::Error::Unavailable("the component did not answer".into())
        })?)
    }

    fn convert_error(&mut self, error: CallError) -> wasmtime::Result<wit::Error> {
        error.downcast()
    }
}
