//! A pool that has next to nothing to do: its threads wait for work, not for each other.

use std::cell::UnsafeCell;
use std::io;

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::meter::Meter;
use super::pthread::{Condition, Mutex};
use super::turns::Turns;

const WORKERS: usize = 8;
const PERIOD_NS: u64 = 50_000_000;

static MUTEX: Mutex = Mutex::new();
static WORK: Condition = Condition::new();
static JOBS: Jobs = Jobs(UnsafeCell::new((0, false)));

/// Jobs that nobody has taken yet, and whether no more will come.
struct Jobs(UnsafeCell<(u64, bool)>);

// SAFETY: it is touched only with the mutex held.
unsafe impl Sync for Jobs {}

impl Jobs {
    /// With the mutex held.
    fn with<T>(&self, act: impl FnOnce(&mut (u64, bool)) -> T) -> T {
        // SAFETY: the mutex is held, so nobody else has a reference.
        act(unsafe { &mut *self.0.get() })
    }
}

pub fn run(stage: Stage) -> Result<()> {
    let mut members: Vec<Member<Turns>> =
        (0..WORKERS).map(|number| Member::new(format!("pool-{number}"), |_| work())).collect();
    members.push(Member::new("dispatcher", dispatch));
    let (running, mut done) = crew::run(stage, members)?;
    let dispatched = done.pop().map(|done| done.result.taken).unwrap_or_default();
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({
        "address": hexadecimal(WORK.address()), "size": size_of::<Condition>(),
        "mutex": hexadecimal(MUTEX.address()), "dispatched": dispatched, "done": turns.taken,
    });
    running.end("lock-idle-pool", turns.waits, object)
}

fn work() -> io::Result<Turns> {
    let mut meter = Meter::new()?;
    let mut turns = Turns::default();
    MUTEX.lock();
    loop {
        let (jobs, over) = JOBS.with(|jobs| {
            let found = *jobs;
            jobs.0 = found.0.saturating_sub(1);
            found
        });
        match (jobs, over) {
            (0, true) => break,
            (0, false) => meter.measure_if_blocked(|| WORK.wait(&MUTEX)),
            _ => turns.taken += 1,
        }
    }
    MUTEX.unlock();
    (turns.waits, turns.intervals) = meter.into_parts();
    Ok(turns)
}

/// Wakes when it holds no mutex, so that who is woken finds it free.
fn dispatch(deadline_ns: u64) -> io::Result<Turns> {
    let mut turns = Turns::default();
    while monotonic_ns() < deadline_ns {
        sleep_ns(PERIOD_NS);
        MUTEX.lock();
        JOBS.with(|jobs| jobs.0 += 1);
        MUTEX.unlock();
        WORK.wake_one();
        turns.taken += 1;
    }
    // One after the other: eight that wake together would wait for the mutex.
    for _ in 0..WORKERS {
        sleep_ns(2_000_000);
        MUTEX.lock();
        JOBS.with(|jobs| jobs.1 = true);
        MUTEX.unlock();
        WORK.wake_one();
    }
    Ok(turns)
}
