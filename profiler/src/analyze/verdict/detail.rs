//! What is known of a constraint.

use super::constraint::{Constraint, Hog, Worker};
use super::crew::busiest;
use super::places::LockKey;
use super::split::{Key, Scene, calls_of, saved};
use crate::analyze::cpu::{Shortage, shortages};
use crate::analyze::functions::locked_thing;
use crate::analyze::locks::{Behind, LockRow, behind};
use crate::analyze::requests::{GroupRow, Set, own};
use crate::model::{
    Blame, CpuUse, Doing, Nanos, Part, PeerId, RequestLabel, Server, State, WaitPlace,
};

/// The requests that keep a thread longest are named if each keeps it so many times as long as the mean one.
const LONGER: f64 = 2.0;

/// Requests that keep it for less than this part of its work are not why it is busy, however long each of them takes.
const LEAST_SHARE: f64 = 0.02;

/// All that is known of it.
pub fn constraint(scene: &Scene<'_>, key: Key) -> Constraint {
    let threads = &scene.row.load.threads;
    match key {
        Key::Lock(lock) => self::lock(scene, lock),
        Key::Loop => Constraint::Loop {
            worker: busiest(scene.row).map(|server| worker(scene, server)),
            hog: hog(scene),
            busy: threads.busiest,
            starved: busiest(scene.row).map(|server| starved(scene, server)).unwrap_or_default(),
        },
        Key::Peer(peer) => self::peer(scene, peer),
        Key::InTurn => in_turn(scene),
        Key::Cpu => cpu(scene),
        Key::Disk => Constraint::Disk { place: place(scene, key) },
        Key::Workers => Constraint::Workers {
            threads: threads.number,
            busy: threads.busy,
            accepting: scene.row.load.accepting,
        },
        Key::Uneven => uneven(scene),
        Key::Running => Constraint::Running { label: running(scene) },
        Key::Unserved => Constraint::Unserved { busy: threads.busy },
        Key::HandedOver => Constraint::HandedOver { busy: threads.busy },
        Key::Waiting(kind) => Constraint::Waiting { kind, place: place(scene, key) },
        Key::Unknown => Constraint::Waiting { kind: State::Unattributed, place: None },
    }
}

/// The place where the requests that decide waited longest for it.
fn place(scene: &Scene<'_>, key: Key) -> Option<WaitPlace> {
    let places = scene.decisive().longest.iter().filter(|(id, _)| scene.is_place_of(key, **id));
    let (id, _) = places.max_by_key(|(_, (_, time))| *time)?;
    scene.profile.requests.place(*id).cloned()
}

fn lock(scene: &Scene<'_>, lock: LockKey) -> Constraint {
    let row = row(scene, lock).cloned().map(Box::new);
    let place = place(scene, Key::Lock(lock));
    let named = || place.as_ref().and_then(|place| locked_thing(&place.stack));
    let thing = row.as_ref().and_then(|row| row.thing).or_else(named);
    Constraint::Lock { row, thing, place, behind: holders(scene, lock) }
}

fn row<'a>(scene: &'a Scene<'_>, lock: LockKey) -> Option<&'a LockRow> {
    match lock {
        LockKey::Row(row) => scene.locked.rows.get(row),
        LockKey::Place(_) => None,
    }
}

/// Behind whom requests waited for a lock; or else all that waited for it.
fn holders(scene: &Scene<'_>, lock: LockKey) -> Vec<Behind> {
    let behind = blamed(scene, Key::Lock(lock));
    match behind.is_empty() {
        true => row(scene, lock).map(|row| row.behind.clone()).unwrap_or_default(),
        false => behind,
    }
}

/// Whether that is what the holders of a lock do most.
pub fn holders_do(scene: &Scene<'_>, lock: LockKey, key: Key) -> bool {
    let holders = holders(scene, lock);
    let doing = holders.first().and_then(|first| first.doing.first()).map(|part| &part.doing);
    match (doing, key) {
        (Some(Doing::Running), Key::Running) | (Some(Doing::Runnable), Key::Cpu) => true,
        (Some(Doing::Waiting { kind, .. }), key) => match key {
            Key::Disk => *kind == State::Disk,
            Key::Peer(_) | Key::InTurn => matches!(kind, State::Socket | State::Poll),
            Key::Waiting(waiting) => *kind == waiting,
            _ => false,
        },
        _ => false,
    }
}

/// Behind whom the requests that decide waited.
fn blamed(scene: &Scene<'_>, key: Key) -> Vec<Behind> {
    let longest = scene.decisive().longest.iter();
    let (mut blames, mut whole) = (Vec::new(), Nanos(0));
    for (id, (count, time)) in longest.filter(|(id, _)| scene.is_place_of(key, **id)) {
        whole += *time;
        let reason = scene.profile.requests.place(*id).and_then(|place| place.reason);
        blames.extend(reason.map(|reason| Blame { reason, time: *time, count: *count }));
    }
    behind(scene.profile, &blames, whole)
}

