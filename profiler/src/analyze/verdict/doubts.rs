//! How sure a verdict is.

use super::stolen::Stolen;
use super::{Basis, Cause, Constraint};
use crate::analyze::requests::{Change, Doubtful, ServiceRows, Set, ratio};
use crate::model::{Nanos, Part, Profile, State};

/// What takes this part of the mean request is what takes most of it.
const MOST: f64 = 0.5;

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It may well be something else.
    Low,
    /// It is likely.
    Medium,
    /// The figures leave no other.
    High,
}

/// Why a verdict is not surer; shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubt {
    /// So few slow requests.
    Few(u64),
    /// Requests that were lost, of all.
    Lost(f64),
    /// Time that is in no part, of that of the requests that decide.
    Unaccounted(f64),
    /// Time between two threads, likewise.
    HandedOver(f64),
    /// Requests that may be several, of all.
    Pipelined(f64),
    /// Connections over which several requests go at the same time, of all.
    Multiplexed(f64),
    /// Requests whose arrival was not seen, of all.
    ArrivalUnseen(f64),
    /// Requests in flight do not fit to rate and latency.
    Flight,
    /// It explains only that much.
    Partly(f64),
    /// Its threads wait for events: a timer, another thread, another process. Which, nothing shows.
    Events,
    /// What a hypervisor may have made, of what the slowest requests are slower by.
    Stolen(f64),
}

impl Doubt {
    /// How sure a verdict can be in spite of it; high where it does not matter.
    fn allows(self) -> Confidence {
        let below = |value: f64, medium: f64, low: f64| match value {
            value if value >= low => Confidence::Low,
            value if value >= medium => Confidence::Medium,
            _ => Confidence::High,
        };
        match self {
            Self::Few(number) if number < 10 => Confidence::Low,
            Self::Few(number) if number < 30 => Confidence::Medium,
            Self::Few(_) => Confidence::High,
            Self::Lost(share) => below(share, 0.01, 0.1),
            Self::Unaccounted(share) | Self::HandedOver(share) => below(share, 0.1, 0.3),
            Self::Pipelined(share) => below(share, 0.05, 0.5),
            Self::Multiplexed(share) => below(share, f64::MIN_POSITIVE, 0.2),
            Self::ArrivalUnseen(share) => below(share, 0.1, 0.5),
            Self::Flight | Self::Events => Confidence::Medium,
            Self::Partly(share) => below(1.0 - share, 0.5, 0.75),
            Self::Stolen(share) => below(share, 0.25, f64::INFINITY),
        }
    }
}

/// As sure as the gravest doubt allows.
pub fn confidence(doubts: &[Doubt]) -> Confidence {
    doubts.iter().map(|doubt| doubt.allows()).min().unwrap_or(Confidence::High)
}

/// The share of the time of requests that is in no part.
pub fn nowhere(set: &Set) -> f64 {
    let whole = Change::between(Nanos(0), set.mean());
    let unattributed = set.part(Part::In(State::Unattributed)).share_of(set.mean());
    set.residual().share_of(whole).abs() + unattributed
}

/// All that makes a verdict less sure, gravest first.
pub fn doubts(
    profile: &Profile,
    row: &ServiceRows<'_>,
    basis: Basis,
    first: Option<&Cause>,
    stolen: Stolen,
) -> Vec<Doubt> {
    let set = match basis {
        Basis::Tail => &row.sets.tail,
        Basis::Whole => &row.sets.all,
    };
    let requests = &profile.requests;
    // Threads without time left explain it.
    let handed_over = match row.load.threads.busy >= super::BUSY {
        true => Nanos(0),
        false => set.part(Part::HandedOver),
    };
    // What takes most of the time of all requests, all requests decide.
    let decides = first.is_some_and(|cause| cause.saves_mean_share >= MOST);
    let mut doubts = vec![
        Doubt::Few(if decides { row.sets.all.count } else { set.count }),
        Doubt::Lost(ratio(requests.lost, requests.lost + row.count)),
        Doubt::Unaccounted(nowhere(set)),
        Doubt::HandedOver(handed_over.share_of(set.mean())),
    ];
    doubts.extend(row.doubtful.iter().filter_map(|doubtful| match *doubtful {
        Doubtful::Pipelined { share } => Some(Doubt::Pipelined(share)),
        Doubtful::Multiplexed { connections, of } => {
            Some(Doubt::Multiplexed(ratio(connections, of)))
        }
        Doubtful::ArrivalUnseen { share } => Some(Doubt::ArrivalUnseen(share)),
        Doubtful::HandedOver { .. } => None,
    }));
    if row.load.little.is_some_and(|little| little.differs) {
        doubts.push(Doubt::Flight);
    }
    doubts.extend(first.map(|cause| Doubt::Partly(cause.explains)));
    let waits_for_events =
        |cause: &Cause| matches!(cause.constraint, Constraint::Waiting { kind: State::Poll, .. });
    doubts.extend(first.filter(|cause| waits_for_events(cause)).map(|_| Doubt::Events));
    doubts.push(Doubt::Stolen(stolen.share));
    doubts.retain(|doubt| doubt.allows() < Confidence::High);
    doubts.sort_by_key(|doubt| doubt.allows());
    doubts
}
