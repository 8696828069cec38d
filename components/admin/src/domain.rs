//! The rules of people, without input or output; one file per noun, each with
//! what it is, what may be sent of it, and what is checked.

pub mod instructors;
pub mod users;

sdk::id! {
    pub UserId;
}
