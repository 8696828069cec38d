//! What is made of a Firebase ID token: how it is read, what is checked of it,
//! and whom it logs in.
//!
//! Checking the signature is the host's. A token that is no Firebase ID token by
//! its shape is invalid; one whose contents are not what they have to be fails
//! its verification.

use super::{FullName, Password, Phone, UserId, user_gone};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sdk::{Code, Email, Error, Result, Role, Timestamp, Verbatim, field::Field, field::Input, request, row};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub const TOKEN_EXPIRED: Code = Code::new(401, "AUTH_FIREBASE_TOKEN_EXPIRED");
pub const TOKEN_INVALID: Code = Code::new(401, "AUTH_FIREBASE_TOKEN_INVALID");
pub const VERIFICATION_FAILED: Code = Code::new(401, "AUTH_FIREBASE_TOKEN_VERIFICATION_FAILED");
pub const EMAIL_NOT_VERIFIED: Code = Code::new(403, "AUTH_EMAIL_NOT_VERIFIED");
pub const EMAIL_ALREADY_EXISTS: Code = Code::new(409, "AUTH_EMAIL_ALREADY_EXISTS");
pub const PROVIDER_UNAVAILABLE: Code = Code::new(503, "AUTH_PROVIDER_UNAVAILABLE");
pub const DB_CREATE_ERROR: Code = Code::new(500, "DB_CREATE_ERROR");
pub const LOGIN_ERROR: Code = Code::new(500, "FIREBASE_LOGIN_ERROR");
pub const REGISTER_ERROR: Code = Code::new(500, "FIREBASE_REGISTER_ERROR");
pub const RESET_ERROR: Code = Code::new(500, "PASSWORD_RESET_ERROR");

/// By how many seconds the issuer's clock may be ahead of ours.
const SKEW_SECONDS: f64 = 60.0;

request! {
    pub struct Registration {
        pub email: Email,
        pub password: Password,
        pub full_name: FullName,
        pub phone_number: Option<Phone>,
    }
}

request! {
    pub struct Presented {
        pub id_token as idToken: Verbatim<0, 4096>,
    }
}

request! {
    pub struct PasswordReset {
        pub email: Email,
    }
}

row! {
    /// A user whom a token may mean: who has its uid, deleted or not, or whose
    /// email is the token's.
    pub struct Candidate {
        pub id: UserId,
        pub role: Role,
        pub firebase_uid: Option<String>,
        pub is_deleted: bool,
    }
}

/// A token that has been taken apart, and of which nothing is known to be true.
pub struct Unverified {
    header: Header,
    claims: Claims,
    is_signed: bool,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    // RFC 7519 allows fractions.
    exp: f64,
    iat: f64,
    auth_time: f64,
    email: Option<String>,
    email_verified: Option<bool>,
    /// A custom claim, so of any type.
    role: Option<Value>,
    firebase: Option<Firebase>,
}

#[derive(Deserialize)]
struct Firebase {
    sign_in_provider: Option<String>,
}

/// What proves a token.
#[derive(Debug, PartialEq)]
pub enum Proof {
    /// Its signature, by the certificate that it names.
    Certificate,
    /// The operator's word that tokens come from the emulator.
    Emulator,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq)]
pub struct IdToken {
    pub uid: String,
    pub email: Option<String>,
    pub email_verified: bool,
    pub role: Option<Role>,
    pub provider: Option<String>,
    pub expires_at: Timestamp,
}

