//! Sleeps.

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::meter::Meter;

/// Length of one.
pub const SLEEP_NS: u64 = 10_000_000;

pub fn run(stage: Stage) -> Result<()> {
    let mut meter = Meter::new()?;
    let running = stage.begin()?;
    while running.goes_on() {
        meter.measure(|| sleep_ns(SLEEP_NS));
    }
    running.end("sleep", meter.waits(), json!({ "planned_ns": SLEEP_NS }))
}
