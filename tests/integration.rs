//! One binary for all tests of the whole, so that they share one Postgres, one
//! Redis and one host.
//!
//! - `platform`: what the host itself answers: envelope, routes, limits, CORS.
//! - `capabilities`: what a component can and cannot do, asked by an attacker.
//! - `auth`, `courses`, …: the API, endpoint by endpoint.
//! - `gate`, `deploy`: what new versions have to pass, and how they come and go.
//! - `sockets`, `sockets_*`: the chat over WebSockets, and what is below it.
//! - `races`, `faults`: many at once, and services that die.
//! - `cluster`: several hosts over one database, behind a balancer.
//! - `examples`: those of the SDK do what they say.
//! - `foreign`: components of the `wasi:http` worlds, in Rust and JavaScript.
//! - `openapi`: the description of the API against the API.
//! - `cli`, `dev`: the commands of `shema`.
//! - `console`: the page of the control listener.
//! - `chat_demo`: the page to try the chat with, in a real browser.
//! - `stores`: Redis, and what stands in for it.
//! - `statements`: every SQL file, against the schema and the rights of its role.

mod harness;

mod admin;
mod aggregates;
mod attendance;
mod auth;
mod booking;
mod booking_races;
mod capabilities;
mod chat;
mod chat_demo;
mod cli;
mod cluster;
mod console;
mod courses;
mod decisions;
mod dependencies;
mod deploy;
mod dev;
mod enrollments;
mod examples;
mod faults;
mod firebase;
mod foreign;
mod gate;
mod openapi;
mod platform;
mod races;
mod roles;
mod rooms;
mod schedules;
mod sockets;
mod sockets_abuse;
mod sockets_cluster;
mod sockets_extras;
mod sockets_frames;
mod sockets_hub;
mod sockets_limits;
mod sockets_protocol;
mod sockets_resume;
mod sockets_swap;
mod statements;
mod stores;