impl Unverified {
    pub fn read(token: &str) -> Result<Self> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        // Whether it is one is found out by whoever checks it.
        if !signature.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(invalid());
        }
        let read = Self { header: object(header)?, claims: object(claims)?, is_signed: !signature.is_empty() };
        // PostgreSQL cannot store U+0000, and nothing else of the kind belongs
        // into a name.
        let names = [&read.claims.email, &read.claims.firebase.as_ref().and_then(|f| f.sign_in_provider.clone())]
            .into_iter()
            .flatten()
            .chain([&read.claims.sub])
            .any(|name| name.contains(char::is_control));
        if names { Err(invalid()) } else { Ok(read) }
    }

    /// What has to be shown for it, if that can be enough at all.
    pub fn proof(&self, project: &str, emulator: bool) -> Result<Proof> {
        let Claims { aud, iss, sub, .. } = &self.claims;
        // Firebase's uids have at most 128 characters.
        let is_ours = aud == project
            && iss.strip_prefix("https://securetoken.google.com/") == Some(project)
            && (1..=128).contains(&sub.chars().count());
        // RFC 7515 4.1.11: what `crit` names has to be understood.
        let is_plain = self.header.crit.is_none();
        // RFC 8725 3.1: which algorithms are good is not the token's to say.
        match self.header.alg.as_str() {
            "RS256" if is_ours && is_plain && self.is_signed && self.header.kid.is_some() => Ok(Proof::Certificate),
            "none" if is_ours && is_plain && !self.is_signed && emulator => Ok(Proof::Emulator),
            _ => Err(verification_failed()),
        }
    }

    /// The contents, once they are proven.
    pub fn verified(self, now: Timestamp) -> Result<IdToken> {
        let claims = self.claims;
        let now = now.seconds() as f64;
        if claims.exp <= now {
            return Err(Error::new(TOKEN_EXPIRED, "The Firebase token has expired"));
        }
        if claims.iat.max(claims.auth_time) > now + SKEW_SECONDS {
            return Err(verification_failed());
        }
        Ok(IdToken {
            uid: claims.sub,
            email: claims.email.filter(|email| !email.is_empty()),
            email_verified: claims.email_verified.unwrap_or(false),
            role: claims.role.as_ref().and_then(Value::as_str).and_then(Role::parse),
            provider: claims.firebase.and_then(|firebase| firebase.sign_in_provider),
            expires_at: Timestamp::from_seconds(claims.exp as i64),
        })
    }
}

/// A JSON object in base64url. By way of a map, because a struct could be read
/// from a list as well.
fn object<T: DeserializeOwned>(part: &str) -> Result<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| invalid())?;
    let object: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    serde_json::from_value(Value::Object(object)).map_err(|_| invalid())
}

/// What a login comes to.
#[derive(Debug, PartialEq)]
pub enum Login {
    Known(UserId),
    /// To be linked to a user who has no Firebase account yet.
    Link(UserId),
    Create(Role),
}

impl IdToken {
    /// Only who has an email can log in.
    pub fn login_email(&self) -> Result<Email> {
        Email::parse(Input::Text(self.email.as_deref().unwrap_or_default())).map_err(|_| invalid())
    }

    /// Who logs in, of the users whom the token may mean.
    pub fn recognise(&self, candidates: &[Candidate], admins_need_verified: bool) -> Result<Login> {
        let check = |role: Role| {
            let refused = role == Role::Admin && admins_need_verified && !self.email_verified;
            if refused { Err(Error::new(EMAIL_NOT_VERIFIED, "Please verify your email first")) } else { Ok(()) }
        };
        let mut with_uid =
            candidates.iter().filter(|candidate| candidate.firebase_uid.as_deref() == Some(&self.uid)).peekable();
        if with_uid.peek().is_some() {
            let known = with_uid.find(|candidate| !candidate.is_deleted).ok_or_else(user_gone)?;
            check(known.role)?;
            return Ok(Login::Known(known.id.clone()));
        }
        match candidates.iter().find(|candidate| !candidate.is_deleted) {
            // Whoever has not shown that the email is theirs gets nobody's
            // account.
            Some(namesake) if namesake.firebase_uid.is_some() || !self.email_verified => Err(email_exists()),
            Some(namesake) => Ok(Login::Link(namesake.id.clone())),
            None => {
                // Whoever signs up at Firebase is a student, unless we have
                // signed another role ourselves.
                let role = self.role.unwrap_or(Role::Student);
                check(role)?;
                Ok(Login::Create(role))
            }
        }
    }
}

pub fn invalid() -> Error {
    Error::new(TOKEN_INVALID, "This is not a Firebase ID token that we can use")
}

pub fn verification_failed() -> Error {
    Error::new(VERIFICATION_FAILED, "The Firebase token could not be verified")
}

pub fn email_exists() -> Error {
    Error::new(EMAIL_ALREADY_EXISTS, "This email is already in use")
}

