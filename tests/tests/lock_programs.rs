//! Locks, points 2 and 3: of real programs the planted cause is in the first row, and their own
//! samples and counters agree on the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use dwell_tests::document::Document;
use dwell_tests::document::locks::{Behind, Doing, Leaf, Lock, has_frame};
use dwell_tests::dwell::{Dwell, observe};
use dwell_tests::machine::Machine;
use dwell_tests::outcome::Outcome;
use dwell_tests::servers::{
    PYTHON, Postgres, Session, busy_python, sysbench, sysbench_mutex, waited_ns,
};
use dwell_tests::tolerance::{LOCKS, ORACLE, TRUTH};
use dwell_tests::workload::Workload;
use dwell_tests::{books, locks, need_program, need_root};

const WINDOW: &str = "3s";

/// Where single waits take a fifth of a second: nobody has ended those that are open at the end, so they are
/// behind nobody.
const LONG_WINDOW: &str = "8s";

/// Attaches to a process and its descendants for some seconds, and checks all that has to add up.
fn watch(pid: u32) -> Result<Document> {
    watch_for(pid, WINDOW)
}

fn watch_for(pid: u32, window: &str) -> Result<Document> {
    let document = observe(&["-p", &pid.to_string(), "-d", window])?;
    books::check(&document)?;
    explain(&document, locks::check(&document))?;
    Ok(document)
}

/// Adds what dwell saw to a failure.
fn explain<T>(document: &Document, result: Result<T>) -> Result<T> {
    result.with_context(|| format!("dwell saw:\n{}", document.describe_locks()))
}

/// The row that costs most.
fn first(document: &Document) -> Result<&Lock> {
    let first = document.body.locks.first().context("no lock at all")?;
    ensure!(first.contention, "the first row is no contention");
    Ok(first)
}

/// At least such a share of the waiting time of a row.
fn at_least(what: &str, ns: u64, of_ns: u64, share: f64) -> Result<()> {
    let found = ns as f64 / of_ns.max(1) as f64;
    ensure!(found >= share, "{what}: {:.1} % of the wait", 100.0 * found);
    Ok(())
}

/// The first row is a mutex of libc's for which sysbench's threads wait, one behind the other.
fn is_a_mutex_of_sysbench(document: &Document, pid: u32) -> Result<()> {
    let row = first(document)?;
    ensure!(row.kind == "lock" && row.pids == [pid] && row.comm == "sysbench", "not its lock");
    ensure!(row.waits_in("pthread_mutex_lock"), "where does it wait?");
    ensure!(row.place.contains("heap"), "its mutexes are on the heap, not: {}", row.place);
    let woken_ns = row.behind_ns(|_| true);
    // A walk that ended early, as some do in the first moments, stands in the wake inside of that.
    let unlocks = |stack: &[String]| {
        has_frame(stack, "pthread_mutex_unlock") || has_frame(stack, "lll_lock_wake")
    };
    let each_other = |behind: &Behind| behind.is_of(pid) && unlocks(&behind.stack);
    at_least("behind its own threads", row.behind_ns(each_other), woken_ns, 0.9)?;
    // All that it waits for, but for main, which waits for the threads to end.
    let is_join = |lock: &&Lock| lock.waits_in("sb_thread_join_workers");
    let joins: Vec<_> = document.body.locks.iter().filter(is_join).collect();
    ensure!(!joins.is_empty(), "main waits for its threads");
    ensure!(joins.iter().all(|lock| !lock.contention), "to wait for the end is no contention");
    Ok(())
}

#[test]
fn sysbench_mutex_is_one_lock() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    let load = sysbench_mutex(8)?;
    let document = watch(load.pid())?;
    let check = || {
        is_a_mutex_of_sysbench(&document, load.pid())?;
        let row = first(&document)?;
        ensure!(row.threads == 8, "eight threads want it, not {}", row.threads);
        // It has one mutex: all contention in user space is for that. In the kernel, its wakeups contend
        // for the run queue, which is no wait.
        let all = document.body.locks.iter();
        let all = all.filter(|lock| lock.contention && lock.kind != "kernel_lock");
        let all_ns = all.map(|lock| lock.total_ns).sum();
        at_least("the one mutex", row.total_ns, all_ns, 0.95)
    };
    explain(&document, check())
}

#[test]
fn sysbench_threads_have_a_lock() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    let load = sysbench("threads", 8, 30)?;
    let document = watch(load.pid())?;
    explain(&document, is_a_mutex_of_sysbench(&document, load.pid()))
}

