//! The load of services over time, slice by slice.

use std::collections::BTreeMap;

use super::super::services;
use crate::model::{Nanos, Profile};

/// The load of a service in one slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadSample {
    /// When the slice began.
    pub start: Nanos,
    /// Requests answered a second.
    pub rate: f64,
    /// Requests in flight, on average.
    pub in_flight: f64,
}

/// The load of a service over time.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceLoad {
    /// Its address.
    pub address: String,
    /// Slice by slice, from the first one on in which something was asked for.
    pub samples: Vec<LoadSample>,
}

/// The load of every service, slice by slice.
#[derive(Clone, Debug, Default)]
pub struct Loads(BTreeMap<String, Vec<LoadSample>>);

impl Loads {
    /// Adds a slice that is later than all before.
    pub fn add(&mut self, slice: &Profile) {
        let start = slice.window.start;
        // A service that is silent in a slice has a load of 0 there, not that of the slice before.
        for samples in self.0.values_mut() {
            samples.push(LoadSample { start, rate: 0.0, in_flight: 0.0 });
        }
        for row in services(slice).iter().filter(|row| row.count > 0) {
            let samples = self.0.entry(row.service.address.clone()).or_default();
            if samples.last().is_none_or(|last| last.start < start) {
                samples.push(LoadSample { start, rate: 0.0, in_flight: 0.0 });
            }
            // Services of several network namespaces can have the same address.
            if let Some(sample) = samples.last_mut() {
                sample.rate += row.load.rate;
                sample.in_flight += row.load.in_flight.unwrap_or(0.0);
            }
        }
    }

    /// Every service, by address.
    pub fn services(self) -> Vec<ServiceLoad> {
        let load = |(address, samples)| ServiceLoad { address, samples };
        self.0.into_iter().map(load).collect()
    }
}
