use proptest::prelude::*;

use super::super::fixture::requests as fixture;
use super::*;
use crate::model::Doing;

fn of(profile: &Profile) -> Verdict {
    verdict(profile).expect("requests were followed")
}

fn first(profile: &Profile) -> Cause {
    match of(profile).finding {
        Finding::Constrained { first, .. } => *first,
        other => panic!("no constraint: {other:?}"),
    }
}

fn next(profile: &Profile) -> Option<Constraint> {
    match of(profile).finding {
        Finding::Constrained { next, .. } => next.map(|next| next.constraint),
        _ => None,
    }
}

#[test]
fn a_lock_with_its_holder() {
    let cause = first(&fixture::lock());
    let Constraint::Lock { row: Some(row), behind, .. } = &cause.constraint else {
        panic!("{cause:?}");
    };
    assert_eq!(row.address, Some(0x55d0_c0ff_ee40));
    assert!(matches!(behind[0].doing[0].doing, Doing::Waiting { kind: State::Socket, .. }));
    // 8.92 of 9.485 ms.
    assert!((cause.explains - 0.9404).abs() < 0.001, "{cause:?}");
    assert_eq!((cause.saves_tail, cause.waits_tail, cause.waits_all), (Nanos(9_100_000), 20, 1000));
    assert_eq!(cause.saves_mean, Nanos((980 * 180_000 + 20 * 9_100_000) / 1000));
    assert_eq!(of(&fixture::lock()).confidence, Confidence::Medium);
}

#[test]
fn a_lock_comes_before_what_its_holder_does() {
    let profile = fixture::holders_and_waiters(12, 8);
    let cause = first(&profile);
    assert!(matches!(cause.constraint, Constraint::Lock { .. }) && cause.explains < 0.5);
    assert!(matches!(next(&profile), Some(Constraint::Waiting { kind: State::Socket, .. })));
}

#[test]
fn a_lock_that_few_wait_for_does_not() {
    let profile = fixture::holders_and_waiters(17, 3);
    let cause = first(&profile);
    assert!(matches!(cause.constraint, Constraint::Waiting { kind: State::Socket, .. }));
    assert!(matches!(next(&profile), Some(Constraint::Lock { .. })));
}

#[test]
fn what_ends_a_wait_inside_a_request_is_named_whatever_it_is() {
    let mut profile = fixture::lock();
    let names = ["futex_wait", "sem_wait", "acquire", "handle_request"];
    let stack = super::super::fixture::stack(&names);
    profile.waits[0].stack = std::sync::Arc::clone(&stack);
    profile.requests.places[0].stack = stack;
    let Constraint::Lock { row: Some(row), behind, .. } = first(&profile).constraint else {
        panic!("nothing is named");
    };
    assert!(!row.is_contention() && !behind.is_empty());
    profile.requests.places[0].reason = None;
    assert!(matches!(first(&profile).constraint, Constraint::Waiting { kind: State::Futex, .. }));
}

#[test]
fn a_row_lock_is_known_by_its_stack() {
    let cause = first(&fixture::row_lock());
    let Constraint::Lock { row: None, thing: Some("a row"), place: Some(place), .. } =
        cause.constraint
    else {
        panic!("{cause:?}");
    };
    assert_eq!(place.kind, State::Poll);
}

#[test]
fn one_thread_that_serves_all_and_who_keeps_it() {
    let cause = first(&fixture::serialized());
    let Constraint::Loop { worker: Some(worker), hog: Some(hog), .. } = cause.constraint else {
        panic!("{cause:?}");
    };
    assert_eq!((worker.tid.0, hog.label.text.as_str()), (4243, "KEYS *"));
    assert_eq!((hog.own, hog.part), (Nanos(40_000_000), Part::In(State::Running)));
    assert!(
        matches!(next(&fixture::serialized()), Some(Constraint::Running { label: Some(label) })
        if label.text == "KEYS *")
    );
}

#[test]
fn the_peer_that_has_become_slow() {
    let cause = first(&fixture::peer());
    let Constraint::Peer { address, behind, each, .. } = &cause.constraint else {
        panic!("{cause:?}");
    };
    assert_eq!((address.as_str(), behind.as_deref()), ("127.0.0.1:5432", Some("postgres")));
    assert_eq!(*each, [Nanos(500_000), Nanos(20_000_000)]);
    assert_eq!(cause.waits_tail, 20);
}

#[test]
fn calls_one_after_the_other_save_all_but_the_longest() {
    let profile = fixture::in_turn();
    assert_eq!(of(&profile).basis, Basis::Whole);
    let cause = first(&profile);
    assert!(matches!(cause.constraint, Constraint::InTurn { calls: 12.0, .. }), "{cause:?}");
    assert_eq!(cause.saves_mean, Nanos(5_500_000));
    // Side by side they are no such thing.
    let mut profile = profile;
    let group = &mut profile.requests.services[0].groups[0];
    group.parallel_calls = group.calls;
    assert!(matches!(first(&profile).constraint, Constraint::Peer { .. }));
}

