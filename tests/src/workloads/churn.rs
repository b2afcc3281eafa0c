//! Processes that come, and go in every way there is.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use anyhow::{Result, ensure};
use dwell_tests::clock::{monotonic_ns, sleep_ns, spin_ns};
use dwell_tests::random::Random;
use serde_json::json;

use super::Stage;
use super::children::{Child, rename, sleep_for_good};
use super::meter::Meter;
use super::shared::Shared;
use super::system::{check, kill};

/// Most of them alive at a time: beyond, new ones have to wait until one is gone.
const MOST_ALIVE: usize = 48;
/// How long one of them lives.
const LIFE_NS: std::ops::Range<u64> = 500_000..30_000_000;
const STACK: usize = 64 * 1024;

/// How a process ends.
const DEATHS: [&str; 8] = [
    "exits",
    "sleeps",
    "execs",
    "execs in another thread",
    "is outlived by its thread",
    "is killed asleep",
    "is killed with its threads",
    "leaves an orphan",
];

pub fn run(stage: Stage, rate: u64, seed: u64) -> Result<()> {
    ensure!((1..=10_000).contains(&rate), "--rate is 1 to 10000");
    let mut random = Random::new(seed);
    let sleeps = Shared::new()?;
    let mut alive: Vec<Mortal> = Vec::new();
    let mut deaths = [0_u64; DEATHS.len()];
    let running = stage.begin()?;
    let mut next_ns = monotonic_ns();
    while running.goes_on() {
        reap(&mut alive)?;
        if alive.len() < MOST_ALIVE && monotonic_ns() >= next_ns {
            let death = random.below(DEATHS.len() as u64) as usize;
            let life_ns = random.between(LIFE_NS.start, LIFE_NS.end);
            alive.push(Mortal::start(death, life_ns, sleeps)?);
            deaths[death] += 1;
            next_ns += 1_000_000_000 / rate;
        }
        sleep_ns(200_000);
    }
    while !alive.is_empty() {
        reap(&mut alive)?;
        sleep_ns(200_000);
    }
    let counts: serde_json::Map<_, _> = DEATHS
        .into_iter()
        .zip(deaths)
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    running.end(
        "churn",
        sleeps.waits(),
        json!({ "processes": deaths.iter().sum::<u64>(), "deaths": counts }),
    )
}

/// A process that is going to die.
struct Mortal {
    child: Child,
    /// When it has to be killed: it waits for good.
    kill_ns: Option<u64>,
}

impl Mortal {
    fn start(death: usize, life_ns: u64, sleeps: Shared) -> io::Result<Self> {
        let child = Child::fork(|| live(death, life_ns, sleeps))?;
        let kill_ns = matches!(death, 5 | 6).then(|| monotonic_ns() + life_ns);
        Ok(Self { child, kill_ns })
    }
}

/// Kills those whose time has come, and forgets those that are gone.
fn reap(alive: &mut Vec<Mortal>) -> io::Result<()> {
    for mortal in alive.iter_mut() {
        if mortal.kill_ns.is_some_and(|kill_ns| monotonic_ns() >= kill_ns) {
            kill(mortal.child.pid, libc::SIGKILL)?;
            mortal.kill_ns = None;
        }
    }
    let mut index = 0;
    while index < alive.len() {
        // SAFETY: the status is not asked for.
        let gone = check(unsafe {
            libc::waitpid(alive[index].child.pid, std::ptr::null_mut(), libc::WNOHANG)
        })?;
        if gone == 0 {
            index += 1;
        } else {
            alive.swap_remove(index).child.gone();
        }
    }
    Ok(())
}

/// What a child does; it is a process with one thread.
fn live(death: usize, life_ns: u64, sleeps: Shared) -> Result<()> {
    rename(c"mortal");
    match death {
        0 => spin_ns(100_000),
        1 => {
            let mut meter = Meter::new()?;
            meter.measure(|| sleep_ns(life_ns));
            sleeps.add(&meter.waits());
        }
        2 => return Err(Command::new("true").exec().into()),
        3 => {
            let caller = spawn(|| Command::new("true").exec())?;
            let error = caller.join().map_err(|_| anyhow::anyhow!("panicked"))?;
            return Err(error.into());
        }
        4 => {
            spawn(move || {
                sleep_ns(life_ns);
                end_process();
            })?;
            end_thread();
        }
        5 => return sleep_for_good(),
        6 => {
            for _ in 0..7 {
                spawn(move || sleep_ns(60_000_000_000))?;
            }
            return sleep_for_good();
        }
        _ => leave_orphan(life_ns)?,
    }
    Ok(())
}

fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name("mortal-thread".into()).stack_size(STACK).spawn(work)
}

/// A grandchild without its parent. It does not end with anybody, but after some milliseconds.
fn leave_orphan(life_ns: u64) -> io::Result<()> {
    // SAFETY: this process has one thread, so the child finds no lock held.
    if check(unsafe { libc::fork() })? == 0 {
        rename(c"orphan");
        sleep_ns(life_ns);
        end_process();
    }
    Ok(())
}

/// Ends this process at once.
fn end_process() {
    // SAFETY: what the parent has registered for its end is its own.
    unsafe { libc::_exit(0) }
}

/// Ends the calling thread alone, by the bare system call.
fn end_thread() {
    // SAFETY: nothing of the calling thread is needed by the others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}
