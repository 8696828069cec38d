//! The guest's credential: whoever knows it is the guest.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use sdk::{Code, Error};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const CHAT_TOKEN_MISSING: Code = Code::new(401, "CHAT_TOKEN_MISSING");
pub const CHAT_FORBIDDEN: Code = Code::new(403, "CHAT_FORBIDDEN");

/// Where the guest sends it.
pub const HEADER: &str = "X-Session-Token";

/// Shown once, to the guest who starts a session, and kept nowhere.
#[derive(JsonSchema, Serialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// `secret` is random.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(secret))
    }

    /// What is kept of it. No salt and no slow hash: 256 random bits cannot be
    /// guessed from it.
    pub fn hash(&self) -> Vec<u8> {
        hash(&self.0)
    }
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

/// Whether a token is the one with this hash.
pub fn check(token: &str, expected: &[u8]) -> Result<(), Error> {
    // In constant time, although hashes give little away.
    if bool::from(hash(token).ct_eq(expected)) {
        return Ok(());
    }
    Err(Error::new(CHAT_FORBIDDEN, "This token does not open the session"))
}

pub fn missing() -> Error {
    Error::new(CHAT_TOKEN_MISSING, "Please send the session's token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_session_only() {
        let (mine, yours) = (Token::new([1; 32]), Token::new([2; 32]));
        assert_eq!(mine.0, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE");
        assert!(check(&mine.0, &mine.hash()).is_ok());
        for wrong in [yours.0.as_str(), "", &mine.0[1..], &format!("{} ", mine.0)] {
            assert!(check(wrong, &mine.hash()).is_err_and(|error| error.code() == CHAT_FORBIDDEN), "{wrong}");
        }
    }
}
