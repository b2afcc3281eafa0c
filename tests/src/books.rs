//! Do the books of a document balance?

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::document::{Document, Thread};
use crate::tolerance::BOOKS;

/// Share of all time that has to be attributed.
pub const COVERAGE: f64 = 0.999;

/// Every thread whose states do not sum to its lifetime, and a lifetime beyond the window.
pub fn violations(document: &Document) -> Vec<String> {
    let window = document.body.window.duration_ns;
    let unbalanced = document.body.threads.iter().filter(|thread| !balances(thread));
    let unbalanced = unbalanced.map(|thread| {
        let difference = thread.accounted() as i64 - thread.wall_ns as i64;
        format!("{} of {} ns, off by {difference} ns", name(thread), thread.wall_ns)
    });
    let beyond = |thread: &&Thread| thread.wall_ns > window && !BOOKS.holds(thread.wall_ns, window);
    let beyond = document.body.threads.iter().filter(beyond).map(|thread| {
        format!("{} lived {} ns in a window of {window} ns", name(thread), thread.wall_ns)
    });
    unbalanced.chain(beyond).chain(coverage_is_wrong(document)).collect()
}

/// [`violations`], and too little coverage.
pub fn check(document: &Document) -> Result<()> {
    let mut found = violations(document);
    let coverage = document.body.trust.coverage;
    if coverage < COVERAGE {
        found.push(format!("coverage is {coverage}, less than {COVERAGE}"));
    }
    report(found)
}

/// [`violations`] alone: for runs in which something had to be refused.
pub fn check_balance(document: &Document) -> Result<()> {
    report(violations(document))
}

/// Blocked time of each process and kind that its threads have and no row of `waits` shows, or
/// the other way round. What is `unattributed` has no rows.
pub fn unexplained(document: &Document) -> Vec<String> {
    let mut blocked: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for thread in &document.body.threads {
        for (kind, ns) in &thread.blocked_ns {
            *blocked.entry((thread.pid, kind)).or_default() += ns;
        }
    }
    let mut shown: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for wait in &document.body.waits {
        *shown.entry((wait.pid, wait.kind.as_str())).or_default() += wait.total_ns;
        blocked.entry((wait.pid, wait.kind.as_str())).or_default();
    }
    let rows = blocked.into_iter().filter(|((_, kind), _)| *kind != "unattributed");
    rows.filter_map(|(key, threads_ns)| {
        let waits_ns = shown.get(&key).copied().unwrap_or_default();
        let (pid, kind) = key;
        (!BOOKS.holds(waits_ns, threads_ns)).then(|| {
            format!("process {pid}: {threads_ns} ns of {kind} in threads, {waits_ns} ns in waits")
        })
    })
    .collect()
}

/// Fails with every one of `found`, unless there is none.
pub fn report(found: Vec<String>) -> Result<()> {
    if !found.is_empty() {
        bail!("{} violations:\n  {}", found.len(), found.join("\n  "));
    }
    Ok(())
}

fn balances(thread: &Thread) -> bool {
    BOOKS.holds(thread.accounted(), thread.wall_ns)
}

/// `coverage` is attributed time over the sum of `wall_ns`, by its own definition.
fn coverage_is_wrong(document: &Document) -> Option<String> {
    let wall: u64 = document.body.threads.iter().map(|thread| thread.wall_ns).sum();
    let open: u64 = document.body.threads.iter().map(|thread| thread.blocked("unattributed")).sum();
    let coverage = 1.0 - open as f64 / wall.max(1) as f64;
    let said = document.body.trust.coverage;
    // Refused threads have no row, so it may say less than the rows do, never more.
    let wrong = !(0.0..=1.0).contains(&said) || said > coverage + 0.001;
    wrong.then(|| format!("coverage is said to be {said}, and is at most {coverage}"))
}

fn name(thread: &Thread) -> String {
    format!("thread {} ({}) of process {}", thread.tid, thread.comm, thread.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(running: u64, waits_ns: u64) -> Document {
        let json = format!(
            r#"{{"schema":"dwell/1",
            "window":{{"start_monotonic_ns":0,"end_monotonic_ns":1000000000,"duration_ns":1000000000}},
            "trust":{{"lost_events":0,"lost_stacks":0,"lost_keys":0,"clipped_waits":0,
                      "unattributed_ns":0,"coverage":1.0,"stacks_complete_ns":0,
                      "stacks_truncated_ns":0,"stacks_missing_ns":0,"stack_walks":0,"rechecks":0,"recheck_ns":0,
                      "recheck_wrong_ns":0}},
            "threads":[{{"pid":1,"tid":2,"comm":"x","wall_ns":1000000000,"running_ns":{running},
                         "runnable_ns":0,"blocked_ns":{{"futex":500000000}},
                         "voluntary":0,"involuntary":0}}],
            "waits":[{{"pid":1,"comm":"x","kind":"futex","object":{{"type":"none"}},"syscall":null,
                       "count":1,"clipped":0,"total_ns":{waits_ns},"max_ns":0,"p50_ns":0,"p95_ns":0,
                       "p99_ns":0,"threads":1,"wakers":[],"stack":[],"stack_addresses":[]}}]}}"#
        );
        Document::parse(&json).unwrap()
    }

    #[test]
    fn balanced_books_pass() {
        assert!(check(&document(500_000_000, 500_000_000)).is_ok());
        assert!(unexplained(&document(500_000_000, 500_000_000)).is_empty());
    }

    #[test]
    fn a_missing_millisecond_and_a_bit_is_found() {
        assert_eq!(violations(&document(498_900_000, 0)).len(), 1);
    }

    #[test]
    fn waits_without_a_row_are_found() {
        assert_eq!(unexplained(&document(500_000_000, 400_000_000)).len(), 1);
    }
}
