//! What the working time went to, over everything.

use std::collections::BTreeSet;

use super::budget::{Budget, by_process};
use super::{TopWait, idle, is_lock, top_waits};
use crate::model::{Nanos, Profile, State, StateTimes};

/// A way of spending working time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// On a CPU.
    Running,
    /// Waiting for a CPU.
    Runnable,
    /// Waiting for what is proven to be a lock in user space.
    Lock,
    /// Waiting for something other than work and such locks.
    Blocked(State),
}

impl Activity {
    /// Whether a thread waits for something other than a CPU.
    pub fn is_wait(self) -> bool {
        matches!(self, Self::Lock | Self::Blocked(_))
    }
}

/// How much of the working time went where.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Where.
    pub activity: Activity,
    /// How long.
    pub time: Nanos,
    /// As a share of all working time, 0 to 1.
    pub share: f64,
}

/// The whole profile in a few figures.
#[derive(Clone, Debug)]
pub struct Headline {
    /// The name of the process, or of all processes if they share one.
    pub process: Option<String>,
    /// Processes.
    pub processes: usize,
    /// Threads.
    pub threads: u64,
    /// All time of all threads.
    pub budget: Budget,
    /// Working time, most first: running and runnable always, kinds of wait if there was any.
    pub shares: Vec<Share>,
    /// The wait that makes up at least half of the longest wait among the shares.
    pub leading: Option<TopWait>,
}

/// The figures of the headline.
pub fn headline(profile: &Profile) -> Headline {
    let mut budget = Budget::default();
    let processes = by_process(profile);
    for process in processes.values() {
        budget.merge(process);
    }
    let shares = shares(&budget, &locks(profile));
    let names: BTreeSet<&str> =
        profile.threads.iter().map(|thread| thread.process.as_str()).collect();
    Headline {
        process: (names.len() == 1).then(|| names.iter().copied().collect()),
        processes: processes.len(),
        threads: profile.threads.iter().map(|thread| thread.folded).sum(),
        leading: leading(profile, &shares),
        budget,
        shares,
    }
}

/// Time of the waits for what is proven to be a lock, by their kind.
fn locks(profile: &Profile) -> StateTimes {
    let mut times = StateTimes::default();
    for wait in profile.waits.iter().filter(|wait| is_lock(wait) && idle(wait).is_none()) {
        times.add(wait.kind, wait.total);
    }
    times
}

/// The part of the working time that a wait belongs to; none if it is idle.
pub fn activity(wait: &TopWait) -> Option<Activity> {
    match wait.idle {
        Some(_) => None,
        None if wait.is_lock => Some(Activity::Lock),
        None => Some(Activity::Blocked(wait.kind)),
    }
}

fn shares(budget: &Budget, locks: &StateTimes) -> Vec<Share> {
    let locked_in = |kind| locks.of(kind).min(budget.blocked_in(kind));
    let working = budget.working();
    let of = |activity, time: Nanos| Share { activity, time, share: time.share_of(working) };
    let mut shares =
        vec![of(Activity::Running, budget.running()), of(Activity::Runnable, budget.runnable())];
    let waits = || State::ALL.into_iter().filter(|kind| kind.is_wait());
    let blocked = waits()
        .map(|kind| of(Activity::Blocked(kind), budget.blocked_in(kind).since(locked_in(kind))));
    let blocked = blocked.chain([of(Activity::Lock, waits().map(locked_in).sum())]);
    shares.extend(blocked.filter(|share| share.time > Nanos(0)));
    shares.sort_by_key(|share| std::cmp::Reverse(share.time));
    shares
}

fn leading(profile: &Profile, shares: &[Share]) -> Option<TopWait> {
    let longest = shares.iter().find(|share| share.activity.is_wait())?;
    let mut waits = top_waits(profile).into_iter();
    let wait = waits.find(|wait| activity(wait) == Some(longest.activity))?;
    (wait.total.0 >= longest.time.0 / 2).then_some(wait)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture;
    use super::*;
    use crate::model::Wait;

    #[test]
    fn a_lock_leads_and_idle_time_does_not_count() {
        let headline = headline(&fixture::demo());
        assert_eq!(headline.process.as_deref(), Some("demo-server"));
        assert_eq!((headline.processes, headline.threads), (1, 9));
        assert_eq!(headline.shares[0].activity, Activity::Lock);
        assert!(headline.budget.idle() > Nanos(0));
        assert_eq!(headline.leading.map(|wait| wait.kind), Some(State::Futex));
        let all: f64 = headline.shares.iter().map(|share| share.share).sum();
        assert!((all - 1.0).abs() < 1e-9);
    }

    #[test]
    fn proven_locks_stand_apart_from_other_futex_waits() {
        let mut profile = fixture::demo();
        let lock = profile.waits[0].clone();
        profile.waits[0].total = Nanos(20_000_000_000);
        let rest = Nanos(8_800_000_000);
        profile.waits.push(Wait { total: rest, stack: Arc::default(), ..lock });
        let shares = headline(&profile).shares;
        let of = |activity| shares.iter().find(|share| share.activity == activity);
        assert_eq!(of(Activity::Lock).map(|share| share.time), Some(Nanos(20_000_000_000)));
        assert_eq!(of(Activity::Blocked(State::Futex)).map(|share| share.time), Some(rest));
        let all: f64 = shares.iter().map(|share| share.share).sum();
        assert!((all - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_lived() {
        let headline = headline(&fixture::empty());
        assert_eq!((headline.threads, headline.processes), (0, 0));
        assert!(headline.leading.is_none() && headline.process.is_none());
    }
}
