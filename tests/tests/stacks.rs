//! Stacks of programs without frame pointers, against gdb's backtraces of the same blocked threads.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use dwell_tests::document::Document;
use dwell_tests::dwell::observe;
use dwell_tests::gdb::backtraces;
use dwell_tests::machine::Machine;
use dwell_tests::process::Bounded;
use dwell_tests::servers::{Door, Nginx, Postgres, Redis};
use dwell_tests::{need_program, need_root};

/// Share of wait time whose stack reaches the function in which the thread began.
const WHOLE: f64 = 0.95;
/// Share of the wait time looked at again whose stack was wrong.
const WRONG: f64 = 0.001;

fn attach(pids: &[u32], window: &str) -> Result<Document> {
    let mut arguments = vec!["-d".to_owned(), window.to_owned()];
    arguments.extend(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    observe(&arguments)
}

fn stacks_are_whole(document: &Document) -> Result<()> {
    let trust = &document.body.trust;
    let all = trust.stacks_complete_ns + trust.stacks_truncated_ns + trust.stacks_missing_ns;
    ensure!(all > 0, "nothing was waited for");
    let whole = trust.stacks_complete_ns as f64 / all as f64;
    ensure!(whole >= WHOLE, "only {whole:.4} of wait time has a whole stack: {trust:?}");
    Ok(())
}

fn known_stacks_are_right(document: &Document) -> Result<()> {
    let trust = &document.body.trust;
    ensure!(trust.rechecks > 0, "no known stack was looked at again: {trust:?}");
    let wrong = trust.recheck_wrong_ns as f64 / trust.recheck_ns.max(1) as f64;
    ensure!(wrong <= WRONG, "{wrong:.5} of the time looked at again had a wrong stack: {trust:?}");
    Ok(())
}

/// Every thread of the processes stands where one of dwell's stacks of it says.
fn gdb_agrees(document: &Document, pids: &[u32]) -> Result<()> {
    stacks_are_whole(document)?;
    for pid in pids {
        for trace in backtraces(*pid)? {
            ensure!(trace.0.len() >= 3, "gdb sees too little to judge by: {trace:?}");
            ensure!(
                trace.find(*pid, document).is_some(),
                "gdb sees {trace:?}\nbut dwell {}",
                document.describe(*pid)
            );
        }
    }
    Ok(())
}

#[test]
fn a_backend_of_postgresql_that_waits_for_a_row_shows_why() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "psql", "gdb");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let (_clients, waiter) = server.row_lock(20)?;
    let document = attach(&server.processes(), "1s")?;
    gdb_agrees(&document, &[waiter])?;
    let shows = |name: &str| {
        let mut waits = document.body.waits.iter().filter(|wait| wait.pid == waiter);
        waits.any(|wait| wait.stack.iter().any(|frame| frame == name))
    };
    ensure!(shows("ProcSleep") && shows("heap_update"), "{}", document.describe(waiter));
    Ok(())
}

#[test]
fn idle_processes_of_postgresql_stand_where_gdb_sees_them() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "gdb");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let document = attach(&[server.pid()], "2s")?;
    gdb_agrees(&document, &server.processes())
}

#[test]
fn threads_of_redis_stand_where_gdb_sees_them() -> Result<()> {
    need_root!();
    need_program!("redis-server", "gdb");
    let _machine = Machine::take()?;
    let server = Redis::start()?;
    let document = attach(&[server.pid()], "2s")?;
    gdb_agrees(&document, &[server.pid()])
}

#[test]
fn nginx_stands_where_gdb_sees_it() -> Result<()> {
    need_root!();
    need_program!("nginx", "gdb");
    let _machine = Machine::take()?;
    let server = Nginx::start()?;
    let document = attach(&server.processes(), "1s")?;
    gdb_agrees(&document, &server.processes())
}

#[test]
fn threads_of_python_stand_where_gdb_sees_them() -> Result<()> {
    need_root!();
    need_program!("/usr/bin/python3", "gdb");
    let _machine = Machine::take()?;
    let program = "
import threading, time
lock = threading.Lock()
lock.acquire()
def inner(n):
    return inner(n - 1) if n else lock.acquire(timeout=30)
threads = [threading.Thread(target=inner, args=(n,), daemon=True) for n in range(3)]
for thread in threads: thread.start()
time.sleep(30)
";
    let mut command = Command::new("/usr/bin/python3");
    let python = Bounded::spawn(command.args(["-c", program]).stdin(Stdio::null()))?;
    dwell_tests::proc::wait_until("Python waits", std::time::Duration::from_secs(10), || {
        dwell_tests::proc::threads_of(python.pid()).len() == 4
    })?;
    let document = attach(&[python.pid()], "1s")?;
    gdb_agrees(&document, &[python.pid()])
}

/// Two threads on a lock that a third holds, three functions deep.
const RUST: &str = r#"
use std::{sync::Mutex, thread, time::Duration};
static LOCK: Mutex<u64> = Mutex::new(0);
#[inline(never)]
fn outer(n: u64) -> u64 { middle(n + 1).wrapping_mul(3) }
#[inline(never)]
fn middle(n: u64) -> u64 { inner(n + 1).wrapping_add(5) }
#[inline(never)]
fn inner(n: u64) -> u64 { *LOCK.lock().unwrap() + n }
fn main() {
    let _held = LOCK.lock().unwrap();
    for n in 0..2 { thread::spawn(move || std::hint::black_box(outer(n))); }
    thread::sleep(Duration::from_secs(30));
}
"#;

fn compile(folder: &Path) -> Result<std::path::PathBuf> {
    let (source, program) = (folder.join("lock.rs"), folder.join("lock"));
    std::fs::write(&source, RUST)?;
    let mut rustc = Command::new("rustc");
    rustc.args(["-O", "-Cforce-frame-pointers=no", "--edition", "2024", "-o"]);
    let status = rustc.arg(&program).arg(&source).status().context("cannot run rustc")?;
    ensure!(status.success(), "rustc failed");
    Ok(program)
}

#[test]
fn threads_of_a_rust_program_without_frame_pointers_stand_where_gdb_sees_them() -> Result<()> {
    need_root!();
    need_program!("rustc", "gdb");
    let _machine = Machine::take()?;
    let folder = tempfile::tempdir()?;
    let program = Bounded::spawn(&mut Command::new(compile(folder.path())?))?;
    dwell_tests::proc::wait_until("both wait", std::time::Duration::from_secs(10), || {
        dwell_tests::proc::threads_of(program.pid()).len() == 3
    })?;
    let document = attach(&[program.pid()], "1s")?;
    gdb_agrees(&document, &[program.pid()])?;
    let waits = document.waits(program.pid(), "futex", |wait| {
        let mut names = wait.stack.iter().map(|name| name.rsplit("::").next().unwrap_or(name));
        ["inner", "middle", "outer"].into_iter().all(|name| names.any(|frame| frame == name))
    });
    ensure!(waits.count() == 2, "{}", document.describe(program.pid()));
    Ok(())
}

#[test]
fn stacks_of_a_busy_postgresql_are_whole_and_right() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let _load = server.pgbench(Door::Unix, 8, 30)?;
    let document = attach(&[server.pid()], "5s")?;
    stacks_are_whole(&document)?;
    known_stacks_are_right(&document)
}

#[test]
fn stacks_of_a_busy_redis_are_whole_and_right() -> Result<()> {
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let server = Redis::start()?;
    let _load = server.benchmark(20)?;
    let document = attach(&[server.pid()], "3s")?;
    stacks_are_whole(&document)?;
    known_stacks_are_right(&document)
}
