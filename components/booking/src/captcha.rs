//! The provider that tells people from programs, asked as Cloudflare's
//! Turnstile is: <https://developers.cloudflare.com/turnstile/get-started/server-side-validation/>.
//!
//! Without a secret every token passes; the host starts so only in development.

use crate::domain::requests::CaptchaToken;
use sdk::{Code, Error, Result, http_client, log, settings};
use serde_json::Value;

pub const CAPTCHA_INVALID: Code = Code::new(400, "CAPTCHA_INVALID");
pub const CAPTCHA_VERIFICATION_FAILED: Code = Code::new(503, "CAPTCHA_VERIFICATION_FAILED");

/// Refusals that are not about the token: our secret is wrong, or the provider
/// is in trouble. Clients cannot help that.
const NOT_ABOUT_THE_TOKEN: [&str; 3] = ["missing-input-secret", "invalid-input-secret", "internal-error"];

/// Takes as long as the provider does: not for transactions.
pub fn check(token: &CaptchaToken) -> Result<()> {
    let Some(secret) = settings::text("CAPTCHA_SECRET") else { return Ok(()) };
    let url = settings::text("CAPTCHA_VERIFY_URL").unwrap_or_default();
    let verdict = match http_client::post_form(&url, &[("secret", &secret), ("response", token.as_str())]) {
        Ok(response) => verdict(response.status, &response.json()),
        Err(error) => Err(error.to_string()),
    };
    match verdict {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(CAPTCHA_INVALID, "The captcha was not accepted")),
        Err(cause) => {
            log::error(&format!("the captcha provider: {cause}"));
            Err(Error::new(CAPTCHA_VERIFICATION_FAILED, "The captcha could not be verified, please try again"))
        }
    }
}

/// Whether the token is good; the error says why there is no saying.
fn verdict(status: u16, answer: &Value) -> Result<bool, String> {
    let codes = answer["error-codes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(code) = codes.into_iter().find(|code| NOT_ABOUT_THE_TOKEN.contains(code)) {
        return Err(code.to_owned());
    }
    match (status, answer["success"].as_bool()) {
        (200..=299, Some(success)) => Ok(success),
        (400..=499, Some(false)) => Ok(false),
        _ => Err(format!("status {status} without a verdict")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_clear_answer_is_a_verdict() {
        assert_eq!(verdict(200, &json!({ "success": true })), Ok(true));
        let rejected = json!({ "success": false, "error-codes": ["timeout-or-duplicate"] });
        assert_eq!([verdict(200, &rejected), verdict(400, &rejected)], [Ok(false), Ok(false)]);
        let ours = json!({ "success": false, "error-codes": ["invalid-input-secret"] });
        for (status, answer) in [
            (200, ours),
            (200, Value::Null),
            (200, json!({ "success": "true" })),
            (500, json!({ "success": true })),
            (404, json!({ "success": true })),
            (302, json!({ "success": false })),
        ] {
            assert!(verdict(status, &answer).is_err(), "{status} {answer}");
        }
    }
}
