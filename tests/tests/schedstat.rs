//! Point 2: dwell agrees with the kernel's own accounting.

use anyhow::{Context, Result};
use dwell_tests::document::Document;
use dwell_tests::dwell::Dwell;
use dwell_tests::machine::Machine;
use dwell_tests::schedstat::{Books, Sampler, Samples};
use dwell_tests::servers::{Door, Postgres, Redis, sysbench};
use dwell_tests::tolerance::SCHEDSTAT;
use dwell_tests::{need_program, need_root};

/// Attaches to processes while their schedstat is sampled, and compares the two.
fn agrees(pids: &[u32]) -> Result<()> {
    // Sampled from before the window to after it, so that both its edges lie between samples.
    let sampler = Sampler::start(pids);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut arguments = vec!["-d".to_owned(), "4s".to_owned()];
    arguments.extend(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    let finished = Dwell::attach(&arguments)?.finish(std::time::Duration::from_secs(60))?;
    let samples = sampler.stop()?;
    let document = finished.document()?;
    for pid in pids {
        all_agree(&document, &samples, &[*pid]).with_context(|| format!("process {pid}"))?;
    }
    // What was stolen is there once.
    all_agree(&document, &samples, pids).context("all processes")
}

/// Whether these processes, taken together, have the times that the kernel has for them.
fn all_agree(document: &Document, samples: &Samples, pids: &[u32]) -> Result<()> {
    let window = document.body.window;
    let (mut running_ns, mut runnable_ns) = (0, 0);
    let mut books = Books::default();
    for &pid in pids {
        let own = samples.between(pid, window.start_monotonic_ns, window.end_monotonic_ns)?;
        books.running_ns += own.running_ns;
        books.runnable_ns += own.runnable_ns;
        running_ns += document.sum(pid, |thread| thread.running_ns);
        runnable_ns += document.sum(pid, |thread| thread.runnable_ns);
    }
    SCHEDSTAT.check_running(running_ns, books.running_ns, samples.stolen_ns)?;
    SCHEDSTAT.check("runnable", runnable_ns, books.runnable_ns)
}

#[test]
fn sysbench_cpu() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    let load = sysbench("cpu", 4, 30)?;
    agrees(&[load.pid()])
}

#[test]
fn sysbench_threads() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    let load = sysbench("threads", 8, 30)?;
    agrees(&[load.pid()])
}

#[test]
fn pgbench() -> Result<()> {
    need_root!();
    need_program!("initdb", "postgres", "pgbench", "pg_isready");
    let _machine = Machine::take()?;
    let server = Postgres::start()?;
    let _load = server.pgbench(Door::Tcp, 8, 30)?;
    // Only processes that live through the window: a worker of autovacuum may come and go.
    let mut pids = server.backends();
    pids.push(server.pid());
    agrees(&pids)
}

#[test]
fn redis_benchmark() -> Result<()> {
    need_root!();
    need_program!("redis-server", "redis-benchmark");
    let _machine = Machine::take()?;
    let server = Redis::start()?;
    let load = server.benchmark(50)?;
    agrees(&[server.pid(), load.pid()])
}
