//! The slowest requests, one by one.

use super::super::TextOptions;
use super::super::color::{Line, Style};
use super::super::layout::{cut_middle, wrap_words};
use super::super::locks::stack_lines;
use super::super::units::{counted, duration};
use super::super::words;
use super::{INDENT, LABEL, below};
use crate::model::{Profile, Service, SlowRequest};

/// Parts named of each, and widest name of what it waited for.
const PARTS: usize = 4;
const OBJECT: usize = 60;

/// An entry for each.
pub fn lines(
    profile: &Profile,
    service: &Service,
    options: &TextOptions,
    width: usize,
) -> Vec<Line> {
    let shown: Vec<_> = service.slowest.iter().take(options.slowest).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::default(), Line::new(Style::Strong, "    the slowest:")];
    for request in shown {
        lines.extend(entry(profile, request, options, width));
    }
    lines
}

fn entry(
    profile: &Profile,
    request: &SlowRequest,
    options: &TextOptions,
    width: usize,
) -> Vec<Line> {
    let thread = match request.tid.0 {
        0 => "a thread".to_owned(),
        tid => format!("thread {tid}"),
    };
    let text = format!(
        "{} · {}, {} after the beginning, {thread} of pid {}",
        duration(request.latency),
        cut_middle(&words::label(&request.label), LABEL),
        duration(request.arrival.since(profile.window.start)),
        request.pid
    );
    let head = wrap_words(&text, &" ".repeat(INDENT), INDENT + 2, width);
    let mut lines: Vec<Line> = head.into_iter().map(|l| Line::new(Style::Plain, l)).collect();
    lines.extend(below(&consists(request), width));
    let Some((id, time)) = request.longest else { return lines };
    let Some(place) = profile.requests.place(id) else { return lines };
    let what = cut_middle(&words::what(&place.object, place.syscall.as_deref()), OBJECT);
    let kind = words::part(crate::model::Part::In(place.kind));
    lines.extend(below(&format!("longest wait {}: {kind}, {what}", duration(time)), width));
    if !place.stack.is_empty() {
        let stack = stack_lines("in ", &place.stack, options, width - 4);
        lines.extend(stack.into_iter().map(|line| line.indented(4)));
    }
    lines
}

/// Its largest parts.
pub fn consists(request: &SlowRequest) -> String {
    let mut parts: Vec<_> = request.budget.parts().filter(|(_, time)| time.0 > 0).collect();
    parts.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let named = parts.iter().take(PARTS);
    let mut texts: Vec<String> =
        named.map(|(part, time)| format!("{} {}", duration(*time), words::part(*part))).collect();
    if request.calls > 0 {
        texts.push(counted(request.calls, "call"));
    }
    texts.join(", ")
}
