//! A priority inversion: who holds the mutex does not get the CPU.

use std::io;

use anyhow::Result;
use dwell_tests::clock::{monotonic_ns, sleep_ns, thread_cpu_ns};
use serde_json::json;

use super::Stage;
use super::crew::{self, Member, hexadecimal};
use super::pthread::Mutex;
use super::system::check;
use super::turns::{Turns, take_turns};

/// CPU time under the mutex.
const WORK_NS: u64 = 5_000_000;
const PAUSE_NS: u64 = 1_000_000;
const SPINNERS: usize = 2;

static SCARCE: Mutex = Mutex::new();

/// All threads share one CPU. `low` computes under the mutex, `high` wants it, and what spins in
/// between takes nearly all of the CPU.
pub fn run(stage: Stage) -> Result<()> {
    pin_to_one_cpu()?;
    let low = |deadline_ns| {
        be_nice(19)?;
        take_turns(deadline_ns, PAUSE_NS, || SCARCE.lock(), compute, |()| SCARCE.unlock())
    };
    let high = |deadline_ns| {
        be_nice(-10)?;
        take_turns(deadline_ns, PAUSE_NS, || SCARCE.lock(), || Ok(()), |()| SCARCE.unlock())
    };
    let mut members: Vec<Member<Turns>> = vec![Member::new("low", low), Member::new("high", high)];
    members.extend((0..SPINNERS).map(|number| Member::new(format!("mid-{number}"), spin)));
    let (running, done) = crew::run(stage, members)?;
    let tids: Vec<u32> = done.iter().map(|done| done.tid).collect();
    let mut turns = done.into_iter().map(|done| done.result);
    let low = turns.next().unwrap_or_default();
    let high = turns.next().unwrap_or_default();
    let object = json!({
        "address": hexadecimal(SCARCE.address()), "low_tid": tids[0], "high_tid": tids[1],
        "low_hold_ns": low.hold_ns(), "low_blocked_ns": low.waits.blocked_ns,
    });
    running.end("lock-priority", high.waits, object)
}

#[inline(never)]
fn compute() -> io::Result<()> {
    let end_ns = thread_cpu_ns() + WORK_NS;
    while thread_cpu_ns() < end_ns {
        std::hint::spin_loop();
    }
    Ok(())
}

fn spin(deadline_ns: u64) -> io::Result<Turns> {
    // The others go first: each is to be in its turns before the CPU is taken away.
    sleep_ns(PAUSE_NS);
    while monotonic_ns() < deadline_ns {
        std::hint::spin_loop();
    }
    Ok(Turns::default())
}

/// The last one of those that this process may use; threads to come inherit it.
fn pin_to_one_cpu() -> io::Result<()> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: the set is plain bits, for which zero is a value.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `allowed` is a place for an answer of this size.
    check(unsafe { libc::sched_getaffinity(0, size, &mut allowed) })?;
    let is_allowed = |cpu: &usize| {
        // SAFETY: the number lies within the set.
        unsafe { libc::CPU_ISSET(*cpu, &allowed) }
    };
    let last = (0..libc::CPU_SETSIZE as usize).rfind(is_allowed);
    let last = last.ok_or_else(|| io::Error::other("no CPU is allowed"))?;
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number lies within the set.
    unsafe { libc::CPU_SET(last, &mut one) };
    // SAFETY: `one` is a set of this size.
    check(unsafe { libc::sched_setaffinity(0, size, &one) }).map(drop)
}

/// Of the calling thread alone, as Linux has it.
fn be_nice(value: libc::c_int) -> io::Result<()> {
    // SAFETY: setpriority(2) touches no memory.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) }).map(drop)
}
