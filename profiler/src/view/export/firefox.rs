//! The processed profile format of the Firefox Profiler (profiler.firefox.com): requests and their parts are
//! markers of the thread that answered.

mod markers;

use std::io;
use std::time::Duration;

use fxprof_processed_profile::{
    CategoryHandle, Frame, FrameFlags, FrameInfo, MarkerTiming, Profile, ReferenceTimestamp,
    SamplingInterval, StackHandle, ThreadHandle, Timestamp,
};

use super::super::units::duration;
use super::timeline::{WaitWords, milliseconds, thread_name};
use super::words;
use crate::analyze::{LongestWait, ServingThread, TimedPart, TimedRequest, timeline};
use crate::model::{Nanos, Profile as Measured};
use crate::view::layout::TIE;
use markers::{Categories, PartMarker, RequestMarker, WaitMarker};

/// A profile of the slowest requests; none where there are no requests. The window began at `unix_ns`, in
/// nanoseconds since 1970.
///
/// # Errors
/// When memory for it cannot be had.
pub fn firefox(profile: &Measured, unix_ns: i64) -> io::Result<Option<Vec<u8>>> {
    let threads = timeline(profile);
    if threads.is_empty() {
        return Ok(None);
    }
    let mut builder = Builder::new(profile, &threads, unix_ns);
    for of_process in threads.chunk_by(|one, other| one.pid == other.pid) {
        builder.process(of_process);
    }
    if let Some((_, thread)) = builder.slowest {
        builder.out.add_initial_selected_thread(thread);
    }
    Ok(Some(serde_json::to_vec(&builder.out)?))
}

struct Builder {
    out: Profile,
    categories: Categories,
    /// The instant from which times count.
    zero: Nanos,
    /// Requests so far.
    requests: u64,
    /// The latency of the slowest one, and its thread.
    slowest: Option<(Nanos, ThreadHandle)>,
}

impl Builder {
    fn new(profile: &Measured, threads: &[ServingThread<'_>], unix_ns: i64) -> Self {
        let window = profile.window.start;
        // In a part of a recording, requests can have come before its beginning.
        let lanes = threads.iter().flat_map(|thread| &thread.lanes);
        let earliest = lanes.flatten().map(|request| request.start).min();
        let zero = earliest.map_or(window, |earliest| earliest.min(window));
        let unix = u64::try_from(unix_ns).unwrap_or(0).saturating_sub(window.since(zero).0);
        let mut out = Profile::new(
            &format!("dwell, {}", profile.target.description),
            ReferenceTimestamp::from_duration_since_unix_epoch(Duration::from_nanos(unix)),
            // There are no samples, so this has no meaning.
            SamplingInterval::from_millis(1),
        );
        out.set_os_name(&format!("Linux {}", profile.host.kernel));
        // There are no addresses to look names up for.
        out.set_symbolicated(true);
        Self { out, categories: Categories::default(), zero, requests: 0, slowest: None }
    }

    fn process(&mut self, threads: &[ServingThread<'_>]) {
        let Some(first) = threads.first() else { return };
        let name = words::name_or_none(first.process);
        let start = Timestamp::from_nanos_since_reference(0);
        let process = self.out.add_process(name, first.pid.0, start);
        for thread in threads {
            let is_main = thread.tid.0 != 0 && thread.tid.0 == thread.pid.0;
            let handle = self.out.add_thread(process, thread.tid.0, start, is_main);
            self.out.set_thread_name(handle, thread_name(thread));
            self.out.set_thread_show_markers_in_timeline(handle, true);
            self.out.add_initial_visible_thread(handle);
            // The profiler puts what overlaps into rows by itself.
            thread.lanes.iter().flatten().for_each(|request| self.request(handle, request));
        }
    }

    fn request(&mut self, thread: ThreadHandle, timed: &TimedRequest<'_>) {
        let request = timed.request;
        self.requests += 1;
        let is_slowest = self.slowest.is_none_or(|(latency, _)| latency < request.latency);
        if is_slowest {
            self.slowest = Some((request.latency, thread));
        }
        let longest = timed.longest.as_ref().map_or_else(|| "none".to_owned(), longest_wait);
        let marker = RequestMarker {
            name: self.out.intern_string(&words::label(&request.label)),
            category: self.categories.request(&mut self.out),
            number: self.requests as f64,
            service: self.out.intern_string(&timed.service.address),
            first_byte_ms: milliseconds(request.first_byte),
            calls: request.calls as f64,
            longest_wait: self.out.intern_string(&longest),
        };
        let timing = self.timing(timed.start, timed.end);
        self.out.add_marker(thread, timing, marker);
        timed.parts.iter().for_each(|part| self.part(thread, timed, part));
    }

    fn part(&mut self, thread: ThreadHandle, request: &TimedRequest<'_>, part: &TimedPart) {
        let timing = self.timing(part.start, part.end);
        let category = self.categories.part(&mut self.out, part.part);
        let marker = PartMarker {
            name: self.out.intern_string(words::part(part.part)),
            category,
            request: self.requests as f64,
        };
        let Some(longest) = request.longest_in(part) else {
            self.out.add_marker(thread, timing, marker);
            return;
        };
        let words = WaitWords::of(&longest);
        let marker = WaitMarker {
            part: marker,
            longest_ms: milliseconds(words.time),
            kind: self.out.intern_string(&words.kind),
            object: self.out.intern_string(&words.object),
            function: self.out.intern_string(words.function),
        };
        let marker = self.out.add_marker(thread, timing, marker);
        let stack = self.stack(thread, category, &longest);
        self.out.set_marker_stack(thread, marker, stack);
    }

    fn stack(
        &mut self,
        thread: ThreadHandle,
        category: CategoryHandle,
        longest: &LongestWait<'_>,
    ) -> Option<StackHandle> {
        let names = longest.place.stack.iter().rev().map(|frame| frame.name.as_str());
        let names: Vec<_> = names.map(|name| self.out.intern_string(name)).collect();
        let frames = names.into_iter().map(|name| FrameInfo {
            frame: Frame::Label(name),
            category_pair: category.into(),
            flags: FrameFlags::empty(),
        });
        self.out.intern_stack_frames(thread, frames)
    }

    fn timing(&self, start: Nanos, end: Nanos) -> MarkerTiming {
        let at = |instant: Nanos| Timestamp::from_nanos_since_reference(instant.since(self.zero).0);
        MarkerTiming::Interval(at(start), at(end))
    }
}

/// `socket, from 10.0.0.1:5432 (tcp, client side), 4.51 ms in query`
fn longest_wait(longest: &LongestWait<'_>) -> String {
    let WaitWords { kind, object, function, time, .. } = WaitWords::of(longest);
    let place = if function.is_empty() { String::new() } else { format!(" in {function}") };
    format!("{kind}, {object}, {}{place}", duration(time)).replace(TIE, " ")
}

#[cfg(test)]
mod tests;
