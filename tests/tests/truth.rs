//! Point 3: planned waits are reported under the right kind and object, with their time.
//!
//! Each workload begins after dwell has attached and ends before the window does, so what it
//! measured and what dwell saw are the same waits.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use dwell_tests::document::{Document, Wait, Waits};
use dwell_tests::dwell::Dwell;
use dwell_tests::machine::Machine;
use dwell_tests::outcome::Outcome;
use dwell_tests::proc::stolen_ns;
use dwell_tests::tolerance::{BOOKS, COUNT, TRUTH, Tolerance};
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// What dwell saw of a workload, and what the workload measured.
struct Observed {
    document: Document,
    outcome: Outcome,
}

impl Observed {
    /// Runs a workload for some seconds inside a window.
    fn of(arguments: &[&str]) -> Result<Self> {
        let mut workload = Workload::start(WORKLOAD, &[&["--seconds", "3"], arguments].concat())?;
        let dwell = Dwell::attach_to(&[workload.pid()])?;
        workload.go()?;
        let outcome = workload.outcome()?;
        let document = dwell.interrupt()?.document()?;
        workload.end()?;
        books::check(&document)?;
        books::report(books::unexplained(&document))?;
        Ok(Self { document, outcome })
    }

    /// The workload's own waits of one kind.
    fn waits(&self, kind: &str, wanted: impl Fn(&Wait) -> bool) -> Waits<'_> {
        self.document.waits(self.outcome.pid, kind, wanted)
    }

    /// Fails unless these are the waits that the workload measured.
    fn check(&self, waits: &Waits) -> Result<()> {
        let measured = &self.outcome.waits;
        ensure!(measured.count > 0, "the workload did not wait");
        let all = || format!("dwell saw:\n{}", self.document.describe(self.outcome.pid));
        TRUTH.check("time", waits.total_ns(), measured.blocked_ns).with_context(all)?;
        COUNT.check("count", waits.count(), measured.switches).with_context(all)?;
        ensure!(waits.clipped() == 0, "all waits lie within the window, yet some are clipped");
        Ok(())
    }

    /// A predicate for waits for the file that the workload names.
    fn is_its_file(&self) -> impl Fn(&Wait) -> bool {
        let (inode, path) = (self.outcome.number("inode"), self.outcome.text("path").to_owned());
        move |wait| {
            let shown = wait.text("path");
            wait.number("inode") == Some(inode) && (shown.is_empty() || shown == path)
        }
    }
}

#[test]
fn mutex() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["mutex"])?;
    let address = seen.outcome.text("address");
    let waits = seen.waits("futex", |wait| wait.text("address") == address);
    seen.check(&waits)?;
    let is_private = |wait: &&Wait| {
        wait.object.get("private").is_some_and(|private| private == true)
            && wait.text("op").starts_with("wait")
            && wait.syscall.as_deref() == Some("futex")
    };
    ensure!(waits.0.iter().all(is_private), "FUTEX_WAIT_PRIVATE is what it waits in: {waits:?}");
    lockers_wake_each_other(&seen.outcome, &waits)
}

/// The waker of each wait for the mutex is the thread that gave it back.
fn lockers_wake_each_other(outcome: &Outcome, waits: &Waits) -> Result<()> {
    let tids = outcome.numbers("tids");
    let by_lockers = waits.wakers().filter(|waker| {
        let named = waker.comm.starts_with("locker-") && tids.contains(&u64::from(waker.tid));
        named && waker.cause == "thread"
    });
    let by_lockers: u64 = by_lockers.map(|waker| waker.count).sum();
    COUNT.check("waits ended by a locker", by_lockers, waits.count())
}

#[test]
fn sleep() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["sleep"])?;
    let waits = seen.waits("sleep", |wait| wait.syscall.as_deref() == Some("clock_nanosleep"));
    seen.check(&waits)?;
    let measured = &seen.outcome.waits;
    TRUTH.check("longest", waits.max_ns(), measured.longest_ns)?;
    // Quantiles come from a histogram with 6.25 % of error.
    let [wait] = waits.0.as_slice() else { anyhow::bail!("one row, not {waits:?}") };
    let mean_ns = measured.blocked_ns / measured.count;
    Tolerance::share(0.0825).check("median", wait.p50_ns, mean_ns)?;
    // Whoever is named as the waker is the timer, although its interrupts hit running threads. A
    // wakeup can be out of sight of tracing (on a kernel that hides some processes, when the
    // interrupt hits one of them): then nobody is named.
    let by = |cause: &str| -> u64 {
        waits.wakers().filter(|waker| waker.cause == cause).map(|waker| waker.count).sum()
    };
    COUNT.check("ended by a timer or unseen", by("timer") + by("unknown"), waits.count())?;
    anyhow::ensure!(by("timer") * 10 >= waits.count() * 9, "most are seen: {}", by("timer"));
    Ok(())
}

