//! The rules of signing in, without input or output.

pub mod firebase;

use sdk::{
    Code, Email, Error, Result, Role, Text, Timestamp, Verbatim, choice, codes, id, request, row,
    tokens::{Subject, TokenError},
};
use serde_json::json;
use subtle::ConstantTimeEq;

pub const VALIDATION_PASSWORD_WEAK: Code = Code::new(400, "VALIDATION_PASSWORD_WEAK");
pub const AUTH_INVALID_CREDENTIALS: Code = Code::new(401, "AUTH_INVALID_CREDENTIALS");

/// The header with the operator's token, which lets anybody register.
pub const REGISTRATION_TOKEN: &str = "X-Admin-Registration-Token";

/// Seconds for which a refresh token that has been exchanged is still good for
/// the pair it was exchanged for.
const GRACE_SECONDS: i64 = 10;

id! {
    pub UserId;
    pub SessionId;
}

row! {
    /// As clients see it: nothing secret.
    pub struct User {
        pub id: UserId,
        pub email: String,
        pub full_name: String,
        pub role: Role,
        pub phone_number: Option<String>,
        pub avatar_url: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub last_login_at: Option<Timestamp>,
    }

    /// Of a session that is about to be written.
    pub struct NewSession {
        pub id: SessionId,
        pub issued_at: Timestamp,
    }

    /// A session's row, locked, and the time since when it is.
    pub struct Session {
        pub token_hash: Vec<u8>,
        pub previous_token_hash: Option<Vec<u8>>,
        pub rotated_at: Option<Timestamp>,
        pub expires_at: Timestamp,
        pub revoked_at: Option<Timestamp>,
        pub now: Timestamp,
    }
}

/// Of a new user. Too short is weak, which is judged after the other fields.
pub type Password = Verbatim<0, 128>;

choice! {
    /// The only role that registers itself.
    pub enum Registrable {
        Admin = "admin",
    }
}

pub type FullName = Text<2, 255>;
pub type Phone = Text<0, 25>;

request! {
    pub struct Registration {
        pub email: Email,
        pub password: Password,
        pub full_name: FullName,
        pub role: Registrable,
        pub phone_number: Option<Phone>,
    }
}

impl User {
    /// What the tokens of a session say of the user.
    pub fn subject(&self, session: &SessionId) -> Subject {
        Subject {
            user_id: self.id.to_string(),
            email: self.email.clone(),
            role: self.role.word().to_owned(),
            session_id: session.to_string(),
        }
    }
}

/// What a refresh token is, under the lock of its session's row.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// The session is revoked, or over.
    Ended,
    /// To be exchanged.
    Current,
    /// Exchanged a moment ago, for the pair that was issued then.
    Repeated { issued_at: Timestamp },
    /// Exchanged before: somebody has a copy.
    Reused,
}

/// `hash` is that of the presented token, whose signature and age are good.
pub fn judge(session: &Session, hash: &[u8]) -> Verdict {
    if session.revoked_at.is_some() || session.now >= session.expires_at {
        return Verdict::Ended;
    }
    if hash == session.token_hash {
        return Verdict::Current;
    }
    match session.rotated_at {
        Some(rotated_at)
            if session.previous_token_hash.as_deref() == Some(hash)
                && session.now < rotated_at.plus_seconds(GRACE_SECONDS) =>
        {
            Verdict::Repeated { issued_at: rotated_at }
        }
        _ => Verdict::Reused,
    }
}

/// Whether somebody may register an admin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    Granted,
    /// If there is no admin yet.
    FirstAdmin,
    Refused,
}

/// `token` is the operator's, `presented` the caller's.
pub fn admission(open: bool, by_admin: bool, token: Option<&str>, presented: Option<&str>) -> Admission {
    // Compared in constant time, so that it cannot be guessed byte by byte.
    let fits = |token: &str| bool::from(token.as_bytes().ct_eq(presented.unwrap_or_default().as_bytes()));
    match token {
        _ if open || by_admin => Admission::Granted,
        None => Admission::FirstAdmin,
        Some(token) if fits(token) => Admission::Granted,
        Some(_) => Admission::Refused,
    }
}

