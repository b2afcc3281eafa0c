//! What timelines say of requests, whatever their format.

use super::super::layout::TIE;
use super::words;
use crate::analyze::{LongestWait, ServingThread, meaningful};
use crate::model::{Nanos, Part};

/// What is drawn and not measured.
pub const ORDER: &str = "How long each part took is measured. In which order they came is not, but that the time in \
     the socket was first; each may have been in several pieces.";

/// Functions named of a stack: with them all, traces of recordings would consist of names.
const NAMED: usize = 8;

/// Words for the longest wait of a request.
#[derive(Clone, Debug)]
pub struct WaitWords<'a> {
    /// Its kind, or the sort of lock.
    pub kind: String,
    /// What was waited for.
    pub object: String,
    /// The function of the program that waited, where its name is known; or else empty.
    pub function: &'a str,
    /// The innermost functions of the stack, innermost first.
    pub stack: String,
    /// How long.
    pub time: Nanos,
}

impl<'a> WaitWords<'a> {
    /// Of a wait.
    pub fn of(longest: &LongestWait<'a>) -> Self {
        let place = longest.place;
        let names = meaningful(&place.stack);
        let more = if names.len() > NAMED { " < …" } else { "" };
        let named = names.get(..NAMED).unwrap_or(&names).join(" < ");
        let part = words::part(Part::In(place.kind));
        Self {
            kind: longest.lock().map_or_else(|| part.to_owned(), words::lock),
            object: words::what(&place.object, place.syscall.as_deref()).replace(TIE, " "),
            function: longest.function().unwrap_or_default(),
            stack: named + more,
            time: longest.time,
        }
    }
}

/// What a thread is called.
pub fn thread_name<'a>(thread: &ServingThread<'a>) -> &'a str {
    match thread.tid.0 {
        0 => "a thread that is not known",
        _ => words::name_or_none(thread.name.unwrap_or(thread.process)),
    }
}

/// Milliseconds, exact to the nanosecond.
pub fn milliseconds(time: Nanos) -> f64 {
    time.0 as f64 / 1e6
}
