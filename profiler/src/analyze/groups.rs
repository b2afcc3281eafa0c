//! Time by process, by group of like-named threads, and by thread.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::budget::{Budget, by_process};
use super::is_waiting_for_work;
use crate::model::{Nanos, Pid, Profile, State, StateTimes, ThreadBooks, Wait, group_name};

/// Where the time of a process, a group or a thread went.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The process or thread; 0 where the row is of several.
    pub id: u32,
    /// Threads that lived.
    pub threads: u64,
    /// Their time.
    pub budget: Budget,
    /// The line between idle and other waits is an estimate: waits are kept by process, and
    /// these were shared with threads of other rows.
    pub estimated: bool,
}

/// A process and what is below it; or several of one name, see [`like_named`].
#[derive(Clone, Debug)]
pub struct ProcessRows {
    /// All of it.
    pub process: Row,
    /// How many processes it is.
    pub processes: usize,
    /// Its groups, most working time first; of several processes, each of these.
    pub groups: Vec<GroupRows>,
}

impl ProcessRows {
    /// Whether its only group says nothing that it does not say itself.
    pub fn is_its_group(&self) -> bool {
        self.processes == 1
            && matches!(self.groups.as_slice(), [only] if only.group.name == self.process.name)
    }
}

/// A group of like-named threads.
#[derive(Clone, Debug)]
pub struct GroupRows {
    /// All of it.
    pub group: Row,
    /// Its threads, most working time first; empty unless asked for.
    pub threads: Vec<Row>,
}

/// Every process, most working time first.
pub fn groups(profile: &Profile, threads: bool) -> Vec<ProcessRows> {
    let mut sums = sums(profile);
    let mut processes: Vec<ProcessRows> = by_process(profile)
        .into_iter()
        .map(|(pid, budget)| process(pid, budget, sums.remove(&pid).unwrap_or_default(), threads))
        .collect();
    processes.sort_by_key(|rows| order(&rows.process));
    processes
}

/// Processes of which there are more than `most` of one name, as one: nobody reads a row for each of a hundred
/// backends, or of a thousand children that lived for a millisecond.
pub fn like_named(processes: Vec<ProcessRows>, most: usize) -> Vec<ProcessRows> {
    let mut by_name: BTreeMap<String, Vec<ProcessRows>> = BTreeMap::new();
    for rows in processes {
        by_name.entry(rows.process.name.clone()).or_default().push(rows);
    }
    let mut all: Vec<ProcessRows> = by_name
        .into_iter()
        .flat_map(|(name, rows)| if rows.len() > most { vec![together(name, rows)] } else { rows })
        .collect();
    all.sort_by_key(|rows| order(&rows.process));
    all
}

fn together(name: String, processes: Vec<ProcessRows>) -> ProcessRows {
    let mut all = Row { name, id: 0, threads: 0, budget: Budget::default(), estimated: false };
    let number = processes.len();
    for rows in &processes {
        all.threads += rows.process.threads;
        all.budget.merge(&rows.process.budget);
    }
    let each =
        processes.into_iter().map(|rows| GroupRows { group: rows.process, threads: Vec::new() });
    ProcessRows { process: all, processes: number, groups: each.collect() }
}

/// Most working time first, then most time.
fn order(row: &Row) -> (Reverse<Nanos>, Reverse<Nanos>, u32) {
    (Reverse(row.budget.working()), Reverse(row.budget.wall()), row.id)
}

/// What is known of a group.
#[derive(Default)]
struct Sum<'a> {
    times: StateTimes,
    /// Time in waits of this group alone.
    own: StateTimes,
    idle: StateTimes,
    threads: Vec<&'a ThreadBooks>,
    estimated: bool,
}

type Groups<'a> = BTreeMap<String, Sum<'a>>;

fn sums(profile: &Profile) -> BTreeMap<Pid, Groups<'_>> {
    let mut processes: BTreeMap<Pid, Groups<'_>> = BTreeMap::new();
    for thread in &profile.threads {
        let groups = processes.entry(thread.pid).or_default();
        let sum = groups.entry(group_name(&thread.comm)).or_default();
        sum.times.merge(&thread.times);
        sum.threads.push(thread);
    }
    let mut shared = Vec::new();
    for wait in &profile.waits {
        let Some(groups) = processes.get_mut(&wait.pid) else { continue };
        if !add_own(groups, wait) {
            shared.push(wait);
        }
    }
    for wait in shared.into_iter().filter(|wait| is_waiting_for_work(wait)) {
        if let Some(groups) = processes.get_mut(&wait.pid) {
            add_shared(groups, wait);
        }
    }
    processes
}

/// Adds a wait that only one group had.
fn add_own(groups: &mut Groups<'_>, wait: &Wait) -> bool {
    let sum = match wait.thread_groups.as_slice() {
        [only] => groups.get_mut(only),
        _ => None,
    };
    let Some(sum) = sum else { return false };
    sum.own.add(wait.kind, wait.total);
    if is_waiting_for_work(wait) {
        sum.idle.add(wait.kind, wait.total);
    }
    true
}

