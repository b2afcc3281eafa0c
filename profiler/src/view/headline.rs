//! The first sentence of a report.

use super::color::{Line, Style};
use super::layout::{cut_middle, wrap_words};
use super::units::{counted, duration, percent};
use super::words;
use crate::analyze::{Budget, Headline, Share, TopWait, activity, culprit, taken_in};
use crate::model::{Nanos, Profile, WaitObject};

/// Kinds of wait named in the sentence.
const KINDS: usize = 3;

/// Widest subject, and widest name of a function or object, in the sentence.
const SUBJECT: usize = 56;
const NAME: usize = 32;

/// The sentence, and what is not in it.
pub fn lines(profile: &Profile, headline: &Headline, width: usize) -> Vec<Line> {
    let subject = subject(profile, headline);
    if headline.threads == 0 {
        let text = format!("{subject}: no thread lived in this window.");
        return strong(&text, width);
    }
    let budget = &headline.budget;
    if budget.working() == Nanos(0) {
        let text = match budget.unattributed() {
            Nanos(0) => format!("{subject}: idle, nothing but waiting for requests and timers."),
            _ => format!("{subject}: no time in a state that says what it is limited by."),
        };
        return strong(&text, width);
    }
    let is_idle = budget.working().share_of(profile.window.duration()) < IDLE;
    let mut lines = match headline.shares.first() {
        Some(share) if is_idle => strong(&nearly_idle(&subject, share, budget), width),
        _ => strong(&sentence(&subject, headline), width),
    };
    let wrapped = wrap_words(&working(budget), "", 0, width);
    lines.extend(wrapped.into_iter().map(|line| Line::new(Style::Plain, line)));
    lines
}

/// Less work than this part of the time of one thread says more by being so little than by what it consists of.
const IDLE: f64 = 0.005;

fn nearly_idle(subject: &str, most: &Share, budget: &Budget) -> String {
    let (time, share) = (duration(budget.working()), percent(most.share));
    let activity = words::activity(most.activity);
    format!("{subject}: nearly idle, with {time} of work, {share} of that {activity}.")
}

fn working(budget: &Budget) -> String {
    let working = format!("Working time: {}", duration(budget.working()));
    if budget.idle() == Nanos(0) {
        return format!("{working} of {} of thread time.", duration(budget.wall()));
    }
    format!(
        "{working}. Not counted as work: {} of waiting for requests, timers and the like \
         ({} of all thread time).",
        duration(budget.idle()),
        percent(budget.idle().share_of(budget.wall()))
    )
}

fn strong(text: &str, width: usize) -> Vec<Line> {
    wrap_words(text, "", 0, width).into_iter().map(|line| Line::new(Style::Strong, line)).collect()
}

/// `demo-server (8 threads, 5.00 s)`.
fn subject(profile: &Profile, headline: &Headline) -> String {
    let name = headline.process.as_deref().filter(|name| !name.is_empty());
    let name = cut_middle(name.unwrap_or(&profile.target.description), SUBJECT);
    let mut facts = Vec::new();
    if headline.processes > 1 {
        facts.push(counted(headline.processes as u64, "process"));
    }
    if headline.threads > 0 {
        facts.push(counted(headline.threads, "thread"));
    }
    facts.push(duration(profile.window.duration()));
    format!("{name} ({})", facts.join(", "))
}

fn sentence(subject: &str, headline: &Headline) -> String {
    let mut waits = 0;
    let mut parts = Vec::new();
    let mut rest = Nanos(0);
    for share in &headline.shares {
        if share.activity.is_wait() {
            waits += 1;
            if waits > KINDS || (waits > 1 && share.share < 0.01) {
                rest += share.time;
                continue;
            }
        }
        parts.push(part(share, headline, parts.is_empty()));
    }
    if rest > Nanos(0) {
        let share = percent(rest.share_of(headline.budget.working()));
        parts.push(format!("{share} in other waits"));
    }
    let whose = if headline.processes > 1 { "their" } else { "its" };
    let text = format!("{subject}: {}.", parts.join(", "));
    text.replacen("{whose}", whose, 1)
}

fn part(share: &Share, headline: &Headline, is_first: bool) -> String {
    let of = if is_first { " of {whose} working time is spent" } else { "" };
    let leading = headline.leading.as_ref();
    let detail = leading
        .filter(|wait| activity(wait) == Some(share.activity))
        .map(|wait| detail(wait, share.time))
        .unwrap_or_default();
    format!("{}{of} {}{detail}", percent(share.share), words::activity(share.activity))
}

/// ` (futex 0x55d0… in handle_request)`.
fn detail(wait: &TopWait, of: Nanos) -> String {
    let mostly = if wait.total < of { "mostly " } else { "" };
    if let Some(lock) = wait.database_lock {
        let lock = words::lock(lock);
        return match taken_in(&wait.stack) {
            Some(function) => format!(" ({mostly}{lock}, taken in {})", cut_middle(function, NAME)),
            None => format!(" ({mostly}{lock})"),
        };
    }
    let object = match &wait.object {
        WaitObject::Futex { address, .. } => format!("futex {address:#x}"),
        _ => words::object(wait),
    };
    let object = cut_middle(&object, NAME + 8);
    match culprit(&wait.stack) {
        Some(function) => format!(" ({mostly}{object} in {})", cut_middle(function, NAME)),
        None => format!(" ({mostly}{object})"),
    }
}
