//! Chains of waiting: what waits, behind whom, what those were doing, and so on to the ends.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::locks::{Behind, Part, behind};
use super::{By, LockRow, TopWait, idle, is_in_locks, locks, top_waits_of};
use crate::model::{Doing, Nanos, Pid, Profile};

/// Where chains of waiting begin, and where they end.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Beginnings, most time first.
    pub sources: Vec<Source>,
    /// Ends, most time first.
    pub leaves: Vec<Leaf>,
}

/// Waits inside work, of the threads of a program for one thing.
#[derive(Clone, Debug)]
pub struct Source {
    /// What is waited for.
    pub what: What,
    /// Their time.
    pub total: Nanos,
    /// Behind whom.
    pub behind: Vec<Behind>,
    /// How many threads wait at a time, while any do.
    pub width: f64,
}

/// What a chain begins with.
#[derive(Clone, Debug)]
pub enum What {
    /// Waits for a lock.
    Lock(Box<LockRow>),
    /// Other waits.
    Wait(Box<TopWait>),
}

/// What waiting comes down to in the end.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// What it is.
    pub end: End,
    /// All waiting that comes down to it, over all chains.
    pub waiting: Nanos,
    /// How much waiting one second less of it would save at most: the mean number of threads that
    /// wait for it at the same time.
    pub saves: f64,
}

/// The end of a chain.
#[derive(Clone, Debug)]
pub enum End {
    /// What threads were doing for which others waited.
    Doing {
        /// Their name.
        group: String,
        /// Their processes.
        pids: BTreeSet<Pid>,
        /// What.
        doing: Doing,
    },
    /// The wait itself: no thread that is followed ended it.
    Wait(What),
}

/// How long an end itself took, in nanoseconds: seen by those right behind it, and by those at the
/// beginning of longer chains, who may be behind the same.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    direct: f64,
    further: f64,
}

impl Own {
    fn time(self) -> f64 {
        self.direct.max(self.further)
    }
}

/// The chains of a profile.
pub fn graph(profile: &Profile) -> Graph {
    let sources = sources(profile);
    let mut leaves: Vec<(Leaf, Own)> = Vec::new();
    for source in &sources {
        gather_source(source, &mut leaves);
    }
    let mut leaves: Vec<Leaf> = leaves
        .into_iter()
        .map(|(leaf, own)| {
            let own = own.time();
            let saves = if own > 0.0 { leaf.waiting.0 as f64 / own } else { 0.0 };
            Leaf { saves, ..leaf }
        })
        .collect();
    leaves.sort_by_key(|leaf| Reverse(leaf.waiting));
    Graph { sources, leaves }
}

fn sources(profile: &Profile) -> Vec<Source> {
    let window = profile.window.duration();
    let of_locks = locks(profile, By::Lock).into_iter().filter(|row| row.is_contention());
    // Kernel locks are part of other waits, or of running.
    let of_locks = of_locks.filter(|row| row.sort != super::Sort::Kernel);
    let mut sources: Vec<Source> = of_locks
        .map(|row| Source {
            total: row.total,
            width: match row.queue.busy {
                Some(busy) if busy > 0.0 => (row.queue.mean / busy).max(1.0),
                _ => row.queue.mean.max(1.0),
            },
            behind: row.behind.clone(),
            what: What::Lock(Box::new(row)),
        })
        .collect();
    let others = top_waits_of(profile, |wait| idle(wait).is_none() && !is_in_locks(wait));
    sources.extend(others.into_iter().map(|wait| Source {
        total: wait.total,
        behind: behind(profile, &wait.blames, wait.total),
        width: wait.total.share_of(window).max(1.0),
        what: What::Wait(Box::new(wait)),
    }));
    sources.sort_by_key(|source| Reverse(source.total));
    sources
}

fn gather_source(source: &Source, leaves: &mut Vec<(Leaf, Own)>) {
    let followed: Nanos = source.behind.iter().map(|behind| behind.total).sum();
    let rest = source.total.since(followed);
    if rest > Nanos(0) {
        let own = Own { direct: rest.0 as f64 / source.width, further: 0.0 };
        add(End::Wait(source.what.clone()), rest, own, leaves);
    }
    for behind in &source.behind {
        gather(behind, source.width, true, leaves);
    }
}

fn gather(behind: &Behind, width: f64, is_direct: bool, leaves: &mut Vec<(Leaf, Own)>) {
    for part in &behind.doing {
        let followed: Nanos = part.behind.iter().map(|next| next.total).sum();
        let rest = part.total.since(followed);
        if rest > Nanos(0) {
            let time = rest.0 as f64 / width;
            let own = match is_direct {
                true => Own { direct: time, further: 0.0 },
                false => Own { direct: 0.0, further: time },
            };
            add(end(behind, part), rest, own, leaves);
        }
        for next in &part.behind {
            gather(next, width, false, leaves);
        }
    }
}

fn end(behind: &Behind, part: &Part) -> End {
    End::Doing { group: behind.group.clone(), pids: behind.pids.clone(), doing: part.doing.clone() }
}

fn add(end: End, waiting: Nanos, own: Own, leaves: &mut Vec<(Leaf, Own)>) {
    match leaves.iter_mut().find(|(leaf, _)| is_same(&leaf.end, &end)) {
        Some((leaf, sum)) => {
            leaf.waiting += waiting;
            sum.direct += own.direct;
            sum.further += own.further;
            if let (End::Doing { pids, .. }, End::Doing { pids: more, .. }) = (&mut leaf.end, end) {
                pids.extend(more);
            }
        }
        None => leaves.push((Leaf { end, waiting, saves: 0.0 }, own)),
    }
}

/// Like-named threads doing the same, wherever they end waits from.
fn is_same(a: &End, b: &End) -> bool {
    match (a, b) {
        (End::Doing { group, doing, .. }, End::Doing { group: other, doing: other_doing, .. }) => {
            group == other && doing == other_doing
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn all_waiting_inside_work_comes_down_to_some_end() {
        for profile in [fixture::demo(), fixture::postgres(), fixture::chain()] {
            let graph = graph(&profile);
            let begun: Nanos = graph.sources.iter().map(|source| source.total).sum();
            let ended: Nanos = graph.leaves.iter().map(|leaf| leaf.waiting).sum();
            assert_eq!(begun, ended);
            assert!(graph.leaves.is_sorted_by_key(|leaf| Reverse(leaf.waiting)));
        }
    }

    #[test]
    fn a_chain_ends_at_the_process_that_is_slow() {
        let graph = graph(&fixture::chain());
        let End::Doing { group, doing, .. } = &graph.leaves[0].end else {
            panic!("the chain was not followed: {:?}", graph.leaves[0]);
        };
        assert_eq!(group, "backend");
        assert!(matches!(doing, Doing::Waiting { kind: crate::model::State::Sleep, .. }));
        assert!(graph.leaves[0].saves > 2.0, "several wait at the same time");
    }
}
