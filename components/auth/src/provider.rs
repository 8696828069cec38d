//! Google's Identity Toolkit, or the emulator that stands for it; no other file
//! calls it.
//!
//! Nothing that it answers is logged but the one word that names an error: the
//! rest can hold tokens and links.

use sdk::{
    Email, Verbatim, http_client, log, settings,
    tokens::service_account::{self, access_token},
};
use serde_json::{Value, json};

const SCOPE: &str = "https://www.googleapis.com/auth/identitytoolkit";

/// Refusals of a reset mail that tell something of the address, so that nobody
/// may hear of them.
const ABOUT_THE_ADDRESS: [&str; 5] =
    ["EMAIL_NOT_FOUND", "USER_NOT_FOUND", "USER_DISABLED", "INVALID_EMAIL", "RESET_PASSWORD_EXCEED_LIMIT"];

pub struct Provider {
    base: String,
    project: String,
    key: String,
    emulator: bool,
}

/// An account that was just created, and what is needed to go on with it.
pub struct Account {
    pub uid: String,
    /// The ID token of the account itself.
    id_token: String,
    /// The access token of the operator's service account. Obtained first: an
    /// account that could not be deleted again must not be created.
    bearer: String,
}

#[derive(Debug)]
pub enum Failure {
    EmailExists,
    /// It cannot be reached, or cannot work now.
    Unavailable(String),
    Other(String),
}

impl Provider {
    /// None if the operator has not set it up.
    pub fn configured() -> Option<Self> {
        let project = settings::text("FIREBASE_PROJECT_ID")?;
        let key = settings::text("FIREBASE_API_KEY");
        match settings::text("FIREBASE_AUTH_EMULATOR_HOST") {
            Some(host) => {
                let base = format!("http://{host}/identitytoolkit.googleapis.com");
                // The emulator requires a key, and accepts any.
                Some(Self { base, project, key: key.unwrap_or_else(|| "emulator".into()), emulator: true })
            }
            None => Some(Self {
                base: "https://identitytoolkit.googleapis.com".into(),
                project,
                key: key?,
                emulator: false,
            }),
        }
    }

    pub fn sign_up(&self, email: &Email, password: &Verbatim<0, 128>, name: &str) -> Result<Account, Failure> {
        let bearer = self.bearer()?;
        let body = json!({
            "email": email, "password": password.as_str(), "displayName": name, "returnSecureToken": true,
        });
        let created = self.as_client("accounts:signUp", &body)?;
        let text = |name: &str| created[name].as_str().map(str::to_owned);
        match (text("localId"), text("idToken")) {
            (Some(uid), Some(id_token)) => Ok(Account { uid, id_token, bearer }),
            _ => Err(Failure::Other("the provider's answer names no account".into())),
        }
    }

    /// As a custom claim, which only the operator can set.
    pub fn set_admin(&self, account: &Account) -> Result<(), Failure> {
        let claims = json!({ "role": "admin" }).to_string();
        let body = json!({ "localId": account.uid, "customAttributes": claims });
        self.as_operator("accounts:update", account, &body)
    }

    pub fn delete(&self, account: &Account) -> Result<(), Failure> {
        self.as_operator("accounts:delete", account, &json!({ "localId": account.uid }))
    }

    /// The provider sends the mail.
    pub fn request_verification(&self, account: &Account) -> Result<(), Failure> {
        let body = json!({ "requestType": "VERIFY_EMAIL", "idToken": account.id_token });
        self.as_client("accounts:sendOobCode", &body).map(drop)
    }

    /// The provider sends the mail, if it knows the address. Nobody learns here
    /// whether it does.
    pub fn request_reset(&self, email: &Email) -> Result<(), Failure> {
        let body = json!({ "requestType": "PASSWORD_RESET", "email": email });
        match self.as_client("accounts:sendOobCode", &body) {
            Err(Failure::Other(reason)) if ABOUT_THE_ADDRESS.contains(&reason.as_str()) => Ok(()),
            result => result.map(drop),
        }
    }

    fn bearer(&self) -> Result<String, Failure> {
        if self.emulator {
            return Ok("owner".into());
        }
        access_token(SCOPE).map_err(|error| {
            let reason = match error {
                service_account::Error::Missing => "GOOGLE_APPLICATION_CREDENTIALS is not set",
                service_account::Error::Unavailable => "no token for the service account",
            };
            Failure::Unavailable(reason.into())
        })
    }

    fn as_client(&self, method: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}/v1/{method}?key={}", self.base, http_client::encode(&self.key));
        send(&url, &[], body)
    }

    fn as_operator(&self, method: &str, account: &Account, body: &Value) -> Result<(), Failure> {
        let url = format!("{}/v1/projects/{}/{method}", self.base, http_client::encode(&self.project));
        send(&url, &[("authorization", &format!("Bearer {}", account.bearer))], body).map(drop)
    }
}

fn send(url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Value, Failure> {
    let response =
        http_client::post_json(url, headers, body).map_err(|error| Failure::Unavailable(error.to_string()))?;
    let answer = response.json();
    if response.is_success() {
        return Ok(answer);
    }
    let reason = reason(&answer);
    Err(match (response.status, reason.as_str()) {
        (_, "EMAIL_EXISTS") => Failure::EmailExists,
        (429 | 500.., _) | (_, "TOO_MANY_ATTEMPTS_TRY_LATER") => {
            Failure::Unavailable(format!("the provider answered {} {reason}", response.status))
        }
        _ => Failure::Other(reason),
    })
}

/// The word that names an error, such as `WEAK_PASSWORD` in
/// `WEAK_PASSWORD : Password should be at least 6 characters`.
fn reason(answer: &Value) -> String {
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    let word: String = message.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').take(64).collect();
    if word.is_empty() { "no reason".into() } else { word }
}

/// For what is done beside a request and does not decide it.
pub fn report(what: &str, failure: &Failure) {
    log::warn(&format!("{what}: {failure:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_known_by_its_first_word() {
        let reason = |message: &str| reason(&json!({ "error": { "message": message } }));
        assert_eq!(reason("EMAIL_EXISTS"), "EMAIL_EXISTS");
        assert_eq!(reason("WEAK_PASSWORD : Password should be longer"), "WEAK_PASSWORD");
        assert_eq!(reason("https://example.org/secret"), "no reason");
        assert_eq!(super::reason(&Value::Null), "no reason");
    }
}
