//! How much work comes in, waits, and how it is spread.

use super::super::color::{Line, Style};
use super::super::units::{count, counted, mean, percent};
use super::{paragraph, plain};
use crate::analyze::{Load, ServiceRows, Spread};

/// A paragraph on queues and one on those who serve.
pub fn lines(row: &ServiceRows<'_>, width: usize) -> Vec<Line> {
    let load = &row.load;
    let mut lines = Vec::new();
    if let Some(text) = queues(load) {
        lines.extend(plain(&text, width));
    }
    if load.threads.number > 0 {
        lines.extend(plain(&spread(load), width));
    }
    if let Some(little) = load.little.filter(|little| little.differs) {
        let text = format!(
            "rate × mean latency says {} in flight, arrivals and answers say {}: requests were cut by \
             the window's edges, or arrived unseen.",
            mean(little.expected),
            mean(little.counted)
        );
        lines.extend(paragraph(&text, "    ", Style::Warning, width));
    }
    lines
}

fn queues(load: &Load) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(in_flight) = load.in_flight {
        // The most is a mean over 10 ms.
        let most = count(load.in_flight_most.round().max(1.0) as u64);
        parts.push(format!("{} in flight on average, at most {most}", mean(in_flight)));
    }
    if let Some(queued) = load.queued {
        let mut text = format!("{} of them not received yet", mean(queued));
        // Looks twice a second can miss what the mean has.
        if load.queued_most > 0 {
            text += &format!(", at most {}", count(load.queued_most));
        }
        parts.push(text);
    }
    if let Some(accepting) = load.accepting {
        parts.push(format!(
            "{} to accept, at most {} of {}",
            mean(accepting.waiting),
            count(accepting.waiting_most),
            count(accepting.limit)
        ));
    }
    if load.connections > 0 {
        parts.push(counted(load.connections, "connection"));
    }
    (!parts.is_empty()).then(|| format!("queues: {}", parts.join("; ")))
}

fn spread(load: &Load) -> String {
    let threads = &load.threads;
    let mut text = format!("work: {}", counted(threads.number, "thread"));
    text += &format!(", at work {} of the time", percent(threads.busy));
    if threads.number > 1 {
        text += &format!(", the busiest {}", percent(threads.busiest));
        text += &inequality(threads);
    }
    let processes = &load.processes;
    if processes.number > 1 && processes.number < threads.number {
        text += &format!("; {}", counted(processes.number, "process"));
        text += &inequality(processes);
    }
    text
}

fn inequality(spread: &Spread) -> String {
    format!(" = {:.1} × the mean (Gini {:.2})", spread.most, spread.gini)
}
