//! `dwell demo`.

use std::time::Duration;

use anyhow::Result;

use super::arguments::{Demo, DemoRole, Role};
use super::attach;
use crate::demo::{Stage, downstream, load, serve};
use crate::target::Selector;

/// Runs `dwell demo`.
///
/// # Errors
/// One that says what to do.
pub fn run(demo: Demo) -> Result<()> {
    // The processes end by themselves a little after the window, whatever becomes of this one.
    let life = demo.duration + Duration::from_secs(15);
    let stage = Stage::set(life)?;
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
