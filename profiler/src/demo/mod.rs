//! A small server with a known problem: many workers, and one lock that each holds while it waits
//! for a slow downstream. CPUs are idle, nothing fails, and requests are slow.

mod roles;
mod stage;

pub use roles::{downstream, load, serve};
pub use stage::Stage;

/// Workers of the server.
const WORKERS: usize = 8;
/// Clients that load it, each with one request at a time.
const CLIENTS: usize = 8;
/// What the downstream takes for an answer, in milliseconds.
const DOWNSTREAM_MS: u64 = 5;
