//! Many short threads.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use dwell_tests::clock::{monotonic_ns, sleep_ns, spin_ns};
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::meter::Meter;

/// Created and joined together.
const BATCH: u64 = 8;
const WORK_NS: u64 = 50_000;
const SLEEP_NS: u64 = 200_000;
const STACK: usize = 128 * 1024;

pub fn run(stage: Stage, rate: u64) -> Result<()> {
    ensure!((1..=100_000).contains(&rate), "--rate is 1 to 100000");
    let period_ns = BATCH * 1_000_000_000 / rate;
    let mut waits = Measured::default();
    let (mut created, mut late) = (0, 0);
    let running = stage.begin()?;
    let mut next_ns = monotonic_ns();
    while running.goes_on() {
        for measured in one_batch()? {
            waits.merge(&measured);
        }
        created += BATCH;
        next_ns += period_ns;
        match next_ns.checked_sub(monotonic_ns()) {
            Some(left) => sleep_ns(left),
            None => late += 1,
        }
    }
    running.end("threads", waits, json!({ "created": created, "late_batches": late }))
}

fn one_batch() -> Result<Vec<Measured>> {
    let started = (0..BATCH).map(|number| {
        let name = format!("short-{number}");
        thread::Builder::new().name(name).stack_size(STACK).spawn(work_and_sleep)
    });
    let started: Vec<_> = started.collect::<std::io::Result<_>>()?;
    let joined = started.into_iter().map(|thread| {
        let measured = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
        Ok(measured?)
    });
    joined.collect()
}

fn work_and_sleep() -> std::io::Result<Measured> {
    let mut meter = Meter::new()?;
    spin_ns(WORK_NS);
    meter.measure(|| sleep_ns(SLEEP_NS));
    Ok(meter.waits())
}
