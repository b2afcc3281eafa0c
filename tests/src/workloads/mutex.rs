//! One mutex, taken by turns.

use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, anyhow};
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::meter::Meter;
use super::pthread::Mutex;
use super::system::thread_id;

const THREADS: usize = 4;
const HELD_NS: u64 = 5_000_000;
/// Between two turns: long enough for one of those who wait to get the mutex.
const PAUSE_NS: u64 = 1_000_000;

static MUTEX: Mutex = Mutex::new();

pub fn run(stage: Stage) -> Result<()> {
    // All threads exist and wait at a barrier before `ready`; the barrier is a futex too, at
    // another address.
    let barrier = Barrier::new(THREADS + 1);
    let deadline = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        let lockers = (0..THREADS).map(|number| {
            let turn = || take_turns(&barrier, &deadline);
            thread::Builder::new().name(format!("locker-{number}")).spawn_scoped(scope, turn)
        });
        let lockers: Vec<_> = lockers.collect::<std::io::Result<_>>()?;
        let running = stage.begin()?;
        deadline.store(running.deadline_ns(), std::sync::atomic::Ordering::Release);
        barrier.wait();
        let (mut waits, mut tids) = (Measured::default(), Vec::new());
        for locker in lockers {
            let (tid, measured) =
                locker.join().map_err(|_| anyhow!("panicked"))?.context("a locker failed")?;
            tids.push(tid);
            waits.merge(&measured);
        }
        let address = format!("{:#x}", MUTEX.address());
        running.end("mutex", waits, json!({ "address": address, "tids": tids }))
    })
}

fn take_turns(
    barrier: &Barrier,
    deadline: &std::sync::atomic::AtomicU64,
) -> std::io::Result<(u32, Measured)> {
    let mut meter = Meter::new()?;
    barrier.wait();
    let deadline_ns = deadline.load(std::sync::atomic::Ordering::Acquire);
    while monotonic_ns() < deadline_ns {
        meter.measure(|| MUTEX.lock());
        sleep_ns(HELD_NS);
        MUTEX.unlock();
        sleep_ns(PAUSE_NS);
    }
    Ok((thread_id(), meter.waits()))
}
