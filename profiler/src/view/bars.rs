//! Bars: what processes and groups of threads spend their time on.

use super::TextOptions;
use super::color::{Line, Style};
use super::layout::{cut_middle, left, right, width as columns};
use super::units::{count, counted, duration, tight_percent};
use super::words::name_or_none;
use crate::analyze::{Budget, ProcessRows, Row, like_named};
use crate::model::Nanos;

/// Processes shown.
const PROCESSES: usize = 12;
/// Groups shown of each process, and processes of those that are one row.
const GROUPS: usize = 8;
const MEMBERS: usize = 4;
/// Columns of the thread count and of each percentage, with the blank before.
const THREADS: usize = 8;
const PERCENT: usize = 6;

/// Widths of the columns.
struct Columns {
    name: usize,
    bar: usize,
}

/// One bar with what stands beside it.
struct Entry<'a> {
    indent: usize,
    label: String,
    row: &'a Row,
}

/// A row for each process, group and, where they are there, thread.
pub fn lines(processes: Vec<ProcessRows>, options: &TextOptions, width: usize) -> Vec<Line> {
    if processes.is_empty() {
        return Vec::new();
    }
    let processes = if options.threads { processes } else { like_named(processes, PROCESSES) };
    let shown = &processes[..processes.len().min(PROCESSES)];
    let mut blocks = Vec::new();
    for process in shown {
        blocks.push((entries(process), rest_of_groups(process)));
    }
    let all = blocks.iter().flat_map(|(entries, _)| entries);
    let longest = all.map(|entry| entry.indent + columns(&entry.label)).max().unwrap_or(0);
    let sizes = sizes(longest, width);
    let mut lines = vec![head(&sizes)];
    for (entries, rest) in &blocks {
        lines.extend(entries.iter().map(|entry| line(entry, &sizes)));
        lines.extend(rest.iter().map(|text| Line::new(Style::Faint, left(text, width))));
    }
    let hidden = &processes[shown.len()..];
    lines.extend(rest_of_processes(hidden));
    lines.push(legend());
    if blocks.iter().flat_map(|(entries, _)| entries).any(|entry| entry.row.estimated) {
        let text = "~ estimated: idle waits are kept by process, and rows shared them";
        lines.push(Line::new(Style::Faint, cut_middle(text, width)));
    }
    lines
}

fn sizes(longest: usize, width: usize) -> Columns {
    let room = width - THREADS - 1 - 4 * PERCENT;
    let bar = (room / 2).clamp(12, 36);
    Columns { name: longest.clamp(12, room - bar), bar }
}

fn head(sizes: &Columns) -> Line {
    let mut text = left("", sizes.name);
    text += &right("threads", THREADS);
    text += " ";
    text += &left("thread time", sizes.bar);
    for title in ["run", "cpu", "wait", "idle"] {
        text += &right(title, PERCENT);
    }
    Line::new(Style::Faint, text)
}

fn entries(rows: &ProcessRows) -> Vec<Entry<'_>> {
    let process = &rows.process;
    let mut entries = vec![Entry { indent: 0, label: label_of(rows), row: process }];
    if rows.processes > 1 {
        let busiest = rows.groups.iter().take(MEMBERS).map(|member| &member.group);
        entries.extend(busiest.map(|row| Entry { indent: 2, label: label(row), row }));
        return entries;
    }
    let is_alone = rows.is_its_group();
    for group in rows.groups.iter().take(GROUPS) {
        if !is_alone {
            entries.push(Entry {
                indent: 2,
                label: name_or_none(&group.group.name).to_owned(),
                row: &group.group,
            });
        }
        if group.threads.len() > 1 || !is_alone {
            let threads = group.threads.iter();
            entries.extend(threads.map(|row| Entry { indent: 4, label: label(row), row }));
        }
    }
    entries
}

