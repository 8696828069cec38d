//! Tokens, passwords and who is asking. The keys stay here.
//!
//! - `signer`: signs and reads the tokens of login sessions.
//! - `verifier`: from an `Authorization` header to a verified identity.
//! - `login`: what PostgreSQL says of a user and a login session.
//! - `passwords`: hashing, off the threads that serve requests.
//! - `certificates`: signatures of other issuers.
//! - `service_account`: tokens of a cloud provider.

pub mod certificates;
pub mod login;
pub mod passwords;
pub mod service_account;
mod signer;
mod verifier;

pub use signer::{RefreshClaims, Signer, Subject, TokenError, TokenPair};
pub use verifier::{AuthError, Identity, PresentedToken, Principal, User, Verifier};
