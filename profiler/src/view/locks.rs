//! Locks: who waits, behind whom, and what the holder was doing meanwhile.

use super::color::{Line, Style};
use super::layout::{TIE, cut_middle, width as columns, wrap, wrap_words};
use super::units::{count, counted, duration, percent};
use super::{TextOptions, words};
use crate::analyze::{
    Activity, Behind, Deadlock, LockRow, Part, Sort, culprit, meaningful, taken_in,
};
use crate::model::{Doing, Frame, Nanos, Profile, State};

/// Columns before everything but the first line of a lock.
const INDENT: usize = 4;
/// Functions shown of a stack, and columns of each.
const FRAMES: usize = 4;
const FRAME: usize = 36;
/// Places, holders, and what they were doing, shown of each.
const SITES: usize = 2;
const HOLDERS: usize = 2;
const DOINGS: usize = 3;
/// What takes less of a lock's time than this is left out.
const LEAST: f64 = 0.02;
/// A lock that took less of the window than this is counted only.
const LEAST_OF_WINDOW: f64 = 0.001;
/// Locks in the section of a larger report.
const SUMMARY: usize = 3;
/// Columns of the name of a lock in that section.
const NAME: usize = 60;

/// Deadlocks, and then lock by lock.
pub fn lines(
    profile: &Profile,
    rows: &[LockRow],
    deadlocks: &[Deadlock],
    options: &TextOptions,
    width: usize,
) -> Vec<Line> {
    let mut lines = deadlock_lines(deadlocks, width);
    let text = title(profile, rows);
    lines.extend(wrap_words(&text, "", 0, width).into_iter().map(|l| Line::new(Style::Strong, l)));
    let contended = rows.iter().filter(|row| row.is_contention()).count();
    let worth = |row: &&LockRow| is_worth_showing(row, profile);
    let shown: Vec<&LockRow> = rows[..contended].iter().filter(worth).take(options.top).collect();
    for (index, row) in shown.iter().enumerate() {
        lines.push(Line::default());
        lines.extend(entry(index + 1, row, profile, options, width));
    }
    let more = contended - shown.len();
    if more > 0 && !shown.is_empty() {
        let all: Nanos = rows[..contended].iter().map(|row| row.total).sum();
        let time = all.since(shown.iter().map(|row| row.total).sum());
        let text = format!("… and {}: {}.", counted(more as u64, "more lock"), duration(time));
        lines.push(Line::default());
        lines.push(Line::new(Style::Faint, text));
    }
    lines.extend(parked(&rows[contended..], width));
    lines
}

/// Nobody looks for microseconds in seconds: each spin lock of the kernel would have a row.
pub fn is_worth_showing(row: &LockRow, profile: &Profile) -> bool {
    row.total.share_of(profile.window.duration()) >= LEAST_OF_WINDOW
}

/// The section of a larger report; nothing where no lock was contended.
pub fn summary(
    profile: &Profile,
    rows: &[LockRow],
    deadlocks: &[Deadlock],
    width: usize,
) -> Vec<Line> {
    let mut lines = deadlock_lines(deadlocks, width);
    let worth = |row: &&LockRow| row.is_contention() && is_worth_showing(row, profile);
    let contended: Vec<&LockRow> = rows.iter().filter(worth).collect();
    if contended.is_empty() {
        return lines;
    }
    lines.push(Line::new(Style::Strong, "Locks (more with `dwell locks`):"));
    for row in contended.iter().take(SUMMARY) {
        let name = cut_middle(&name(row), NAME);
        let mut text = format!("{name}: {} of waiting", duration(row.total));
        if let Some(first) = row.behind.first() {
            text += &format!(", behind {}", words::name_or_none(&first.group));
            if let Some(part) = first.doing.first() {
                text += &format!(" ({})", short(&part.doing));
            }
        }
        lines.extend(plain(&text, width));
    }
    let more = contended.len().saturating_sub(SUMMARY);
    if more > 0 {
        lines.extend(plain(&format!("… and {}", counted(more as u64, "more lock")), width));
    }
    lines
}

