//! A deadlock: three threads, each of which wants what the next one has.

use std::fs;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex as StdMutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use dwell_tests::clock::{monotonic_ns, sleep_ns};
use dwell_tests::outcome::Measured;
use serde_json::json;

use super::Stage;
use super::crew::hexadecimal;
use super::pthread::Mutex;
use super::system::thread_id;

const THREADS: usize = 3;
/// Time for the threads to reach their waits.
const SETTLE_NS: u64 = 100_000_000;

static PTHREAD: [Mutex; THREADS] = [const { Mutex::new() }; THREADS];
static STD: [StdMutex<()>; THREADS] = [const { StdMutex::new(()) }; THREADS];

/// Whose mutexes.
#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    /// libc's, which know who has them.
    Pthread,
    /// The standard library's, which do not.
    Std,
}

/// The threads stay in it until the process ends.
pub fn run(stage: Stage, kind: Kind) -> Result<()> {
    let barrier = Arc::new(Barrier::new(THREADS));
    let (sender, tids) = channel();
    for number in 0..THREADS {
        let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
        let work = move || match kind {
            Kind::Pthread => lock_pthread(number, &barrier, &sender),
            Kind::Std => lock_std(number, &barrier, &sender),
        };
        thread::Builder::new().name(format!("philosopher-{number}")).spawn(work)?;
    }
    let mut numbered: Vec<(usize, u32)> = tids.iter().take(THREADS).collect();
    numbered.sort_unstable();
    let tids: Vec<u32> = numbered.into_iter().map(|(_, tid)| tid).collect();
    sleep_ns(SETTLE_NS);
    let waited_for = tids.iter().map(|&tid| futex_of(tid));
    let waited_for: Vec<usize> = waited_for.collect::<io::Result<_>>()?;
    for (number, &address) in waited_for.iter().enumerate() {
        let next = (number + 1) % THREADS;
        let expected = match kind {
            Kind::Pthread => PTHREAD[next].address()..PTHREAD[next].address() + 1,
            Kind::Std => {
                let start = &raw const STD[next] as usize;
                start..start + size_of_val(&STD[next])
            }
        };
        ensure!(expected.contains(&address), "thread {number} waits at {address:#x}");
    }
    let running = stage.begin()?;
    sleep_ns(running.deadline_ns().saturating_sub(monotonic_ns()));
    let addresses: Vec<_> = waited_for.into_iter().map(hexadecimal).collect();
    // Each thread with the address it waits for; that is held by the next one.
    let object = json!({ "tids": tids, "addresses": addresses });
    running.end("lock-deadlock", Measured::default(), object)
}

fn lock_pthread(number: usize, barrier: &Barrier, sender: &Sender<(usize, u32)>) {
    PTHREAD[number].lock();
    meet(number, barrier, sender);
    PTHREAD[(number + 1) % THREADS].lock();
}

fn lock_std(number: usize, barrier: &Barrier, sender: &Sender<(usize, u32)>) {
    let _mine = STD[number].lock().unwrap_or_else(PoisonError::into_inner);
    meet(number, barrier, sender);
    let _next = STD[(number + 1) % THREADS].lock().unwrap_or_else(PoisonError::into_inner);
}

fn meet(number: usize, barrier: &Barrier, sender: &Sender<(usize, u32)>) {
    barrier.wait();
    // Who listens is there until all have said it.
    let _ = sender.send((number, thread_id()));
}

/// Address of the futex that a thread of this process waits for.
fn futex_of(tid: u32) -> io::Result<usize> {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/syscall"))?;
    let mut words = text.split_whitespace();
    let is_futex = words.next() == Some(&libc::SYS_futex.to_string());
    let address = words.next().and_then(|word| word.strip_prefix("0x"));
    let address = address.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let found = address.filter(|_| is_futex).context("not in futex(2)");
    found.map_err(|error| io::Error::other(format!("thread {tid}: {error}: {text}")))
}
