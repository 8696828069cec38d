//! Why a statement failed, and what a caller can find out about it.
//!
//! Re-exported by [`database`](crate::database). It stands apart because
//! [`error`](crate::error) turns it into an answer, which `database` returns.

pub use crate::bindings::shema::database::sql::Error;

impl Error {
    /// Whether that constraint, index or trigger refused the statement.
    pub fn violates(&self, constraint: &str) -> bool {
        matches!(self, Self::Rejected(rejection) if rejection.constraint.as_deref() == Some(constraint))
    }

    /// Whether a row could not be deleted because others refer to it.
    pub fn is_referenced(&self) -> bool {
        // PostgreSQL 18 has a code of its own for `on delete restrict`.
        matches!(self, Self::Rejected(rejection) if ["23503", "23001"].contains(&rejection.sqlstate.as_str()))
    }

    /// Whether the transaction would probably succeed if it were run again: it
    /// lost a deadlock or was not serializable.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Rejected(rejection) if ["40001", "40P01"].contains(&rejection.sqlstate.as_str()))
    }
}
