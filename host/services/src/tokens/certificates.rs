//! Signatures of other issuers, checked by the X.509 certificates that they
//! publish as a JSON object of key id and PEM.
//!
//! Only the signature is judged here. What the token says, and whether it is
//! meant for us, is the component's to judge.

use crate::http_client::{Client, Request};
use jsonwebtoken::{Algorithm, DecodingKey};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use x509_parser::{pem::parse_x509_pem, prelude::X509Certificate};

/// Between two attempts for one URL.
const RETRY_AFTER: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Whatever the issuer says: so long, a key that it withdrew may still count.
const MAX_AGE_LIMIT: Duration = Duration::from_secs(86_400);

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No certificate of the token's `kid` is published.
    UnknownKey,
    /// It does not fit, or the token is not a JWS with `alg` RS256.
    BadSignature,
    /// The certificates cannot be fetched, and none were before.
    Unavailable,
}

/// Certificates by the URL that publishes them.
pub struct Certificates {
    client: Client,
    published: Mutex<HashMap<String, Published>>,
}

#[derive(Default)]
struct Published {
    keys: BTreeMap<String, DecodingKey>,
    fresh_until: Option<Instant>,
    tried_at: Option<Instant>,
}

impl Certificates {
    pub fn new(client: Client) -> Certificates {
        Certificates { client, published: Mutex::default() }
    }

    /// Checks the RS256 signature of a compact JWS (RFC 7515), and nothing else
    /// of it, by the certificate that its `kid` names among those of `url`.
    pub async fn verify(&self, token: &str, url: &str) -> Result<(), Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Error::BadSignature)?;
        // RFC 8725 3.1: the algorithm is ours to choose, never the token's.
        if header.alg != Algorithm::RS256 {
            return Err(Error::BadSignature);
        }
        let key = self.key(url, &header.kid.ok_or(Error::UnknownKey)?).await?;
        let (message, signature) = token.rsplit_once('.').ok_or(Error::BadSignature)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, Algorithm::RS256) {
            Ok(true) => Ok(()),
            _ => Err(Error::BadSignature),
        }
    }

    async fn key(&self, url: &str, kid: &str) -> Result<DecodingKey, Error> {
        // Held while fetching, so that a thousand logins fetch once.
        let mut published = self.published.lock().await;
        let known = published.entry(url.to_owned()).or_default();
        let stale = known.fresh_until.is_none_or(|end| end <= Instant::now());
        let may_try = known.tried_at.is_none_or(|tried| tried.elapsed() >= RETRY_AFTER);
        // After a success, going stale is reason enough to fetch again.
        let failed_lately = known.fresh_until.is_none_or(|end| known.tried_at > Some(end)) && !may_try;
        if (stale && !failed_lately) || (!known.keys.contains_key(kid) && may_try) {
            known.tried_at = Some(Instant::now());
            match self.fetch(url).await {
                Ok((keys, max_age)) => {
                    known.keys = keys;
                    known.fresh_until = Some(Instant::now() + max_age);
                }
                Err(why) => tracing::warn!("certificates could not be fetched, so the old ones serve on: {why}"),
            }
        }
        match known.keys.get(kid) {
            Some(key) => Ok(key.clone()),
            None if known.keys.is_empty() => Err(Error::Unavailable),
            None => Err(Error::UnknownKey),
        }
    }

    async fn fetch(&self, url: &str) -> Result<(BTreeMap<String, DecodingKey>, Duration), String> {
        let request = Request { method: "GET".into(), url: url.to_owned(), headers: Vec::new(), body: Vec::new() };
        let response = tokio::time::timeout(FETCH_TIMEOUT, self.client.send(request)).await;
        let response = response.map_err(|_| "no answer in time".to_owned())?.map_err(|error| format!("{error:?}"))?;
        if response.status != 200 {
            return Err(format!("the answer has status {}", response.status));
        }
        let pems: BTreeMap<String, String> =
            serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
        let keys: BTreeMap<_, _> = pems.into_iter().filter_map(|(kid, pem)| Some((kid, key_of(&pem)?))).collect();
        if keys.is_empty() {
            return Err("the answer holds no certificate".into());
        }
        Ok((keys, max_age(&response.headers)))
    }
}

/// The RSA key in a certificate.
fn key_of(pem: &str) -> Option<DecodingKey> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate: X509Certificate<'_> = pem.parse_x509().ok()?;
    let key = certificate.public_key();
    key.parsed().ok().filter(|key| matches!(key, x509_parser::public_key::PublicKey::RSA(_)))?;
    Some(DecodingKey::from_rsa_der(&key.subject_public_key.data))
}

/// `max-age` of `Cache-Control` (RFC 9111 5.2.2.1); without it nothing is cached.
fn max_age(headers: &[(String, String)]) -> Duration {
    let control = headers.iter().filter(|(name, _)| name == "cache-control").flat_map(|(_, value)| value.split(','));
    let seconds = control.filter_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok()).next();
    Duration::from_secs(seconds.unwrap_or(0)).min(MAX_AGE_LIMIT)
}
