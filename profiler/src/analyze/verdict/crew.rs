//! The threads that serve: whether they are busy, and whether one has more to do than the others.

use super::super::requests::ServiceRows;
use crate::model::{Nanos, Server};

/// The mean latency of one thread over that of the thread in the middle, from which on it is notable.
const UNEVEN: f64 = 2.0;

/// Requests that a thread has to have answered to be compared: of few, one slow one makes a slow thread.
const ANSWERED: u64 = 30;

/// Of so many threads one may be slow. Where more are, it is not the threads that differ.
const OF: usize = 4;

/// A thread with more to do than the others.
#[derive(Clone, Debug)]
pub struct Odd<'a> {
    /// That thread.
    pub server: &'a Server,
    /// Mean latency of what it answers, and of what the thread in the middle answers.
    pub means: [Nanos; 2],
}

/// The threads of a service of which each is known.
pub fn known<'a>(row: &ServiceRows<'a>) -> impl Iterator<Item = &'a Server> {
    row.service.servers.iter().filter(|server| server.tid.0 != 0 && server.count > 0)
}

/// The one that works most.
pub fn busiest<'a>(row: &ServiceRows<'a>) -> Option<&'a Server> {
    known(row).max_by_key(|server| server.own)
}

/// The slowest thread, if slow ones account for most of what makes the slowest requests slow.
pub fn odd<'a>(row: &ServiceRows<'a>) -> Option<Odd<'a>> {
    let mean = |server: &Server| Nanos(server.total.0 / server.count.max(1));
    let mut servers: Vec<&Server> = known(row).filter(|s| s.count >= ANSWERED).collect();
    servers.sort_by_key(|server| mean(server));
    let middle = servers.len().checked_sub(1)? / 2;
    let usual = mean(servers.get(middle)?);
    let is_slow = |server: &&&Server| mean(server).0 as f64 > UNEVEN * usual.0 as f64;
    let slow: Vec<&Server> = servers.iter().filter(is_slow).copied().collect();
    if slow.len() > (servers.len() / OF).max(1) {
        return None;
    }
    let more = |server: &&Server| server.total.since(Nanos(usual.0.saturating_mul(server.count)));
    let theirs: Nanos = slow.iter().map(more).sum();
    let (median, tail) = (row.sets.median.mean(), &row.sets.tail);
    let all = tail.total.since(Nanos(median.0.saturating_mul(tail.count)));
    if theirs == Nanos(0) || theirs.0 < all.0 / 2 {
        return None;
    }
    let server = slow.into_iter().max_by_key(more)?;
    Some(Odd { server, means: [mean(server), usual] })
}
