//! Behind whom threads wait, and what those were doing meanwhile.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Blame, Doing, Frame, Nanos, Pid, Profile, Reason, ReasonId};

/// Like-named threads that end waits from one place.
#[derive(Clone, Debug)]
pub struct Behind {
    /// Their name.
    pub group: String,
    /// Their processes.
    pub pids: BTreeSet<Pid>,
    /// Whence they end the waits, innermost first.
    pub release: Arc<[Frame]>,
    /// Time that others waited for them.
    pub total: Nanos,
    /// That as a share of all waits of the row.
    pub share: f64,
    /// What they were doing meanwhile, most time first.
    pub doing: Vec<Part>,
}

/// Something that threads were doing while others waited for them.
#[derive(Clone, Debug)]
pub struct Part {
    /// What.
    pub doing: Doing,
    /// How much of the time that others waited.
    pub total: Nanos,
    /// That as a share of all waits of the row.
    pub share: f64,
    /// Behind whom, if that was a wait itself.
    pub behind: Vec<Behind>,
}

/// Links of a chain that are followed at most: as many as the probes make.
const DEEPEST: u32 = 8;

/// Behind whom some waits were, which took `whole` in all.
pub fn behind(profile: &Profile, blames: &[Blame], whole: Nanos) -> Vec<Behind> {
    let parts = blames.iter().map(|blame| (blame.reason, blame.time));
    to(profile, parts, whole, DEEPEST, &BTreeSet::new())
}

/// Parts of waits, with their reasons.
type Blamed = Vec<(ReasonId, Nanos)>;

/// A process behind which so much of the time is waited has rows of its own: the one backend among many
/// that holds a lock, also where it comes again further along a chain. All others of the same name are one.
const STANDS_OUT: f64 = 0.2;

fn standing_out(parts: &[(&Reason, Nanos)], whole: Nanos) -> BTreeSet<Pid> {
    let mut times: BTreeMap<Pid, Nanos> = BTreeMap::new();
    for (reason, time) in parts {
        *times.entry(reason.pid).or_default() += *time;
    }
    let out = times.into_iter().filter(|(_, time)| time.share_of(whole) >= STANDS_OUT);
    out.map(|(pid, _)| pid).collect()
}

/// A row while it is gathered.
struct Gathered {
    row: Behind,
    /// The process, if the row is of that alone.
    alone: Option<Pid>,
    /// For each part of the row: behind whom that was.
    nexts: Vec<Blamed>,
}

fn to(
    profile: &Profile,
    parts: impl Iterator<Item = (ReasonId, Nanos)>,
    whole: Nanos,
    depth: u32,
    outside: &BTreeSet<Pid>,
) -> Vec<Behind> {
    let parts: Vec<(&Reason, Nanos)> =
        parts.filter_map(|(id, time)| Some((profile.reason(id)?, time))).collect();
    let mut alone = standing_out(&parts, whole);
    alone.extend(outside);
    let mut gathered: Vec<Gathered> = Vec::new();
    for (reason, time) in parts {
        let own = alone.contains(&reason.pid).then_some(reason.pid);
        let is_known = |known: &Gathered| {
            known.alone == own
                && known.row.group == reason.group
                && same(&known.row.release, &reason.release)
        };
        let place = gathered.iter().position(is_known).unwrap_or_else(|| {
            gathered.push(Gathered::new(reason, own));
            gathered.len() - 1
        });
        gathered[place].add(reason, time);
    }
    let finished = gathered.into_iter().map(|row| row.finish(profile, whole, depth, &alone));
    let mut rows: Vec<Behind> = finished.collect();
    rows.sort_by_key(|row| Reverse(row.total));
    rows
}

impl Gathered {
    fn new(reason: &Reason, alone: Option<Pid>) -> Self {
        let row = Behind {
            group: reason.group.clone(),
            pids: BTreeSet::new(),
            release: Arc::clone(&reason.release),
            total: Nanos(0),
            share: 0.0,
            doing: Vec::new(),
        };
        Self { row, alone, nexts: Vec::new() }
    }

    fn add(&mut self, reason: &Reason, time: Nanos) {
        let (doing, next) = without_next(&reason.doing);
        self.row.pids.insert(reason.pid);
        self.row.total += time;
        let known = self.row.doing.iter().position(|part| same_doing(&part.doing, &doing));
        let part = known.unwrap_or_else(|| {
            self.row.doing.push(Part { doing, total: Nanos(0), share: 0.0, behind: Vec::new() });
            self.nexts.push(Vec::new());
            self.nexts.len() - 1
        });
        self.row.doing[part].total += time;
        self.nexts[part].extend(next.map(|next| (next, time)));
    }

    /// With what each part was behind itself.
    fn finish(
        mut self,
        profile: &Profile,
        whole: Nanos,
        depth: u32,
        alone: &BTreeSet<Pid>,
    ) -> Behind {
        self.row.share = self.row.total.share_of(whole);
        for (part, next) in self.row.doing.iter_mut().zip(self.nexts) {
            part.share = part.total.share_of(whole);
            if depth > 0 {
                part.behind = to(profile, next.into_iter(), whole, depth - 1, alone);
            }
        }
        self.row.doing.sort_by_key(|part| Reverse(part.total));
        self.row
    }
}

fn same(a: &[Frame], b: &[Frame]) -> bool {
    a.iter().map(|frame| &frame.name).eq(b.iter().map(|frame| &frame.name))
}

fn without_next(doing: &Doing) -> (Doing, Option<ReasonId>) {
    let mut doing = doing.clone();
    let next = match &mut doing {
        Doing::Waiting { next, .. } => next.take(),
        _ => None,
    };
    (doing, next)
}

fn same_doing(a: &Doing, b: &Doing) -> bool {
    match (a, b) {
        (
            Doing::Waiting { kind, syscall, object, stack, .. },
            Doing::Waiting {
                kind: kind_b,
                syscall: syscall_b,
                object: object_b,
                stack: stack_b,
                ..
            },
        ) => kind == kind_b && syscall == syscall_b && object == object_b && same(stack, stack_b),
        _ => a == b,
    }
}
