//! Attempts at a mutex that all end by their time limit.

use anyhow::{Result, ensure};
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::meter::Meter;
use super::pthread::Mutex;
use super::turns::Turns;

const LIMIT_NS: u64 = 10_000_000;
/// The holder goes first, and stays longer.
const EARLIER_NS: u64 = 20_000_000;

static TAKEN: Mutex = Mutex::new();

pub fn run(stage: Stage) -> Result<()> {
    let hold = |deadline_ns: u64| {
        TAKEN.lock();
        sleep_ns((deadline_ns + 2 * EARLIER_NS).saturating_sub(monotonic_ns()));
        TAKEN.unlock();
        Ok(Turns::default())
    };
    let attempt = |deadline_ns| {
        let mut meter = Meter::new()?;
        let mut turns = Turns::default();
        sleep_ns(EARLIER_NS);
        while monotonic_ns() < deadline_ns {
            turns.taken += u64::from(meter.measure_if_blocked(|| TAKEN.lock_within(LIMIT_NS)));
        }
        (turns.waits, turns.intervals) = meter.into_parts();
        Ok(turns)
    };
    let members = vec![Member::new("holder", hold), Member::new("impatient", attempt)];
    let (running, done) = crew::run(stage, members)?;
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    ensure!(turns.taken == 0, "the holder let it go");
    let object = json!({ "address": hexadecimal(TAKEN.address()), "timeouts": turns.waits.count });
    running.end("lock-timeouts", turns.waits, object)
}