#[test]
fn socket() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["socket"])?;
    let port = format!("127.0.0.1:{}", seen.outcome.number("server_port"));
    let receives =
        |wait: &Wait| wait.text("direction") == "receive" && wait.text("family") == "inet";
    let as_client = |wait: &Wait| {
        receives(wait)
            && wait.text("role") == "client"
            && wait.text("protocol") == "tcp"
            && wait.text("peer") == port
    };
    seen.check(&seen.waits("socket", as_client))?;
    // The server waits, too: for the question, which comes as soon as it has answered.
    let server = seen.outcome.number("server_pid") as u32;
    let as_server =
        |wait: &Wait| receives(wait) && wait.text("role") == "server" && wait.text("local") == port;
    let questions = seen.document.waits(server, "socket", as_server);
    ensure!(questions.count() > 0, "the server: {}", seen.document.describe(server));
    Ok(())
}

#[test]
fn unix_socket() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["unix-socket"])?;
    // Long paths are cut.
    let path = seen.outcome.text("path");
    let is_it = |name: &str| !name.is_empty() && path.starts_with(name);
    let wanted = |wait: &Wait| {
        wait.text("family") == "unix" && (is_it(wait.text("peer")) || is_it(wait.text("local")))
    };
    seen.check(&seen.waits("socket", wanted))
}

#[test]
fn pipe() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["pipe"])?;
    let inode = seen.outcome.number("inode");
    let waits = seen.waits("pipe", |wait| wait.number("inode") == Some(inode));
    seen.check(&waits)?;
    let by_writer = waits.wakers().filter(|waker| waker.comm == "slow-writer");
    let by_writer: u64 = by_writer.map(|waker| waker.count).sum();
    COUNT.check("waits ended by the writer", by_writer, waits.count())
}

#[test]
fn fsync() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["fsync"])?;
    seen.check(&seen.waits("disk", seen.is_its_file()))
}

#[test]
fn waitpid() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["waitpid"])?;
    let any_child = |wait: &Wait| wait.object.get("pid").and_then(|pid| pid.as_i64()) == Some(-1);
    seen.check(&seen.waits("child", any_child))
}

#[test]
fn flock() -> Result<()> {
    file_lock(&["flock"])
}

#[test]
fn fcntl_lock() -> Result<()> {
    file_lock(&["flock", "--fcntl"])
}

fn file_lock(arguments: &[&str]) -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(arguments)?;
    seen.check(&seen.waits("file_lock", seen.is_its_file()))?;
    let rival = seen.outcome.number("rival_pid") as u32;
    let waits = seen.document.waits(rival, "file_lock", seen.is_its_file());
    TRUTH.check("the rival's time", waits.total_ns(), seen.outcome.number("rival_blocked_ns"))
}

#[test]
fn spin() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let stolen_before_ns = stolen_ns();
    let seen = Observed::of(&["spin"])?;
    let stolen_ns = stolen_ns() - stolen_before_ns;
    let (document, outcome) = (&seen.document, &seen.outcome);
    let spinner = |pick: fn(&dwell_tests::document::Thread) -> u64| {
        let threads = document.threads_of(outcome.pid);
        threads.filter(|thread| thread.comm.starts_with("spinner-")).map(pick).sum()
    };
    let running_ns = spinner(|thread| thread.running_ns);
    TRUTH.check_running(running_ns, outcome.number("running_ns"), stolen_ns)?;
    TRUTH.check("runnable", spinner(|thread| thread.runnable_ns), outcome.number("runnable_ns"))
}

#[test]
fn page_fault() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["page-fault"])?;
    let waits = seen.waits("page_fault", seen.is_its_file());
    seen.check(&waits)?;
    ensure!(waits.0.iter().all(|wait| wait.syscall.is_none()), "not in a system call: {waits:?}");
    Ok(())
}

#[test]
fn stopped() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["stopped"])?;
    let child = seen.outcome.number("child_pid") as u32;
    let stopped_ns = seen.document.blocked_ns(child, "stopped");
    TRUTH.check("stopped", stopped_ns, seen.outcome.waits.blocked_ns)?;
    let waits = seen.document.waits(child, "stopped", |_| true);
    TRUTH.check("stopped, in waits", waits.total_ns(), seen.outcome.waits.blocked_ns)
}