#[test]
fn the_cpu_and_its_limit() {
    let cause = first(&fixture::cpu());
    assert!(matches!(cause.constraint, Constraint::Cpu { quota: None, .. }), "{cause:?}");
    let cause = first(&fixture::throttled());
    assert!(matches!(cause.constraint, Constraint::Cpu { quota: Some(_), .. }), "{cause:?}");
}

#[test]
fn the_disk_and_the_call() {
    let cause = first(&fixture::disk());
    let Constraint::Disk { place: Some(place) } = cause.constraint else { panic!("{cause:?}") };
    assert_eq!(place.syscall.as_deref(), Some("fdatasync"));
}

#[test]
fn too_few_workers_only_where_they_are_busy() {
    let mut profile = fixture::workers();
    let cause = first(&profile);
    assert!(matches!(cause.constraint, Constraint::Workers { threads: 4, .. }), "{cause:?}");
    for server in &mut profile.requests.services[0].servers {
        server.own = Nanos(server.own.0 / 10);
    }
    assert!(matches!(first(&profile).constraint, Constraint::Unserved { .. }));
}

#[test]
fn one_thread_has_more_to_do() {
    let cause = first(&fixture::uneven());
    let Constraint::Uneven { worker, means, .. } = cause.constraint else { panic!("{cause:?}") };
    assert_eq!((worker.tid.0, means), (4246, [Nanos(3_140_000), Nanos(420_000)]));
}

#[test]
fn its_own_code() {
    let cause = first(&fixture::running());
    assert!(
        matches!(&cause.constraint, Constraint::Running { label: Some(l) } if l.text == "GET /report"),
        "{cause:?}"
    );
}

/// What a hypervisor has taken is running, for all that a thread can tell.
#[test]
fn stolen_time_is_not_its_own_code() {
    let mut profile = fixture::running();
    profile.cpu.per_cpu = super::super::fixture::cpus(&[1, 1]);
    assert!(matches!(first(&profile).constraint, Constraint::Running { .. }));
    // 30 requests ran 80 ms longer than others: 2.4 s.
    profile.cpu.per_cpu[0].steal_ns = Nanos(2_300_000_000);
    assert!(matches!(first(&profile).constraint, Constraint::Running { .. }));
    profile.cpu.per_cpu[0].steal_ns = Nanos(2_500_000_000);
    let found = of(&profile).finding;
    assert!(matches!(found, Finding::Unknown(Thin::Nothing)), "{found:?}");
    // Others were on the CPUs for most of the time.
    profile.cpu.per_cpu[0].busy_ns = Nanos(60_000_000_000);
    assert!(matches!(first(&profile).constraint, Constraint::Running { .. }));
}

/// Nor has a thread had time that waited for its CPU to wake it.
#[test]
fn stolen_time_is_no_want_of_workers() {
    let mut profile = fixture::stolen();
    let found = of(&profile);
    assert!(matches!(found.finding, Finding::Free { .. }), "{found:?}");
    assert!(found.doubts.contains(&Doubt::Stolen(1.0)), "{found:?}");
    assert_eq!(found.confidence, Confidence::Medium);
    // 30 requests waited 20 ms longer than others: 600 ms.
    for stolen in [Nanos(590_000_000), Nanos(10_000_000), Nanos(0)] {
        profile.cpu.per_cpu[0].steal_ns = stolen;
        assert!(matches!(first(&profile).constraint, Constraint::Unserved { .. }));
    }
    // A thread that may have had other things to do is not excused.
    profile.cpu.per_cpu[0].steal_ns = Nanos(610_000_000);
    let servers = &mut profile.requests.services[0].servers;
    servers.truncate(1);
    servers[0].own = Nanos(servers[0].own.0 * 10);
    assert!(matches!(first(&profile).constraint, Constraint::Loop { .. }));
}

/// A server with time left has slow requests that wait a little.
#[test]
fn what_is_small_is_the_same_where_cpus_are_stolen() {
    for (queued_us, is_free) in [(150, true), (390, false)] {
        let (run, queued) = (Part::In(State::Running), Part::Queued);
        let bands = vec![
            fixture::band(970, &[(run, 300)]),
            fixture::band(30, &[(run, 300), (queued, queued_us)]),
        ];
        let servers = (4243..4247).map(|tid| fixture::server(tid, 250, 300, 5)).collect();
        let mut profile = fixture::profile(vec![fixture::group("GET /", bands)], servers);
        profile.cpu.per_cpu = super::super::fixture::cpus(&[1, 1]);
        for stolen in [Nanos(0), Nanos(10_000_000)] {
            profile.cpu.per_cpu[0].steal_ns = stolen;
            let found = of(&profile).finding;
            assert_eq!(matches!(found, Finding::Free { .. }), is_free, "{queued_us}: {found:?}");
        }
    }
}

