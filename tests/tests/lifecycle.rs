//! Point 7: how dwell begins and ends, alone and beside another.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dwell_tests::bpf::{self, Loaded};
use dwell_tests::document::Document;
use dwell_tests::dwell::{self, Dwell, observe};
use dwell_tests::fixtures::compile;
use dwell_tests::lines::Lines;
use dwell_tests::machine::Machine;
use dwell_tests::outcome::Outcome;
use dwell_tests::process::Bounded;
use dwell_tests::tolerance::TRUTH;
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

fn sleeps_are_right(document: &Document, outcome: &Outcome) -> Result<()> {
    books::check(document)?;
    TRUTH.check("sleep", document.blocked_ns(outcome.pid, "sleep"), outcome.waits.blocked_ns)
}

#[test]
fn two_at_once_do_not_disturb_each_other() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["sleep", "--seconds", "3"])?;
    let first = Dwell::attach_to(&[workload.pid()])?;
    workload.go()?;
    // This one comes and goes while the first is at work, and has its own tables made small.
    let pid = workload.pid().to_string();
    let second = observe(&["-p", &pid, "-d", "1s", "--max-waits", "2"])?;
    let outcome = workload.outcome()?;
    sleeps_are_right(&first.interrupt()?.document()?, &outcome)?;
    books::check_balance(&second)?;
    let [thread] = second.threads_of(outcome.pid).collect::<Vec<_>>()[..] else {
        bail!("one thread, and one row");
    };
    TRUTH.check("wall", thread.wall_ns, second.body.window.duration_ns)
}

/// Starts and ends short processes until it is told not to.
fn churn(goes_on: &AtomicBool) -> Result<()> {
    while goes_on.load(Ordering::Relaxed) {
        ensure!(Command::new("true").status()?.success(), "true is false");
    }
    Ok(())
}

/// Of processes that begin and end between the first probe and the last, nothing stays: neither time beyond their end, nor
/// anything that the next threads would inherit, to which the kernel gives the same `task_struct`.
#[test]
fn who_ends_while_dwell_attaches_is_gone() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let goes_on = AtomicBool::new(true);
    let dwell = thread::scope(|scope| {
        let churn = scope.spawn(|| churn(&goes_on));
        let dwell = Dwell::attach(&["--all", "-d", "60s"]);
        goes_on.store(false, Ordering::Relaxed);
        churn.join().map_err(|_| anyhow!("no processes could be started"))??;
        dwell
    })?;
    let sleeper = |_| Bounded::spawn(Command::new("sleep").arg("1"));
    let mut sleepers = (0..100).map(sleeper).collect::<Result<Vec<_>>>()?;
    for sleeper in &mut sleepers {
        sleeper.wait_within(Duration::from_secs(10))?;
    }
    let document = dwell.interrupt()?.document()?;
    books::check(&document)?;
    for ended in document.body.threads.iter().filter(|thread| thread.comm == "true") {
        ensure!(ended.wall_ns < 500_000_000, "goes on after its end: {ended:?}");
        ensure!(ended.wall_ns > 0, "has ended before the window: {ended:?}");
    }
    for pid in sleepers.iter().map(Bounded::pid) {
        let slept_ns = document.blocked_ns(pid, "sleep");
        ensure!(slept_ns > 990_000_000, "process {pid} slept for {slept_ns} ns");
    }
    Ok(())
}

/// Starts one process after the other until it is told to stop, and keeps them until it is told to end them.
fn start_many(program: &Path, phase: &AtomicU8) -> Result<Vec<u32>> {
    let mut started = Vec::new();
    while phase.load(Ordering::Relaxed) == STARTS {
        started.push(Bounded::spawn(Command::new(program).arg("60"))?);
        thread::sleep(Duration::from_millis(10));
    }
    while phase.load(Ordering::Relaxed) == KEEPS {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(started.iter().map(Bounded::pid).collect())
}

const STARTS: u8 = 0;
const KEEPS: u8 = 1;
const ENDS: u8 = 2;

/// The probes take most of a second to attach, and the births are seen last.
#[test]
fn who_takes_the_name_while_dwell_attaches_is_followed() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("takes-the-name");
    fs::copy("/usr/bin/sleep", &program)?;
    let _first = Bounded::spawn(Command::new(&program).arg("60"))?;
    let phase = AtomicU8::new(STARTS);
    let observe = || {
        let dwell = Dwell::attach(&["--comm", "takes-the-name", "-d", "60s"])?;
        phase.store(KEEPS, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
        dwell.interrupt()?.document()
    };
    let (document, pids) = thread::scope(|scope| {
        let starter = scope.spawn(|| start_many(&program, &phase));
        let document = observe();
        phase.store(ENDS, Ordering::Relaxed);
        let pids = starter.join().map_err(|_| anyhow!("no processes could be started"))??;
        anyhow::Ok((document?, pids))
    })?;
    books::check(&document)?;
    ensure!(pids.len() > 10, "too few to tell: {}", pids.len());
    let missing: Vec<_> =
        pids.iter().filter(|pid| document.threads_of(**pid).count() != 1).collect();
    ensure!(missing.is_empty(), "{} of {} are not followed", missing.len(), pids.len());
    Ok(())
}

#[test]
fn two_with_one_window() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["sleep", "--seconds", "2"])?;
    let both = [Dwell::attach_to(&[workload.pid()])?, Dwell::attach_to(&[workload.pid()])?];
    workload.go()?;
    let outcome = workload.outcome()?;
    for dwell in both {
        sleeps_are_right(&dwell.interrupt()?.document()?, &outcome)?;
    }
    Ok(())
}

#[test]
fn interrupt_prints_the_report() -> Result<()> {
    ends_with_a_report(libc::SIGINT)
}

