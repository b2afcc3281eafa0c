use std::collections::HashMap;

use super::*;
use crate::analyze::Loads;
use crate::analyze::fixture;

fn trace(profile: &Profile) -> Trace {
    let bytes = perfetto(profile, 1_700_000_000_000_000_000, &[]).expect("requests");
    Trace::decode(bytes.as_slice()).expect("a trace")
}

fn tracks(trace: &Trace) -> HashMap<u64, &TrackDescriptor> {
    let tracks = trace.packet.iter().filter_map(|packet| packet.track_descriptor.as_ref());
    tracks.map(|track| (track.uuid, track)).collect()
}

/// What an annotation of this name says, in whichever way.
fn said<'a>(about: &'a [DebugAnnotation], name: &str) -> &'a DebugAnnotation {
    about.iter().find(|one| one.name == name).expect("an annotation")
}

fn string<'a>(about: &'a [DebugAnnotation], name: &str) -> &'a str {
    said(about, name).string_value.as_deref().expect("a text")
}

#[test]
fn the_clock_is_declared_before_any_time() {
    let trace = trace(&fixture::requests::lock());
    let snapshot = trace.packet[0].clock_snapshot.as_ref().expect("the clocks");
    assert_eq!(snapshot.primary_trace_clock, 3);
    let clocks: Vec<_> = snapshot.clocks.iter().map(|it| (it.clock_id, it.timestamp)).collect();
    assert_eq!(clocks, [(3, 100_000_000_000), (1, 1_700_000_000_000_000_000)]);
    for packet in &trace.packet {
        assert_eq!(packet.trusted_packet_sequence_id, SEQUENCE);
        assert_eq!(packet.timestamp.is_some(), packet.track_event.is_some());
        assert!(packet.timestamp.is_none() || packet.timestamp_clock_id == MONOTONIC);
    }
}

#[test]
fn slices_are_nested_on_the_tracks_of_threads() {
    for profile in [fixture::requests::lock(), crowded()] {
        let trace = trace(&profile);
        let tracks = tracks(&trace);
        let mut open: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut requests = 0;
        for packet in &trace.packet {
            let Some(event) = &packet.track_event else { continue };
            let track = tracks[&event.track_uuid];
            assert!(tracks.contains_key(&track.parent_uuid), "in no process");
            let open = open.entry(event.track_uuid).or_default();
            let at = packet.timestamp.expect("a time");
            assert!(open.last().is_none_or(|begun| *begun <= at));
            match event.r#type {
                SLICE_BEGIN => {
                    let category = if open.is_empty() { "request" } else { "part" };
                    assert_eq!(event.categories, [category]);
                    requests += usize::from(open.is_empty());
                    open.push(at);
                }
                _ => drop(open.pop().expect("nothing has begun")),
            }
        }
        assert!(open.values().all(Vec::is_empty));
        assert_eq!(requests, profile.requests.services[0].slowest.len());
    }
}

/// A loop that has four requests at a time.
fn crowded() -> Profile {
    let mut profile = fixture::requests::lock();
    for (number, slow) in (0..).zip(&mut profile.requests.services[0].slowest) {
        slow.tid = crate::model::Tid(4243);
        slow.arrival = Nanos(101_000_000_000 + number * 1_000_000);
    }
    profile
}

#[test]
fn requests_at_the_same_time_have_tracks_of_their_own() {
    let trace = trace(&crowded());
    let tracks = tracks(&trace);
    let thread = tracks.values().find(|track| track.thread.is_some()).expect("a thread");
    assert_eq!(thread.name, "worker-1");
    let beside = tracks.values().filter(|track| track.parent_uuid == thread.uuid);
    let mut names: Vec<_> = beside.map(|track| track.name.as_str()).collect();
    names.sort_unstable();
    let expected = [2, 3, 4].map(|number| format!("worker-1, at the same time ({number})"));
    assert_eq!(names, expected);
}

#[test]
fn requests_say_what_they_waited_for() {
    let trace = trace(&fixture::requests::lock());
    let events = trace.packet.iter().filter_map(|packet| packet.track_event.as_ref());
    let begun: Vec<_> = events.filter(|event| event.r#type == SLICE_BEGIN).collect();
    let names: Vec<_> = begun.iter().take(5).map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "GET /checkout",
            "in the socket, nobody came",
            "running",
            "waiting for a CPU",
            "lock or condition (futex)"
        ]
    );
    let about = &begun[0].debug_annotations;
    assert_eq!(string(about, "service"), "0.0.0.0:8080");
    assert_eq!(said(about, "latency_ms").double_value, Some(10.325));
    assert_eq!(said(about, "calls").uint_value, Some(2));
    let longest = &said(about, "longest_wait").dict_entries;
    assert_eq!(string(longest, "kind"), "lock");
    assert_eq!(string(longest, "object"), "futex 0x55d0c0ffee40 private");
    assert_eq!(string(longest, "function"), "with_inventory");
    assert_eq!(said(longest, "ms").double_value, Some(8.9));
    // The same is said where it is, and nothing of the other parts.
    let inside = &said(&begun[4].debug_annotations, "longest_wait").dict_entries;
    assert_eq!(string(inside, "function"), "with_inventory");
    assert!(begun[1..4].iter().all(|event| event.debug_annotations.is_empty()));
}

#[test]
fn what_is_not_visible_is_no_process_0() {
    let mut profile = fixture::requests::lock();
    let slowest = &mut profile.requests.services[0].slowest;
    slowest[0].tid = crate::model::Tid(0);
    (slowest[1].pid, slowest[1].tid) = (crate::model::Pid(0), crate::model::Tid(0));
    let trace = trace(&profile);
    let tracks = tracks(&trace);
    let threads = tracks.values().filter_map(|track| track.thread.as_ref());
    assert!(threads.into_iter().all(|thread| thread.pid != 0 && thread.tid != 0));
    let processes = tracks.values().filter_map(|track| track.process.as_ref());
    assert!(processes.into_iter().all(|process| process.pid == 4242));
    let unknown = tracks.values().filter(|track| track.name == "a thread that is not known");
    assert_eq!(unknown.count(), 2);
}

#[test]
fn loads_are_counters() {
    let profile = fixture::requests::lock();
    let mut loads = Loads::default();
    loads.add(&profile);
    let bytes = perfetto(&profile, 0, &loads.services()).expect("requests");
    let trace = Trace::decode(bytes.as_slice()).expect("a trace");
    let tracks = tracks(&trace);
    let events = trace.packet.iter().filter_map(|packet| packet.track_event.as_ref());
    let counted = events.filter(|event| event.r#type == COUNTER);
    let counted: Vec<_> = counted
        .map(|event| (tracks[&event.track_uuid].name.as_str(), event.double_counter_value))
        .collect();
    assert_eq!(counted[0], ("0.0.0.0:8080: requests a second", Some(200.0)));
    assert_eq!(counted[1].0, "0.0.0.0:8080: requests in flight");
    assert!(tracks.values().filter(|track| track.counter.is_some()).count() == 2);
    let silent = ServiceLoad { address: "a".into(), samples: Vec::new() };
    assert!(perfetto(&fixture::empty(), 0, &[silent]).is_none(), "there is nothing to show");
}

#[test]
fn names_are_kept_as_they_are() {
    let name = "a\"b</script>\\u0000;{marker.name}\u{202e}\n";
    let trace = trace(&fixture::requests::nasty(fixture::requests::lock(), name));
    let events = trace.packet.iter().filter_map(|packet| packet.track_event.as_ref());
    assert!(events.into_iter().any(|event| event.name == name));
    assert!(tracks(&trace).values().any(|track| track.name == name));
}
