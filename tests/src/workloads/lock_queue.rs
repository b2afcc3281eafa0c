//! A queue: six threads, one mutex, planned holds.

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::pthread::Mutex;
use super::turns::{Turns, take_turns};

const THREADS: usize = 6;
const HELD_NS: u64 = 20_000_000;
/// Between two turns: long enough for one of those who wait to get the mutex, so that all who do
/// not hold it wait. A thread that is woken may wait for a CPU, on busy machines for more than half a millisecond.
const PAUSE_NS: u64 = 2_000_000;

static QUEUE: Mutex = Mutex::new();

pub fn run(stage: Stage) -> Result<()> {
    let queue = |deadline_ns| {
        let hold = || {
            sleep_ns(HELD_NS);
            Ok(())
        };
        take_turns(deadline_ns, PAUSE_NS, join_the_queue, hold, |()| leave_the_queue())
    };
    let members = (0..THREADS).map(|number| Member::new(format!("queue-{number}"), queue));
    let (running, done) = crew::run(stage, members.collect())?;
    let tids: Vec<u32> = done.iter().map(|done| done.tid).collect();
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    let queue = turns.queue();
    let object = json!({
        "address": hexadecimal(QUEUE.address()), "tids": tids, "taken": turns.taken,
        "hold_ns": turns.hold_ns(), "longest_hold_ns": turns.longest_hold_ns,
        "queue_max": queue.max, "busy_ns": queue.busy_ns,
    });
    running.end("lock-queue", turns.waits, object)
}

#[inline(never)]
fn join_the_queue() {
    QUEUE.lock();
}

#[inline(never)]
fn leave_the_queue() {
    QUEUE.unlock();
}