#[test]
fn idle_servers_are_not_constrained() {
    let found = of(&fixture::free()).finding;
    assert!(matches!(found, Finding::Free { .. }), "{found:?}");
    // What waits for work is no part of requests: it changes nothing.
    let mut profile = fixture::free();
    let idle = super::super::fixture::demo().waits.remove(3);
    profile.waits.push(idle);
    assert!(matches!(of(&profile).finding, Finding::Free { .. }));
}

#[test]
fn thin_evidence_is_no_verdict() {
    let found = of(&fixture::few());
    assert!(matches!(found.finding, Finding::Unknown(Thin::Few)), "{found:?}");
    assert_eq!(found.confidence, Confidence::Low);
    let mut profile = fixture::lock();
    profile.requests.services.clear();
    assert!(matches!(of(&profile).finding, Finding::Unknown(Thin::NoRequests)));
    profile.requests.followed = false;
    assert!(verdict(&profile).is_none());
    let mut profile = fixture::lock();
    for band in &mut profile.requests.services[0].groups[0].bands {
        band.budget = crate::model::Budget::default();
    }
    assert!(matches!(of(&profile).finding, Finding::Unknown(Thin::Unaccounted(_))));
}

#[test]
fn the_service_with_enough_requests_and_most_time_is_judged() {
    let mut profile = fixture::lock();
    let mut polled = fixture::few().requests.services.remove(0);
    polled.address = "0.0.0.0:9".into();
    polled.groups[0].bands[0].total = Nanos(1 << 50);
    profile.requests.services.insert(0, polled);
    let found = of(&profile);
    assert_eq!((found.address.as_str(), found.others), ("0.0.0.0:8080", 1));
}

#[test]
fn slow_requests_here_and_there_do_not_make_uneven_workers() {
    let mut profile = fixture::uneven();
    for (number, server) in profile.requests.services[0].servers.iter_mut().enumerate() {
        server.total = Nanos(if number % 2 == 0 { 420_000 } else { 3_140_000 } * server.count);
    }
    assert!(matches!(first(&profile).constraint, Constraint::Loop { .. }));
}

#[test]
fn what_is_handed_over_cannot_be_told_and_lowers_confidence() {
    let found = of(&fixture::handed_over());
    let Finding::Constrained { first, .. } = &found.finding else { panic!("{found:?}") };
    assert!(matches!(first.constraint, Constraint::HandedOver { .. }));
    assert_eq!(found.confidence, Confidence::Low);
    assert!(matches!(found.doubts[0], Doubt::HandedOver(share) if share > 0.9));
}

#[test]
fn what_is_explained_never_exceeds_all() {
    for (name, profile) in fixture::every() {
        if let Finding::Constrained { first, next } = of(&profile).finding {
            for cause in [Some(first), next].into_iter().flatten() {
                assert!((LEAST..=1.0).contains(&cause.explains), "{name}: {cause:?}");
                assert!(cause.saves_mean_share <= 1.0 && cause.saves_tail_share <= 1.0, "{name}");
            }
        }
    }
}

fn parts() -> impl Strategy<Value = Vec<(Part, u64)>> {
    let all: Vec<Part> = Part::all().collect();
    prop::collection::vec((prop::sample::select(all), 0..100_000u64), 0..8)
}

proptest! {
    #[test]
    fn any_requests_have_a_sound_verdict(
        bands in prop::collection::vec((0..2_000u64, parts(), 0..3u32, 0..5u64), 0..12),
        servers in prop::collection::vec((0..500u64, 0..9_000u64, 0..100u64), 0..8),
    ) {
        let bands = bands.iter().map(|(count, parts, place, calls)| {
            let band = fixture::band(*count, parts);
            fixture::calling(fixture::waiting(band, *place, 900), *place, *calls, 700)
        });
        let servers = (4243..).zip(&servers).map(|(tid, (count, each, busy))| {
            fixture::server(tid, *count, *each, *busy)
        });
        let mut profile = fixture::profile(vec![fixture::group("GET /", bands.collect())], servers.collect());
        profile.requests.places = fixture::lock().requests.places;
        profile.requests.places.extend(fixture::row_lock().requests.places);
        profile.requests.peers = fixture::peer().requests.peers;
        let found = of(&profile);
        if let Finding::Constrained { first, next } = found.finding {
            for cause in [Some(first), next].into_iter().flatten() {
                prop_assert!((LEAST..=1.0).contains(&cause.explains));
                prop_assert!((0.0..=1.0).contains(&cause.saves_tail_share));
                prop_assert!(cause.saves_mean <= found.all.1 && cause.saves_tail <= found.tail.1);
            }
        }
        let rows = services(&profile);
        let sets = &rows[0].sets;
        for set in [&sets.median, &sets.tail, &sets.all] {
            let parts: Nanos = set.parts().into_iter().map(|(_, time)| time).sum();
            prop_assert_eq!(Change::between(parts, set.mean()), set.residual());
        }
        prop_assert!(sets.tail.count >= sets.all.count.div_ceil(100));
        prop_assert!(sets.median.count > 0 || sets.all.count == 0);
    }
}
