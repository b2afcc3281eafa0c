//! Point 1: the books of every thread balance.

use std::time::Duration;

use anyhow::{Result, ensure};
use dwell_tests::document::Document;
use dwell_tests::dwell::observe;
use dwell_tests::machine::Machine;
use dwell_tests::servers::{Door, Postgres, Redis, sysbench};
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_program, need_root};

const WINDOW: &str = "3s";

/// Attaches to a process and its descendants, and checks all that has to balance.
fn check(pid: u32) -> Result<Document> {
    let document = observe(&["-p", &pid.to_string(), "-d", WINDOW])?;
    ensure!(document.pids().contains(&pid), "process {pid} has no thread in the document");
    books::check(&document)?;
    books::report(books::unexplained(&document))?;
    Ok(document)
}

#[test]
fn sysbench_cpu() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    let load = sysbench("cpu", 4, 30)?;
    let document = check(load.pid())?;
    ensure!(document.threads_of(load.pid()).count() >= 5);
    Ok(())
}

#[test]
fn sysbench_threads() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    let load = sysbench("threads", 8, 30)?;
    let document = check(load.pid())?;
    ensure!(document.blocked_ns(load.pid(), "futex") > 0, "eight threads, and none ever waited");
    Ok(())
}

#[test]
fn pgbench_over_tcp() -> Result<()> {
    pgbench(Door::Tcp)
}

#[test]
fn pgbench_over_a_unix_socket() -> Result<()> {
    pgbench(Door::Unix)
}

fn pgbench(door: Door) -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "pg_isready");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let _load = server.pgbench(door, 8, 30)?;
    let document = check(server.pid())?;
    ensure!(document.pids().len() >= 9, "postmaster and backends: {:?}", document.pids());
    Ok(())
}

#[test]
fn redis_benchmark() -> Result<()> {
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let server = Redis::start()?;
    let load = server.benchmark(50)?;
    let pids = [server.pid().to_string(), load.pid().to_string()];
    let document = observe(&["-p", &pids[0], "-p", &pids[1], "-d", WINDOW])?;
    books::check(&document)?;
    books::report(books::unexplained(&document))?;
    ensure!(document.pids().contains(&server.pid()) && document.pids().contains(&load.pid()));
    Ok(())
}

#[test]
fn two_thousand_threads_a_second() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let arguments = ["threads", "--rate", "2000", "--seconds", "8"];
    let mut workload = Workload::start(env!("CARGO_BIN_EXE_workload"), &arguments)?;
    workload.go()?;
    std::thread::sleep(Duration::from_millis(200));
    let document = check(workload.pid())?;
    let threads = document.threads_of(workload.pid()).count();
    ensure!(threads > 3000, "only {threads} threads in three seconds of two thousand each");
    Ok(())
}
