//! One file per thing that is done: request, domain, answer. Neither SQL nor
//! rules.

pub mod booking;
pub mod decision;
pub mod enrollments;
pub mod lists;
pub mod tasks;
