//! AUTH-9: a mail to whoever has forgotten the password.

use super::{failed, provider};
use crate::domain::firebase::{Forgetful, RESET_ERROR};
use sdk::{Ack, Body, Call, Result};

/// The users are not even looked at: the answer and its time must not tell who
/// is known here.
pub fn reset_password(_: &Call, Body(request): Body<Forgetful>) -> Result<Ack> {
    provider()?.request_reset(&request.email).map_err(|failure| failed(failure, RESET_ERROR))?;
    Ok(Ack::new("If the email exists, a reset link has been sent."))
}