/// Eight threads, of which one computes at a time: the others wait for the interpreter's lock.
#[test]
fn python_threads_wait_for_the_interpreter() -> Result<()> {
    need_root!();
    need_program!(PYTHON);
    let _machine = Machine::take()?;
    let load = busy_python(8)?;
    let document = watch(load.pid())?;
    let check = || {
        let row = first(&document)?;
        ensure!(row.kind == "interpreter_lock", "what is it?");
        ensure!(row.pids == [load.pid()] && row.comm.starts_with("python3"), "{}", row.comm);
        // The lock is a condition variable, which waits on one of two words.
        let all = document.body.locks.iter().filter(|lock| lock.kind == "interpreter_lock");
        let (mut total_ns, mut timeouts, mut count) = (0, 0, 0);
        for lock in all {
            total_ns += lock.total_ns;
            timeouts += lock.ended.timeout;
            count += lock.count;
        }
        // What else its threads wait for is the mutex around that, and main, which does nothing.
        let blocked_ns: u64 = document
            .threads_of(load.pid())
            .filter(|thread| thread.tid != load.pid())
            .map(|thread| thread.blocked("futex"))
            .sum();
        TRUTH.check("time", total_ns, blocked_ns)?;
        let window_ns = document.body.window.duration_ns;
        ensure!(total_ns > 4 * window_ns, "most of eight wait at any time: {total_ns} ns");
        // They ask again every 5 ms.
        ensure!(2 * timeouts > count, "most waits end by their time: {timeouts} of {count}");
        Ok(())
    };
    explain(&document, check())
}

/// A workload that measures its own waits, inside a window.
fn workload(name: &str) -> Result<(Document, Outcome)> {
    let mut workload = Workload::start(env!("CARGO_BIN_EXE_workload"), &[name, "--seconds", "3"])?;
    let dwell = Dwell::attach_to(&[workload.pid()])?;
    workload.go()?;
    let outcome = workload.outcome()?;
    let document = dwell.interrupt()?.document()?;
    books::check(&document)?;
    explain(&document, locks::check(&document))?;
    Ok((document, outcome))
}

/// The program's own counters agree with the first row.
fn is_the_rust_mutex(document: &Document, outcome: &Outcome, function: &str) -> Result<()> {
    let row = first(document)?;
    ensure!(row.kind == "lock" && !row.shared && row.pids == [outcome.pid], "not its lock");
    ensure!(row.waits_in(function), "the place that waits is not named");
    TRUTH.check("time", row.total_ns, outcome.waits.blocked_ns)?;
    LOCKS.check("count", row.count, outcome.waits.switches)?;
    at_least("woken", row.ended.woken, row.count, 0.95)?;
    let own = row.behind_ns(|behind| behind.is_of(outcome.pid));
    at_least("behind each other", own, row.total_ns, 0.95)?;
    let sleeps = |leaf: &Leaf| leaf.doing.state == "sleep";
    at_least("holders asleep", row.leaves_ns(sleeps), row.total_ns, 0.9)?;
    ensure!(document.body.deadlocks.is_empty(), "no deadlock: {:?}", document.body.deadlocks);
    Ok(())
}

#[test]
fn a_mutex_of_rusts_std() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let (document, outcome) = workload("lock-std")?;
    let check = || {
        is_the_rust_mutex(&document, &outcome, "take_std_mutex")?;
        let row = first(&document)?;
        let address = outcome.text("address").trim_start_matches("0x");
        let address = u64::from_str_radix(address, 16)?;
        let inside = address..address + outcome.number("size");
        ensure!(row.number().is_some_and(|at| inside.contains(&at)), "not in {inside:x?}");
        ensure!(row.place.contains("heap"), "it is on the heap, not: {}", row.place);
        let hold = row.hold.context("no hold time")?;
        LOCKS.check("hold", hold.mean_ns, outcome.number("hold_ns"))
    };
    explain(&document, check())
}

/// Each thread waits in a futex of its own: the place that waits is all that tells.
#[test]
fn a_mutex_of_parking_lot() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let (document, outcome) = workload("lock-parking-lot")?;
    explain(&document, is_the_rust_mutex(&document, &outcome, "take_parking_lot_mutex"))
}

const UPDATE: &str = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 1;";
/// How long the client thinks with the row locked.
const IDLE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(10);
/// Commits need not wait for the disk: they are not what this is about.
const NO_DISK: &str = "-c synchronous_commit=off";

