//! Point 5: what had to be refused is counted, and the books balance all the same.

use std::time::Duration;

use anyhow::{Result, ensure};
use dwell_tests::document::Document;
use dwell_tests::dwell::observe;
use dwell_tests::machine::Machine;
use dwell_tests::servers::sysbench;
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_program, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Watches a workload with one of dwell's tables made small.
fn watch(workload: &[&str], limit: [&str; 2]) -> Result<(u32, Document)> {
    let mut workload = Workload::start(WORKLOAD, &[&["--seconds", "10"], workload].concat())?;
    workload.go()?;
    std::thread::sleep(Duration::from_millis(100));
    let pid = workload.pid();
    let document = observe(&["-p", &pid.to_string(), "-d", "2s", limit[0], limit[1]])?;
    Ok((pid, document))
}

#[test]
fn too_many_threads() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    // Four lockers and the main thread.
    let (pid, document) = watch(&["mutex"], ["--max-threads", "2"])?;
    books::check_balance(&document)?;
    let trust = &document.body.trust;
    ensure!(trust.lost_keys > 0, "threads were refused, and {trust:?}");
    ensure!(trust.unattributed_ns > 0, "their time is unattributed, and {trust:?}");
    ensure!(document.threads_of(pid).count() >= 5, "each has its row");
    Ok(())
}

#[test]
fn too_many_waits() -> Result<()> {
    need_root!();
    need_program!("sysbench");
    let _machine = Machine::take()?;
    // Each thread waits in its own rows, so eight threads have no place in four.
    let load = sysbench("threads", 8, 30)?;
    let pid = load.pid().to_string();
    let document = observe(&["-p", &pid, "-d", "2s", "--max-waits", "4"])?;
    books::check_balance(&document)?;
    let trust = &document.body.trust;
    ensure!(trust.lost_keys > 0, "waits were refused, and {trust:?}");
    // What they waited for has no row, but their kind and time are known.
    ensure!(trust.unattributed_ns == 0, "all time is attributed, and {trust:?}");
    let others = document.body.waits.iter().filter(|wait| wait.text("type") == "others");
    let time: u64 = others.map(|wait| wait.total_ns).sum();
    ensure!(time > 0, "the rest of the futex waits is a row: {}", document.describe(load.pid()));
    books::report(books::unexplained(&document))
}

#[test]
fn too_many_stacks() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    // The four lockers wait in more than one place, and the main thread in another.
    let (_, document) = watch(&["mutex"], ["--max-stacks", "1"])?;
    books::check(&document)?;
    books::report(books::unexplained(&document))?;
    let trust = &document.body.trust;
    ensure!(trust.lost_stacks > 0, "stacks were refused, and {trust:?}");
    Ok(())
}

#[test]
fn too_small_a_ring() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    // Births and deaths by the thousand, through the smallest ring there is: one page.
    let (_, document) = watch(&["threads", "--rate", "8000"], ["--ring-bytes", "4096"])?;
    books::check_balance(&document)?;
    let trust = &document.body.trust;
    ensure!(trust.lost_events > 0, "events were refused, and {trust:?}");
    Ok(())
}

#[test]
fn nothing_is_lost_where_there_is_room() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let (_, document) = watch(&["mutex"], ["--max-threads", "1024"])?;
    books::check(&document)?;
    let trust = &document.body.trust;
    ensure!(trust.lost_keys + trust.lost_stacks + trust.lost_events == 0, "{trust:?}");
    Ok(())
}
