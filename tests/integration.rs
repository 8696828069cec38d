//! One binary for all tests of the whole, so that they share one Postgres, one
//! Redis and one host.
//!
//! - `platform`: what the host itself answers: envelope, routes, limits, CORS.
//! - `capabilities`: what a component can and cannot do, asked by an attacker.
//! - `auth`, `courses`, …: the API, endpoint by endpoint.
//! - `races`, `faults`: many at once, and services that die.

mod harness;

mod attendance;
mod auth;
mod capabilities;
mod courses;
mod faults;
mod platform;
mod races;
mod roles;
mod rooms;
mod schedules;