/// Lists every rule that the password breaks.
pub fn check_strength(password: &Password) -> Result<()> {
    let password = password.as_str();
    let rules = [
        (password.chars().count() >= 8, "Password must have at least 8 characters"),
        (password.bytes().any(|b| b.is_ascii_uppercase()), "Password must contain an upper-case letter"),
        (password.bytes().any(|b| b.is_ascii_lowercase()), "Password must contain a lower-case letter"),
        (password.bytes().any(|b| b.is_ascii_digit()), "Password must contain a digit"),
    ];
    let broken: Vec<_> = rules.into_iter().filter(|(kept, _)| !kept).map(|(_, message)| message).collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::new(VALIDATION_PASSWORD_WEAK, "The password is too weak").with(json!(broken)))
}

/// One answer for unknown email, wrong password, no password, deleted user.
pub fn invalid_credentials() -> Error {
    Error::new(AUTH_INVALID_CREDENTIALS, "Invalid email or password")
}

pub fn invalid_token() -> Error {
    Error::new(codes::AUTH_INVALID_TOKEN, "Invalid token")
}

pub fn user_gone() -> Error {
    Error::new(codes::AUTH_UNAUTHORIZED, "The user no longer exists")
}

pub fn refused(error: TokenError) -> Error {
    match error {
        TokenError::Expired => Error::new(codes::AUTH_TOKEN_EXPIRED, "The token has expired"),
        TokenError::Invalid => invalid_token(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::field::{Field, Input};

    fn session() -> Session {
        Session {
            token_hash: vec![2],
            previous_token_hash: Some(vec![1]),
            rotated_at: Some(Timestamp::from_millis(100_500)),
            expires_at: Timestamp::from_seconds(1_000),
            revoked_at: None,
            now: Timestamp::from_millis(110_499),
        }
    }

    #[test]
    fn the_current_token_is_exchanged() {
        assert_eq!(judge(&session(), &[2]), Verdict::Current);
    }

    #[test]
    fn the_previous_token_is_good_for_ten_seconds() {
        let issued_at = Timestamp::from_millis(100_500);
        assert_eq!(judge(&session(), &[1]), Verdict::Repeated { issued_at });
        let late = Session { now: Timestamp::from_millis(110_500), ..session() };
        assert_eq!(judge(&late, &[1]), Verdict::Reused);
    }

    #[test]
    fn an_older_token_has_no_grace() {
        assert_eq!(judge(&session(), &[0]), Verdict::Reused);
        let never_rotated = Session { previous_token_hash: None, rotated_at: None, ..session() };
        assert_eq!(judge(&never_rotated, &[1]), Verdict::Reused);
    }

    #[test]
    fn an_ended_session_exchanges_nothing_and_is_not_revoked_again() {
        let revoked = Session { revoked_at: Some(Timestamp::from_seconds(1)), ..session() };
        let over = Session { now: Timestamp::from_seconds(1_000), ..session() };
        for session in [revoked, over] {
            for hash in [0, 1, 2] {
                assert_eq!(judge(&session, &[hash]), Verdict::Ended);
            }
        }
    }

    #[test]
    fn a_token_ends_the_bootstrap() {
        assert_eq!(admission(false, false, None, None), Admission::FirstAdmin);
        assert_eq!(admission(false, false, None, Some("x")), Admission::FirstAdmin);
        assert_eq!(admission(false, false, Some("secret"), None), Admission::Refused);
        assert_eq!(admission(false, false, Some("secret"), Some("secret ")), Admission::Refused);
        assert_eq!(admission(false, false, Some("secret"), Some("secret")), Admission::Granted);
        assert_eq!(admission(false, true, Some("secret"), None), Admission::Granted);
        assert_eq!(admission(true, false, Some("secret"), None), Admission::Granted);
    }

    #[test]
    fn a_weak_password_is_told_every_rule_that_it_breaks() {
        let broken = |text: &str| {
            let password = Password::parse(Input::Text(text)).ok()?;
            let error = check_strength(&password).err()?;
            error.details().and_then(|details| details.as_array().map(Vec::len))
        };
        assert_eq!(broken("Passw0rd"), None);
        assert_eq!(broken("Pässw0r"), Some(1));
        assert_eq!(broken("password"), Some(2));
        assert_eq!(broken(""), Some(4));
    }
}
