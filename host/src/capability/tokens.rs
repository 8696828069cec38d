//! `shema:tokens`: signing, password hashing and the verification of tokens. The
//! work is done in `services/tokens`, which has the keys; here its types become
//! those of the contract.

use super::{Context, Granting, HasCall, bindings::{CertificateError, ServiceAccountError, SessionError, certificates as certificates_wit, http::Principal, passwords as passwords_wit, service_account as service_account_wit, sessions::{PresentedToken, RefreshClaims, Subject, TokenPair, self as sessions_wit}}, database, http_client};
use crate::{config, services::tokens::{self, Signer, TokenError, certificates::{self, Certificates}, passwords, service_account::ServiceAccount}};
use std::sync::Arc;
use wasmtime::component::{HasData, Linker};

pub const INTERFACES: &[&str] = &[
    "shema:tokens/sessions@0.1.0",
    "shema:tokens/passwords@0.1.0",
    "shema:tokens/certificates@0.1.0",
    "shema:tokens/service-account@0.1.0",
];

pub struct Grant {
    signer: Arc<Signer>,
    certificates: Arc<Certificates>,
    service_account: Option<Arc<ServiceAccount>>,
}

pub type State = ();

pub fn missing_grant(interface: &str, grants: &config::Grants) -> Option<&'static str> {
    let (word, grant) = match interface {
        "shema:tokens/sessions" => ("sessions", "tokens = [\"sessions\"]"),
        "shema:tokens/passwords" => ("passwords", "tokens = [\"passwords\"]"),
        "shema:tokens/certificates" => ("certificates", "tokens = [\"certificates\"]"),
        "shema:tokens/service-account" => ("service-account", "tokens = [\"service-account\"]"),
        _ => return None,
    };
    (!grants.tokens.iter().any(|granted| granted == word)).then_some(grant)
}

pub async fn grant(granting: &Granting<'_>) -> anyhow::Result<Grant> {
    let services = &granting.shared.services;
    Ok(Grant {
        signer: Arc::clone(&services.signer),
        certificates: Arc::clone(&services.certificates),
        service_account: services.service_account.clone(),
    })
}

pub fn add_to_linker<T: HasCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    sessions_wit::add_to_linker::<T, Tokens>(linker, view)?;
    passwords_wit::add_to_linker::<T, Tokens>(linker, view)?;
    certificates_wit::add_to_linker::<T, Tokens>(linker, view)?;
    service_account_wit::add_to_linker::<T, Tokens>(linker, view)
}

struct Tokens;

impl HasData for Tokens {
    type Data<'a> = View<'a>;
}

struct View<'a> {
    grant: &'a Grant,
    http: &'a http_client::Grant,
    context: &'a Context,
    database: &'a mut database::State,
}

fn view<T: HasCall>(state: &mut T) -> View<'_> {
    let call = state.call();
    let grants = &call.grants;
    View { grant: &grants.tokens, http: &grants.http_client, context: &call.context, database: &mut call.database }
}

impl sessions_wit::Host for View<'_> {
    async fn issue(&mut self, subject: Subject, issued_at: u64, previous_hash: Vec<u8>) -> wasmtime::Result<TokenPair> {
        let Subject { user_id, email, role, session_id } = subject;
        let subject = tokens::Subject { user_id, email, role, session_id };
        let pair = self.grant.signer.issue(&subject, i64::try_from(issued_at).unwrap_or(i64::MAX), &previous_hash).map_err(wasmtime::Error::new)?;
        let tokens::TokenPair { access_token, refresh_token, refresh_hash, refresh_expires_at } = pair;
        Ok(TokenPair { access_token, refresh_token, refresh_hash, refresh_expires_at })
    }

    async fn read_refresh(&mut self, token: String) -> Result<RefreshClaims, SessionError> {
        match self.grant.signer.read_refresh(&token) {
            Ok(tokens::RefreshClaims { user_id, session_id, hash }) => Ok(RefreshClaims { user_id, session_id, hash }),
            Err(TokenError::Expired) => Err(sessions_wit::TokenError::Expired.into()),
            Err(TokenError::Invalid) => Err(sessions_wit::TokenError::Invalid.into()),
        }
    }

    async fn presented(&mut self) -> wasmtime::Result<Option<PresentedToken>> {
        let token = self.context.token.clone();
        Ok(token.map(|tokens::PresentedToken { hash, expires_at }| PresentedToken { hash, expires_at }))
    }

    async fn access_lifetime(&mut self) -> wasmtime::Result<u64> {
        Ok(self.grant.signer.access_lifetime().as_secs())
    }

    fn convert_token_error(&mut self, error: SessionError) -> wasmtime::Result<sessions_wit::TokenError> {
        error.downcast()
    }
}

impl passwords_wit::Host for View<'_> {
    async fn hash(&mut self, password: String) -> wasmtime::Result<String> {
        if password.len() > passwords::MAX_BYTES {
            wasmtime::bail!("a password over {} bytes", passwords::MAX_BYTES);
        }
        self.database.release();
        passwords::hash(password).await.map_err(wasmtime::Error::from_anyhow)
    }

    async fn verify(&mut self, password: String, stored: Option<String>) -> wasmtime::Result<bool> {
        self.database.release();
        passwords::verify(password, stored).await.map_err(wasmtime::Error::from_anyhow)
    }
}

impl certificates_wit::Host for View<'_> {
    async fn verify(&mut self, token: String, url: String) -> Result<(), CertificateError> {
        use certificates_wit::Error;
        if !self.http.allows(&url) {
            return Err(Error::Unavailable.into());
        }
        self.database.release();
        Ok(self.grant.certificates.verify(&token, &url).await.map_err(|error| match error {
            certificates::Error::UnknownKey => Error::UnknownKey,
            certificates::Error::BadSignature => Error::BadSignature,
            certificates::Error::Unavailable => Error::Unavailable,
        })?)
    }

    fn convert_error(&mut self, error: CertificateError) -> wasmtime::Result<certificates_wit::Error> {
        error.downcast()
    }
}

impl service_account_wit::Host for View<'_> {
    async fn access_token(&mut self, scope: String) -> Result<String, ServiceAccountError> {
        use service_account_wit::Error;
        self.database.release();
        let account = self.grant.service_account.as_ref().ok_or(Error::Missing)?;
        Ok(account.token(&scope).await.map_err(|why| {
            tracing::warn!("no token for the service account: {why}");
            Error::Unavailable
        })?)
    }

    fn convert_error(&mut self, error: ServiceAccountError) -> wasmtime::Result<service_account_wit::Error> {
        error.downcast()
    }
}

impl From<tokens::Principal> for Principal {
    fn from(principal: tokens::Principal) -> Principal {
        let tokens::Principal { user_id, email, role, session_id } = principal;
        Principal { user_id, email, role, session_id }
    }
}