/// The cause is for the log.
pub fn unavailable(cause: &str) -> Error {
    Error::internal(cause).with_code(PROVIDER_UNAVAILABLE, "The identity provider cannot be reached")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_000);

    fn claims() -> Value {
        json!({
            "aud": "demo", "iss": "https://securetoken.google.com/demo", "sub": "uid-1",
            "exp": 1_760_003_600, "iat": 1_760_000_000, "auth_time": 1_760_000_000,
            "email": "a@example.org", "email_verified": true, "role": "instructor",
            "firebase": { "sign_in_provider": "google.com" },
        })
    }

    fn encode(header: &Value, claims: &Value, signature: &str) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", part(header), part(claims))
    }

    fn signed(changes: Value) -> String {
        let mut claims = claims();
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        encode(&json!({ "alg": "RS256", "kid": "k" }), &claims, "c2ln")
    }

    fn judge(token: &str, emulator: bool) -> Result<IdToken, &'static str> {
        let judged = Unverified::read(token).and_then(|token| {
            token.proof("demo", emulator)?;
            token.verified(NOW)
        });
        judged.map_err(|error| error.code().name)
    }

    #[test]
    fn a_good_token_is_read() {
        let expected = IdToken {
            uid: "uid-1".into(),
            email: Some("a@example.org".into()),
            email_verified: true,
            role: Some(Role::Instructor),
            provider: Some("google.com".into()),
            expires_at: Timestamp::from_seconds(1_760_003_600),
        };
        assert_eq!(judge(&signed(json!({})), false), Ok(expected));
    }

    #[test]
    fn what_has_not_the_shape_is_invalid() {
        let mut tokens: Vec<String> =
            ["", ".", "..", "a.b.c", "e30.e30.", "e30.e30", "e30.e30.c2ln.c2ln"].map(str::to_owned).to_vec();
        tokens.push(signed(json!({})) + "=");
        tokens.push(encode(&json!(["RS256", "k", null]), &claims(), "c2ln"));
        tokens.push(encode(&json!({ "alg": "RS256", "kid": "k" }), &json!([]), "c2ln"));
        for changes in [
            json!({ "sub": null }),
            json!({ "sub": 5 }),
            json!({ "aud": ["demo"] }),
            json!({ "exp": "1760003600" }),
            json!({ "iat": null }),
            json!({ "auth_time": true }),
            json!({ "email_verified": "true" }),
            json!({ "email": "a\u{0}@example.org" }),
            json!({ "firebase": [] }),
        ] {
            tokens.push(signed(changes));
        }
        for token in tokens {
            assert_eq!(judge(&token, false), Err("AUTH_FIREBASE_TOKEN_INVALID"), "{token}");
        }
    }

    #[test]
    fn what_is_not_for_us_or_not_proven_fails() {
        let mut tokens: Vec<String> = vec![];
        for header in [
            json!({ "alg": "HS256", "kid": "k" }),
            json!({ "alg": "RS512", "kid": "k" }),
            json!({ "alg": "none" }),
            json!({ "alg": "rs256", "kid": "k" }),
            json!({ "alg": "RS256" }),
            json!({ "alg": "RS256", "kid": "k", "crit": ["exp"] }),
        ] {
            tokens.push(encode(&header, &claims(), "c2ln"));
        }
        for changes in [
            json!({ "aud": "other" }),
            json!({ "iss": "https://securetoken.google.com/other" }),
            json!({ "iss": "demo" }),
            json!({ "sub": "" }),
            json!({ "sub": "x".repeat(129) }),
            json!({ "iat": 1_760_000_061 }),
            json!({ "auth_time": 1_760_000_061 }),
        ] {
            tokens.push(signed(changes));
        }
        for token in tokens {
            assert_eq!(judge(&token, false), Err("AUTH_FIREBASE_TOKEN_VERIFICATION_FAILED"), "{token}");
        }
        assert!(judge(&signed(json!({ "iat": 1_760_000_060 })), false).is_ok());
    }

    #[test]
    fn an_expired_token_is_expired_at_that_second() {
        assert_eq!(judge(&signed(json!({ "exp": 1_760_000_000 })), false), Err("AUTH_FIREBASE_TOKEN_EXPIRED"));
        assert!(judge(&signed(json!({ "exp": 1_760_000_000.5 })), false).is_ok());
    }

    #[test]
    fn only_the_emulator_may_leave_a_token_unsigned() {
        let unsigned = encode(&json!({ "alg": "none" }), &claims(), "");
        assert!(judge(&unsigned, true).is_ok());
        assert_eq!(judge(&unsigned, false), Err("AUTH_FIREBASE_TOKEN_VERIFICATION_FAILED"));
        let half = encode(&json!({ "alg": "none" }), &claims(), "c2ln");
        assert_eq!(judge(&half, true), Err("AUTH_FIREBASE_TOKEN_VERIFICATION_FAILED"));
        let bare = encode(&json!({ "alg": "RS256", "kid": "k" }), &claims(), "");
        assert_eq!(judge(&bare, true), Err("AUTH_FIREBASE_TOKEN_VERIFICATION_FAILED"));
        let proof = Unverified::read(&signed(json!({}))).and_then(|token| token.proof("demo", true));
        assert_eq!(proof.ok(), Some(Proof::Certificate));
    }

    fn candidate(digit: char, role: Role, uid: Option<&str>, is_deleted: bool) -> Option<Candidate> {
        let id = Uuid::parse(&"00000000-0000-4000-8000-00000000000_".replace('_', &digit.to_string()))?;
        Some(Candidate { id: UserId(id), role, firebase_uid: uid.map(str::to_owned), is_deleted })
    }

    /// Of a token of uid `uid-1`: what comes of it, by a word.
    fn outcome(verified: bool, role: Option<&str>, candidates: &[Option<Candidate>]) -> String {
        let changes = json!({ "email_verified": verified, "role": role });
        let Ok(token) = judge(&signed(changes), false) else { return "no token".into() };
        let candidates: Vec<Candidate> = candidates.iter().flatten().cloned().collect();
        match token.recognise(&candidates, true) {
            Ok(Login::Known(id)) => format!("known {}", &id.to_string()[35..]),
            Ok(Login::Link(id)) => format!("link {}", &id.to_string()[35..]),
            Ok(Login::Create(role)) => format!("create {}", role.word()),
            Err(error) => error.code().name.to_owned(),
        }
    }

    #[test]
    fn a_first_login_makes_a_student_unless_the_claim_says_otherwise() {
        assert_eq!(outcome(true, None, &[]), "create student");
        assert_eq!(outcome(true, Some("instructor"), &[]), "create instructor");
        assert_eq!(outcome(true, Some("admin"), &[]), "create admin");
        assert_eq!(outcome(true, Some("root"), &[]), "create student");
        assert_eq!(outcome(false, Some("admin"), &[]), "AUTH_EMAIL_NOT_VERIFIED");
        assert_eq!(outcome(false, None, &[]), "create student");
    }

    #[test]
    fn a_uid_decides_before_the_email() {
        let known = candidate('1', Role::Student, Some("uid-1"), false);
        let namesake = candidate('2', Role::Student, None, false);
        let gone = candidate('3', Role::Student, Some("uid-1"), true);
        assert_eq!(outcome(false, None, &[namesake.clone(), known.clone(), gone.clone()]), "known 1");
        assert_eq!(outcome(true, Some("admin"), &[gone, namesake]), "AUTH_UNAUTHORIZED");
        let admin = candidate('1', Role::Admin, Some("uid-1"), false);
        assert_eq!(outcome(false, None, std::slice::from_ref(&admin)), "AUTH_EMAIL_NOT_VERIFIED");
        assert_eq!(outcome(true, None, &[admin]), "known 1");
    }

    #[test]
    fn an_email_is_linked_only_if_it_is_verified_and_free() {
        let free = candidate('1', Role::Student, None, false);
        assert_eq!(outcome(true, None, std::slice::from_ref(&free)), "link 1");
        assert_eq!(outcome(false, None, &[free]), "AUTH_EMAIL_ALREADY_EXISTS");
        let taken = candidate('1', Role::Student, Some("uid-2"), false);
        assert_eq!(outcome(true, None, &[taken]), "AUTH_EMAIL_ALREADY_EXISTS");
    }
}
