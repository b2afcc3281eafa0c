//! Locks, point 1: of programs that know their locks, dwell says which lock, how bad, behind whom,
//! and what the holder was doing.
//!
//! Each workload begins after dwell has attached and ends before the window does, so what it
//! measured and what dwell saw are the same waits.

use anyhow::{Context, Result, ensure};
use dwell_tests::document::Waits;
use dwell_tests::document::locks::{Deadlock, Leaf, Lock, has_frame};
use dwell_tests::dwell::Dwell;
use dwell_tests::machine::Machine;
use dwell_tests::memory::Peak;
use dwell_tests::observed::{Observed, same_waits};
use dwell_tests::tolerance::{COUNT, LOCKS, TRUTH};
use dwell_tests::workload::Workload;
use dwell_tests::{locks, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Most memory that dwell may take for very many futexes, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// A share of the window, or a depth, in thousandths.
fn thousandths(value: f64) -> u64 {
    (value * 1000.0) as u64
}

/// Waits of that much time are behind those that `wanted` accepts: 95 %.
fn mostly(what: &str, ns: u64, of_ns: u64) -> Result<()> {
    at_least(what, ns, of_ns, 0.95)
}

fn at_least(what: &str, ns: u64, of_ns: u64, share: f64) -> Result<()> {
    let found = ns as f64 / of_ns.max(1) as f64;
    ensure!(found >= share, "{what}: {:.1} % of the wait", 100.0 * found);
    Ok(())
}

#[test]
fn a_queue() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-queue"])?;
    seen.explain(is_the_queue(&seen))
}

/// The command of its own tells the same.
#[test]
fn a_queue_by_dwell_locks() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let locks = |pids: &[u32]| Dwell::locks(&["-d", "60s", "-p", &pids[0].to_string()]);
    let seen = Observed::with(WORKLOAD, locks, "3", &["lock-queue"])?;
    seen.explain(is_the_queue(&seen))
}

/// Ends by itself, and says what it saw of a workload that goes on.
#[test]
fn dwell_locks_for_two_seconds() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["lock-queue", "--seconds", "6"])?;
    workload.go()?;
    let dwell = Dwell::locks(&["-p", &workload.pid().to_string(), "-d", "2s"])?;
    let document = dwell.finish(std::time::Duration::from_secs(30))?.document()?;
    let outcome = workload.outcome()?;
    let seen = Observed { document, outcome };
    let check = || {
        locks::check(&seen.document)?;
        let first = seen.first()?;
        ensure!(first.address.as_deref() == Some(seen.outcome.text("address")), "not first");
        // Five of six wait at any time, but for a moment after each turn.
        let mean = seen.outcome.waits.blocked_ns as f64
            / (seen.outcome.end_ns - seen.outcome.start_ns) as f64;
        LOCKS.check("queue", thousandths(first.queue.mean), thousandths(mean))?;
        ensure!(first.clipped > 0, "who waits at the edges is cut there");
        Ok(())
    };
    seen.explain(check())
}