fn label_of(rows: &ProcessRows) -> String {
    match rows.processes {
        1 => label(&rows.process),
        several => {
            let processes = counted(several as u64, "process");
            format!("{}, {processes}", name_or_none(&rows.process.name))
        }
    }
}

/// What a process or a thread is called.
pub fn label(row: &Row) -> String {
    let name = name_or_none(&row.name);
    match row.id {
        0 => format!("{name} (ended)"),
        id => format!("{name} [{id}]"),
    }
}

fn rest_of_groups(rows: &ProcessRows) -> Option<String> {
    let shown = if rows.processes > 1 { MEMBERS } else { GROUPS };
    let rest = rows.groups.get(shown..).filter(|rest| !rest.is_empty())?;
    let working: Nanos = rest.iter().map(|rows| rows.group.budget.working()).sum();
    let what = match rows.processes {
        1 => counted(rest.len() as u64, "more group") + " of threads",
        _ => count(rest.len() as u64) + " more",
    };
    Some(format!("  … and {what} ({} working)", duration(working)))
}

fn rest_of_processes(rest: &[ProcessRows]) -> Option<Line> {
    if rest.is_empty() {
        return None;
    }
    let working: Nanos = rest.iter().map(|rows| rows.process.budget.working()).sum();
    let hidden: usize = rest.iter().map(|rows| rows.processes).sum();
    let processes = if hidden == 1 { "process" } else { "processes" };
    let number = count(hidden as u64);
    let text = format!("… and {number} more {processes} ({} working)", duration(working));
    Some(Line::new(Style::Faint, text))
}

fn line(entry: &Entry<'_>, sizes: &Columns) -> Line {
    let Row { budget, threads, estimated, .. } = entry.row;
    let style = if entry.indent == 0 { Style::Strong } else { Style::Plain };
    let indent = " ".repeat(entry.indent);
    let mut line = Line::new(style, indent + &left(&entry.label, sizes.name - entry.indent));
    line.push(Style::Plain, right(&count(*threads), THREADS));
    line.push(Style::Plain, " ");
    for (style, cell, length) in cells(budget, sizes.bar) {
        line.push(style, cell.to_string().repeat(length));
    }
    let wall = budget.wall();
    for (time, may_be_estimated) in [
        (budget.running(), false),
        (budget.runnable(), false),
        (budget.blocked(), true),
        (budget.idle(), true),
    ] {
        let mark = if *estimated && may_be_estimated && time > Nanos(0) { "~" } else { "" };
        let text = format!("{mark}{}", tight_percent(time.share_of(wall)));
        line.push(Style::Plain, right(&text, PERCENT));
    }
    line
}

/// The cells of a bar: each class in its turn, rounded so that they sum to its length.
fn cells(budget: &Budget, length: usize) -> Vec<(Style, char, usize)> {
    let classes = [
        (Style::Running, '█', budget.running()),
        (Style::Runnable, '▓', budget.runnable()),
        (Style::Blocked, '▒', budget.blocked()),
        (Style::Faint, '·', budget.idle()),
        (Style::Warning, '?', budget.unattributed()),
    ];
    let wall = budget.wall();
    let (mut before, mut drawn) = (Nanos(0), 0);
    let mut cells = Vec::new();
    for (style, cell, time) in classes {
        before += time;
        let end = (before.share_of(wall) * length as f64).round() as usize;
        let end = end.min(length);
        cells.push((style, cell, end - drawn));
        drawn = end;
    }
    cells.push((Style::Plain, ' ', length - drawn));
    cells
}

fn legend() -> Line {
    let mut line = Line::default();
    for (style, cell, words) in [
        (Style::Running, "█", " run  "),
        (Style::Runnable, "▓", " waits for a CPU  "),
        (Style::Blocked, "▒", " waits  "),
        (Style::Plain, "·", " idle  "),
        (Style::Warning, "?", " unattributed"),
    ] {
        line.push(style, cell);
        line.push(Style::Faint, words);
    }
    line
}
