//! WebSockets: what triggers the calls of a component that holds connections.
//!
//! - `serve`: the task that reads, writes, and calls.
//! - `write`: how frames reach the client.
//! - `channel`: what other hosts tell, and catching up when they could not.

pub mod channel;
pub mod serve;
mod write;
