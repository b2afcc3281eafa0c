//! More futexes than any table holds.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use dwell_tests::clock::monotonic_ns;
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::meter::Meter;
use super::system::check;
use super::turns::Turns;

const THREADS: usize = 4;
const LIMIT_NS: i64 = 50_000;

/// Each thread has a part of the futexes, and waits for one after the other of them, each for a
/// moment; nobody wakes it. It goes round until the time is over, and at least once.
pub fn run(stage: Stage, futexes: usize) -> Result<()> {
    ensure!((THREADS..=10_000_000).contains(&futexes), "--futexes is 4 to 10000000");
    let all: Vec<AtomicU32> = (0..futexes).map(|_| AtomicU32::new(0)).collect();
    let parts = all.chunks(futexes.div_ceil(THREADS));
    let member = |(number, part)| {
        Member::new(format!("many-{number}"), move |deadline| wait_for_each(part, deadline))
    };
    let (running, done) = crew::run(stage, parts.enumerate().map(member).collect())?;
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({
        "futexes": futexes, "first": hexadecimal(all.as_ptr() as usize), "attempts": turns.taken,
    });
    running.end("lock-many", turns.waits, object)
}

fn wait_for_each(futexes: &[AtomicU32], deadline_ns: u64) -> io::Result<Turns> {
    // The kernel would make the limits 50 µs later.
    // SAFETY: PR_SET_TIMERSLACK takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) })?;
    let mut meter = Meter::new()?;
    let mut turns = Turns::default();
    loop {
        for futex in futexes {
            meter.measure_if_blocked(|| wait(futex));
            turns.taken += 1;
        }
        if monotonic_ns() >= deadline_ns {
            break;
        }
    }
    (turns.waits, _) = meter.into_parts();
    Ok(turns)
}

#[inline(never)]
fn wait(futex: &AtomicU32) {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: LIMIT_NS };
    let (address, limit) = (futex.as_ptr(), ptr::from_ref(&limit));
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let expected = futex.load(Ordering::Relaxed);
    // SAFETY: both pointers are to living data. That it fails with ETIMEDOUT is the plan.
    unsafe { libc::syscall(libc::SYS_futex, address, operation, expected, limit) };
}