fn title(profile: &Profile, rows: &[LockRow]) -> String {
    let window = duration(profile.window.duration());
    let contended: Vec<&LockRow> = rows.iter().filter(|row| row.is_contention()).collect();
    let target = &profile.target.description;
    if contended.is_empty() {
        return format!("{target}: nobody waited for a lock in {window}.");
    }
    let time: Nanos = contended.iter().map(|row| row.total).sum();
    if !contended.iter().any(|row| is_worth_showing(row, profile)) {
        let time = duration(time);
        return format!("{target}: hardly anybody waited for a lock: {time} in {window}.");
    }
    format!(
        "{target}: {} waited for, {} of waiting in {window}.",
        counted(contended.len() as u64, "lock"),
        duration(time)
    )
}

/// Threads that wait for each other.
pub fn deadlock_lines(deadlocks: &[Deadlock], width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for deadlock in deadlocks {
        let number = counted(deadlock.threads.len() as u64, "thread");
        let text = match deadlock.is_proved {
            true => format!("DEADLOCK: {number} have waited for each other all the time:"),
            false => format!(
                "Perhaps a deadlock: {number} have waited for locks all the time, nobody gave one \
                 back, and who holds them is not known:"
            ),
        };
        let wrapped = wrap_words(&text, "", 0, width);
        lines.extend(wrapped.into_iter().map(|line| Line::new(Style::Warning, line)));
        for thread in &deadlock.threads {
            let mut text = format!(
                "{} (thread {}) waits for futex {:#x}",
                words::name_or_none(&thread.comm),
                thread.tid,
                thread.address
            );
            if let Some(owner) = thread.owner {
                text += &format!(", held by thread {owner}");
            }
            lines.extend(plain(&text, width));
        }
        lines.push(Line::default());
    }
    lines
}

fn entry(
    rank: usize,
    row: &LockRow,
    profile: &Profile,
    options: &TextOptions,
    width: usize,
) -> Vec<Line> {
    let rank = format!("{rank:2}. ");
    let head = wrap_words(&format!("{} · {}", name(row), who(row)), &rank, INDENT, width);
    let mut lines: Vec<Line> =
        head.into_iter().map(|line| Line::new(Style::Strong, line)).collect();
    lines.extend(plain(&figures(row, profile), width));
    lines.extend(queue(row).into_iter().flat_map(|text| plain(&text, width)));
    lines.extend(held(row).into_iter().flat_map(|text| plain(&text, width)));
    for site in row.sites.iter().take(SITES) {
        if site.total.share_of(row.total) < LEAST {
            continue;
        }
        let share = match row.sites.len() {
            1 => String::new(),
            _ => format!(" ({})", percent(site.total.share_of(row.total))),
        };
        lines.extend(stack_lines(&format!("waits in{share}: "), &site.stack, options, width));
    }
    lines.extend(plain(&format!("({}: {})", words::sort(row.sort), row.evidence), width));
    for behind in row.behind.iter().take(HOLDERS).filter(|behind| behind.share >= LEAST) {
        lines.extend(holder(behind, row.is_owner_proved, options, width));
    }
    let hidden: f64 = row.behind.iter().skip(HOLDERS).map(|behind| behind.share).sum();
    if hidden >= LEAST {
        lines.extend(plain(&format!("behind others: {}", percent(hidden)), width));
    }
    lines
}

/// What the lock is called.
pub fn name(row: &LockRow) -> String {
    let sort = words::sort(row.sort);
    let place = words::place(&row.place);
    if let Some(thing) = row.thing {
        return format!("{sort} on {thing}");
    }
    match (row.address, &row.object) {
        (Some(address), _) if place.is_empty() => format!("{sort} at {address:#x}"),
        (Some(address), _) => match &row.place {
            crate::model::Place::Variable { .. } => format!("{sort} {place}"),
            _ => format!("{sort} at {address:#x} ({place})"),
        },
        (None, Some(object)) => format!("{sort}: {}", object_words(object)),
        (None, None) => match row.sites.first().and_then(|site| taken_in(&site.stack)) {
            Some(function) => format!("{sort} taken in {function}"),
            None => sort.to_owned(),
        },
    }
}