fn is_the_queue(seen: &Observed) -> Result<()> {
    let (outcome, window) = (&seen.outcome, seen.document.body.window);
    let row = seen.first()?;
    ensure!(row.address.as_deref() == Some(outcome.text("address")), "another one is first");
    ensure!(row.kind == "lock" && !row.shared, "a private lock");
    ensure!(row.pids == [outcome.pid], "of this process: {:?}", row.pids);
    ensure!(row.place.contains("QUEUE"), "its name: {}", row.place);
    ensure!(row.waits_in("join_the_queue"), "no place that waits is named");
    same_waits(row, outcome)?;
    ensure!(row.threads == outcome.numbers("tids").len() as u64, "{} threads", row.threads);
    // How bad.
    let share = |ns: u64| ns as f64 / window.duration_ns as f64;
    let mean = thousandths(share(outcome.waits.blocked_ns));
    LOCKS.check("queue", thousandths(row.queue.mean), mean)?;
    ensure!(row.queue.max == Some(outcome.number("queue_max")), "{:?}", row.queue);
    let busy = row.queue.busy_share.context("no share of the window")?;
    LOCKS.check("busy", thousandths(busy), thousandths(share(outcome.number("busy_ns"))))?;
    let hold = row.hold.context("no hold time")?;
    LOCKS.check("hold", hold.mean_ns, outcome.number("hold_ns"))?;
    LOCKS.check("holds", hold.count, outcome.number("taken"))?;
    // Behind whom.
    COUNT.check("woken", row.ended.woken, row.count)?;
    let by_queue = |behind: &dwell_tests::document::locks::Behind| {
        behind.is_of(outcome.pid)
            && behind.comm.starts_with("queue-")
            && has_frame(&behind.stack, "leave_the_queue")
    };
    mostly("behind each other", row.behind_ns(by_queue), row.total_ns)?;
    // Who waits is woken by one who has himself waited most of that time. What they all do when
    // they have the lock is sleep.
    let sleeps = |leaf: &Leaf| leaf.doing.state == "sleep" && leaf.who.comm.starts_with("queue-");
    at_least("holders asleep", row.leaves_ns(sleeps), row.total_ns, 0.9)?;
    seen.no_deadlock()
}

#[test]
fn two_locks_of_which_one_is_cold() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-hot-cold"])?;
    let check = || {
        let (hot, cold) = (seen.row_at("hot_address")?, seen.row_at("cold_address")?);
        ensure!(seen.first()?.address == hot.address, "the hot one is not the first");
        ensure!(hot.place.contains("HOT") && cold.place.contains("COLD"), "their names");
        same_waits(hot, &seen.outcome)?;
        TRUTH.check("cold", cold.total_ns, seen.outcome.number("cold_blocked_ns"))?;
        LOCKS.check("cold", cold.count, seen.outcome.number("cold_switches"))?;
        let by_hot = hot.behind_ns(|behind| behind.comm.starts_with("hot-"));
        mostly("the hot one", by_hot, hot.total_ns)?;
        let by_holder = cold.behind_ns(|behind| behind.comm == "cold-holder");
        mostly("the cold one", by_holder, cold.total_ns)?;
        ensure!(cold.queue.max == Some(1), "never two: {:?}", cold.queue);
        seen.no_deadlock()
    };
    seen.explain(check())
}

#[test]
fn a_reader_writer_lock() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-rw"])?;
    let check = || {
        // glibc waits on several words of it.
        let rows = seen.rows_at("address", seen.outcome.number("size"))?;
        let first = seen.first()?;
        ensure!(rows.iter().any(|row| row.address == first.address), "it is not the first");
        let good =
            |row: &&Lock| row.kind == "rwlock" && row.contention && row.place.contains("TABLE");
        ensure!(rows.iter().all(good), "not a reader–writer lock");
        let sum = |pick: &dyn Fn(&Lock) -> u64| rows.iter().map(|row| pick(row)).sum::<u64>();
        TRUTH.check("time", sum(&|row| row.total_ns), seen.outcome.waits.blocked_ns)?;
        LOCKS.check("count", sum(&|row| row.count), seen.outcome.waits.switches)?;
        // Readers wait for the writer, and the writer for readers.
        let by_writer = sum(&|row| row.behind_ns(|behind| behind.comm == "writer"));
        LOCKS.check("behind the writer", by_writer, seen.outcome.number("reader_blocked_ns"))?;
        let by_readers = sum(&|row| row.behind_ns(|behind| behind.comm.starts_with("reader-")));
        LOCKS.check("behind readers", by_readers, seen.outcome.number("writer_blocked_ns"))?;
        seen.no_deadlock()
    };
    seen.explain(check())
}

#[test]
fn a_lock_over_a_socket() -> Result<()> {
    lock_over_socket("2")
}

/// Who waits is woken by one who has waited for the same lock himself.
#[test]
fn a_lock_over_a_socket_with_a_queue() -> Result<()> {
    lock_over_socket("4")
}

