//! More threads than CPUs.

use std::thread;

use anyhow::{Context, Result, anyhow};
use dwell_tests::clock::{monotonic_ns, thread_cpu_ns};
use dwell_tests::outcome::Measured;
use dwell_tests::schedstat::OwnSchedstat;
use serde_json::json;

use super::Stage;
use super::system::cpus;

pub fn run(stage: Stage) -> Result<()> {
    let threads = 2 * cpus()? + 1;
    let running = stage.begin()?;
    let deadline_ns = running.deadline_ns();
    let (mut running_ns, mut runnable_ns) = (0, 0);
    thread::scope(|scope| {
        let spinners = (0..threads).map(|number| {
            let name = format!("spinner-{number}");
            thread::Builder::new().name(name).spawn_scoped(scope, move || spin(deadline_ns))
        });
        let spinners: Vec<_> = spinners.collect::<std::io::Result<_>>()?;
        for spinner in spinners {
            let (ran, waited) =
                spinner.join().map_err(|_| anyhow!("panicked"))?.context("a spinner failed")?;
            running_ns += ran;
            runnable_ns += waited;
        }
        anyhow::Ok(())
    })?;
    let object =
        json!({ "threads": threads, "running_ns": running_ns, "runnable_ns": runnable_ns });
    running.end("spin", Measured::default(), object)
}

/// Time on a CPU, and time in run queues, of the calling thread from its birth.
fn spin(deadline_ns: u64) -> std::io::Result<(u64, u64)> {
    let schedstat = OwnSchedstat::open()?;
    while monotonic_ns() < deadline_ns {
        std::hint::spin_loop();
    }
    Ok((thread_cpu_ns(), schedstat.runnable_ns()))
}
