//! The longest waits, one by one.

use super::color::{Line, Style};
use super::layout::{TIE, cut_middle, width as columns, wrap, wrap_words};
use super::units::{count, counted, duration, percent};
use super::{TextOptions, words};
use crate::analyze::{TopWait, alike, meaningful};
use crate::model::Nanos;

/// Functions shown of a stack, and columns of each.
const FRAMES: usize = 6;
const FRAME: usize = 44;
/// Wakers shown.
const WAKERS: usize = 3;
/// Columns before everything but the first line of a wait.
const INDENT: usize = 4;

/// The title and the waits.
pub fn lines(waits: Vec<TopWait>, options: &TextOptions, width: usize) -> Vec<Line> {
    let waits = if options.all_frames { waits } else { alike(waits, FRAMES) };
    if waits.is_empty() {
        return vec![Line::new(Style::Strong, "No waits.")];
    }
    let shown = &waits[..waits.len().min(options.top)];
    let mut lines = vec![Line::new(Style::Strong, title(shown.len(), waits.len()))];
    for (index, wait) in shown.iter().enumerate() {
        lines.extend(entry(index + 1, wait, options, width));
    }
    lines.extend(rest(&waits[shown.len()..], width));
    lines
}

fn title(shown: usize, all: usize) -> String {
    match (shown, all) {
        (1, 1) => "The only wait:".to_owned(),
        _ if shown == all => format!("All {} waits:", count(all as u64)),
        _ => format!("Top {} of {} waits:", count(shown as u64), count(all as u64)),
    }
}

fn entry(rank: usize, wait: &TopWait, options: &TextOptions, width: usize) -> Vec<Line> {
    let (head_style, style) = match wait.idle {
        Some(_) => (Style::Faint, Style::Faint),
        None => (Style::Strong, Style::Plain),
    };
    let rank = format!("{rank:2}. ");
    let head = words::wait(wait);
    let who = who(wait);
    let whole = format!("{rank}{head} · {who}");
    let mut below = Vec::new();
    let head = if columns(&whole) <= width {
        vec![whole]
    } else {
        below.extend(paragraph(&who, width));
        wrap_words(&head, &rank, INDENT, width)
    };
    if let Some(reason) = wait.idle {
        below.extend(paragraph(&format!("({})", words::idle(reason)), width));
    }
    below.extend(paragraph(&figures(wait), width));
    below.extend(wakers(wait).into_iter().flat_map(|text| paragraph(&text, width)));
    below.extend(stack(wait, options, width));
    let head = head.into_iter().map(|line| Line::new(head_style, line));
    head.chain(below.into_iter().map(|line| Line::new(style, line))).collect()
}

fn paragraph(text: &str, width: usize) -> Vec<String> {
    wrap_words(text, &" ".repeat(INDENT), INDENT, width)
}

/// The process, and its threads where their names say more than its own.
pub fn who(wait: &TopWait) -> String {
    let process = words::process(wait);
    let groups: Vec<&str> = wait.thread_groups.iter().map(String::as_str).collect();
    match groups.as_slice() {
        [] => process,
        [only] if *only == wait.comm => process,
        _ if groups.len() <= 3 => format!("{process}, {}", groups.join(", ")),
        [first, second, rest @ ..] => {
            let more = counted(rest.len() as u64, "more group");
            format!("{process}, {first}, {second} and {more}")
        }
        _ => process,
    }
}

fn figures(wait: &TopWait) -> String {
    let of = if wait.idle.is_some() { "of idle time" } else { "of working time" };
    format!(
        "{} = {} {of}; {}, p50{TIE}{}, p99{TIE}{}, max{TIE}{}; {}{}",
        duration(wait.total),
        percent(wait.share),
        counted(wait.count, "wait"),
        duration(wait.latency.quantile(0.5)),
        duration(wait.latency.quantile(0.99)),
        duration(wait.latency.max()),
        counted(wait.threads, "thread"),
        words::clipped(wait.clipped),
    )
}

/// Who ended the waits; nothing where that is of no interest.
fn wakers(wait: &TopWait) -> Option<String> {
    let woken = wait.woken();
    if woken == 0 {
        return wait.idle.is_none().then(|| "no wakeup seen".to_owned());
    }
    let share = |number: u64| percent(Nanos(number).share_of(Nanos(woken)));
    let shown = wait.wakers.iter().take(WAKERS);
    let mut parts: Vec<String> = shown
        .map(|waker| {
            format!("{} ({})", words::waker(&waker.group, waker.cause), share(waker.count))
        })
        .collect();
    let hidden: u64 = wait.wakers.iter().skip(WAKERS).map(|waker| waker.count).sum();
    let others = hidden + wait.other_wakers;
    if others > 0 {
        parts.push(format!("others ({})", share(others)));
    }
    Some(format!("woken by {}", parts.join(", ")))
}

fn stack(wait: &TopWait, options: &TextOptions, width: usize) -> Vec<String> {
    let (mut names, most) = if options.all_frames {
        (wait.stack.iter().map(|frame| frame.name.as_str()).collect(), width)
    } else {
        (meaningful(&wait.stack), FRAME)
    };
    // One function under several local symbols reads as if it called itself.
    names.dedup();
    if names.is_empty() && wait.idle.is_some() {
        return Vec::new();
    }
    if names.is_empty() {
        let why = if wait.in_kernel_thread {
            "no stack: a kernel thread has none in user space"
        } else {
            "no user stack: none could be taken"
        };
        return paragraph(why, width);
    }
    if wait.is_truncated {
        names.push("[truncated]");
    }
    let shown = if options.all_frames { names.len() } else { names.len().min(FRAMES) };
    let mut pieces: Vec<String> = Vec::new();
    for (index, name) in names[..shown].iter().enumerate() {
        let arrow = if index + 1 < names.len() { " ←" } else { "" };
        pieces.push(cut_middle(name, most.min(width - INDENT - 2)) + arrow);
    }
    if shown < names.len() && wait.stacks > 1 {
        pieces.push(format!("{} stacks from there on", wait.stacks));
    } else if shown < names.len() {
        pieces.push(format!("{} more", names.len() - shown));
    }
    wrap(&pieces, &" ".repeat(INDENT), INDENT, width)
}

fn rest(waits: &[TopWait], width: usize) -> Vec<Line> {
    if waits.is_empty() {
        return Vec::new();
    }
    let time = |idle: bool| {
        let some = waits.iter().filter(|wait| wait.idle.is_some() == idle);
        duration(some.map(|wait| wait.total).sum())
    };
    let number = counted(waits.len() as u64, "more wait");
    let text =
        format!("… and {number}: {} inside work, {} waiting for work.", time(false), time(true));
    let lines = wrap_words(&text, &" ".repeat(INDENT), INDENT, width);
    lines.into_iter().map(|line| Line::new(Style::Faint, line)).collect()
}