fn object_words(object: &crate::model::WaitObject) -> String {
    match object {
        crate::model::WaitObject::Kernel { function } => function.clone(),
        other => words::what(other, None),
    }
}

/// Who waits for it.
pub fn who(row: &LockRow) -> String {
    let name = words::name_or_none(&row.comm);
    let process = match row.pids.first() {
        Some(only) if row.pids.len() == 1 => format!("{name}, pid {only}"),
        _ => format!("{name}, {}", counted(row.pids.len() as u64, "process")),
    };
    let groups: Vec<&str> =
        row.thread_groups.iter().map(String::as_str).filter(|group| *group != row.comm).collect();
    match groups.as_slice() {
        [] => process,
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            let more = counted(rest.len() as u64, "more group");
            format!("{process}, {first}, {second}, {third} and {more}")
        }
        _ => format!("{process}, {}", groups.join(", ")),
    }
}

fn figures(row: &LockRow, profile: &Profile) -> String {
    let seconds = profile.window.duration().0 as f64 / 1e9;
    let rate = if seconds > 0.0 { row.count as f64 / seconds } else { 0.0 };
    let mut text = format!(
        "{} in {} ({rate:.0} a second), p50{TIE}{}, p95{TIE}{}, p99{TIE}{}, max{TIE}{}; {}{}",
        duration(row.total),
        counted(row.count, "wait"),
        duration(row.latency.quantile(0.5)),
        duration(row.latency.quantile(0.95)),
        duration(row.latency.quantile(0.99)),
        duration(row.latency.max()),
        counted(row.threads, "thread"),
        words::clipped(row.clipped),
    );
    let ended = row.ended;
    for (number, how) in [(ended.timeout, "by timeout"), (ended.signal, "by a signal")] {
        if number > 0 {
            text += &format!("; {} ended {how}", count(number));
        }
    }
    // Each backend of a database waits on a descriptor or semaphore of its own.
    if row.locks > 1 && row.sort != Sort::Database {
        text += &format!("; {} or more", counted(row.locks, "lock"));
    }
    text
}

/// How many wait at a time.
pub fn queue(row: &LockRow) -> Option<String> {
    let mean = format!("queue: {:.1} waiting on average", row.queue.mean);
    let most = row.queue.most.map(|most| format!(", at most {}", count(most)));
    let busy = row.queue.busy.map(|busy| format!(", somebody for {} of the time", percent(busy)));
    Some(mean + &most.unwrap_or_default() + &busy.unwrap_or_default())
}

/// How long it is held.
pub fn held(row: &LockRow) -> Option<String> {
    let holds = row.holds?;
    let mean = Nanos(holds.total.0 / holds.count.max(1));
    Some(format!(
        "held for {} on average, at most {} ({} seen)",
        duration(mean),
        duration(holds.longest),
        counted(holds.count, "time")
    ))
}

fn holder(behind: &Behind, is_proved: bool, options: &TextOptions, width: usize) -> Vec<Line> {
    let group = words::name_or_none(&behind.group);
    let pids = pids(behind);
    let how = if is_proved { "owned by" } else { "woken by" };
    let text = format!("{how} {group}{pids}: {}", percent(behind.share));
    let mut lines = plain(&text, width);
    if !behind.release.is_empty() {
        lines.extend(indented(stack_lines("from ", &behind.release, options, width - 2), 2));
    }
    lines.extend(doings(behind, 2, options, width));
    lines
}

/// Whose threads they are.
pub fn pids(behind: &Behind) -> String {
    match behind.pids.first() {
        Some(only) if behind.pids.len() == 1 => format!(", pid {only}"),
        _ => format!(", {}", counted(behind.pids.len() as u64, "process")),
    }
}

