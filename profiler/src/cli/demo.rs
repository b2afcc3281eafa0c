//! `dwell demo`.

use std::time::Duration;

use anyhow::Result;

use super::arguments::{Demo, DemoRole, Role};
use super::attach;
use crate::demo::{Stage, downstream, load, serve};
use crate::target::Selector;

/// How long the processes of the demo live beyond its window, should nobody end them. Attaching takes a second, and
/// in an emulated machine, whose kernel verifies the probes as slowly as it does everything, half a minute.
const SPARE: Duration = Duration::from_secs(120);

/// Runs `dwell demo`.
///
/// # Errors
/// One that says what to do.
pub fn run(demo: Demo) -> Result<()> {
    let stage = Stage::set(demo.duration + SPARE)?;
    let selector = Selector::Pids(vec![stage.server_pid()]);
    let profile = attach::profile(attach::options(selector, demo.duration))?;
    attach::print(&profile, demo.json)?;
    if !demo.json {
        super::output::write(&stage.epilogue())?;
    }
    Ok(())
}

/// Plays one of the processes.
///
/// # Errors
/// When a socket cannot be used.
pub fn play(role: DemoRole) -> Result<()> {
    match role.role {
        Role::Downstream => downstream(role.life),
        Role::Server => serve(role.port, role.life),
        Role::Client => load(role.port, role.life),
    }
}
