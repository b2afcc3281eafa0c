//! The format of Perfetto (perfetto.dev, protos/perfetto/trace), for ui.perfetto.dev and its trace processor.

mod wire;

use prost::Message as _;

use super::timeline::{ORDER, WaitWords, milliseconds, thread_name};
use super::words;
use crate::analyze::{ServiceLoad, ServingThread, TimedPart, TimedRequest, timeline};
use crate::model::{Nanos, Profile};
use wire::{
    Clock, ClockSnapshot, CounterDescriptor, DebugAnnotation, ProcessDescriptor, ThreadDescriptor,
    Trace, TracePacket, TrackDescriptor, TrackEvent,
};

/// `BUILTIN_CLOCK_REALTIME` and `BUILTIN_CLOCK_MONOTONIC` of builtin_clock.proto.
const REALTIME: u32 = 1;
const MONOTONIC: u32 = 3;

/// `TrackEvent.Type`.
const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const COUNTER: i32 = 4;

/// `TracePacket.trusted_packet_sequence_id`: all packets have one writer, who has written nothing before
/// (`SEQ_INCREMENTAL_STATE_CLEARED`).
const SEQUENCE: u32 = 1;
const CLEARED: u32 = 1;

/// A trace of the slowest requests; none where there are no requests. The window began at `unix_ns`, in
/// nanoseconds since 1970.
///
/// Times are those of CLOCK_MONOTONIC, which the trace declares. Each thread has its own track, and one for
/// each further request at the same time.
pub fn perfetto(profile: &Profile, unix_ns: i64, loads: &[ServiceLoad]) -> Option<Vec<u8>> {
    let threads = timeline(profile);
    if threads.is_empty() {
        return None;
    }
    let mut trace = Builder::default();
    trace.clocks(profile.window.start, unix_ns);
    for of_process in threads.chunk_by(|one, other| one.pid == other.pid) {
        trace.process(of_process);
    }
    loads.iter().for_each(|load| trace.load(load));
    Some(Trace { packet: trace.packets }.encode_to_vec())
}

#[derive(Default)]
struct Builder {
    packets: Vec<TracePacket>,
    tracks: u64,
}

impl Builder {
    /// Which clock times are by, and what time of the day it was.
    fn clocks(&mut self, start: Nanos, unix_ns: i64) {
        let clock = |clock_id, timestamp| Clock { clock_id, timestamp };
        let realtime = clock(REALTIME, unix_ns.max(0).cast_unsigned());
        let snapshot = ClockSnapshot {
            clocks: vec![clock(MONOTONIC, start.0), realtime],
            primary_trace_clock: MONOTONIC.cast_signed(),
        };
        self.packets.push(TracePacket {
            clock_snapshot: Some(snapshot),
            sequence_flags: CLEARED,
            ..packet()
        });
    }

