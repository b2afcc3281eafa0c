//! Loads made here: so many threads, so many switches a second. Each runs in a process of its
//! own, `cargo xtask bench-load`, which tools can be told to watch.

use std::{
    io::{self, Read, Write, pipe},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dwell_tests::process::Bounded;

use super::{
    super::{affinity, usage},
    Load, Target, Work,
};

/// A process that is forgotten ends by itself.
const LONGEST: Duration = Duration::from_secs(3000);
const STACK: usize = 32 * 1024;
/// Of so many threads one comes and goes, the others stay parked.
const PARKED_TO_ACTIVE: usize = 10;
const ACTIVE_EVERY: Duration = Duration::from_millis(100);
/// Switches are dealt out in portions of so long.
const PORTION: Duration = Duration::from_millis(1);

/// What to make.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    made: Made,
}

#[derive(Clone, Copy, clap::Subcommand)]
enum Made {
    /// Threads that are parked, but for every tenth, which sleeps 100 ms at a time
    Threads {
        /// How many, the first not counted
        count: usize,
    },
    /// Pairs of threads, one on each CPU, that pass a token to and fro
    Switches {
        /// Switches a second, over all CPUs: as many as can be, where there is none
        rate: Option<u64>,
    },
}

/// Makes a load until the process is killed.
pub fn run(arguments: &Arguments) -> Result<()> {
    match arguments.made {
        Made::Threads { count } => {
            for number in 0..count {
                spawn(move || match number % PARKED_TO_ACTIVE {
                    0 => loop {
                        thread::sleep(ACTIVE_EVERY);
                    },
                    _ => loop {
                        thread::park();
                    },
                })?;
            }
        }
        Made::Switches { rate } => {
            let cpus = affinity::cpus()?;
            let rate = rate.map(|rate| rate / cpus.len() as u64);
            for cpu in cpus {
                affinity::pinned(cpu, || pass_to_and_fro(rate))?;
            }
        }
    }
    println!("ready");
    thread::sleep(LONGEST);
    Ok(())
}

fn spawn(body: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().stack_size(STACK).spawn(body);
    spawned.context("cannot create so many threads").map(drop)
}

/// Starts a pair of threads where this one is pinned: each passage of the token and back is two
/// switches.
fn pass_to_and_fro(rate: Option<u64>) -> Result<()> {
    let (mut there, mut to_there) = pipe()?;
    let (mut back, mut to_back) = pipe()?;
    spawn(
        move || while there.read_exact(&mut [0]).and_then(|()| to_back.write_all(b".")).is_ok() {},
    )?;
    spawn(move || {
        let mut pass = || -> io::Result<()> {
            to_there.write_all(b".")?;
            back.read_exact(&mut [0])
        };
        let start = Instant::now();
        let mut passed = 0;
        loop {
            let due = match rate {
                // A sleep is a switch or two as well; they are few beside the others.
                Some(rate) => (start.elapsed().as_secs_f64() * rate as f64 / 2.0) as u64,
                None => u64::MAX,
            };
            while passed < due {
                if pass().is_err() {
                    return;
                }
                passed += 1;
            }
            thread::sleep(PORTION);
        }
    })
}

/// So many threads, watched as one process.
pub struct Threads {
    process: Bounded,
    seconds: u32,
}

impl Threads {
    /// Starts them.
    pub fn start(count: usize, seconds: u32) -> Result<Self> {
        Ok(Self { process: start(&["threads", &count.to_string()])?, seconds })
    }
}

impl Load for Threads {
    fn begin(&mut self) -> Result<Target> {
        Ok(Target::Process { pid: self.process.pid(), comm: "xtask", children: false })
    }

    fn work(&mut self) -> Result<Work> {
        count_switches(self.seconds)
    }
}

/// So many switches a second, the whole host being watched.
pub struct Switches {
    _process: Bounded,
    seconds: u32,
}

impl Switches {
    /// Starts them; as many as can be, where there is no rate.
    pub fn start(rate: Option<u64>, seconds: u32) -> Result<Self> {
        let rate = rate.map(|rate| rate.to_string());
        let words: Vec<&str> = ["switches"].into_iter().chain(rate.as_deref()).collect();
        Ok(Self { _process: start(&words)?, seconds })
    }
}

impl Load for Switches {
    fn work(&mut self) -> Result<Work> {
        count_switches(self.seconds)
    }
}

/// Starts this program as a load, and waits until it says that it is ready.
fn start(words: &[&str]) -> Result<Bounded> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(own);
    command.arg("bench-load").args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Bounded::spawn(&mut command)?;
    let mut ready = [0; 6];
    let output = process.child().stdout.as_mut().context("a load has no output")?;
    output.read_exact(&mut ready).context("a load ended before it was ready")?;
    ensure!(&ready == b"ready\n", "a load said something else than that it is ready");
    Ok(process)
}

/// The switches of the whole machine while nothing is done here.
fn count_switches(seconds: u32) -> Result<Work> {
    let read = || usage::switches().context("/proc/stat counts no context switches");
    let (start, before) = (Instant::now(), read()?);
    thread::sleep(Duration::from_secs(seconds.into()));
    let operations = (read()? - before) as f64;
    Ok(Work { operations, seconds: start.elapsed().as_secs_f64() })
}
