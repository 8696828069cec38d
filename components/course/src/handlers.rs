//! One file per noun: request, domain, answer. Neither SQL nor rules.

pub mod attendance;
pub mod courses;
pub mod rooms;
pub mod schedules;

use crate::domain::UserId;
use sdk::{Call, Result, Role};

/// Instructors act on their own classes, admins on all.
fn check_teacher(call: &Call, instructor: &UserId) -> Result<()> {
    let user = call.user()?;
    if user.role == Role::Admin || user.user_id == instructor.0 { Ok(()) } else { Err(call.forbidden()) }
}
