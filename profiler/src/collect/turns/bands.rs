//! Requests by latency: in each band of latencies, what they consist of on average.

use std::collections::BTreeMap;

use profiler_common::turn::{PEERS, Turn};

use super::sums::Sum;
use crate::model::{Budget, Nanos};

/// log2 of the number of bands in an octave: a band is at most 1/32 of its lower bound wide.
const SUB_BITS: u32 = 5;

/// Places of longest waits, and peers, kept apart in a band.
const KEPT: usize = 8;

/// Calls to a peer: its object, and its port where that leaves it open.
pub type PeerAddress = (u64, u16);

/// Sums over the calls to a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallSums {
    pub count: u64,
    pub total: Nanos,
    pub requests: u64,
    pub longest: Nanos,
}

/// Sums over the requests of a band.
#[derive(Clone, Debug, Default)]
pub struct BandSums {
    pub count: u64,
    pub total: Nanos,
    pub budget: Budget,
    pub calls_open: Nanos,
    /// Place, requests, time.
    pub longest: Vec<(u32, u64, Nanos)>,
    pub calls: Vec<(PeerAddress, CallSums)>,
}

/// All bands, by number.
#[derive(Clone, Debug, Default)]
pub struct Bands(pub BTreeMap<u32, BandSums>);

impl Bands {
    /// Adds a request.
    pub fn add(&mut self, turn: &Turn, &Sum { latency, place, budget }: &Sum) {
        let band = self.0.entry(band_of(latency)).or_default();
        band.count += 1;
        band.total += latency;
        band.budget.merge(&budget);
        band.calls_open += Nanos(turn.calls_ns);
        if let Some(place) = place {
            band.note_wait(place, Nanos(turn.longest.ns));
        }
        if turn.calls_count > 0 {
            band.note_calls(turn);
        }
    }
}

impl BandSums {
    fn note_wait(&mut self, place: u32, time: Nanos) {
        if let Some(known) = self.longest.iter_mut().find(|(known, _, _)| *known == place) {
            known.1 += 1;
            known.2 += time;
        } else if self.longest.len() < KEPT {
            self.longest.push((place, 1, time));
        }
    }

    fn note_calls(&mut self, turn: &Turn) {
        for calls in turn.calls.iter().take(PEERS).filter(|calls| calls.count > 0) {
            let address = (calls.peer, calls.peer_port);
            let sums = match self.calls.iter().position(|(known, _)| *known == address) {
                Some(place) => &mut self.calls[place].1,
                None if self.calls.len() < KEPT => {
                    self.calls.push((address, CallSums::default()));
                    let Some((_, sums)) = self.calls.last_mut() else { continue };
                    sums
                }
                None => continue,
            };
            sums.count += u64::from(calls.count);
            sums.total += Nanos(calls.ns);
            sums.requests += 1;
            sums.longest += Nanos(calls.max_ns);
        }
    }
}

/// The band that a latency falls into.
pub fn band_of(latency: Nanos) -> u32 {
    let ns = latency.0;
    if ns < 1 << SUB_BITS {
        return ns as u32;
    }
    let octave = ns.ilog2() - SUB_BITS;
    ((octave + 1) << SUB_BITS) + ((ns >> octave) as u32 & ((1 << SUB_BITS) - 1))
}

/// Lower bound (inclusive) and upper bound (exclusive) of a band.
pub fn bounds_of(band: u32) -> (Nanos, Nanos) {
    let sub = 1u64 << SUB_BITS;
    if u64::from(band) < sub {
        return (Nanos(u64::from(band)), Nanos(u64::from(band) + 1));
    }
    let octave = (band >> SUB_BITS) - 1;
    let low = u128::from(sub + (u64::from(band) & (sub - 1))) << octave;
    let high = low + (1u128 << octave);
    let narrow = |bound: u128| Nanos(u64::try_from(bound).unwrap_or(u64::MAX));
    (narrow(low), narrow(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_touch_and_hold_what_they_say() {
        for band in 0..1_900 {
            let (low, high) = bounds_of(band);
            assert_eq!(band_of(low), band);
            assert_eq!(band_of(Nanos(high.0 - 1)), band);
            assert_eq!(bounds_of(band + 1).0, high);
            assert!(low.0 < 64 || (high.0 - low.0) * 32 <= low.0, "{low:?}..{high:?}");
        }
        assert_eq!(bounds_of(band_of(Nanos(u64::MAX))).1, Nanos(u64::MAX));
    }
}
