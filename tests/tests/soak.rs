//! Faults and load: whatever happens to the target or to dwell itself, the books balance, memory is
//! bounded, and nothing is left in the kernel.
//!
//! A minute and a half in all; `DWELL_SOAK_SECONDS` makes it longer. Every test prints its seed, and
//! `DWELL_SOAK_SEED` repeats it.
//!
//! The clock: dwell knows CLOCK_MONOTONIC only. CLOCK_REALTIME cannot be moved for one process alone,
//! so time namespaces move the other one, by days.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dwell_tests::bpf::Loaded;
use dwell_tests::document::{Document, Thread};
use dwell_tests::dwell::{self, Dwell};
use dwell_tests::lines::Lines;
use dwell_tests::machine::Machine;
use dwell_tests::memory::Peak;
use dwell_tests::outcome::Outcome;
use dwell_tests::process::{Bounded, send_signal};
use dwell_tests::random::Random;
use dwell_tests::tolerance::TRUTH;
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Most memory that dwell may take, in bytes: of its own, with so much more for each row of a thread
/// (on the whole host there are others than ours), and of its tables.
const MOST_MEMORY: u64 = 128 << 20;
const MOST_PER_ROW: u64 = 8 << 10;
const MOST_TABLES: u64 = 64 << 20;

/// Longest life of a workload: the tests end it earlier.
const LIFE: &str = "600";

/// Repeats `round` until the test's share of the time is over; at least once.
fn soak(test: &str, share: f64, mut round: impl FnMut(&mut Random) -> Result<()>) -> Result<()> {
    let seconds = std::env::var("DWELL_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(60.0) * share);
    let mut random = Random::announced(test);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        rounds += 1;
        round(&mut random).with_context(|| format!("round {rounds}"))?;
    }
    println!("{test}: {rounds} rounds");
    Ok(())
}

/// A crowd that stays, and processes that come and go.
struct Load {
    crowd: Workload,
    churn: Workload,
}

impl Load {
    fn start(threads: u64, rate: u64, random: &mut Random) -> Result<Self> {
        let seed = random.number().to_string();
        let (threads, rate) = (threads.to_string(), rate.to_string());
        let arguments = ["churn", "--rate", &rate, "--seed", &seed, "--seconds", LIFE];
        let mut churn = Workload::start(WORKLOAD, &arguments)?;
        let arguments = ["crowd", "--threads", &threads, "--seconds", LIFE];
        let mut crowd = Workload::start(WORKLOAD, &arguments)?;
        crowd.go()?;
        churn.go()?;
        Ok(Self { crowd, churn })
    }

    fn targets(&self) -> Vec<String> {
        let pids = [&self.crowd, &self.churn].map(|workload| workload.pid().to_string());
        pids.into_iter().flat_map(|pid| ["-p".to_owned(), pid]).collect()
    }
}

/// Attaches for a while, and checks what always holds. Gives the document.
fn watch(arguments: &[String], window: Duration) -> Result<Document> {
    let window = format!("{}ms", window.as_millis());
    let dwell = Dwell::attach(&[arguments, &["-d".to_owned(), window]].concat())?;
    let loaded = Loaded::by(dwell.pid())?;
    let peak = Peak::of(dwell.pid());
    let document = dwell.finish(Duration::from_secs(60))?.document()?;
    books::check_balance(&document)?;
    let peak = peak.bytes()?;
    let tables = document.value["trust"]["table_bytes"].as_u64().context("no table_bytes")?;
    println!(
        "  {} threads, {} waits, {} MiB, tables {} MiB, {:?}",
        document.body.threads.len(),
        document.body.waits.len(),
        peak >> 20,
        tables >> 20,
        document.body.trust,
    );
    let most = MOST_MEMORY + MOST_PER_ROW * document.body.threads.len() as u64;
    ensure!(peak <= most, "dwell took {} MiB", peak >> 20);
    ensure!(tables <= MOST_TABLES, "its tables took {} MiB", tables >> 20);
    loaded.wait_until_gone(Duration::from_secs(5))?;
    Ok(document)
}

