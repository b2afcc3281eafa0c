//! parking_lot's mutex, contended. Its threads wait in futexes of their own, not in one of the
//! mutex.

use std::sync::Arc;

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;

use super::Stage;
use super::crew::{self, Member};
use super::turns::{Turns, take_turns};

const THREADS: usize = 4;
const HELD_NS: u64 = 2_000_000;
const PAUSE_NS: u64 = 500_000;

pub fn run(stage: Stage) -> Result<()> {
    let balance = Arc::new(Mutex::new(0));
    let deposit = |deadline_ns| {
        let hold = || {
            sleep_ns(HELD_NS);
            Ok(())
        };
        take_turns(deadline_ns, PAUSE_NS, || take_parking_lot_mutex(&balance), hold, drop)
    };
    let members = (0..THREADS).map(|number| Member::new(format!("parking-{number}"), deposit));
    let (running, done) = crew::run(stage, members.collect())?;
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({ "hold_ns": turns.hold_ns() });
    running.end("lock-parking-lot", turns.waits, object)
}

#[inline(never)]
fn take_parking_lot_mutex(balance: &Mutex<u64>) -> MutexGuard<'_, u64> {
    balance.lock()
}
