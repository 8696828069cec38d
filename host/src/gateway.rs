//! What triggers a call: requests, frames of WebSockets, the clock, and the
//! operator's listener.

pub mod control;
pub mod http;
pub mod listener;
pub mod schedule;
pub mod sockets;
