//! A child that is stopped again and again.

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::children::{Child, rename, sleep_for_good};
use super::system::{kill, wait_for};

const PHASE_NS: u64 = 300_000_000;

pub fn run(stage: Stage) -> Result<()> {
    let child = Child::fork(|| {
        rename(c"stopped-child");
        sleep_for_good()
    })?;
    let mut waits = Measured::default();
    let running = stage.begin()?;
    while running.goes_on() {
        kill(child.pid, libc::SIGSTOP)?;
        // Returns when the child has stopped.
        wait_for(child.pid, libc::WUNTRACED)?;
        let start_ns = monotonic_ns();
        sleep_ns(PHASE_NS);
        let end_ns = monotonic_ns();
        kill(child.pid, libc::SIGCONT)?;
        waits.add(start_ns, end_ns, end_ns - start_ns, 1);
        sleep_ns(PHASE_NS);
    }
    running.end("stopped", waits, json!({ "child_pid": child.pid }))
}