#[test]
fn waits_cut_by_the_edges_of_the_window() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["long-wait"])?;
    let (outcome, window) = (&seen.outcome, seen.document.body.window);
    let cut = |name: &str, truth_ns: u64| {
        let inode = Some(outcome.number(&format!("{name}_inode")));
        let waits = seen.waits("pipe", |wait| wait.number("inode") == inode);
        ensure!(waits.clipped() == 1 && waits.count() == 1, "{name}: {waits:?}");
        BOOKS.check(name, waits.total_ns(), truth_ns)
    };
    cut("forever", window.duration_ns)?;
    cut("early", outcome.number("early_end_ns") - window.start_monotonic_ns)?;
    cut("late", window.end_monotonic_ns - outcome.number("late_start_ns"))?;
    ensure!(seen.document.body.trust.clipped_waits >= 3, "the trust line knows of them");
    Ok(())
}

#[test]
fn short_threads() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["threads", "--rate", "2000"])?;
    let threads = seen.document.threads_of(seen.outcome.pid);
    let short = threads.filter(|thread| thread.comm.starts_with("short-")).collect::<Vec<_>>();
    // A thread that has not yet taken its name has its creator's.
    let created = seen.outcome.number("created");
    ensure!(
        seen.document.threads_of(seen.outcome.pid).count() as u64 > created,
        "some are missing"
    );
    Tolerance::share(0.001).check("threads by name", short.len() as u64, created)?;
    let slept = short.iter().filter(|thread| thread.blocked("sleep") > 0).count() as u64;
    Tolerance::share(0.001).check("threads that slept", slept, created)
}

#[test]
fn exec_by_a_thread_that_is_not_the_leader() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["exec"])?;
    // The sleeper is the thread that called exec, under the leader's id from then on.
    let by_leader_id = |wait: &Wait| wait.syscall.as_deref() == Some("clock_nanosleep");
    seen.check(&seen.waits("sleep", by_leader_id))?;
    let mut rows = seen.document.threads_of(seen.outcome.pid);
    ensure!(rows.any(|thread| thread.tid == seen.outcome.pid && thread.blocked("sleep") > 0));
    Ok(())
}

#[test]
fn children_and_grandchildren_are_followed() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let seen = Observed::of(&["fork-tree"])?;
    let (document, outcome) = (&seen.document, &seen.outcome);
    let offspring = document.pids().into_iter().filter(|&pid| pid != outcome.pid);
    let (mut processes, mut slept_ns) = (0, 0);
    for pid in offspring {
        processes += 1;
        slept_ns += document.blocked_ns(pid, "sleep");
    }
    ensure!(processes == outcome.number("processes"), "{processes} processes: {outcome:?}");
    TRUTH.check("sleep", slept_ns, outcome.waits.blocked_ns)
}

/// Sends to itself and receives that, over the loopback, until it is told not to.
fn chatter(goes_on: &AtomicBool) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    let mut buffer = [0; 32];
    while goes_on.load(Ordering::Relaxed) {
        here.write_all(&buffer)?;
        there.read_exact(&mut buffer)?;
    }
    Ok(())
}

/// The interrupt of a disk hits whoever runs: mostly somebody who sends, and delivers what he sends himself.
#[test]
fn a_page_does_not_come_from_who_sends_meanwhile() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let goes_on = AtomicBool::new(true);
    let (seen, chats) = thread::scope(|scope| {
        let chats: Vec<_> = (0..2)
            .map(|_| {
                let chat = thread::Builder::new().name("chatter".to_owned());
                chat.spawn_scoped(scope, || chatter(&goes_on))
            })
            .collect();
        let seen = Observed::of(&["page-fault"]);
        goes_on.store(false, Ordering::Relaxed);
        (
            seen,
            chats
                .into_iter()
                .map(|chat| chat?.join().map_err(|_| anyhow!("panicked"))?)
                .collect::<Result<Vec<()>>>(),
        )
    });
    chats?;
    let waits = seen?
        .waits("page_fault", |_| true)
        .0
        .iter()
        .map(|wait| (*wait).clone())
        .collect::<Vec<_>>();
    let ended: u64 = waits.iter().map(|wait| wait.count).sum();
    ensure!(ended >= 100, "only {ended} page faults");
    let wakers = waits.iter().flat_map(|wait| &wait.wakers);
    let by_chatter: u64 =
        wakers.filter(|waker| waker.comm == "chatter").map(|waker| waker.count).sum();
    ensure!(
        by_chatter == 0,
        "{by_chatter} of {ended} are said to be ended by who has nothing to do with them"
    );
    Ok(())
}