#[test]
fn thousands_of_threads_and_deaths_of_every_kind() -> Result<()> {
    need_root!();
    need_program!("bpftool");
    let _machine = Machine::take()?;
    soak("thousands", 0.25, |random| {
        let load = Load::start(2000, 150, random)?;
        let window = Duration::from_millis(random.between(4000, 8000));
        for target in [load.targets(), vec!["--all".to_owned()]] {
            let document = watch(&target, window / 2)?;
            books::check(&document)?;
            let crowd = document.threads_of(load.crowd.pid()).count();
            ensure!(crowd >= 2001, "a crowd of two thousand, not {crowd}");
            let dead = document.value["threads"].as_array().context("no threads")?;
            let dead = dead.iter().filter(|thread| thread["ended"] == true).count();
            ensure!(dead as u128 >= window.as_millis() / 20, "only {dead} threads ended");
        }
        Ok(())
    })
}

#[test]
fn tables_that_are_too_small() -> Result<()> {
    need_root!();
    need_program!("bpftool");
    let _machine = Machine::take()?;
    let limits =
        [("--max-threads", 64), ("--max-waits", 64), ("--max-stacks", 2), ("--ring-bytes", 4096)];
    soak("tables", 0.15, |random| {
        let load = Load::start(1000, 300, random)?;
        // One after the other, and all at once.
        let singly = limits.map(|limit| vec![limit]);
        for chosen in singly.into_iter().chain([limits.to_vec()]) {
            let options =
                chosen.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]);
            let arguments: Vec<String> = load.targets().into_iter().chain(options).collect();
            let document = watch(&arguments, Duration::from_millis(random.between(1000, 1500)))?;
            let trust = &document.body.trust;
            let lost = |name: &str| match name {
                "--max-threads" => trust.lost_keys > 0 && trust.coverage < 1.0,
                // Of these, what they waited for is not known, but their kind is.
                "--max-waits" => trust.lost_keys > 0,
                "--max-stacks" => trust.lost_stacks > 0,
                // The dead come slower than dwell reads, unless they come in a burst.
                _ => true,
            };
            ensure!(
                chosen.iter().all(|(name, _)| lost(name)),
                "{chosen:?} lost nothing: {trust:?}"
            );
            books::report(books::unexplained(&document)).with_context(|| format!("{chosen:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn the_collector_is_killed_at_any_instant() -> Result<()> {
    need_root!();
    need_program!("bpftool");
    let _machine = Machine::take()?;
    let mut random = Random::announced("load");
    let load = Load::start(1000, 100, &mut random)?;
    let mut held = 0;
    soak("killed", 0.25, |random| {
        let target = if random.below(2) == 0 { load.targets() } else { vec!["--all".to_owned()] };
        // While it loads, while it attaches, while it follows, and while it closes the books.
        let window = random.between(100, 600);
        let delay = Duration::from_micros(random.below(1_500_000));
        let dwell =
            Dwell::start(&[&target[..], &["-d".to_owned(), format!("{window}ms")]].concat())?;
        let mut process = dwell.into_process();
        std::thread::sleep(delay);
        // Still, so that what it holds is all that it ever held when it dies.
        process.signal(libc::SIGSTOP)?;
        std::thread::sleep(Duration::from_millis(20));
        let loaded = Loaded::by_stopped(process.pid()).unwrap_or_default();
        held += usize::from(!loaded.programs.is_empty());
        process.signal(libc::SIGKILL)?;
        process.wait_within(Duration::from_secs(10))?;
        loaded
            .wait_until_gone(Duration::from_secs(5))
            .with_context(|| format!("killed after {delay:?}"))
    })?;
    ensure!(held > 0, "it was never killed with a program in the kernel");
    // What was left by none disturbs nobody.
    let document = watch(&load.targets(), Duration::from_secs(1))?;
    books::check(&document)
}

#[test]
fn targets_are_killed_while_they_are_followed() -> Result<()> {
    need_root!();
    need_program!("bpftool");
    let _machine = Machine::take()?;
    soak("targets", 0.1, |random| {
        let load = Load::start(500, 100, random)?;
        let mut arguments = load.targets();
        arguments.extend(["-d".to_owned(), "60s".to_owned()]);
        let dwell = Dwell::attach(&arguments)?;
        let loaded = Loaded::by(dwell.pid())?;
        std::thread::sleep(Duration::from_millis(random.between(200, 900)));
        // In the middle of hundreds of waits; the children of the other die with it.
        send_signal(load.crowd.pid(), libc::SIGKILL)?;
        std::thread::sleep(Duration::from_millis(random.between(1, 300)));
        send_signal(load.churn.pid(), libc::SIGKILL)?;
        let (crowd, churn) = (load.crowd.pid(), load.churn.pid());
        drop(load);
        // It ends by itself, for its target has.
        let document = dwell.finish(Duration::from_secs(20))?.document()?;
        books::check(&document)?;
        ensure!(document.threads_of(crowd).count() >= 501 && document.pids().contains(&churn));
        let alive = document.value["threads"].as_array().context("no threads")?;
        let alive: Vec<_> = alive.iter().filter(|thread| thread["ended"] != true).collect();
        // The report ends when the last thread of the last process is on its way out, which it and
        // others may not have finished.
        let rows = document.body.threads.len();
        ensure!(alive.len() * 20 < rows, "said to be alive of {rows}: {alive:?}");
        loaded.wait_until_gone(Duration::from_secs(5))
    })
}

/// Runs `dwell attach --json -- workload …` to its end; each of the two below other words.
fn follow(dwell: &[&str], target: &[&str], workload: &[&str]) -> Result<(Document, Outcome)> {
    let mut words = dwell.iter().map(OsString::from).collect::<Vec<_>>();
    words.push(dwell::binary()?.into_os_string());
    words.extend(["attach", "--json", "--"].map(OsString::from));
    words.extend(target.iter().chain(&[WORKLOAD]).chain(workload).map(OsString::from));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Bounded::spawn(&mut command)?;
    let stdout = Lines::of(process.child().stdout.take().context("no stdout")?);
    let stderr = Lines::of(process.child().stderr.take().context("no stderr")?);
    let patience = Duration::from_secs(60);
    let printed = stdout.rest(patience).join("\n");
    let said = stderr.rest(patience);
    let status = process.wait_within(patience)?;
    ensure!(status.success(), "{command:?} ended with {status}: {said:?}");
    let outcome = said.iter().find(|line| line.starts_with('{'));
    let outcome = outcome.with_context(|| format!("no outcome in {said:?}"))?;
    Ok((Document::parse(&printed)?, serde_json::from_str(outcome)?))
}

/// All sleep of a document is what the workload measured, but for what was refused.
fn sleep_is_right(document: &Document, measured_ns: u64, name: &str) -> Result<()> {
    books::check(document)?;
    let sleepers = document.body.threads.iter().filter(|thread| thread.comm.starts_with(name));
    let ns = |thread: &Thread| thread.blocked("sleep");
    TRUTH.check("sleep", sleepers.map(ns).sum(), measured_ns)
}

#[test]
fn process_numbers_are_used_again() -> Result<()> {
    need_root!();
    need_program!("unshare");
    let _machine = Machine::take()?;
    soak("numbers", 0.1, |_| {
        // Inside a PID namespace of their own, with a hundred numbers for hundreds of processes.
        let namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"];
        let few = ["sh", "-c", "echo 400 > /proc/sys/kernel/pid_max && \"$@\"", "sh"];
        let dwell = [&namespace[..], &few].concat();
        let (document, outcome) = follow(&dwell, &[], &["fork-tree", "--seconds", "4"])?;
        sleep_is_right(&document, outcome.waits.blocked_ns, "tree-")?;
        let (rows, numbers) = (document.body.threads.len(), document.pids().len());
        ensure!(rows as u64 > outcome.number("processes"), "a row for each of {outcome:?}");
        ensure!(rows > 2 * numbers, "{rows} threads had {numbers} numbers: none twice");
        Ok(())
    })
}

#[test]
fn clocks_that_are_days_off() -> Result<()> {
    need_root!();
    need_program!("unshare");
    let _machine = Machine::take()?;
    soak("clocks", 0.1, |_| {
        for days in [-0.001, 10.0] {
            let seconds = format!("{}", (86_400.0 * days) as i64);
            let shift =
                ["unshare", "--time", "--fork", "--kill-child=KILL", "--monotonic", &seconds];
            let shift = [&shift[..], &["--boottime", &seconds]].concat();
            // That of both, and that of the target alone.
            for (dwell, target) in [(&shift[..], &[][..]), (&[], &shift)] {
                let (document, outcome) = follow(dwell, target, &["sleep", "--seconds", "1"])?;
                sleep_is_right(&document, outcome.waits.blocked_ns, "workload")
                    .with_context(|| format!("{days} days: {dwell:?} {target:?}"))?;
            }
        }
        Ok(())
    })
}