    fn process(&mut self, threads: &[ServingThread<'_>]) {
        let Some(first) = threads.first() else { return };
        let name = words::name_or_none(first.process).to_owned();
        // 0, which stands for a process that is not visible from where dwell runs, is none.
        let process = (first.pid.0 != 0).then(|| ProcessDescriptor {
            pid: first.pid.0.cast_signed(),
            process_name: name.clone(),
        });
        let process = self.track(TrackDescriptor { name, process, ..TrackDescriptor::default() });
        threads.iter().for_each(|thread| self.thread(process, thread));
    }

    fn thread(&mut self, process: u64, thread: &ServingThread<'_>) {
        let name = thread_name(thread);
        let is_known = thread.pid.0 != 0 && thread.tid.0 != 0;
        let own = self.track(TrackDescriptor {
            parent_uuid: process,
            name: name.to_owned(),
            thread: is_known.then(|| ThreadDescriptor {
                pid: thread.pid.0.cast_signed(),
                tid: thread.tid.0.into(),
                thread_name: name.to_owned(),
            }),
            description: ORDER.to_owned(),
            ..TrackDescriptor::default()
        });
        for (index, lane) in thread.lanes.iter().enumerate() {
            let track = match index {
                0 => own,
                _ => self.track(TrackDescriptor {
                    parent_uuid: own,
                    name: format!("{name}, at the same time ({})", index + 1),
                    ..TrackDescriptor::default()
                }),
            };
            lane.iter().for_each(|request| self.request(track, request));
        }
    }

    fn request(&mut self, track: u64, request: &TimedRequest<'_>) {
        let name = words::label(&request.request.label);
        self.begin(track, request.start, "request", name, about_request(request));
        for part in &request.parts {
            let name = words::part(part.part).to_owned();
            self.begin(track, part.start, "part", name, about_part(request, part));
            self.end(track, part.end);
        }
        self.end(track, request.end);
    }

    fn load(&mut self, load: &ServiceLoad) {
        let rates = load.samples.iter().map(|sample| (sample.start, sample.rate));
        self.counter(format!("{}: requests a second", load.address), "1/s", rates);
        let in_flight = load.samples.iter().map(|sample| (sample.start, sample.in_flight));
        self.counter(format!("{}: requests in flight", load.address), "requests", in_flight);
    }

    fn counter(&mut self, name: String, unit: &str, values: impl Iterator<Item = (Nanos, f64)>) {
        let counter = Some(CounterDescriptor { unit_name: unit.to_owned() });
        let track = self.track(TrackDescriptor { name, counter, ..TrackDescriptor::default() });
        for (at, value) in values {
            let double_counter_value = Some(value);
            self.event(at, TrackEvent { double_counter_value, ..event(COUNTER, track) });
        }
    }

    /// Describes a track, and gives its number.
    fn track(&mut self, track: TrackDescriptor) -> u64 {
        self.tracks += 1;
        let track = TrackDescriptor { uuid: self.tracks, ..track };
        self.packets.push(TracePacket { track_descriptor: Some(track), ..packet() });
        self.tracks
    }

    fn begin(
        &mut self,
        track: u64,
        at: Nanos,
        category: &str,
        name: String,
        about: Vec<DebugAnnotation>,
    ) {
        self.event(
            at,
            TrackEvent {
                categories: vec![category.to_owned()],
                name,
                debug_annotations: about,
                ..event(SLICE_BEGIN, track)
            },
        );
    }

    fn end(&mut self, track: u64, at: Nanos) {
        self.event(at, event(SLICE_END, track));
    }

    fn event(&mut self, at: Nanos, event: TrackEvent) {
        self.packets.push(TracePacket {
            timestamp: Some(at.0),
            timestamp_clock_id: MONOTONIC,
            track_event: Some(event),
            ..packet()
        });
    }
}

fn packet() -> TracePacket {
    TracePacket { trusted_packet_sequence_id: SEQUENCE, ..TracePacket::default() }
}

fn event(kind: i32, track: u64) -> TrackEvent {
    TrackEvent { r#type: kind, track_uuid: track, ..TrackEvent::default() }
}

fn about_request(timed: &TimedRequest<'_>) -> Vec<DebugAnnotation> {
    let request = timed.request;
    let mut about = vec![
        text("service", &timed.service.address),
        text("label", &words::label(&request.label)),
        text("protocol", request.label.protocol.name()),
        number("latency_ms", milliseconds(request.latency)),
        number("first_byte_ms", milliseconds(request.first_byte)),
        DebugAnnotation { uint_value: Some(request.calls), ..named("calls") },
    ];
    about.extend(timed.longest.as_ref().map(WaitWords::of).as_ref().map(about_wait));
    about.push(text("order_of_parts", "not measured, but that the socket came first"));
    about
}

/// A part holds the longest wait, or there is nothing to say of it but its name and length.
fn about_part(request: &TimedRequest<'_>, part: &TimedPart) -> Vec<DebugAnnotation> {
    let Some(words) = request.longest_in(part).as_ref().map(WaitWords::of) else {
        return Vec::new();
    };
    let mut about = vec![about_wait(&words)];
    if !words.stack.is_empty() {
        about.push(text("stack", &words.stack));
    }
    about
}

fn about_wait(words: &WaitWords<'_>) -> DebugAnnotation {
    let mut entries = vec![
        text("kind", &words.kind),
        text("object", &words.object),
        number("ms", milliseconds(words.time)),
    ];
    if !words.function.is_empty() {
        entries.push(text("function", words.function));
    }
    DebugAnnotation { dict_entries: entries, ..named("longest_wait") }
}

fn text(name: &str, value: &str) -> DebugAnnotation {
    DebugAnnotation { string_value: Some(value.to_owned()), ..named(name) }
}

fn number(name: &str, value: f64) -> DebugAnnotation {
    DebugAnnotation { double_value: Some(value), ..named(name) }
}

fn named(name: &str) -> DebugAnnotation {
    DebugAnnotation { name: name.to_owned(), ..DebugAnnotation::default() }
}

#[cfg(test)]
mod tests;
