//! Recordings beside one another.

use super::layout::{cut_middle, left, right, wrap_words};
use super::units::{counted, duration, percent, rate};
use super::words;
use crate::analyze::{
    Activity, Compared, Comparison, Culprit, Difference, Metric, Outcome, Pair, Series, Spike,
    Unfair, WaitName,
};
use crate::model::{Nanos, Part, State};

use super::text::TextOptions;

/// Rows of details.
const DETAILS: usize = 6;

/// Widest name of a recording in a heading: a column, and a space before it.
const NAME: usize = 9;

/// The comparison as text.
pub fn render_comparison(all: &[Series], compared: &Compared, options: &TextOptions) -> String {
    let width = options.width.clamp(80, 120);
    let mut lines = Vec::new();
    match (all, compared.pairs.as_slice()) {
        ([before, after], [(_, _, pair)]) => {
            lines.extend(wrap_words(&verdict(before, after, pair), "", 0, width));
            lines.push(String::new());
            lines.extend(table([before, after], pair));
        }
        _ => lines.extend(hosts(all, compared, width)),
    }
    if !compared.unfair.is_empty() {
        lines.push(String::new());
        for unfair in &compared.unfair {
            lines.extend(wrap_words(&warning(unfair, compared.of_requests), "Mind: ", 6, width));
        }
    }
    lines.push(String::new());
    lines.extend(wrap_words(&note(all, compared), "", 0, width));
    lines.join("\n") + "\n"
}

/// An instant of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Time since its beginning.
    pub since_start: Nanos,
    /// Nanoseconds since 1970, by the clock of the host.
    pub unix_ns: i64,
}

/// When requests were slowest, and what was different then.
pub fn render_spike(
    all: &[Series],
    compared: &Compared,
    spike: Spike,
    [from, to]: [Moment; 2],
    options: &TextOptions,
) -> String {
    let seconds = |moment: Moment| moment.since_start.0 as f64 / 1e9;
    let slices = spike.slices.1 - spike.slices.0;
    let text = format!(
        "Requests were slowest from {:.1} s to {:.1} s ({} to {} UTC; {}): p99 {}, usually {}.",
        seconds(from),
        seconds(to),
        clock(from.unix_ns),
        clock(to.unix_ns),
        counted(slices as u64, "slice"),
        duration(spike.slowest),
        duration(spike.usual),
    );
    let mut lines = wrap_words(&text, "", 0, options.width.clamp(80, 120));
    lines.push(String::new());
    lines.join("\n") + "\n" + &render_comparison(all, compared, options)
}

/// The time of the day.
fn clock(unix_ns: i64) -> String {
    let seconds = unix_ns.div_euclid(1_000_000_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// What a figure is measured by.
fn per(of_requests: bool) -> &'static str {
    if of_requests { "a request" } else { "for each second of CPU time" }
}

fn time(ns: f64) -> String {
    duration(Nanos(ns.max(0.0) as u64))
}

fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { "−" } else { "+" };
    format!("{sign}{}", time(ns.abs()))
}

/// Whom a recording is about.
pub(super) fn subject(series: &Series) -> String {
    series.service().map_or_else(
        || series.whole.target.description.clone(),
        |service| format!("{} at {}", service.process, service.address),
    )
}

/// What got worse, where, and by how much: two sentences.
fn verdict(before: &Series, after: &Series, pair: &Comparison) -> String {
    let of_requests = pair.quantiles.is_some();
    let what = subject(before);
    let whole = &pair.whole;
    let noise = time(whole.noise);
    match pair.outcome() {
        Outcome::Same if whole.before.max(whole.after) <= 0.0 => {
            format!("Neither recording has requests, or waits inside work, of {what}.")
        }
        Outcome::Same => format!(
            "No difference beyond noise: {what} takes {} {} in {}, and {} in {} (± {noise}).",
            time(whole.before),
            per(of_requests),
            before.name,
            time(whole.after),
            after.name,
        ),
        Outcome::Shifted { part } => format!(
            "No difference of the whole beyond noise: {what} takes {} and {} {} (± {noise}). But \
             of that, {}: {} instead of {}.",
            time(whole.before),
            time(whole.after),
            per(of_requests),
            metric(&part.metric),
            time(part.after),
            time(part.before),
        ),
        Outcome::Changed { causes } => {
            let (comparative, direction) = match (of_requests, whole.by() > 0.0) {
                (true, true) => ("slower", "got worse"),
                (true, false) => ("faster", "got better"),
                (false, true) => ("waiting more", "got worse"),
                (false, false) => ("waiting less", "got better"),
            };
            let first = format!(
                "{what} is {comparative} in {}: {} {} instead of {} ({} ± {noise}{}).",
                after.name,
                time(whole.after),
                per(of_requests),
                time(whole.before),
                signed(whole.by()),
                slowest(pair),
            );
            let named: Vec<String> = causes.iter().map(|one| culprit(one, pair)).collect();
            match named.as_slice() {
                [] => format!("{first} No part of it changed beyond noise."),
                named => format!("{first} What {direction}: {}.", named.join("; ")),
            }
        }
    }
}

