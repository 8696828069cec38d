//! AUTH-9: a mail to whoever has forgotten the password.

use super::{failed, provider};
use crate::domain::firebase::{PasswordReset, RESET_ERROR};
use sdk::{Ack, Body, Call, Result};

/// The users are not looked up: neither the answer nor its time may reveal who is
/// registered here.
pub fn reset_password(_: &Call, Body(request): Body<PasswordReset>) -> Result<Ack> {
    provider()?.request_reset(&request.email).map_err(|failure| failed(failure, RESET_ERROR))?;
    Ok(Ack::new("If the email exists, a reset link has been sent."))
}
