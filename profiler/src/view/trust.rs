//! How far to trust the report, and what it cost.

use super::color::{Line, Style};
use super::layout::wrap_words;
use super::units::{bytes, cores, count, counted, duration, fine_percent, percent};
use crate::analyze::Cost;
use crate::model::{Nanos, Trust};

/// The trust lines.
pub fn lines(trust: &Trust, cost: &Cost, width: usize) -> Vec<Line> {
    let losses = losses(trust);
    let mut text = verdict(trust, &losses);
    text += &format!("; {} cut by the window's edges", counted(trust.clipped_waits, "wait"));
    if let Some(stacks) = stacks(trust) {
        text += &format!("; {stacks}");
    }
    text += &format!("; {}.", price(trust, cost));
    let style = if losses.is_empty() { Style::Faint } else { Style::Warning };
    let mut lines = paragraph(&text, "Trust: ", style, width);
    if !trust.switched_off.is_empty() {
        let text = format!("not available here: {}.", trust.switched_off.join(", "));
        lines.extend(paragraph(&text, "       ", Style::Warning, width));
    }
    lines
}

fn paragraph(text: &str, first: &str, style: Style, width: usize) -> Vec<Line> {
    let lines = wrap_words(text, first, 7, width);
    lines.into_iter().map(|line| Line::new(style, line)).collect()
}

fn verdict(trust: &Trust, losses: &[String]) -> String {
    let mut text = String::new();
    if losses.is_empty() && trust.coverage >= 0.999 {
        text += "complete: ";
    }
    text += &format!("{} of thread time attributed", fine_percent(trust.coverage));
    if trust.unattributed_ns > Nanos(0) {
        text += &format!(" ({} not)", duration(trust.unattributed_ns));
    }
    match losses {
        [] => text += ", nothing lost",
        _ => text += &format!("; lost: {}", losses.join(", ")),
    }
    if trust.missed_switches > 0 {
        let switches = counted(trust.missed_switches, "context switch");
        // What the accounts do not tell is part of the unattributed time.
        let rest = if trust.unattributed_ns > Nanos(0) { " or unattributed" } else { "" };
        text += &format!("; {switches} unseen (filled in from the scheduler's accounts{rest})");
    }
    if trust.failed_stacks > 0 {
        text += &format!("; {} could not be walked", counted(trust.failed_stacks, "stack"));
    }
    text
}

/// How many of the stacks are whole, and how often a known stack was the wrong one; nothing where
/// none were taken.
fn stacks(trust: &Trust) -> Option<String> {
    let whole = trust.stacks_complete_ns;
    let taken = whole + trust.stacks_truncated_ns;
    if taken == Nanos(0) {
        return None;
    }
    let all = taken + trust.stacks_missing_ns;
    let mut text = format!("stacks are whole for {} of wait time", percent(whole.share_of(all)));
    if trust.stacks_truncated_ns > Nanos(0) {
        text += &format!(", truncated for {}", percent(trust.stacks_truncated_ns.share_of(all)));
    }
    if trust.rechecks > 0 {
        let wrong = trust.recheck_wrong_ns.share_of(trust.recheck_ns);
        let checks = counted(trust.rechecks, "check");
        text += &format!(", {} wrong in {checks}", percent(wrong));
    }
    Some(text)
}

/// Everything that was refused.
fn losses(trust: &Trust) -> Vec<String> {
    let named = [trust.lost_waits, trust.lost_threads, trust.lost_processes, trust.lost_objects];
    let unnamed = named.into_iter().fold(trust.lost_keys, u64::saturating_sub);
    [
        (trust.lost_events, "event", ""),
        (trust.lost_stacks, "stack", " (their waits show none)"),
        (trust.lost_waits, "wait", " (their time is in one row for each kind)"),
        (trust.lost_locks, "lock or reason", " (they lack queues, or who held them)"),
        (trust.lost_threads, "thread", " (their time is unattributed)"),
        (trust.lost_processes, "process", ""),
        (trust.lost_objects, "object", " (sockets and files: their waits name none)"),
        (unnamed, "table entry", ""),
        (trust.refused_names, "symbol file", " (their frames lack names)"),
        (trust.refused_walks, "stack", " (truncated: too many new ones at once)"),
        (trust.refused_rows, "unwind row", " (stacks are truncated there)"),
        (trust.failed_reads, "failed read", " of kernel memory"),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, one, more)| format!("{}{more}", counted(number, one)))
    .collect()
}

fn price(trust: &Trust, cost: &Cost) -> String {
    let probes = match (cost.probe_cores, cost.ns_per_run, trust.probe_runs) {
        (Some(share), Some(each), Some(runs)) => {
            format!("probes used {} of a core ({each:.0} ns × {})", cores(share), count(runs))
        }
        (Some(share), ..) => format!("probes used {} of a core", cores(share)),
        _ => "the probes' cost is not counted (needs CAP_SYS_ADMIN)".to_owned(),
    };
    let collector = cores(cost.collector_cores);
    format!("{probes}, dwell itself {collector}, tables {}", bytes(trust.table_bytes))
}