/// What changed, and where.
fn culprit(culprit: &Culprit, pair: &Comparison) -> String {
    let what = match &culprit.detail {
        Some(detail) => metric(&detail.metric),
        None => metric(&culprit.part.metric),
    };
    format!(
        "{what}, {} ({} of it){}",
        signed(culprit.part.by()),
        percent(culprit.share.min(1.0)),
        workers(&culprit.part.metric, pair),
    )
}

fn slowest(pair: &Comparison) -> String {
    pair.quantiles.map_or_else(String::new, |[_, p99]| {
        format!("; p99 {} instead of {}", time(p99.after), time(p99.before))
    })
}

/// Requests that wait to be taken up do so because of who takes them up.
fn workers(metric: &Metric, pair: &Comparison) -> String {
    let [before, after] = pair.threads;
    let waits_for_threads =
        matches!(metric, Metric::Part(Part::Queued | Part::BehindOthers | Part::HandedOver));
    if !waits_for_threads || before == after {
        return String::new();
    }
    format!("; {} answer, {before} before", counted(after, "thread"))
}

fn metric(metric: &Metric) -> String {
    match metric {
        Metric::Whole => "all of it".to_owned(),
        Metric::Part(part) => words::part(*part).to_owned(),
        Metric::Wait(wait) => wait_name(wait),
        Metric::Peer(address) => format!("calls to {address}"),
        Metric::Label(label) => words::label(label),
    }
}

pub(super) fn wait_name(wait: &WaitName) -> String {
    let mut name = wait.process.as_ref().map(|process| format!("{process}: ")).unwrap_or_default();
    name.push_str(&match (wait.lock, wait.kind) {
        (Some(lock), _) => words::lock(lock),
        (None, State::Futex) => "lock or condition".to_owned(),
        (None, kind) => words::activity(Activity::Blocked(kind)).to_owned(),
    });
    if let Some(object) = &wait.object {
        name.push_str(&format!(", {object}"));
    }
    if let Some(function) = &wait.function {
        name.push_str(&format!(" in {function}"));
    }
    name
}

fn table([before, after]: [&Series; 2], pair: &Comparison) -> Vec<String> {
    let of_requests = pair.quantiles.is_some();
    let mut lines = vec![row(
        "",
        &cut_middle(&before.name, NAME),
        &cut_middle(&after.name, NAME),
        "change",
        "noise",
    )];
    let load = if of_requests { "requests a second" } else { "CPU seconds a second" };
    lines.push(numbers(load, pair.load));
    if let Some([p50, p99]) = pair.quantiles {
        lines.push(times("p50", p50, false));
        lines.push(times("p99", p99, false));
    }
    let whole = &pair.whole;
    let figures = |change: &Difference| Pair {
        before: change.before,
        after: change.after,
        noise: change.noise,
    };
    let name = if of_requests { "mean, of which" } else { "waits a CPU second" };
    lines.push(times(name, figures(whole), whole.is_real()));
    let least = 0.005 * whole.before.max(whole.after);
    for part in pair.parts.iter().filter(|part| part.before.max(part.after) >= least) {
        let name = format!("  {}", metric(&part.metric));
        lines.push(times(&name, figures(part), part.is_real()));
    }
    let labels = pair.details.iter().filter(|one| matches!(one.metric, Metric::Label(_)));
    let waits = pair.details.iter().filter(|one| !matches!(one.metric, Metric::Label(_)));
    let large = |one: &&Difference| one.before.max(one.after) >= 2.0 * least;
    section(&mut lines, "Waits and calls, largest change first:", waits.filter(large));
    let labels: Vec<_> = labels.filter(large).collect();
    if labels.len() > 1 {
        section(&mut lines, "By what was asked for, mean of each:", labels.into_iter());
    }
    lines
}

fn section<'a>(lines: &mut Vec<String>, title: &str, rows: impl Iterator<Item = &'a Difference>) {
    let rows: Vec<_> = rows.take(DETAILS).collect();
    if rows.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(title.to_owned());
    for one in rows {
        let figures = Pair { before: one.before, after: one.after, noise: one.noise };
        lines.push(times(&format!("  {}", metric(&one.metric)), figures, one.is_real()));
    }
}

fn times(name: &str, pair: Pair, is_real: bool) -> String {
    let mark = if is_real { " *" } else { "" };
    let noise =
        if pair.noise.is_finite() { format!("± {}", time(pair.noise)) } else { "?".into() };
    let change = signed(pair.after - pair.before);
    row(name, &time(pair.before), &time(pair.after), &change, &noise) + mark
}

fn numbers(name: &str, pair: Pair) -> String {
    let noise =
        if pair.noise.is_finite() { format!("± {}", rate(pair.noise)) } else { "?".into() };
    let by = pair.after - pair.before;
    let change = format!("{}{}", if by < 0.0 { "−" } else { "+" }, rate(by.abs()));
    row(name, &rate(pair.before), &rate(pair.after), &change, &noise)
}

fn row(name: &str, before: &str, after: &str, change: &str, noise: &str) -> String {
    let cells = [before, after, change, noise].map(|cell| right(cell, 10));
    let line = format!("{}{}", left(&cut_middle(name, 34), 34), cells.concat());
    line.trim_end().to_owned()
}

