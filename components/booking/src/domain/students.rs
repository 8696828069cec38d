//! Users, as far as bookings and enrollments are about them.

use super::UserId;
use sdk::{Error, Result, Role, codes, row};

row! {
    pub struct User {
        pub id: UserId,
        pub full_name: String,
        pub email: String,
        pub wa_number: Option<String>,
        pub role: Role,
    }
}

impl User {
    /// Only students are taught.
    pub fn check_student(&self) -> Result<()> {
        if self.role == Role::Student { Ok(()) } else { Err(not_a_student()) }
    }
}

pub fn not_found() -> Error {
    Error::not_found("Student")
}

pub fn not_a_student() -> Error {
    Error::new(codes::INVALID_USER_ROLE, "The user is not a student")
}
