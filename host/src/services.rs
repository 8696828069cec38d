//! What the host itself stands on: Postgres, and what one host of a cluster does
//! for all.

pub mod database;
pub mod leader;
pub mod outbox;