fn lock_over_socket(threads: &str) -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-over-socket", "--threads", threads])?;
    let check = || {
        let row = seen.first()?;
        ensure!(row.address.as_deref() == Some(seen.outcome.text("address")), "not first");
        ensure!(row.kind == "lock" && row.place.contains("CONNECTION"), "{}", row.place);
        same_waits(row, &seen.outcome)?;
        LOCKS.check(
            "hold",
            row.hold.context("no hold time")?.mean_ns,
            seen.outcome.number("hold_ns"),
        )?;
        let by_askers = row.behind_ns(|behind| behind.comm.starts_with("asker-"));
        mostly("behind each other", by_askers, row.total_ns)?;
        let backend = seen.outcome.number("backend_pid") as u32;
        at_least("the backend", row.explained_by(backend), row.total_ns, 0.9)?;
        // The chain ends there: it sleeps.
        let backend_sleeps = |leaf: &Leaf| {
            leaf.who.is_of(backend)
                && leaf.who.comm.starts_with("backend")
                && leaf.doing.state == "sleep"
        };
        at_least("it sleeps", row.leaves_ns(backend_sleeps), row.total_ns, 0.9)?;
        seen.no_deadlock()
    };
    seen.explain(check())
}

/// The same chain, as a tree and for Graphviz: across two processes to the one that sleeps.
#[test]
fn a_graph_of_a_running_program() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["--seconds", "6", "lock-over-socket"])?;
    workload.go()?;
    let pid = workload.pid().to_string();
    let tree = Dwell::text("graph", &["-p", &pid, "-d", "1500ms"])?;
    let (chains, ends) = tree.split_once("What it all comes down to").context("no ends")?;
    let place = |part: &str| chains.find(part).with_context(|| format!("no {part} in\n{tree}"));
    let (lock, asker) = (place("CONNECTION")?, place("behind asker-*")?);
    ensure!(lock < asker && asker < place("behind backend")?, "another order:\n{tree}");
    let first = ends.lines().find(|line| line.starts_with(" 1. ")).context("no first end")?;
    ensure!(first.starts_with(" 1. backend, pid") && first.contains("sleeping"), "{tree}");
    let dot = Dwell::text("graph", &["-p", &pid, "-d", "1500ms", "--format", "dot"])?;
    let edges = dot.lines().filter(|line| line.contains(" -> ")).count();
    ensure!(dot.starts_with("digraph dwell {") && dot.ends_with("}\n") && edges >= 5, "{dot}");
    workload.outcome()?;
    workload.end()
}

/// A row is named by the variable that is the lock, or by the function that takes it.
#[test]
fn locks_by_the_place_that_waits() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["--seconds", "6", "lock-queue"])?;
    workload.go()?;
    let pid = workload.pid().to_string();
    let rows = |by: &str| {
        let arguments = ["-p", &pid, "-d", "1500ms", "--by", by, "--top", "1"];
        Dwell::text("locks", &arguments)
    };
    let (by_lock, by_site) = (rows("lock")?, rows("site")?);
    let first = |text: &str| text.lines().find(|line| line.starts_with(" 1. ")).map(str::to_owned);
    let (lock, site) = (first(&by_lock).context("no row")?, first(&by_site).context("no row")?);
    ensure!(lock.contains("QUEUE"), "named by its variable: {by_lock}");
    ensure!(site.contains("taken in") && !site.contains("QUEUE"), "named by its place: {by_site}");
    ensure!(by_site.contains("woken by queue-*"), "behind whom: {by_site}");
    workload.outcome()?;
    workload.end()
}

#[test]
fn a_priority_inversion() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::with(WORKLOAD, Dwell::attach_to, "6", &["lock-priority"])?;
    let check = || {
        let row = seen.first()?;
        ensure!(row.address.as_deref() == Some(seen.outcome.text("address")), "not first");
        let low_waited_ns = seen.outcome.number("low_blocked_ns");
        TRUTH.check("time", row.total_ns, seen.outcome.waits.blocked_ns + low_waited_ns)?;
        let by_low = row.behind_ns(|behind| behind.comm == "low");
        mostly("behind the low one", by_low, row.total_ns)?;
        let of_low = |state: &'static str| {
            let is_it = |leaf: &Leaf| leaf.who.comm == "low" && leaf.doing.state == state;
            row.leaves_ns(is_it)
        };
        let (runnable, running) = (of_low("runnable"), of_low("running"));
        ensure!(running > 0 && runnable > 10 * running, "{runnable} ready, {running} running");
        at_least("it had no CPU", runnable, row.total_ns, 0.9)?;
        seen.no_deadlock()
    };
    seen.explain(check())
}