/// What holders were doing, and behind whom they waited themselves.
fn doings(behind: &Behind, deeper: usize, options: &TextOptions, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let room = width.saturating_sub(deeper);
    for part in behind.doing.iter().take(DOINGS).filter(|part| part.share >= LEAST) {
        lines.extend(indented(doing(part, options, room), deeper));
        for next in part.behind.iter().take(1).filter(|next| next.share >= LEAST) {
            let group = words::name_or_none(&next.group);
            let who = pids(next);
            let text = format!("which was ended by {group}{who}: {}", percent(next.share));
            lines.extend(indented(plain(&text, room - 2), deeper + 2));
            if deeper < 16 {
                lines.extend(doings(next, deeper + 4, options, width));
            }
        }
    }
    lines
}

fn doing(part: &Part, options: &TextOptions, width: usize) -> Vec<Line> {
    let text = format!("meanwhile {}: {}", words::doing(&part.doing), percent(part.share));
    let mut lines = plain(&text, width);
    if let Doing::Waiting { stack, .. } = &part.doing
        && !stack.is_empty()
    {
        lines.extend(indented(stack_lines("in ", stack, options, width - 2), 2));
    }
    lines
}

fn indented(lines: Vec<Line>, by: usize) -> Vec<Line> {
    lines.into_iter().map(|line| line.indented(by)).collect()
}

/// What a thread was doing, in a few words.
pub fn short(doing: &Doing) -> String {
    match doing {
        Doing::Waiting { stack, .. } if words::is_waiting_for_client(stack) => words::doing(doing),
        Doing::Waiting { stack, kind, .. } => {
            let function = culprit(stack);
            let what = match function {
                // The number of a descriptor says less than who waits for it.
                Some(_) if *kind == State::Poll => {
                    words::activity(Activity::Blocked(*kind)).to_owned()
                }
                _ => cut_middle(&words::doing(doing), 40),
            };
            match function {
                Some(function) => format!("{what} in {}", cut_middle(function, 32)),
                None => what,
            }
        }
        Doing::NotFollowed => "not followed".to_owned(),
        Doing::Forgotten => "not known".to_owned(),
        Doing::Running | Doing::Runnable | Doing::Queued => words::doing(doing),
    }
}

/// The functions of a stack, the innermost first.
pub fn stack_lines(first: &str, stack: &[Frame], options: &TextOptions, width: usize) -> Vec<Line> {
    let (mut names, most) = if options.all_frames {
        (stack.iter().map(|frame| frame.name.as_str()).collect(), width)
    } else {
        (meaningful(stack), FRAME)
    };
    names.dedup();
    if names.is_empty() {
        return plain(&format!("{first}no stack"), width);
    }
    let shown = if options.all_frames { names.len() } else { names.len().min(FRAMES) };
    let mut pieces: Vec<String> = Vec::new();
    for (index, name) in names[..shown].iter().enumerate() {
        let arrow = if index + 1 < names.len() { " ←" } else { "" };
        pieces.push(cut_middle(name, most.min(width.saturating_sub(INDENT + 2))) + arrow);
    }
    if shown < names.len() {
        pieces.push(format!("{} more", names.len() - shown));
    }
    let start = format!("{}{first}", " ".repeat(INDENT));
    let wrapped = wrap(&pieces, &start, INDENT + 2, width);
    wrapped.into_iter().map(|line| Line::new(Style::Plain, line)).collect()
}

/// Futexes that nobody holds.
fn parked(rows: &[LockRow], width: usize) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let time: Nanos = rows.iter().map(|row| row.total).sum();
    let mut sorts: Vec<&str> = rows.iter().map(|row| words::sort(row.sort)).collect();
    sorts.sort_unstable();
    sorts.dedup();
    let text = format!(
        "No contention: {} of waiting for {} ({}), where threads wait for work or for each other's \
         news.",
        duration(time),
        counted(rows.len() as u64, "other futex"),
        sorts.join(", ")
    );
    let mut lines = vec![Line::default()];
    let wrapped = wrap_words(&text, "", 0, width);
    lines.extend(wrapped.into_iter().map(|line| Line::new(Style::Faint, line)));
    lines
}

fn plain(text: &str, width: usize) -> Vec<Line> {
    debug_assert!(columns(text) < 4096, "names are cut where they come from");
    let lines = wrap_words(text, &" ".repeat(INDENT), INDENT + 2, width);
    lines.into_iter().map(|line| Line::new(Style::Plain, line)).collect()
}
