use super::*;
use crate::analyze::Sort;
use crate::analyze::fixture::requests as fixture;
use crate::model::{Nanos, Profile};

/// A recording of the shop whose requests take so many times as long for a lock.
fn series(name: &str, lock: f64) -> Series {
    let slice = |wobble: f64| {
        let mut profile: Profile = fixture::lock();
        let stretch = |time: &mut Nanos, by: f64| time.0 = (time.0 as f64 * by) as u64;
        for band in &mut profile.requests.services[0].groups[0].bands {
            let futex = band.budget.of(Part::In(State::Futex));
            let more = Nanos((futex.0 as f64 * (lock * wobble - 1.0).max(0.0)) as u64);
            band.budget.states.add(State::Futex, more);
            band.total += more;
            for (_, _, time) in &mut band.longest {
                stretch(time, lock * wobble);
            }
        }
        profile
    };
    let mut series = Series::new(name.into(), "0".into(), fixture::lock());
    let mut all = [series.clone(), series.clone()];
    choose_service(&mut all);
    series.service = all[0].service;
    (0..24).for_each(|at| series.add(&slice(1.0 + f64::from(at % 3) * 0.01)));
    series
}

#[test]
fn the_lock_that_takes_longer_is_named() {
    let compared = compare_all(&[series("a", 1.0), series("b", 3.0)]);
    let Outcome::Changed { causes } = compared.pairs[0].2.outcome() else { panic!("no change") };
    assert_eq!(causes[0].part.metric, Metric::Part(Part::In(State::Futex)));
    assert!(causes[0].share > 0.95, "{}", causes[0].share);
    let detail = causes[0].detail.as_ref().map(|detail| &detail.metric);
    let Some(Metric::Wait(wait)) = detail else { panic!("{detail:?}") };
    assert_eq!(wait.function.as_deref(), Some("with_inventory"));
    assert_eq!(wait.lock, Some((Sort::Lock, None)));
    assert!(compared.unfair.is_empty() && compared.of_requests);
}

/// A row of a database is locked in several functions, none of which has half of the change.
#[test]
fn a_lock_that_is_taken_in_several_functions_is_named_without_them() {
    let change = |metric, after| Difference { metric, before: 0.0, after, noise: 1.0 };
    let name = |function: Option<&str>| WaitName {
        process: None,
        kind: State::Poll,
        lock: Some((Sort::Database, Some("a row"))),
        function: function.map(str::to_owned),
        object: None,
    };
    let wait = |function, after| change(Metric::Wait(name(Some(function))), after);
    let nothing = Pair { before: 0.0, after: 0.0, noise: 0.0 };
    let mut comparison = Comparison {
        load: nothing,
        whole: change(Metric::Whole, 100.0),
        quantiles: None,
        parts: vec![change(Metric::Part(Part::In(State::Poll)), 98.0)],
        details: vec![wait("ExecutorRun", 34.0), wait("heap_update", 33.0)],
        threads: [0, 0],
    };
    let detail = |comparison: &Comparison| match comparison.outcome() {
        Outcome::Changed { causes } => causes[0].detail.clone().map(|detail| detail.metric),
        _ => panic!("no change"),
    };
    assert_eq!(detail(&comparison), Some(Metric::Wait(name(None))));
    comparison.details[0] = wait("ExecutorRun", 60.0);
    assert_eq!(detail(&comparison), Some(Metric::Wait(name(Some("ExecutorRun")))));
    comparison.details.truncate(0);
    assert_eq!(detail(&comparison), None);
}

#[test]
fn the_same_is_the_same() {
    let compared = compare_all(&[series("a", 1.0), series("b", 1.0)]);
    assert_eq!(compared.pairs[0].2.outcome(), Outcome::Same);
}

#[test]
fn of_several_the_one_that_differs_is_the_outlier() {
    let all = [series("a", 1.0), series("b", 3.0), series("c", 1.0), series("d", 1.0)];
    assert_eq!(compare_all(&all).outlier, Some(1));
    assert_eq!(compare_all(&[series("a", 1.0), series("b", 1.0), series("c", 1.0)]).outlier, None);
}

#[test]
fn what_is_unfair_is_said() {
    let (before, mut after) = (series("a", 1.0), series("b", 1.0));
    after.whole.host.kernel = "9.9".into();
    after.version = "1".into();
    after.whole.threads.iter_mut().for_each(|thread| thread.process = "other".into());
    after.slices.truncate(3);
    after.whole.trust.lost_events = 7;
    let unfair = compare_all(&[before, after]).unfair;
    assert!(unfair.iter().any(|one| matches!(one, Unfair::Kernels(_))));
    assert!(unfair.iter().any(|one| matches!(one, Unfair::Versions(_))));
    assert!(unfair.iter().any(|one| matches!(one, Unfair::Targets(_))));
    assert!(unfair.contains(&Unfair::FewSlices(3)));
    assert!(unfair.contains(&Unfair::Losses(vec!["b".into()])));
}

/// A flame graph of the change has the figures that the report has.
#[test]
fn waits_by_stack_add_up_to_those_that_are_compared() {
    let mut after = crate::analyze::fixture::demo();
    for (times, wait) in (2..).zip(&mut after.waits) {
        wait.total = Nanos(wait.total.0 * times / 3);
    }
    // Another stack of the same function.
    let mut wait = after.waits[0].clone();
    wait.stack = crate::analyze::fixture::stack(&["pthread_mutex_lock", "with_inventory", "main"]);
    after.waits.push(wait);
    let mut all = [crate::analyze::fixture::demo(), after].map(|whole| {
        let mut series = Series::new("a".into(), "0".into(), whole.clone());
        series.add(&whole);
        series
    });
    choose_service(&mut all);
    let stacks = compare_stacks(&all[0], &all[1]);
    let compared = compare(&all[0], &all[1]);
    let waits = compared.details.iter().filter_map(|detail| match &detail.metric {
        Metric::Wait(name) => Some((name, detail)),
        _ => None,
    });
    let waits: Vec<_> = waits.collect();
    assert_eq!(waits.len(), 2);
    for (name, detail) in waits {
        let of_name = || stacks.iter().filter(|stack| stack.wait == *name);
        let sums = (of_name().map(|one| one.before).sum(), of_name().map(|one| one.after).sum());
        let is_close = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs();
        assert!(is_close(detail.before, sums.0) && is_close(detail.after, sums.1), "{detail:?}");
    }
    assert_eq!(stacks.len(), 3);
}

#[test]
fn without_a_common_service_waits_are_compared() {
    let mut all = [series("a", 1.0), series("b", 1.0)];
    all[1].whole.requests.services.clear();
    all.iter_mut().for_each(|one| one.service = None);
    choose_service(&mut all);
    assert!(all.iter().all(|one| one.service.is_none()));
    let compared = compare_all(&all);
    assert!(!compared.of_requests && compared.unfair.contains(&Unfair::Requests));
}
