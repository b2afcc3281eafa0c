//! Workloads that know their locks, as dwell sees them: [`Observed`].

use anyhow::{Context, Result, ensure};

use crate::document::Document;
use crate::document::locks::Lock;
use crate::dwell::Dwell;
use crate::outcome::Outcome;
use crate::tolerance::{LOCKS, TRUTH};
use crate::workload::Workload;
use crate::{books, locks};

/// What dwell saw of a workload, and what the workload measured.
pub struct Observed {
    /// What dwell saw.
    pub document: Document,
    /// What the workload measured.
    pub outcome: Outcome,
}

impl Observed {
    /// Runs a workload for three seconds inside a window. `workload` is its program,
    /// `env!("CARGO_BIN_EXE_workload")`.
    pub fn of(workload: &str, arguments: &[&str]) -> Result<Self> {
        Self::with(workload, Dwell::attach_to, "3", arguments)
    }

    /// The same with another command, or for another time.
    pub fn with(
        workload: &str,
        attach: impl FnOnce(&[u32]) -> Result<Dwell>,
        seconds: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let arguments = [&["--seconds", seconds], arguments].concat();
        let mut workload = Workload::start(workload, &arguments)?;
        let dwell = attach(&[workload.pid()])?;
        workload.go()?;
        let outcome = workload.outcome()?;
        let document = dwell.interrupt()?.document()?;
        workload.end()?;
        let seen = Self { document, outcome };
        seen.explain(books::check(&seen.document).and_then(|()| locks::check(&seen.document)))?;
        Ok(seen)
    }

    /// Adds what dwell saw to a failure.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        let all = || format!("dwell saw:\n{}", self.document.describe_locks());
        result.with_context(all)
    }

    /// The workload.
    pub fn pid(&self) -> u32 {
        self.outcome.pid
    }

    /// The row that costs most.
    pub fn first(&self) -> Result<&Lock> {
        let first = self.document.body.locks.first().context("no lock at all")?;
        ensure!(first.contention, "the first row is no contention");
        Ok(first)
    }

    /// The one row at an address that the workload tells.
    pub fn row_at(&self, key: &str) -> Result<&Lock> {
        let rows = self.rows_at(key, 1)?;
        let [row] = rows[..] else { anyhow::bail!("{} rows at {key}", rows.len()) };
        Ok(row)
    }

    /// The rows at an address that the workload tells, and in so many bytes from there on.
    pub fn rows_at(&self, key: &str, size: u64) -> Result<Vec<&Lock>> {
        let address = number(self.outcome.text(key))?;
        let rows = self.document.locks_at(self.pid(), address..address + size);
        ensure!(!rows.is_empty(), "no row at {key}");
        Ok(rows)
    }

    /// What threads are in each other's way for. The kernel's own locks are not the workload's.
    pub fn contended(&self) -> Vec<&Lock> {
        // As the report for people does: threads that all begin at once meet for some microseconds.
        let least_ns = self.document.body.window.duration_ns / 1000;
        let locks = self.document.body.locks.iter();
        let contended = |lock: &&Lock| lock.contention && lock.kind != "kernel_lock";
        locks.filter(contended).filter(|lock| lock.total_ns >= least_ns).collect()
    }

    /// Fails where dwell saw a deadlock.
    pub fn no_deadlock(&self) -> Result<()> {
        let found = &self.document.body.deadlocks;
        ensure!(found.is_empty(), "there is no deadlock, but: {found:?}");
        Ok(())
    }
}

fn number(address: &str) -> Result<u64> {
    let digits = address.strip_prefix("0x").with_context(|| format!("no address: {address:?}"))?;
    Ok(u64::from_str_radix(digits, 16)?)
}

/// The row says of its waits what the workload measured.
pub fn same_waits(row: &Lock, outcome: &Outcome) -> Result<()> {
    let measured = &outcome.waits;
    ensure!(measured.count > 0, "the workload did not wait");
    TRUTH.check("time", row.total_ns, measured.blocked_ns)?;
    LOCKS.check("count", row.count, measured.switches)?;
    // A thread that is woken and finds the lock taken again waits twice, and measures that as one.
    let once = measured.switches == measured.count;
    ensure!(once || row.max_ns <= measured.longest_ns, "the longest: {} ns", row.max_ns);
    if once {
        LOCKS.check("longest", row.max_ns, measured.longest_ns)?;
    }
    ensure!(row.clipped == 0, "all waits lie within the window, yet some are clipped");
    Ok(())
}