/// Locks the row, and does nothing, again and again.
fn hold_the_row(session: &mut Session, stop: &AtomicBool) -> Result<()> {
    session.ask("SET synchronous_commit = off;")?;
    while !stop.load(Ordering::Relaxed) {
        session.ask(&format!("BEGIN; {UPDATE}"))?;
        thread::sleep(IDLE);
        session.ask("COMMIT;")?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Four clients update a row that a fifth one keeps locked while it does nothing.
#[test]
fn a_hot_row_of_postgresql() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "psql", "pg_isready");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let (mut holder, mut sampler) = (server.session()?, server.session()?);
    let backend = holder.backend;
    let stop = AtomicBool::new(false);
    let (document, sampler) = thread::scope(|scope| {
        let holding = scope.spawn(|| hold_the_row(&mut holder, &stop));
        let observe = || {
            let _load = server.repeat(UPDATE, 4, 30, NO_DISK)?;
            // The sampler begins before the window and ends after it.
            sampler.sample(backend, 14)?;
            thread::sleep(Duration::from_millis(500));
            anyhow::Ok((watch_for(server.pid(), LONG_WINDOW)?, sampler))
        };
        let observed = observe();
        stop.store(true, Ordering::Relaxed);
        holding.join().map_err(|_| anyhow!("panicked"))?.context("cannot hold the row")?;
        observed
    })?;
    let window = document.body.window;
    let ticks = sampler.ticks(window.start_monotonic_ns, window.end_monotonic_ns)?;
    let said = |pick: fn(&dwell_tests::servers::Tick) -> u64| {
        waited_ns(&ticks, window.end_monotonic_ns, pick)
    };
    let check = || {
        let row = first(&document)?;
        ensure!(row.kind == "database_lock", "what is it?");
        ensure!(row.waits_in("ProcSleep"), "it is a row lock: the stack says so");
        // Which row, and how long: what the server's own views say.
        let rows = document.body.locks.iter().filter(|lock| lock.waits_in("ProcSleep"));
        let rows: Vec<_> = rows.collect();
        let total_ns = rows.iter().map(|row| row.total_ns).sum();
        ORACLE.check("pg_stat_activity", total_ns, said(|tick| tick.lock))?;
        ORACLE.check("pg_locks", total_ns, said(|tick| tick.not_granted))?;
        // Behind whom: all wait for who is idle in its transaction, some of them behind others.
        let explained_ns = rows.iter().map(|row| row.explained_by(backend)).sum();
        let idle_ns = said(|tick| if tick.idle { tick.lock } else { 0 });
        ensure!(idle_ns > total_ns / 2, "the plan: {idle_ns} of {total_ns} ns while it is idle");
        ORACLE.check("behind the idle one", explained_ns, idle_ns)?;
        // And it waits for its client, in PostgresMain's next command.
        let waits_for_client = |who: &Behind, doing: &Doing| {
            who.is_of(backend)
                && matches!(doing.state.as_str(), "poll" | "socket")
                && has_frame(&doing.stack, "secure_read")
        };
        let client_ns: u64 = rows.iter().map(|row| row.doing_ns(waits_for_client)).sum();
        at_least("it waits for its client", client_ns, explained_ns, 0.9)
    };
    explain(&document, check())
}

/// Sixteen clients insert and commit. Each commit flushes the log, under a lock of the server's own,
/// and `commit_delay` makes who has that lock sleep for 20 ms before: with 5 ms, writing and running were 28 % of
/// that on a slow machine.
#[test]
fn an_internal_lock_of_postgresql() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "psql", "pg_isready");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let mut sampler = server.session()?;
    sampler.ask("CREATE TABLE notes (id serial PRIMARY KEY, note text);")?;
    let insert = "INSERT INTO notes (note) VALUES ('x');";
    let slowly = "-c commit_delay=20000 -c commit_siblings=0";
    let _load = server.repeat(insert, 16, 30, slowly)?;
    sampler.sample(0, 12)?;
    thread::sleep(Duration::from_millis(500));
    let document = watch(server.pid())?;
    let window = document.body.window;
    let ticks = sampler.ticks(window.start_monotonic_ns, window.end_monotonic_ns)?;
    let said_ns = waited_ns(&ticks, window.end_monotonic_ns, |tick| tick.internal);
    let check = || {
        ensure!(said_ns > 8 * window.duration_ns, "the plan: they wait, {said_ns} ns");
        let row = first(&document)?;
        ensure!(row.kind == "database_lock", "what is it?");
        ensure!(row.waits_in("LWLockAcquire") && row.waits_in("XLogFlush"), "which lock is it?");
        let rows = document.body.locks.iter().filter(|lock| lock.waits_in("LWLock"));
        let total_ns: u64 = rows.map(|row| row.total_ns).sum();
        // The server says that a backend waits until it runs again; dwell, until it is woken. Between the two
        // it is ready, as it is at other times, which on two CPUs can be a tenth of all of its time.
        let ready_ns: u64 = document.body.threads.iter().map(|thread| thread.runnable_ns).sum();
        let nearest_ns = said_ns.clamp(total_ns, total_ns + ready_ns);
        ORACLE.check("pg_stat_activity", nearest_ns, said_ns)?;
        // Who has it sleeps in commit_delay, and writes.
        let flushes = |behind: &Behind| has_frame(&behind.stack, "XLogFlush");
        at_least("behind who flushes", row.behind_ns(flushes), row.total_ns, 0.9)?;
        let delays = |leaf: &Leaf| has_frame(&leaf.doing.stack, "pg_usleep");
        at_least("who sleeps", row.leaves_ns(delays), row.total_ns, 0.75)
    };
    explain(&document, check())
}
