//! Many threads that stay, each of which waits in its own way.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dwell_tests::clock::sleep_ns;
use dwell_tests::outcome::Measured;
use dwell_tests::random::Random;
use serde_json::json;

use super::Stage;

const STACK: usize = 64 * 1024;
/// On average: some 20 waits a second of each thread.
const WAIT_NS: std::ops::Range<u64> = 1_000_000..100_000_000;

pub fn run(stage: Stage, threads: usize) -> Result<()> {
    ensure!((1..=20_000).contains(&threads), "--threads is 1 to 20000");
    let shared = Arc::new((Mutex::new(()), Condvar::new()));
    for number in 0..threads {
        let waiter = Waiter::new(number, &shared)?;
        let builder = thread::Builder::new().name(format!("crowd-{number}"));
        builder.stack_size(STACK).spawn(move || waiter.wait_for_good())?;
    }
    let running = stage.begin()?;
    while running.goes_on() {
        sleep_ns(10_000_000);
    }
    // The threads go on until the process ends.
    running.end("crowd", Measured::default(), json!({ "threads": threads }))
}

/// A thread of the crowd.
struct Waiter {
    random: Random,
    way: Way,
}

enum Way {
    Sleep,
    /// A futex, with a time limit.
    Condition(Arc<(Mutex<()>, Condvar)>),
    Poll(PipeReader, PipeWriter),
    /// A pipe that this thread itself fills, so that it never waits: a system call and no switch.
    Pipe(PipeReader, PipeWriter),
    /// A thread of its own for each wait: a futex to join it.
    Thread,
}

impl Waiter {
    fn new(number: usize, shared: &Arc<(Mutex<()>, Condvar)>) -> std::io::Result<Self> {
        let way = match number % 8 {
            0 => {
                let (reader, writer) = pipe()?;
                Way::Poll(reader, writer)
            }
            1 => {
                let (reader, writer) = pipe()?;
                Way::Pipe(reader, writer)
            }
            2 if number < 256 => Way::Thread,
            even if even % 2 == 0 => Way::Sleep,
            _ => Way::Condition(Arc::clone(shared)),
        };
        Ok(Self { random: Random::new(number as u64), way })
    }

    fn wait_for_good(mut self) {
        loop {
            let ns = self.random.between(WAIT_NS.start, WAIT_NS.end);
            if self.wait(ns).is_err() {
                return;
            }
        }
    }

    fn wait(&mut self, ns: u64) -> std::io::Result<()> {
        match &mut self.way {
            Way::Sleep => sleep_ns(ns),
            Way::Condition(shared) => {
                let (lock, condition) = &**shared;
                let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
                let _woken = condition.wait_timeout(guard, Duration::from_nanos(ns));
            }
            Way::Poll(reader, _writer) => {
                let mut entry =
                    libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one entry, as said.
                unsafe { libc::poll(&raw mut entry, 1, (ns / 1_000_000) as i32) };
            }
            Way::Pipe(reader, writer) => {
                writer.write_all(b".")?;
                reader.read_exact(&mut [0])?;
                sleep_ns(ns);
            }
            Way::Thread => {
                let builder = thread::Builder::new().name("crowd-short".into()).stack_size(STACK);
                // It panics never: it sleeps.
                let _joined = builder.spawn(move || sleep_ns(ns))?.join();
            }
        }
        Ok(())
    }
}
