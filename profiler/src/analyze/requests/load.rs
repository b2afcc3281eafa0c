//! How much work comes in, how much of it waits, and who does it.

use std::collections::BTreeMap;

use super::{rate, ratio};
use crate::model::{AcceptQueue, Nanos, Pid, Server, Service, Window};

/// Difference of what Little's law says from what was counted, from which on it is notable.
const DIFFERS: f64 = 0.2;

/// Requests in flight fewer than this are too few to compare.
const FEW: f64 = 0.05;

/// The load of a service.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Requests per second.
    pub rate: f64,
    /// Requests in flight, on average over the window; none where nothing was answered.
    pub in_flight: Option<f64>,
    /// At most, over 10 ms.
    pub in_flight_most: f64,
    /// Requests that nobody had received yet when somebody looked, on average; none where nobody did.
    pub queued: Option<f64>,
    /// At most.
    pub queued_most: u64,
    /// Whether rate, latency and requests in flight agree.
    pub little: Option<Little>,
    /// Connections that wait to be accepted.
    pub accepting: Option<Accepting>,
    /// Open connections.
    pub connections: u64,
    /// How the work is spread over threads.
    pub threads: Spread,
    /// How the work is spread over processes.
    pub processes: Spread,
}

/// Little's law: requests in flight are the rate times the mean latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Little {
    /// By rate and latency.
    pub expected: f64,
    /// From when each arrived and was answered, inside the window.
    pub counted: f64,
    /// They differ by more than a fifth: requests were cut by the window, or arrived when nobody looked.
    pub differs: bool,
}

/// The queue of connections to accept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accepting {
    /// Connections that came.
    pub connections: u64,
    /// How many waited when one came, on average.
    pub waiting: f64,
    /// At most.
    pub waiting_most: u64,
    /// How many may wait.
    pub limit: u64,
}

/// How work is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Over how many.
    pub number: u64,
    /// The time of the one that works most over that of the mean one.
    pub most: f64,
    /// 0: all work equally long. Near to 1: one does everything.
    pub gini: f64,
    /// Time at work as a share of the window, on average: 0 to 1.
    pub busy: f64,
    /// Likewise, of the one that works most.
    pub busiest: f64,
}

impl Load {
    /// Of a service with so many requests of this mean latency.
    pub(super) fn of(service: &Service, count: u64, mean: Nanos, window: Window) -> Self {
        let samples = &service.samples;
        let rate = rate(count, window);
        let seen = count > 0 || service.in_flight > Nanos(0);
        let in_flight = seen.then(|| service.in_flight.share_of(window.duration()));
        // Not by looks: these come when dwell has a CPU, and somebody else none.
        let before: Nanos = service.servers.iter().map(|server| server.before).sum();
        let queued = (count > 0).then(|| before.share_of(window.duration()));
        Self {
            rate,
            in_flight,
            in_flight_most: service.in_flight_most.max(samples.in_flight_most as f64),
            queued,
            queued_most: samples.queued_most,
            little: in_flight.map(|counted| little(rate * mean.0 as f64 / 1e9, counted)),
            accepting: service.accept.filter(|queue| queue.connections > 0).map(accepting),
            connections: samples.connections,
            threads: Spread::over(&by_thread(&service.servers), window),
            processes: Spread::over(&by_process(&service.servers), window),
        }
    }
}

fn little(expected: f64, counted: f64) -> Little {
    let most = expected.max(counted);
    let differs = most >= FEW && (expected - counted).abs() > DIFFERS * most;
    Little { expected, counted, differs }
}

fn accepting(queue: AcceptQueue) -> Accepting {
    Accepting {
        connections: queue.connections,
        waiting: ratio(queue.waiting_sum, queue.connections),
        waiting_most: queue.waiting_most,
        limit: queue.limit,
    }
}

/// Rows of several threads say nothing of each.
fn by_thread(servers: &[Server]) -> Vec<Nanos> {
    servers.iter().filter(|server| server.tid.0 != 0).map(|server| server.own).collect()
}

fn by_process(servers: &[Server]) -> Vec<Nanos> {
    let mut times: BTreeMap<Pid, Nanos> = BTreeMap::new();
    for server in servers.iter().filter(|server| server.pid.0 != 0) {
        *times.entry(server.pid).or_default() += server.own;
    }
    times.into_values().collect()
}

impl Spread {
    fn over(times: &[Nanos], window: Window) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|time| time.0 as f64).collect();
        sorted.sort_by(f64::total_cmp);
        let (number, sum) = (sorted.len() as f64, sorted.iter().sum::<f64>());
        if sum <= 0.0 {
            return Self { number: times.len() as u64, ..Self::default() };
        }
        let most = sorted.last().copied().unwrap_or_default();
        let ranked: f64 = (1..).zip(&sorted).map(|(rank, time)| f64::from(rank) * time).sum();
        let length = (window.duration().0 as f64).max(1.0);
        Self {
            number: times.len() as u64,
            most: most * number / sum,
            gini: (2.0 * ranked / (number * sum) - (number + 1.0) / number).max(0.0),
            busy: (sum / number / length).min(1.0),
            busiest: (most / length).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start: Nanos(0), end: Nanos(100) };

    #[test]
    fn equal_work_and_all_work_of_one() {
        let equal = Spread::over(&[Nanos(50); 4], WINDOW);
        assert_eq!((equal.number, equal.most, equal.busy), (4, 1.0, 0.5));
        assert!(equal.gini < 1e-9);
        let one = Spread::over(&[Nanos(0), Nanos(0), Nanos(0), Nanos(80)], WINDOW);
        assert_eq!((one.most, one.busiest), (4.0, 0.8));
        assert!((one.gini - 0.75).abs() < 1e-9);
        assert_eq!(Spread::over(&[], WINDOW), Spread::default());
    }

    #[test]
    fn requests_in_flight_that_do_not_fit_are_notable() {
        assert!(!little(4.0, 4.5).differs && little(4.0, 5.5).differs);
        assert!(!little(0.001, 0.01).differs);
    }
}
