//! The answer to the one question, in at most eight lines.

mod constraint;

use super::color::{Line, Style};
use super::layout::{cut_middle, wrap_words};
use super::units::{count, counted, duration, percent};
use super::words;
use crate::analyze::{Basis, Cause, Confidence, Doubt, Finding, Thin, Verdict};
use crate::model::Nanos;

/// Lines of the verdict.
const MOST: usize = 8;
/// Reasons named for a lack of confidence.
const DOUBTS: usize = 2;
/// Widest name of a process, and of an address.
const NAME: usize = 16;

/// The verdict, and how sure it is.
pub fn lines(verdict: &Verdict, width: usize) -> Vec<Line> {
    match &verdict.finding {
        Finding::Constrained { first, next } => constrained(verdict, first, next.as_deref(), width),
        Finding::Free { busy, running } => {
            let text = format!(
                "Not constrained: {} has time left; its threads work {} of the time, and {} of the \
                 mean latency of {} is running.",
                service(verdict),
                percent(*busy),
                percent(*running),
                duration(verdict.all.1)
            );
            let mut lines = paragraph(&text, Style::Strong, width);
            lines.extend(sure(verdict, DOUBTS, width));
            lines
        }
        Finding::Unknown(thin) => {
            paragraph(&format!("Cannot tell: {}", unknown(verdict, thin)), Style::Strong, width)
        }
    }
}

fn constrained(verdict: &Verdict, first: &Cause, next: Option<&Cause>, width: usize) -> Vec<Line> {
    let text =
        format!("{} is constrained by {}.", service(verdict), constraint::words(&first.constraint));
    let mut lines = paragraph(&text, Style::Strong, width);
    let figures = format!("{} {}", explained(verdict, first), saves(first, next));
    lines.extend(paragraph(&figures, Style::Plain, width));
    let room = MOST.saturating_sub(lines.len());
    let sure = (0..=DOUBTS).rev().map(|doubts| sure(verdict, doubts, width));
    lines.extend(sure.into_iter().find(|lines| lines.len() <= room).unwrap_or_default());
    lines
}

/// `web at 0.0.0.0:8080`.
fn service(verdict: &Verdict) -> String {
    let process = cut_middle(words::name_or_none(&verdict.process), NAME);
    format!("{process} at {}", cut_middle(&verdict.address, NAME + 6))
}

fn explained(verdict: &Verdict, first: &Cause) -> String {
    let (tail, slow) = verdict.tail;
    let (median, usual) = verdict.median;
    let explains = percent(first.explains);
    let waits = |waits: u64, of: u64| match waits {
        0 => String::new(),
        _ => format!("; the longest wait of {} of {}", count(waits), count(of)),
    };
    match verdict.basis {
        Basis::Tail => format!(
            "That is {explains} of what {} beyond p99 (mean {}) take longer than {} at the median \
             (mean {}){}.",
            counted(tail, "request"),
            duration(slow),
            count(median),
            duration(usual),
            waits(first.waits_tail, tail)
        ),
        Basis::Whole => {
            let (all, mean) = verdict.all;
            format!(
                "The slowest are hardly slower than the others; that is {explains} of the mean \
                 latency of {} ({}){}.",
                duration(mean),
                counted(all, "request"),
                waits(first.waits_all, all)
            )
        }
    }
}

fn saves(first: &Cause, next: Option<&Cause>) -> String {
    let mut text = format!(
        "Without it: at most {} less on average ({}), {} beyond p99 ({}).",
        duration(first.saves_mean),
        percent(first.saves_mean_share),
        duration(first.saves_tail),
        percent(first.saves_tail_share)
    );
    if let Some(next) = next {
        text += &format!(
            " Next: {} ({}).",
            constraint::short(&next.constraint),
            percent(next.explains)
        );
    }
    text
}

fn sure(verdict: &Verdict, most: usize, width: usize) -> Vec<Line> {
    let level = match verdict.confidence {
        Confidence::High => "high",
        Confidence::Medium => "medium",
        Confidence::Low => "low",
    };
    let mut text = format!("Confidence: {level}");
    let doubts: Vec<String> = verdict.doubts.iter().take(most).map(doubt).collect();
    match verdict.doubts.is_empty() {
        true => text += &format!(" ({}, nothing lost)", counted(verdict.all.0, "request")),
        false if doubts.is_empty() => {}
        false => text += &format!(": {}", doubts.join("; ")),
    }
    if verdict.others > 0 {
        let others = counted(verdict.others as u64, "other service");
        text += &format!(". {others} below");
    }
    paragraph(&(text + "."), Style::Faint, width)
}

/// Why a verdict is not surer.
pub fn doubt(doubt: &Doubt) -> String {
    match doubt {
        Doubt::Few(number) => format!("only {} decide", counted(*number, "request")),
        Doubt::Lost(share) => format!("{} of the requests were lost", percent(*share)),
        Doubt::Unaccounted(share) => format!("{} of their time is in no part", percent(*share)),
        Doubt::HandedOver(share) => {
            format!(
                "{} of their time is between two threads, for an unknown cause",
                percent(*share)
            )
        }
        Doubt::Pipelined(share) => {
            format!("{} are pipelined and may be several", percent(*share))
        }
        Doubt::Multiplexed(share) => {
            format!("{} of the connections are multiplexed", percent(*share))
        }
        Doubt::ArrivalUnseen(share) => {
            format!("the arrival of {} was not seen", percent(*share))
        }
        Doubt::Flight => "requests in flight do not fit to rate and latency".to_owned(),
        Doubt::Partly(share) => format!("it explains only {}", percent(*share)),
        Doubt::Events => {
            "it waits for a timer, a thread or a process, and which cannot be told".to_owned()
        }
        Doubt::Stolen(share) => {
            format!(
                "the hypervisor may have caused {} of what slow ones take longer",
                percent(*share)
            )
        }
    }
}

fn unknown(verdict: &Verdict, thin: &Thin) -> String {
    let all = counted(verdict.all.0, "request");
    match thin {
        Thin::NoRequests => {
            "no request was answered in this window. Is it a server, and was it asked?".to_owned()
        }
        Thin::Few => format!(
            "{} answered only {all} (mean {}); 100 are the least. Look for longer.",
            service(verdict),
            duration(verdict.all.1)
        ),
        Thin::Unaccounted(share) => format!(
            "{} of the time of slow requests of {} is in no part that is known ({all}).",
            percent(*share),
            service(verdict)
        ),
        Thin::Nothing => {
            let stolen = verdict.doubts.iter().find(|doubt| matches!(doubt, Doubt::Stolen(_)));
            let why = stolen.map(|stolen| format!("; {}", doubt(stolen))).unwrap_or_default();
            format!(
                "no part of the time of requests of {} stands out ({all}, mean {}){why}.",
                service(verdict),
                duration(verdict.all.1)
            )
        }
    }
}

fn paragraph(text: &str, style: Style, width: usize) -> Vec<Line> {
    let lines = wrap_words(text, "", 0, width);
    lines.into_iter().map(|line| Line::new(style, line)).collect()
}

/// A duration beside another one: `2.00 ms (usually 1.00 ms)`.
fn beside(slow: Nanos, usual: Nanos) -> String {
    format!("{} (usually {})", duration(slow), duration(usual))
}
