//! Why threads lack CPU time, where that is not the load alone.

use super::color::{Line, Style};
use super::layout::{TIE, cut_middle, wrap_words};
use super::units::{count, counted, duration, percent};
use super::words;
use crate::analyze::{Shortage, Waiting};
use crate::model::{AffinityGroup, CpuQuota, CpuUse};

/// Shown of each report.
const MOST: usize = 6;

/// Widest name of a cgroup, and of a group of threads; names and CPUs shown of a group.
const CGROUP: usize = 48;
const NAME: usize = 24;
const NAMES: usize = 3;
const RANGES: usize = 4;

/// A paragraph for each.
pub fn lines(waits: Option<&Waiting>, shortages: &[Shortage<'_>], width: usize) -> Vec<Line> {
    let mut texts: Vec<String> = waits.map(waiting).into_iter().collect();
    texts.extend(shortages.iter().take(MOST).map(text));
    if let Some(more @ 1..) = shortages.len().checked_sub(MOST) {
        texts.push(format!("{} more in the document (--json).", count(more as u64)));
    }
    let paragraphs = texts.iter().flat_map(|text| wrap_words(text, "CPU: ", 5, width));
    paragraphs.map(|line| Line::new(Style::Warning, line)).collect()
}

fn text(shortage: &Shortage<'_>) -> String {
    match shortage {
        Shortage::Throttled { quota, busy } => throttled(quota, *busy),
        Shortage::Crowded { group, busy, others } => crowded(group, *busy, *others),
        Shortage::Unbalanced { busiest: CpuUse { cpu, .. }, busy, mean } => format!(
            "threads wait while CPU {cpu} is {} busy and all CPUs {} on average.",
            percent(*busy),
            percent(*mean)
        ),
        Shortage::Stolen { share } => {
            format!("the hypervisor took {} of the CPUs' time from this host.", percent(*share))
        }
    }
}

fn waiting(waits: &Waiting) -> String {
    let mut text = format!(
        "threads waited {} for one, {} of the time in which they could run ({} after a wakeup, \
         {} after a preemption)",
        duration(waits.total),
        percent(waits.share),
        percent(1.0 - waits.preempted),
        percent(waits.preempted)
    );
    if waits.long > 0 {
        let [p50, p99, max] = waits.quantiles;
        text += &format!(
            "; {} of 20{TIE}µs or more, p50{TIE}{}, p99{TIE}{}, max{TIE}{}",
            counted(waits.long, "wait"),
            duration(p50),
            duration(p99),
            duration(max)
        );
    }
    let behind: Vec<String> = waits
        .behind
        .iter()
        .take(NAMES)
        .map(|(name, share)| match name.as_str() {
            "" => format!("nobody, the CPU was idle ({})", percent(*share)),
            name => format!("{} ({})", cut_middle(name, NAME), percent(*share)),
        })
        .collect();
    if !behind.is_empty() {
        text += &format!("; behind {}", behind.join(", "));
    }
    text + "."
}

fn throttled(quota: &CpuQuota, busy: Option<f64>) -> String {
    let cgroup = cut_middle(&quota.cgroup, CGROUP);
    let held = format!(
        "limit of cgroup {cgroup} ({:.2} CPUs): throttled in {} of {}, {}",
        quota.cpus(),
        count(quota.throttled_periods),
        counted(quota.periods, "period"),
        duration(quota.throttled_ns)
    );
    match busy {
        Some(busy) => {
            format!("{held}; threads wait while the host's CPUs are {} busy.", percent(busy))
        }
        None => format!("{held}."),
    }
}

fn crowded(group: &AffinityGroup, busy: f64, others: f64) -> String {
    let wait = if group.threads == 1 { "waits" } else { "wait" };
    let are = if group.cpus.len() == 1 { "it is" } else { "they are" };
    format!(
        "{} ({}) may run on {} only and {wait}: {are} {} busy, the other CPUs {}.",
        counted(group.threads, "thread"),
        names(&group.thread_groups),
        cpus(&group.cpus),
        percent(busy),
        percent(others)
    )
}

fn names(groups: &[String]) -> String {
    let shown = groups.iter().take(NAMES);
    let mut shown: Vec<String> =
        shown.map(|name| cut_middle(words::name_or_none(name), NAME)).collect();
    if groups.len() > NAMES {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// `CPU 3`, `CPUs 0-3, 8, …`.
fn cpus(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.iter().take(RANGES).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let mut shown: Vec<String> = shown.collect();
    if ranges.len() > RANGES {
        shown.push("…".to_owned());
    }
    format!("{} {}", if numbers.len() == 1 { "CPU" } else { "CPUs" }, shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_shown_as_ranges() {
        assert_eq!(cpus(&[3]), "CPU 3");
        assert_eq!(cpus(&[0, 1]), "CPUs 0-1");
        assert_eq!(cpus(&[0, 1, 2, 5, 7, 8]), "CPUs 0-2, 5, 7-8");
        assert_eq!(cpus(&[0, 2, 4, 6, 8, 10]), "CPUs 0, 2, 4, 6, …");
        assert_eq!(cpus(&[u32::MAX, 0]), "CPUs 4294967295, 0");
    }
}
