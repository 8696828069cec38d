//! `shema:http-client`: requests to the outside, to granted origins only.

use super::{Context, Granting, HasCall, bindings::{HttpClientError, http_client::{Request, Response, self as wit}}, database};
use crate::{config, services::http_client::{Client, self as client}};
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &["shema:http-client/requests@0.1.0"];

/// The origins that one component may send requests to.
#[derive(Clone)]
pub struct Grant {
    pub origins: Vec<String>,
    pub client: Client,
}

impl Grant {
    pub fn allows(&self, url: &str) -> bool {
        config::origin_of(url).is_some_and(|origin| self.origins.contains(&origin))
    }
}

pub type State = ();

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    (interface == "shema:http-client/requests" && grants.http.is_empty()).then_some("http = [\"ORIGIN\"]")
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let client = granting.shared.services.http_client.clone();
    Ok(Grant { origins: granting.config.origins.clone(), client })
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HttpClient>(linker, |state| {
        let call = state.call();
        View { grant: &call.grants.http_client, context: &call.context, database: &mut call.database }
    })
}

struct HttpClient;

impl HasData for HttpClient {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grant: &'a Grant,
    context: &'a Context,
    database: &'a mut database::State,
}

impl wit::Host for View<'_> {
    async fn send(&mut self, request: Request) -> Result<Response, HttpClientError> {
        if !self.grant.allows(&request.url) {
            return Err(wit::Error::Denied(config::origin_of(&request.url).unwrap_or_default()).into());
        }
        if self.context.read_only && request.method != "GET" {
            return Err(wit::Error::Unavailable("a repeated call sends nothing but GET".into()).into());
        }
        self.database.release();
        let Request { method, url, headers, body } = request;
        match self.grant.client.send(client::Request { method, url, headers, body }).await {
            Ok(client::Response { status, headers, body }) => Ok(Response { status, headers, body }),
            Err(client::Error::Invalid(why)) => Err(wit::Error::Invalid(why).into()),
            Err(client::Error::Unavailable(why)) => Err(wit::Error::Unavailable(why).into()),
            Err(client::Error::TooLarge) => Err(wit::Error::TooLarge.into()),
        }
    }

    fn convert_error(&mut self, error: HttpClientError) -> wasmtime::Result<wit::Error> {
        error.downcast()
    }
}