/// Splits an idle wait over the groups that had it, by their time in that kind of wait that is
/// not explained by waits of their own.
fn add_shared(groups: &mut Groups<'_>, wait: &Wait) {
    let named = groups.keys().any(|name| wait.thread_groups.contains(name));
    let mut sharers: Vec<(&mut Sum<'_>, Nanos)> = groups
        .iter_mut()
        .filter(|(name, _)| !named || wait.thread_groups.contains(name))
        .map(|(_, sum)| {
            let open = sum.times.of(wait.kind).since(sum.own.of(wait.kind));
            (sum, open)
        })
        .filter(|(_, open)| *open > Nanos(0))
        .collect();
    let whole: Nanos = sharers.iter().map(|(_, open)| *open).sum();
    let several = sharers.len() > 1;
    for (sum, open) in &mut sharers {
        sum.idle.add(wait.kind, part_of(wait.total, *open, whole));
        sum.estimated |= several;
    }
}

/// `amount` × `part` / `whole`.
fn part_of(amount: Nanos, part: Nanos, whole: Nanos) -> Nanos {
    let scaled = u128::from(amount.0) * u128::from(part.0) / u128::from(whole.0.max(1));
    Nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}

fn process(pid: Pid, budget: Budget, sums: Groups<'_>, threads: bool) -> ProcessRows {
    let first = sums.values().flat_map(|sum| &sum.threads).next();
    let row = Row {
        name: first.map(|thread| thread.process.clone()).unwrap_or_default(),
        id: pid.0,
        threads: sums.values().map(Sum::count).sum(),
        budget,
        estimated: false,
    };
    let mut groups: Vec<GroupRows> =
        sums.into_iter().map(|(name, sum)| group(name, &sum, threads)).collect();
    groups.sort_by_key(|rows| order(&rows.group));
    ProcessRows { process: row, processes: 1, groups }
}

fn group(name: String, sum: &Sum<'_>, threads: bool) -> GroupRows {
    let id = match sum.threads.as_slice() {
        [only] => only.tid.0,
        _ => 0,
    };
    let budget = Budget::new(sum.times, &sum.idle);
    let group = Row { name, id, threads: sum.count(), budget, estimated: sum.estimated };
    let mut rows = Vec::new();
    if threads {
        rows.extend(sum.threads.iter().map(|thread| sum.thread(thread)));
        rows.sort_by_key(order);
    }
    GroupRows { group, threads: rows }
}

impl Sum<'_> {
    fn count(&self) -> u64 {
        self.threads.iter().map(|thread| thread.folded).sum()
    }

    /// A thread, with its part of the idle time of the group.
    fn thread(&self, thread: &ThreadBooks) -> Row {
        let mut idle = StateTimes::default();
        for (kind, time) in thread.times.waits() {
            idle.add(kind, part_of(self.idle.of(kind), time, self.times.of(kind)));
        }
        Row {
            name: thread.comm.clone(),
            id: thread.tid.0,
            threads: thread.folded,
            budget: Budget::new(thread.times, &idle),
            estimated: self.estimated || self.threads.len() > 1 && self.has_mixed(thread),
        }
    }

    /// Whether the thread was in a kind of wait that was idle at times and at times not.
    fn has_mixed(&self, thread: &ThreadBooks) -> bool {
        let mixed =
            |kind: State| self.idle.of(kind) > Nanos(0) && self.idle.of(kind) < self.times.of(kind);
        thread.times.waits().any(|(kind, time)| time > Nanos(0) && mixed(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn processes_groups_and_threads_add_up() {
        for profile in [fixture::demo(), fixture::postgres()] {
            for rows in groups(&profile, true) {
                let whole = rows.process.budget.wall();
                let by_group: Nanos = rows.groups.iter().map(|row| row.group.budget.wall()).sum();
                let threads = rows.groups.iter().flat_map(|row| &row.threads);
                let by_thread: Nanos = threads.map(|row| row.budget.wall()).sum();
                assert_eq!((whole, whole), (by_group, by_thread));
            }
        }
    }

    #[test]
    fn a_wait_that_two_groups_share_is_split_by_their_time() {
        let mut profile = fixture::demo();
        for wait in profile.waits.iter_mut().filter(|wait| wait.kind == State::Poll) {
            wait.thread_groups = vec!["demo-server".into(), "worker-*".into()];
        }
        let rows = groups(&profile, false);
        let idle: Nanos = rows[0].groups.iter().map(|row| row.group.budget.idle()).sum();
        assert_eq!(idle, rows[0].process.budget.idle());
    }

    #[test]
    fn many_processes_of_one_name_are_one_row() {
        let rows = groups(&fixture::postgres(), false);
        let number = |name: &str| rows.iter().filter(|rows| rows.process.name == name).count();
        let backends = number("postgres");
        assert!(backends > 12);
        let one = like_named(rows.clone(), 12);
        let folded = one.iter().find(|rows| rows.processes > 1).expect("backends");
        assert_eq!((folded.processes, folded.groups.len()), (backends, backends));
        assert_eq!(one.len(), rows.len() - backends + 1);
        let walls = |rows: &[ProcessRows]| -> Nanos {
            rows.iter().map(|rows| rows.process.budget.wall()).sum()
        };
        assert_eq!(walls(&one), walls(&rows));
        assert_eq!(like_named(rows.clone(), backends).len(), rows.len());
    }

    #[test]
    fn the_busiest_comes_first() {
        let rows = groups(&fixture::demo(), false);
        let names: Vec<&str> = rows[0].groups.iter().map(|row| row.group.name.as_str()).collect();
        assert_eq!(names, ["worker-*", "demo-server"]);
        assert!(rows[0].groups.iter().all(|row| row.threads.is_empty()));
    }
}
