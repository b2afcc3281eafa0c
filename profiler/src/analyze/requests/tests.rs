use super::super::fixture::requests as fixture;
use super::*;
use crate::model::{Band, Part};

fn bands(counts: &[u64]) -> Vec<Band> {
    let each =
        |(index, count): (usize, &u64)| fixture::band(*count, &[(fixture::RUN, 100 << index)]);
    counts.iter().enumerate().map(each).collect()
}

fn counts(numbers: &[u64]) -> (u64, u64, u64) {
    let sets = Sets::of(bands(numbers).iter());
    (sets.median.count, sets.tail.count, sets.all.count)
}

#[test]
fn sets_hold_the_median_and_the_slowest_hundredth() {
    // The band of the median, wide as it may be; and the slowest that make up a hundredth.
    assert_eq!(counts(&[980, 15, 5]), (980, 20, 1000));
    assert_eq!(counts(&[450, 40, 30, 30, 450]), (100, 450, 1000));
    assert_eq!(counts(&[300, 145, 100, 445, 10]), (100, 10, 1000));
    assert_eq!(counts(&[7]), (7, 7, 7));
    assert_eq!(counts(&[0, 1]), (1, 1, 1));
    assert_eq!(counts(&[]), (0, 0, 0));
}

#[test]
fn bands_of_the_same_bounds_stay_together() {
    let mut all = bands(&[990, 5]);
    all.extend(bands(&[0, 5]));
    let sets = Sets::of(all.iter());
    assert_eq!((sets.median.count, sets.tail.count), (990, 10));
}

#[test]
fn parts_and_residual_sum_to_the_latency() {
    for (name, profile) in fixture::every() {
        for row in services(&profile) {
            let sets =
                [row.sets.clone()].into_iter().chain(row.groups.iter().map(|g| g.sets.clone()));
            for set in sets.flat_map(|sets| [sets.median, sets.tail, sets.all]) {
                let parts: Nanos = set.parts().into_iter().map(|(_, time)| time).sum();
                assert_eq!(Change::between(parts, set.mean()), set.residual(), "{name}");
            }
        }
    }
    // Thirds of a nanosecond, and time in no part.
    let mut band = fixture::band(3, &[(fixture::RUN, 10), (Part::Queued, 7)]);
    band.budget.queued += Nanos(1);
    band.budget.peers += Nanos(1);
    band.total += Nanos(302);
    let set = Sets::of([&band].into_iter()).all;
    let parts: Nanos = set.parts().into_iter().map(|(_, time)| time).sum();
    assert_eq!((set.mean(), parts), (Nanos(17_100), Nanos(17_000)));
    assert_eq!(set.residual(), Change(100));
    band.total = Nanos(50_000);
    assert_eq!(Sets::of([&band].into_iter()).all.residual(), Change(16_666 - 17_000));
}

#[test]
fn a_service_has_rate_quantiles_and_load() {
    let profile = fixture::lock();
    let rows = services(&profile);
    let row = &rows[0];
    assert_eq!((row.count, row.groups.len()), (1000, 1));
    assert!((row.load.rate - 200.0).abs() < 1e-9);
    let near = |time: Nanos, exact: u64| time.0.abs_diff(exact) <= exact / 500;
    assert!(near(row.quantiles.p50, 840_000) && near(row.quantiles.p99, 10_325_000));
    let little = row.load.little.expect("somebody looked");
    assert!((little.expected - 0.206).abs() < 0.001, "{little:?}");
    assert_eq!(row.load.threads.number, 4);
}

#[test]
fn dependencies_say_what_they_are_to_requests() {
    let rows = dependencies(&fixture::in_turn());
    let fan = rows[0].fan.expect("requests called it");
    assert_eq!((fan.requests, fan.calls, fan.parallel), (1000, 12.0, 0.0));
    assert!((fan.of_time - 6.0 / 6.4).abs() < 1e-9 && (fan.slowest - 1.0 / 12.0).abs() < 1e-9);
    assert_eq!(rows[1].fan, None);
}

#[test]
fn what_figures_cannot_tell_is_said() {
    let profile = fixture::handed_over();
    let found = &services(&profile)[0].doubtful;
    assert!(matches!(found[0], Doubtful::Pipelined { share } if share == 0.12));
    assert!(matches!(found[1], Doubtful::ArrivalUnseen { share } if share == 0.03));
    assert!(matches!(found[2], Doubtful::HandedOver { share, .. } if share == 0.9));
    assert_eq!(found[3], Doubtful::Multiplexed { connections: 4, of: 32 });
    assert!(services(&fixture::lock())[0].doubtful.is_empty());
}
