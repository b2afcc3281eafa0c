//! `dwell`: where do requests wait, rather than run, and what is this system constrained by today?
//!
//! Data flows one way: `kernel` (probes and their tables) → `collect` (decode, pair, add up) →
//! `model` (one profile) → `analyze` → `view`. `target` finds processes, `symbol` names addresses,
//! `session` runs a window from beginning to end, and `cli` is the only one that knows the command
//! line. `cargo xtask layers` checks who may import whom.

mod analyze;
mod capture;
mod cli;
mod collect;
mod demo;
mod doctor;
mod kernel;
mod model;
mod session;
mod symbol;
mod target;
mod view;

fn main() -> std::process::ExitCode {
    cli::main()
}
