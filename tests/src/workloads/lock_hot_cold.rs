//! Two mutexes: one that everybody wants, one that hardly anybody has to wait for.

use std::io;

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::pthread::Mutex;
use super::turns::{Turns, take_turns};

const HOT_THREADS: usize = 4;
const HOT_HELD_NS: u64 = 5_000_000;
const HOT_PAUSE_NS: u64 = 500_000;

/// The holder takes the cold mutex at the beginning of each period, the other one a little later,
/// while it is held.
const PERIOD_NS: u64 = 50_000_000;
const COLD_HELD_NS: u64 = 5_000_000;
const LATER_NS: u64 = 2_000_000;

static HOT: Mutex = Mutex::new();
static COLD: Mutex = Mutex::new();

pub fn run(stage: Stage) -> Result<()> {
    let mut members: Vec<Member<Turns>> =
        (0..HOT_THREADS).map(|number| Member::new(format!("hot-{number}"), take_hot)).collect();
    members.push(Member::new("cold-holder", |deadline| take_cold(deadline, 0, COLD_HELD_NS)));
    members.push(Member::new("cold-waiter", |deadline| take_cold(deadline, LATER_NS, 0)));
    let (running, mut done) = crew::run(stage, members)?;
    let cold = Turns::sum(done.drain(HOT_THREADS..).map(|done| done.result));
    let hot = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({
        "hot_address": hexadecimal(HOT.address()), "cold_address": hexadecimal(COLD.address()),
        "cold_blocked_ns": cold.waits.blocked_ns, "cold_count": cold.waits.count,
        "cold_switches": cold.waits.switches,
    });
    running.end("lock-hot-cold", hot.waits, object)
}

fn take_hot(deadline_ns: u64) -> io::Result<Turns> {
    let hold = || {
        sleep_ns(HOT_HELD_NS);
        Ok(())
    };
    take_turns(deadline_ns, HOT_PAUSE_NS, || HOT.lock(), hold, |()| HOT.unlock())
}

fn take_cold(deadline_ns: u64, later_ns: u64, held_ns: u64) -> io::Result<Turns> {
    let hold = || {
        sleep_ns(held_ns);
        Ok(())
    };
    // Given back first; then on to the next period.
    let unlock = |()| {
        COLD.unlock();
        let now_ns = monotonic_ns();
        let next_ns = now_ns.next_multiple_of(PERIOD_NS) + later_ns;
        sleep_ns(next_ns - now_ns);
    };
    // The first turn of each is at the beginning of a period, too.
    let now_ns = monotonic_ns();
    sleep_ns(now_ns.next_multiple_of(PERIOD_NS) + later_ns - now_ns);
    take_turns(deadline_ns, 0, || COLD.lock(), hold, unlock)
}