fn worker(scene: &Scene<'_>, server: &Server) -> Worker {
    let thread = scene.profile.threads.iter().find(|thread| thread.tid == server.tid);
    let name = thread.map(|thread| thread.comm.clone()).unwrap_or_default();
    Worker { pid: server.pid, tid: server.tid, name }
}

/// The part of the time in which a thread could run that it waits for a CPU.
fn starved(scene: &Scene<'_>, server: &Server) -> f64 {
    let thread = scene.profile.threads.iter().find(|thread| thread.tid == server.tid);
    let of = |state| thread.map(|thread| thread.times.of(state)).unwrap_or_default();
    let waits = of(State::Runnable);
    waits.share_of(waits + of(State::Running))
}

/// The requests that keep the thread longest, of those that keep it longer than others do and for a good part of its work.
fn hog(scene: &Scene<'_>) -> Option<Hog> {
    let sum = |set: &Set| own(set).0 as f64 * set.count as f64;
    let whole = sum(&scene.row.sets.all);
    let share = |row: &GroupRow<'_>| if whole > 0.0 { sum(&row.sets.all) / whole } else { 0.0 };
    let usual = own(&scene.row.sets.all).0 as f64;
    let is_long = |row: &&GroupRow<'_>| own(&row.sets.all).0 as f64 >= LONGER * usual;
    let groups = scene.row.groups.iter().filter(|row| row.sets.all.count > 0);
    let groups = groups.filter(is_long).filter(|row| share(row) >= LEAST_SHARE);
    let row = groups.max_by_key(|row| own(&row.sets.all))?;
    Some(Hog {
        label: row.group.label.clone(),
        count: row.group.count,
        own: own(&row.sets.all),
        part: longest_part(&row.sets.all),
        share: share(row).min(1.0),
    })
}

fn longest_part(set: &Set) -> Part {
    let own = set.parts().into_iter().filter(|(part, _)| matches!(part, Part::In(_)));
    own.max_by_key(|(_, time)| *time).map_or(Part::In(State::Running), |(part, _)| part)
}

fn peer(scene: &Scene<'_>, first: PeerId) -> Constraint {
    let known = scene.profile.requests.peer(first);
    let of = |set: &Set| {
        let calls = set.calls.values().filter(|called| scene.first_peer(called.peer) == first);
        let (mut count, mut total) = (0, Nanos(0));
        for called in calls {
            count += called.count;
            total += called.total;
        }
        (crate::analyze::requests::ratio(count, set.count), Nanos(total.0 / count.max(1)))
    };
    let ((usual, each_usual), (slow, each_slow)) =
        (of(&scene.row.sets.median), of(&scene.row.sets.tail));
    Constraint::Peer {
        address: known.map(|peer| peer.address.clone()).unwrap_or_default(),
        behind: known.and_then(|peer| peer.behind.clone()),
        calls: [usual, slow],
        each: [each_usual, each_slow],
    }
}

fn in_turn(scene: &Scene<'_>) -> Constraint {
    let set = scene.decisive();
    let together = set.share(set.calls.values().map(|called| called.total).sum());
    let longest = together.since(Nanos(saved(set) as u64));
    Constraint::InTurn { calls: calls_of(set), time: [together, longest] }
}

fn cpu(scene: &Scene<'_>) -> Constraint {
    let throttled = shortages(scene.profile).into_iter().find_map(|shortage| match shortage {
        Shortage::Throttled { quota, .. } => Some(quota.clone()),
        _ => None,
    });
    let cpus = &scene.profile.cpu.per_cpu;
    let all: Nanos = cpus.iter().map(CpuUse::total).sum();
    let busy: Nanos = cpus.iter().map(|cpu| cpu.busy_ns).sum();
    Constraint::Cpu { quota: throttled, busy: (all > Nanos(0)).then(|| busy.share_of(all)) }
}

fn uneven(scene: &Scene<'_>) -> Constraint {
    match &scene.odd {
        Some(odd) => Constraint::Uneven {
            worker: worker(scene, odd.server),
            means: odd.means,
            share: crate::analyze::requests::ratio(odd.server.count, scene.row.count).min(1.0),
        },
        None => Constraint::Unserved { busy: scene.row.load.threads.busy },
    }
}

/// The label under which most time of the requests that decide is run.
fn running(scene: &Scene<'_>) -> Option<RequestLabel> {
    let low = scene.decisive().low;
    let time = |row: &&GroupRow<'_>| -> Nanos {
        let bands = row.group.bands.iter().filter(|band| band.low >= low);
        bands.map(|band| band.budget.of(Part::In(State::Running))).sum()
    };
    scene.row.groups.iter().max_by_key(time).map(|row| row.group.label.clone())
}
