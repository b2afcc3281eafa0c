//! Requests: how long they take, where that time goes, and what the slow ones have more of.

pub mod budget;
mod dependencies;
pub mod load;
pub mod slowest;

use super::TextOptions;
use super::color::{Line, Style};
use super::layout::{cut_middle, left, right, wrap_words};
use super::units::{count, counted, duration, percent, rate, tight_percent};
use super::words;
use crate::analyze::{Dependency, Doubtful, GroupRow, Quantiles, ServiceRows};
use crate::model::{Nanos, Profile, Requests};

/// Columns before everything but the first line of an entry.
const INDENT: usize = 4;
/// Services, and groups of each, in the section of a larger report.
const SUMMARY: usize = 3;
const SUMMARY_GROUPS: usize = 4;
/// Services in the report on requests.
const SERVICES: usize = 8;
/// Columns of a share, of a rate and of a duration, with the blank before.
const SHARE: usize = 5;
const RATE: usize = 8;
const TIME: usize = 8;
/// From this width on the table has all its columns.
const WIDE: usize = 80;
/// Widest label, where it is not cut to a column; and widest name of a process.
pub const LABEL: usize = 60;
const NAME: usize = 32;

/// Service by service, request by request.
pub fn lines(
    profile: &Profile,
    rows: &[ServiceRows<'_>],
    dependencies: &[Dependency],
    options: &TextOptions,
    width: usize,
) -> Vec<Line> {
    let shown: Vec<_> = rows.iter().filter(|row| row.count > 0).collect();
    let first = shown.iter().take(SERVICES);
    let mut blocks: Vec<_> = first.map(|row| service(profile, row, options, width)).collect();
    if let Some(more @ 1..) = shown.len().checked_sub(SERVICES) {
        let text = format!("… and {} (--json).", counted(more as u64, "more service"));
        blocks.push(vec![Line::new(Style::Faint, text)]);
    }
    blocks.push(dependencies::lines(dependencies, options.top, width));
    blocks.push(losses(&profile.requests, width));
    blocks.retain(|block| !block.is_empty());
    blocks.join(&Line::default())
}

/// The section of a larger report; nothing where nothing was asked for.
pub fn summary(
    profile: &Profile,
    rows: &[ServiceRows<'_>],
    dependencies: &[Dependency],
    width: usize,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let shown: Vec<_> = rows.iter().filter(|row| row.count > 0).collect();
    if !shown.is_empty() {
        let title = left("Requests (more with `dwell requests`):", width);
        lines.push(Line::new(Style::Strong, title));
    }
    for row in shown.iter().take(SUMMARY) {
        lines.extend(table(row, SUMMARY_GROUPS, width));
        lines.extend(load::lines(row, width));
        lines.extend(warnings(row, width));
    }
    let more = shown.len().saturating_sub(SUMMARY);
    if more > 0 {
        lines.extend(plain(&format!("… and {}", counted(more as u64, "more service")), width));
    }
    let called: Vec<_> = dependencies.iter().filter(|row| row.serving).cloned().collect();
    lines.extend(dependencies::lines(&called, SUMMARY, width));
    lines.extend(losses(&profile.requests, width));
    lines
}

fn service(
    profile: &Profile,
    row: &ServiceRows<'_>,
    options: &TextOptions,
    width: usize,
) -> Vec<Line> {
    let text = format!(
        "{}: {}, {} a second, in {}.",
        name(row),
        counted(row.count, "request"),
        rate(row.load.rate),
        duration(profile.window.duration())
    );
    let mut lines = paragraph(&text, "", Style::Strong, width);
    lines.extend(table(row, options.top, width));
    lines.extend(load::lines(row, width));
    lines.extend(warnings(row, width));
    if row.groups.len() > 1 {
        lines.push(Line::default());
        lines.push(Line::new(Style::Strong, left("    all requests", width)));
        lines.extend(budget::lines(&row.sets, width));
    }
    for (index, group) in row.groups.iter().take(options.top).enumerate() {
        lines.push(Line::default());
        lines.extend(entry(index + 1, group, width));
    }
    lines.extend(slowest::lines(profile, row.service, options, width));
    lines
}

/// Who answers, and where.
pub fn name(row: &ServiceRows<'_>) -> String {
    let process = cut_middle(words::name_or_none(&row.service.process), NAME);
    let pids = match row.service.pids.as_slice() {
        [only] => format!("pid {only}"),
        pids => counted(pids.len() as u64, "process"),
    };
    format!("{process} ({pids}) at {}", cut_middle(&row.service.address, LABEL))
}

/// A column of the table: its title, and whether it is left out where there is little room.
type Column = (&'static str, bool, fn(&Quantiles) -> Nanos);

const COLUMNS: [Column; 6] = [
    ("p50", false, |times| times.p50),
    ("p90", true, |times| times.p90),
    ("p95", true, |times| times.p95),
    ("p99", false, |times| times.p99),
    ("p99.9", false, |times| times.p999),
    ("max", false, |times| times.max),
];

/// A row for all requests of a service, and for each thing that they ask for.
fn table(row: &ServiceRows<'_>, top: usize, width: usize) -> Vec<Line> {
    let columns: Vec<Column> =
        COLUMNS.into_iter().filter(|(_, optional, _)| !optional || width >= WIDE).collect();
    let room = width.saturating_sub(SHARE + RATE + columns.len() * TIME);
    let mut head = left("", room) + &right("share", SHARE) + &right("a second", RATE + 1);
    for (index, (title, ..)) in columns.iter().enumerate() {
        head += &right(title, if index == 0 { TIME - 1 } else { TIME });
    }
    let mut lines = vec![Line::new(Style::Faint, head)];
    let row_of = |label: &str, share, each, times: &Quantiles| {
        let mut text = left(label, room) + &right(&tight_percent(share), SHARE);
        text += &right(&rate(each), RATE);
        text.extend(columns.iter().map(|(_, _, of)| right(&duration(of(times)), TIME)));
        text
    };
    let all = row_of(&row.service.address, 1.0, row.load.rate, &row.quantiles);
    lines.push(Line::new(Style::Strong, all));
    lines.extend(row.groups.iter().take(top).map(|row| {
        let label = format!("  {}", words::label(&row.group.label));
        Line::new(Style::Plain, row_of(&label, row.share, row.rate, &row.quantiles))
    }));
    if let Some(more @ 1..) = row.groups.len().checked_sub(top) {
        let number: u64 = row.groups[top..].iter().map(|row| row.group.count).sum();
        let things = count(more as u64);
        let text = format!("  … and {things} more, {}", counted(number, "request"));
        lines.push(Line::new(Style::Faint, left(&text, width)));
    }
    lines
}

fn entry(rank: usize, row: &GroupRow<'_>, width: usize) -> Vec<Line> {
    let label = cut_middle(&words::label(&row.group.label), LABEL);
    let mut text = format!("{label} · {}", counted(row.group.count, "request"));
    if row.fan_out > 0.0 {
        text += &format!(", {:.1} calls to peers each", row.fan_out);
        if row.parallel >= 0.01 {
            text += &format!(", {} of them side by side", percent(row.parallel));
        }
    }
    let wrapped = wrap_words(&text, &format!("{rank:2}. "), INDENT, width);
    let mut lines: Vec<Line> = wrapped.into_iter().map(|l| Line::new(Style::Strong, l)).collect();
    lines.extend(budget::lines(&row.sets, width));
    lines
}

/// What the figures of a service cannot tell.
pub fn warnings(row: &ServiceRows<'_>, width: usize) -> Vec<Line> {
    let warnings = row.doubtful.iter().map(warning);
    warnings.flat_map(|text| paragraph(&text, "    ", Style::Warning, width)).collect()
}

/// What a figure cannot tell, in words.
pub fn warning(doubtful: &Doubtful) -> String {
    match doubtful {
        Doubtful::Pipelined { share } => format!(
            "pipelined: clients of {} of the requests did not wait for the answer; several requests \
             may count as one.",
            percent(*share)
        ),
        Doubtful::Multiplexed { connections, of } => format!(
            "multiplexed: {} of {} carry several requests at the same time (HTTP/2); their requests \
             cannot be told apart.",
            count(*connections),
            counted(*of, "connection")
        ),
        Doubtful::ArrivalUnseen { share } => format!(
            "arrival unseen for {} of the requests: their latency begins when they were received.",
            percent(*share)
        ),
        Doubtful::HandedOver { share, time } => format!(
            "{} of the requests were answered by another thread than the one that received them: what \
             they waited for until it took them up ({} of their time) cannot be told. Runtimes such \
             as Go's and tokio move tasks between threads.",
            percent(*share),
            percent(*time)
        ),
    }
}

/// What is missing.
/// Requests that were lost.
pub fn losses(requests: &Requests, width: usize) -> Vec<Line> {
    let all = [
        (requests.lost, "request", " lost (nothing is known of them)"),
        (requests.lost_connections, "connection", " without a place (their requests are missing)"),
        (requests.lost_labels, "request", " whose label found no place (they go by address)"),
    ];
    let some = all.into_iter().filter(|(number, ..)| *number > 0);
    let texts: Vec<_> = some.map(|(n, one, more)| format!("{}{more}", counted(n, one))).collect();
    match texts.is_empty() {
        true => Vec::new(),
        false => paragraph(&(texts.join("; ") + "."), "Requests: ", Style::Warning, width),
    }
}

/// Words, further in.
fn plain(text: &str, width: usize) -> Vec<Line> {
    let lines = wrap_words(text, &" ".repeat(INDENT), INDENT + 2, width);
    lines.into_iter().map(|line| Line::new(Style::Plain, line)).collect()
}

/// Further in still.
fn below(text: &str, width: usize) -> Vec<Line> {
    plain(text, width - 2).into_iter().map(|line| line.indented(2)).collect()
}

fn paragraph(text: &str, first: &str, style: Style, width: usize) -> Vec<Line> {
    let indent = if first.is_empty() { 0 } else { INDENT + 2 };
    let lines = wrap_words(text, first, indent, width);
    lines.into_iter().map(|line| Line::new(style, line)).collect()
}
