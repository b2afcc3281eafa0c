//! What the figures of requests cannot tell.

use super::ratio;
use crate::model::{Part, Service};

/// Shares below this are not worth a word.
const NOTABLE: f64 = 0.01;

/// Something that makes figures less sure; shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubtful {
    /// Clients did not wait for answers: several requests may count as one.
    Pipelined {
        /// Of all requests.
        share: f64,
    },
    /// Several requests are on their way over a connection at the same time (HTTP/2): its turns are
    /// not its requests.
    Multiplexed {
        /// Such connections.
        connections: u64,
        /// Of how many.
        of: u64,
    },
    /// The latency of requests whose arrival was not seen begins when they were received.
    ArrivalUnseen {
        /// Of all requests.
        share: f64,
    },
    /// Tasks of an asynchronous runtime (Go, tokio) move between threads: what they wait for is not
    /// known, only how long.
    HandedOver {
        /// Requests answered by another thread than the one that received them, of all.
        share: f64,
        /// The time until the other thread took them up, of all time.
        time: f64,
    },
}

/// What the figures of a service cannot tell.
pub fn doubtful(service: &Service) -> Vec<Doubtful> {
    let groups = &service.groups;
    let count: u64 = groups.iter().map(|group| group.count).sum();
    let share =
        |part: fn(&crate::model::RequestGroup) -> u64| ratio(groups.iter().map(part).sum(), count);
    let samples = &service.samples;
    let time = || {
        let bands = || groups.iter().flat_map(|group| &group.bands);
        let handed =
            bands().map(|band| band.budget.of(Part::HandedOver)).sum::<crate::model::Nanos>();
        handed.share_of(bands().map(|band| band.total).sum())
    };
    let mut found = vec![
        Doubtful::Pipelined { share: share(|group| group.pipelined) },
        Doubtful::ArrivalUnseen { share: share(|group| group.arrival_unseen) },
        Doubtful::HandedOver { share: share(|group| group.handed_over), time: time() },
    ];
    found.retain(|doubtful| match doubtful {
        Doubtful::Pipelined { share }
        | Doubtful::ArrivalUnseen { share }
        | Doubtful::HandedOver { share, .. } => *share >= NOTABLE,
        Doubtful::Multiplexed { .. } => true,
    });
    if samples.multiplexed > 0 {
        let (connections, of) = (samples.multiplexed, samples.connections);
        found.push(Doubtful::Multiplexed { connections, of: of.max(connections) });
    }
    found
}