/// Columns of a row for a host: with five figures and the mark, that makes 79.
const HOST_NAME: usize = 14;
/// See [`HOST_NAME`].
const HOST_CELL: usize = 11;
// The arrow is one column, and three bytes.
const _: () = assert!(HOST_NAME + 5 * HOST_CELL + " ← outlier".len() <= 82);

/// More than two: a row for each.
fn hosts(all: &[Series], compared: &Compared, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let outlier = compared.outlier.and_then(|outlier| {
        let (middle, _, pair) = compared.pairs.iter().find(|(_, other, _)| *other == outlier)?;
        Some((&all[*middle], &all[outlier], pair))
    });
    match outlier {
        Some((middle, outlier, pair)) => {
            let text =
                format!("The outlier is {}. {}", outlier.name, verdict(middle, outlier, pair));
            lines.extend(wrap_words(&text, "", 0, most));
        }
        None => lines.extend(wrap_words(
            &format!("No recording differs from the others beyond noise ({} of them).", all.len()),
            "",
            0,
            most,
        )),
    }
    lines.push(String::new());
    let (name, load) =
        if compared.of_requests { ("mean", "a second") } else { ("waits/CPU", "CPU s/s") };
    let head = [load, name, "p50", "p99", "noise"].map(|cell| right(cell, HOST_CELL)).concat();
    lines.push(format!("{}{head}", left("", HOST_NAME)));
    let middle = compared.pairs.first().map_or(0, |(middle, _, _)| *middle);
    for (place, series) in all.iter().enumerate() {
        let of = compared.pairs.iter().find(|(_, other, _)| *other == place);
        let first = compared.pairs.first();
        let (is_after, pair) = match (of, first) {
            (Some((_, _, pair)), _) => (true, pair),
            (None, Some((_, _, pair))) if place == middle => (false, pair),
            _ => continue,
        };
        let pick = |pair: Pair| if is_after { pair.after } else { pair.before };
        let whole = if is_after { pair.whole.after } else { pair.whole.before };
        let quantile = |which: usize| {
            pair.quantiles.map_or_else(|| "–".to_owned(), |quantiles| time(pick(quantiles[which])))
        };
        let noise = if is_after { format!("± {}", time(pair.whole.noise)) } else { String::new() };
        let cells = [rate(pick(pair.load)), time(whole), quantile(0), quantile(1), noise];
        let mark = if compared.outlier == Some(place) { " ← outlier" } else { "" };
        let name = left(&cut_middle(&series.name, HOST_NAME - 1), HOST_NAME);
        let cells = cells.map(|cell| right(&cell, HOST_CELL)).concat();
        lines.push(format!("{name}{}{mark}", cells.trim_end()));
    }
    lines
}

fn warning(unfair: &Unfair, of_requests: bool) -> String {
    let list = |words: &[String]| words.join(", ");
    match unfair {
        Unfair::Kernels(kernels) => format!("the kernels differ: {}.", list(kernels)),
        Unfair::Cpus(cpus) => {
            let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            format!("the numbers of CPUs differ: {}.", list(&cpus))
        }
        Unfair::Targets(targets) => format!("other targets were followed: {}.", list(targets)),
        Unfair::Lengths(lengths) => {
            let lengths: Vec<String> = lengths.iter().map(|one| format!("{one:.0} s")).collect();
            format!("one is much longer than another: {}.", list(&lengths))
        }
        Unfair::Loads(loads) => {
            let loads: Vec<String> = loads.iter().map(|load| rate(*load)).collect();
            let what = if of_requests { "requests a second" } else { "CPU seconds a second" };
            format!("the load differs: {} {what}.", list(&loads))
        }
        Unfair::Losses(names) => format!("records were lost in {}.", list(names)),
        Unfair::Versions(versions) => format!("written by different dwells: {}.", list(versions)),
        Unfair::Requests => "not all have a service in common, so waits are compared and not \
                             requests."
            .to_owned(),
        Unfair::FewSlices(slices) => format!(
            "{} are few to tell noise from a difference: record for longer.",
            counted(*slices as u64, "slice")
        ),
    }
}

fn note(all: &[Series], compared: &Compared) -> String {
    let slices: Vec<String> = all.iter().map(|series| series.len().to_string()).collect();
    let marked = if compared.pairs.len() == 1 {
        " * marks what is beyond it, of the mean and of what it consists of; the load and the \
         quantiles are not judged."
    } else {
        ""
    };
    format!(
        "Noise is what two recordings of the same may differ by, from {} slices (bootstrap, 95 % \
         for all figures together) and from run to run: 10 % of the whole, 5 % in a part of it.{marked}",
        slices.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::layout::width;
    use super::*;

    #[test]
    fn rows_are_eighty_columns() {
        let pair = Pair { before: 1.5e6, after: 2.5e6, noise: 1e5 };
        let line = times("  a name that is much too long for the column it stands in", pair, true);
        assert!(width(&line) <= 80, "{}: {line}", width(&line));
    }
}