#[test]
fn an_idle_pool_is_no_contention() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-idle-pool"])?;
    let check = || {
        ensure!(seen.contended().is_empty(), "nobody is in anybody's way");
        // glibc waits on one of two words of it.
        let rows = seen.rows_at("address", seen.outcome.number("size"))?;
        ensure!(rows.iter().all(|row| row.kind == "condition"), "a condition variable");
        let total_ns = rows.iter().map(|row| row.total_ns).sum();
        TRUTH.check("time", total_ns, seen.outcome.waits.blocked_ns)?;
        let count = rows.iter().map(|row| row.count).sum();
        LOCKS.check("count", count, seen.outcome.waits.switches)?;
        let by_dispatcher: u64 =
            rows.iter().map(|row| row.behind_ns(|behind| behind.comm == "dispatcher")).sum();
        mostly("woken by the dispatcher", by_dispatcher, total_ns)?;
        seen.no_deadlock()
    };
    seen.explain(check())
}

#[test]
fn a_deadlock() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-deadlock"])?;
    let check = || {
        let deadlock = the_deadlock(&seen)?;
        ensure!(deadlock.proved, "each of these mutexes says who has it");
        for (index, thread) in deadlock.threads.iter().enumerate() {
            let next = &deadlock.threads[(index + 1) % deadlock.threads.len()];
            ensure!(thread.owner_tid == Some(next.tid), "not in the order of the ring");
        }
        Ok(())
    };
    seen.explain(check())
}

/// These mutexes do not say who has them: then nothing is proved, and no owner is named.
#[test]
fn a_deadlock_of_std_mutexes() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-deadlock", "--kind", "std"])?;
    let check = || {
        let deadlock = the_deadlock(&seen)?;
        ensure!(!deadlock.proved, "where is the proof?");
        ensure!(deadlock.threads.iter().all(|thread| thread.owner_tid.is_none()), "no owner");
        Ok(())
    };
    seen.explain(check())
}

/// One deadlock, of the threads that are in it, each of which waits where it does.
fn the_deadlock(seen: &Observed) -> Result<&Deadlock> {
    let found = &seen.document.body.deadlocks;
    let [deadlock] = &found[..] else { anyhow::bail!("one deadlock, not {found:?}") };
    let addresses = seen.outcome.object.get("addresses").and_then(|list| list.as_array());
    let addresses = addresses.into_iter().flatten().filter_map(|address| address.as_str());
    let mut expected: Vec<_> = seen.outcome.numbers("tids").into_iter().zip(addresses).collect();
    let threads = deadlock.threads.iter();
    let mut said: Vec<_> =
        threads.map(|thread| (u64::from(thread.tid), thread.address.as_str())).collect();
    expected.sort_unstable();
    said.sort_unstable();
    ensure!(said == expected && said.len() == 3, "it is {expected:?}, not {said:?}");
    let by_name = |name: &str| name.starts_with("philosopher-");
    let right = deadlock.threads.iter().all(|t| t.pid == seen.pid() && by_name(&t.comm));
    ensure!(right, "{:?}", deadlock.threads);
    Ok(deadlock)
}

