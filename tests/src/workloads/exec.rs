//! A thread that is not the leader calls exec: it takes over the leader's id, and all other
//! threads are gone.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use anyhow::{Result, anyhow};
use dwell_tests::clock::spin_ns;

use super::Stage;

/// Before exec the thread only runs: all sleep is measured by what comes after.
const BEFORE_NS: u64 = 100_000_000;

pub fn run(stage: Stage) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["--begun", "--seconds", &stage.seconds().to_string()]);
    if stage.waits() {
        command.arg("--wait");
    }
    command.arg("sleep");
    let _running = stage.begin()?;
    let caller = thread::Builder::new().name("exec-caller".into()).spawn(move || {
        spin_ns(BEFORE_NS);
        command.exec()
    })?;
    let error = caller.join().map_err(|_| anyhow!("the thread panicked"))?;
    Err(error.into())
}
