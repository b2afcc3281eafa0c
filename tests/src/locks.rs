//! What holds of every list of locks.

use anyhow::{Context, Result, ensure};

use crate::document::Document;
use crate::document::locks::{Behind, Lock};

/// Rounding of nested sums.
const ROUNDING_NS: u64 = 1_000;

/// Fails unless the rows are ranked, and each adds up in itself.
pub fn check(document: &Document) -> Result<()> {
    let locks = &document.body.locks;
    for lock in locks {
        check_row(lock, document.body.window.duration_ns).with_context(|| lock.describe())?;
    }
    // Spinning is no waiting, and of some rows nobody knows what they are: those come later.
    let sure = |lock: &Lock| !lock.spins && !matches!(lock.kind.as_str(), "other" | "unknown");
    let rank = |lock: &Lock| (lock.contention, sure(lock), lock.total_ns);
    let ranks: Vec<_> = locks.iter().map(rank).collect();
    ensure!(ranks.is_sorted_by(|first, second| first >= second), "not ranked: {ranks:?}");
    Ok(())
}

fn check_row(lock: &Lock, window_ns: u64) -> Result<()> {
    ensure!(lock.count > 0 && !lock.evidence.is_empty(), "no waits, or no evidence");
    ensure!(lock.kind == "other" || !lock.pids.is_empty(), "of no process");
    ensure!(lock.p50_ns <= lock.p95_ns && lock.p95_ns <= lock.p99_ns, "quantiles");
    ensure!(lock.max_ns <= lock.total_ns, "the longest is longer than all");
    let ended = lock.ended;
    let ended = ended.woken + ended.timeout + ended.signal + ended.unknown;
    ensure!(ended <= lock.count, "{ended} of {} waits have ended", lock.count);
    ensure!(ended + lock.clipped >= lock.count, "{ended} have ended, {} are cut", lock.clipped);
    let mean = lock.total_ns as f64 / window_ns as f64;
    ensure!((lock.queue.mean - mean).abs() <= 0.01 + 0.01 * mean, "queue: not {mean}");
    if let Some(max) = lock.queue.max {
        ensure!(max >= 1 && max as f64 >= lock.queue.mean, "queue");
        ensure!(max <= lock.threads.max(1), "more in the queue than threads");
    }
    if let Some(busy) = lock.queue.busy_share {
        ensure!((0.0..=1.0).contains(&busy), "busy for {busy} of the window");
    }
    let sites: u64 = lock.sites.iter().map(|site| site.total_ns).sum();
    ensure!(sites <= lock.total_ns + ROUNDING_NS, "the places add up to {sites} ns");
    let behind = lock.behind.iter().map(|behind| behind.total_ns).sum::<u64>();
    ensure!(behind <= lock.total_ns + ROUNDING_NS, "behind somebody for {behind} ns");
    for behind in &lock.behind {
        let share = behind.total_ns as f64 / lock.total_ns as f64;
        ensure!((behind.share - share).abs() < 0.01, "{}: {} of all?", behind.comm, behind.share);
        check_behind(behind)?;
    }
    Ok(())
}

/// What somebody was doing meanwhile lies inside the waits that it explains, and so on.
fn check_behind(behind: &Behind) -> Result<()> {
    let doing: u64 = behind.doing.iter().map(|doing| doing.total_ns).sum();
    let limit = behind.total_ns + ROUNDING_NS;
    ensure!(doing <= limit, "{} did more than fits: {doing} ns", behind.comm);
    for doing in &behind.doing {
        ensure!((0.0..=1.0).contains(&doing.share), "{}: a share of {}", doing.state, doing.share);
        let next_ns: u64 = doing.behind.iter().map(|next| next.total_ns).sum();
        let limit = doing.total_ns + ROUNDING_NS;
        ensure!(next_ns <= limit, "{}: outside the wait that it explains", doing.state);
        doing.behind.iter().try_for_each(check_behind)?;
    }
    Ok(())
}