#[test]
fn a_robust_mutex_of_two_processes() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-robust"])?;
    let check = || {
        let row = seen.first()?;
        let rival = seen.outcome.number("rival_pid") as u32;
        ensure!(row.kind == "lock" && row.shared, "a shared lock");
        let mut pids = row.pids.clone();
        pids.sort_unstable();
        let mut both = vec![seen.pid(), rival];
        both.sort_unstable();
        ensure!(pids == both, "of both processes: {pids:?}");
        // As the first of them sees it.
        let key = if row.pids[0] == rival { "rival_address" } else { "address" };
        ensure!(row.address.as_deref() == Some(seen.outcome.text(key)), "not at {key}");
        ensure!(row.place.contains("shared-mutex"), "its file: {}", row.place);
        same_waits(row, &seen.outcome)?;
        ensure!(seen.contended().len() == 1, "one lock, one row");
        // Each waits behind the other.
        let by_rival = row.behind_ns(|behind| behind.is_of(rival));
        LOCKS.check("behind the rival", by_rival, seen.outcome.number("own_blocked_ns"))?;
        let by_own = row.behind_ns(|behind| behind.is_of(seen.pid()));
        LOCKS.check("behind the first", by_own, seen.outcome.number("rival_blocked_ns"))?;
        seen.no_deadlock()
    };
    seen.explain(check())
}

#[test]
fn timeouts() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-timeouts"])?;
    let check = || {
        let row = seen.first()?;
        ensure!(row.address.as_deref() == Some(seen.outcome.text("address")), "not first");
        ensure!(row.kind == "lock" && row.place.contains("TAKEN"), "{}", row.place);
        same_waits(row, &seen.outcome)?;
        let timeouts = seen.outcome.number("timeouts");
        COUNT.check("timeouts", row.ended.timeout, timeouts)?;
        ensure!(row.ended.woken == 0 && row.ended.signal == 0, "{:?}", row.ended);
        // Who holds it has woken nobody.
        let by_somebody = row.behind_ns(|behind| behind.comm == "impatient");
        ensure!(by_somebody == 0, "nobody waits behind himself");
        // A holder that sleeps is no deadlock.
        seen.no_deadlock()
    };
    seen.explain(check())
}

#[test]
fn a_hundred_thousand_futexes() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut peak = None;
    let attach = |pids: &[u32]| {
        let dwell = Dwell::attach_to(pids)?;
        peak = Some(Peak::of(dwell.pid()));
        Ok(dwell)
    };
    let seen = Observed::with(WORKLOAD, attach, "3", &["lock-many"])?;
    let peak = peak.context("it was not attached")?.bytes()?;
    ensure!(peak <= MOST_MEMORY, "dwell took {} MiB", peak >> 20);
    let check = || {
        let measured = &seen.outcome.waits;
        ensure!(measured.count > 90_000, "too few waits to fill a table: {}", measured.count);
        // The only other futexes are those in which the workload waits for its threads to end. Those
        // waits may have found no place either, but only its first thread has them.
        let locks = &seen.document.body.locks;
        let rows = || locks.iter().filter(|lock| lock.kind != "kernel_lock");
        let first = seen.document.threads_of(seen.pid()).find(|thread| thread.tid == seen.pid());
        let joins_ns = first.context("its first thread")?.blocked_ns["futex"];
        let time_ns: u64 = rows().map(|row| row.total_ns).sum();
        LOCKS.check("time", time_ns.saturating_sub(joins_ns), measured.blocked_ns)?;
        LOCKS.check("count", rows().map(|row| row.count).sum(), measured.switches)?;
        let all_have_a_row = rows().count() as u64 >= seen.outcome.number("futexes");
        let others: Vec<_> = locks.iter().filter(|lock| lock.kind == "other").collect();
        ensure!(all_have_a_row || others.len() == 1, "what found no place: {others:?}");
        Ok(())
    };
    seen.explain(check())
}

/// No time is told twice, and none is left out.
#[test]
fn every_futex_wait_is_in_the_list() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(WORKLOAD, &["lock-hot-cold"])?;
    let check = || {
        let waits: Waits = seen.document.waits(seen.pid(), "futex", |_| true);
        let rows = seen.document.body.locks.iter().filter(|lock| lock.kind != "kernel_lock");
        TRUTH.check("time", rows.clone().map(|row| row.total_ns).sum(), waits.total_ns())?;
        COUNT.check("count", rows.map(|row| row.count).sum(), waits.count())
    };
    seen.explain(check())
}
