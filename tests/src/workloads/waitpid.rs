//! Waits for children.

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::children::Child;
use super::meter::Meter;
use super::system::wait_for;

const LIFE_NS: u64 = 50_000_000;

pub fn run(stage: Stage) -> Result<()> {
    let mut meter = Meter::new()?;
    let running = stage.begin()?;
    while running.goes_on() {
        let child = Child::fork(|| {
            sleep_ns(LIFE_NS);
            Ok(())
        })?;
        meter.measure(|| wait_for(-1, 0))?;
        child.gone();
    }
    running.end("waitpid", meter.waits(), json!({ "waited_pid": -1 }))
}
