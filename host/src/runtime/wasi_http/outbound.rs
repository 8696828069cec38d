//! The guest's own requests: to the granted origins, through the same client
//! as those of the typed components.

use crate::capability::http_client::Grant;
use axum::http::{Request, Response, uri::Scheme};
use futures_util::TryStreamExt;
use http_body_util::{BodyDataStream, BodyExt};
use std::{sync::Arc, time::Duration};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

pub struct Outbound(Arc<Grant>);

impl Outbound {
    pub fn new(grant: Arc<Grant>) -> Outbound {
        Outbound(grant)
    }
}

type Transmission = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outbound {
    /// The client makes it from the URL.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTPS)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Transmission,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Transmission), Error>> + Send> {
        let grant = Arc::clone(&self.0);
        Box::new(async move {
            if !grant.allows(&request.uri().to_string()) {
                return Err(Error::HttpRequestDenied);
            }
            let patience = options.and_then(|options| options.first_byte_timeout).unwrap_or(Duration::MAX);
            let response = match tokio::time::timeout(patience, send(&grant, request)).await {
                Ok(response) => response?,
                Err(_) => return Err(Error::ConnectionReadTimeout),
            };
            let transmission: Transmission = Box::new(std::future::ready(Ok(())));
            Ok((response, transmission))
        })
    }
}

async fn send(grant: &Grant, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
    let request = request.map(|body| reqwest::Body::wrap_stream(BodyDataStream::new(body).map_err(Refused)));
    let request = reqwest::Request::try_from(request).map_err(|_| Error::HttpRequestUriInvalid)?;
    let response: Response<reqwest::Body> = grant.client.forward(request).await.map_err(explain)?.into();
    Ok(response.map(|body| body.map_err(explain).boxed_unsync()))
}

/// A guest's body that broke off, as an error that the client can carry.
#[derive(Debug, thiserror::Error)]
#[error("the guest broke off its request: {0}")]
struct Refused(Error);

fn explain(error: reqwest::Error) -> Error {
    match error {
        error if error.is_timeout() && error.is_connect() => Error::ConnectionTimeout,
        error if error.is_timeout() => Error::HttpResponseTimeout,
        error if error.is_connect() => Error::ConnectionRefused,
        error if error.is_body() => Error::HttpResponseIncomplete,
        _ => Error::HttpProtocolError,
    }
}
