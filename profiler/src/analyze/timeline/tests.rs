use proptest::prelude::*;

use super::super::fixture::requests as fixture;
use super::*;
use crate::model::{Budget, PlaceId, Protocol, RequestLabel, State};

fn request(tid: u32, arrival: u64, latency: u64, parts: &[(Part, u64)]) -> SlowRequest {
    let mut budget = Budget::default();
    for (part, time) in parts {
        budget.add(*part, Nanos(*time));
    }
    SlowRequest {
        label: RequestLabel { protocol: Protocol::Http, text: "GET /".into() },
        arrival: Nanos(arrival),
        latency: Nanos(latency),
        first_byte: Nanos(latency),
        pid: Pid(4242),
        tid: Tid(tid),
        budget,
        longest: None,
        calls: 0,
    }
}

fn profile(slowest: Vec<SlowRequest>) -> Profile {
    let mut profile = fixture::lock();
    profile.requests.services[0].slowest = slowest;
    profile
}

fn spans(thread: &ServingThread<'_>) -> Vec<Vec<(u64, u64)>> {
    let span = |request: &TimedRequest<'_>| (request.start.0, request.end.0);
    thread.lanes.iter().map(|lane| lane.iter().map(span).collect()).collect()
}

#[test]
fn requests_at_the_same_time_lie_side_by_side() {
    let of = |spans: &[(u64, u64)]| {
        profile(spans.iter().map(|(from, to)| request(4243, *from, to - from, &[])).collect())
    };
    // Behind one another, though slowest first in the profile.
    assert_eq!(spans(&timeline(&of(&[(20, 50), (0, 20)]))[0]), [[(0, 20), (20, 50)]]);
    let queue = of(&[(0, 30), (10, 60), (20, 40), (30, 35)]);
    assert_eq!(
        spans(&timeline(&queue)[0]),
        [vec![(0, 30), (30, 35)], vec![(10, 60)], vec![(20, 40)]]
    );
}

#[test]
fn threads_have_the_names_that_dwell_gives_them() {
    let profile = fixture::lock();
    let threads = timeline(&profile);
    let named: Vec<_> = threads.iter().map(|thread| (thread.tid.0, thread.name)).collect();
    assert_eq!(named[0], (4243, Some("worker-1")));
    let is_right = |thread: &ServingThread<'_>| thread.process == "demo-server";
    assert!(threads.iter().all(|thread| is_right(thread) && thread.lanes.len() == 1));
    // Nothing is known of a thread that is not in the profile but whom it works for.
    let mut other = super::tests::profile(vec![request(0, 5, 5, &[]), request(77, 5, 5, &[])]);
    other.threads.clear();
    let unknown = timeline(&other);
    assert!(unknown.iter().all(|thread| thread.process == "shop" && thread.name.is_none()));
    assert!(timeline(&super::super::fixture::empty()).is_empty());
}

#[test]
fn parts_follow_in_the_order_in_which_a_request_meets_them() {
    let (lock, run) = (Part::In(State::Futex), Part::In(State::Running));
    let parts = [(lock, 60), (run, 25), (Part::Queued, 10), (Part::HandedOver, 5)];
    let profile = profile(vec![request(4243, 1_000, 110, &parts)]);
    let shown = timeline(&profile)[0].lanes[0][0].parts.clone();
    let shown: Vec<_> = shown.iter().map(|it| (it.part, it.start.0, it.end.0)).collect();
    assert_eq!(
        shown,
        [
            (Part::Queued, 1_000, 1_010),
            (Part::HandedOver, 1_010, 1_015),
            (run, 1_015, 1_040),
            (lock, 1_040, 1_100),
        ]
    );
}

#[test]
fn the_longest_wait_has_its_place() {
    let mut profile = fixture::lock();
    profile.requests.services[0].slowest[1].longest = Some((PlaceId(99), Nanos(1)));
    let threads = timeline(&profile);
    let longest = threads[0].lanes[0][0].longest.expect("a wait");
    assert_eq!((longest.time, longest.place.kind), (Nanos(8_900_000), State::Futex));
    assert!(threads[1].lanes[0][0].longest.is_none(), "there is no such place");
}

/// Most requests that were there at the same time; one that ends as another arrives is gone.
fn most_at_once(spans: &[(u64, u64)]) -> usize {
    let at = |instant| spans.iter().filter(|(from, to)| *from <= instant && instant < *to).count();
    spans.iter().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn nothing_overlaps_and_parts_lie_inside(
        all in prop::collection::vec(
            (0..3_u32, 0..200_u64, 0..60_u64, prop::array::uniform5(0..20_u64)), 0..60),
        far in any::<u64>(),
    ) {
        let kinds = [
            Part::Queued,
            Part::BehindOthers,
            Part::Peers,
            Part::In(State::Running),
            Part::In(State::Disk),
        ];
        // A damaged recording can hold a request that ends after all time.
        let mut slowest = vec![request(9, far, u64::MAX, &[(Part::Peers, u64::MAX)])];
        slowest.extend(all.iter().map(|(tid, arrival, latency, times)| {
            request(*tid, *arrival, *latency, &kinds.into_iter().zip(*times).collect::<Vec<_>>())
        }));
        let profile = profile(slowest);
        let threads = timeline(&profile);
        let shown: usize = threads.iter().flat_map(|thread| &thread.lanes).map(Vec::len).sum();
        prop_assert_eq!(shown, all.len() + 1);
        for thread in &threads {
            for lane in &thread.lanes {
                for pair in lane.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start);
                }
                for timed in lane {
                    let request = timed.request;
                    let mut next = timed.start;
                    for part in &timed.parts {
                        prop_assert_eq!(part.start, next);
                        prop_assert!(part.end > part.start && part.end <= timed.end);
                        next = part.end;
                    }
                    let sum = next.since(timed.start);
                    prop_assert_eq!(sum, request.budget.total().min(timed.end - timed.start));
                }
            }
            // Without those that took no time, which may need a lane and are nowhere to be counted.
            let of_thread: Vec<_> = spans(thread).concat();
            if of_thread.iter().all(|(from, to)| from < to) {
                prop_assert_eq!(thread.lanes.len(), most_at_once(&of_thread));
            }
        }
    }
}

#[test]
fn a_silent_service_has_no_load() {
    let mut loads = Loads::default();
    let mut slice = fixture::lock();
    let length = slice.window.duration();
    let mut step = |slice: &mut Profile| {
        loads.add(slice);
        slice.window.start += length;
        slice.window.end += length;
    };
    step(&mut slice);
    let service = slice.requests.services.pop().expect("a service");
    step(&mut slice);
    slice.requests.services = vec![service.clone(), service];
    step(&mut slice);
    let all = loads.services();
    assert_eq!(all.len(), 1);
    let rates: Vec<f64> = all[0].samples.iter().map(|sample| sample.rate).collect();
    // 1,000 requests in five seconds; in the last slice by two services of the same address.
    assert_eq!(rates, [200.0, 0.0, 400.0]);
    assert!(all[0].samples[0].in_flight > 0.0);
    assert!(all[0].samples.windows(2).all(|pair| pair[0].start < pair[1].start));
}