#[test]
fn terminate_prints_the_report() -> Result<()> {
    ends_with_a_report(libc::SIGTERM)
}

fn ends_with_a_report(signal: i32) -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["sleep", "--seconds", "1"])?;
    let dwell = Dwell::attach_to(&[workload.pid()])?;
    workload.go()?;
    let outcome = workload.outcome()?;
    sleeps_are_right(&dwell.end_by(signal)?.document()?, &outcome)
}

#[test]
fn nothing_is_left_after_kill() -> Result<()> {
    nothing_is_left_after(libc::SIGKILL)
}

#[test]
fn nothing_is_left_after_interrupt() -> Result<()> {
    nothing_is_left_after(libc::SIGINT)
}

fn nothing_is_left_after(signal: i32) -> Result<()> {
    need_root!();
    need_program!("bpftool");
    let _machine = Machine::take()?;
    let workload = Workload::start(WORKLOAD, &["sleep"])?;
    let dwell = Dwell::attach_to(&[workload.pid()])?;
    let own = Loaded::by(dwell.pid())?;
    let seen = Loaded::everything()?.common(&own);
    ensure!(!seen.programs.is_empty() && !seen.maps.is_empty(), "bpftool sees {seen:?} of {own:?}");
    let mut process = dwell.into_process();
    process.signal(signal)?;
    process.wait_within(Duration::from_secs(30))?;
    // The kernel takes links and programs down a little after the last descriptor is closed.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let left = Loaded::everything()?.common(&own);
        let named = bpf::programs_named("dwell_")?;
        if left.is_empty() && named.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "five seconds later there are {left:?} and {named:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_closed_stdout_ends_quietly() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let workload = Workload::start(WORKLOAD, &["sleep"])?;
    let pid = workload.pid().to_string();
    for form in [&[][..], &["--json"]] {
        let mut command = dwell::command()?;
        command.args([&["attach", "-p", &pid, "-d", "500ms"], form].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Bounded::spawn(&mut command)?;
        drop(process.child().stdout.take());
        let stderr = Lines::of(process.child().stderr.take().context("no stderr")?);
        let status = process.wait_within(Duration::from_secs(30))?;
        let mut said = stderr.rest(Duration::from_secs(5));
        said.retain(|line| !line.starts_with("dwell: attached"));
        ensure!(status.success() && said.is_empty(), "{form:?}: {status}, {said:?}");
    }
    Ok(())
}

#[test]
fn a_command_is_followed_to_its_end() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let document = observe(&["--", "sleep", "0.5"])?;
    books::check(&document)?;
    let mut rows = document.body.threads.iter().filter(|thread| thread.comm == "sleep");
    let (Some(thread), None) = (rows.next(), rows.next()) else {
        bail!("one thread named sleep, not {:?}", document.body.threads);
    };
    TRUTH.check("sleep", thread.blocked("sleep"), 500_000_000)?;
    let wall = Duration::from_nanos(thread.wall_ns);
    ensure!(wall < Duration::from_secs(2), "it lived {wall:?}");
    Ok(())
}

#[test]
fn a_command_that_fails_has_a_report_too() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let finished =
        Dwell::attach(&["--", "sh", "-c", "sleep 0.2; exit 3"])?.finish(Duration::from_secs(30))?;
    let document = Document::parse(&finished.stdout)?;
    books::check(&document)?;
    let slept: u64 = document.pids().iter().map(|&pid| document.blocked_ns(pid, "sleep")).sum();
    TRUTH.check("sleep", slept, 200_000_000)
}

#[test]
fn the_end_of_the_target_ends_the_report() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["sleep", "--seconds", "1"])?;
    let dwell = Dwell::attach_to(&[workload.pid()])?;
    workload.go()?;
    let outcome = workload.outcome()?;
    workload.end()?;
    // It would go on for a minute.
    let document = dwell.finish(Duration::from_secs(10))?.document()?;
    sleeps_are_right(&document, &outcome)?;
    let late_ns = document.body.window.end_monotonic_ns.saturating_sub(outcome.end_ns);
    ensure!(late_ns < 5_000_000_000, "the window ends {late_ns} ns after the target");
    Ok(())
}

/// Calls that a stop has broken off go on as restart_syscall(2): what they wait for is what they were asked for.
#[test]
fn waits_are_what_they_were_before_a_stop() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let folder = tempfile::tempdir()?;
    let program = compile(folder.path(), "after_stop.c", &[])?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut waiters = Bounded::spawn(&mut command)?;
    let said = waiters.child().stdout.take().context("no stdout")?;
    Lines::of(said).find(Duration::from_secs(10), |line| line == "waiting", drop)?;
    let pid = waiters.pid();
    for signal in [libc::SIGSTOP, libc::SIGCONT] {
        // SAFETY: a process that this one has started and not waited for.
        ensure!(unsafe { libc::kill(pid.cast_signed(), signal) } == 0, "cannot send {signal}");
        thread::sleep(Duration::from_millis(200));
    }
    let document = observe(&["-p", &pid.to_string(), "-d", "1s"])?;
    books::check(&document)?;
    let whole = document.body.window.duration_ns;
    // The main thread waits for a signal.
    for (kind, threads) in [("sleep", 2), ("poll", 1), ("futex", 2)] {
        let waits = document.waits(pid, kind, |_| true);
        TRUTH.check(kind, waits.total_ns(), threads * whole)?;
    }
    let lock = document.waits(pid, "futex", |wait| {
        wait.stack.iter().any(|function| function.contains("pthread_mutex"))
    });
    TRUTH.check("lock", lock.total_ns(), whole)?;
    let is_named = |wait: &&dwell_tests::document::Wait| wait.text("address").len() > 4;
    ensure!(lock.0.iter().all(is_named), "{:?}", lock.0);
    Ok(())
}
