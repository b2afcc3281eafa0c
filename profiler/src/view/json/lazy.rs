//! Parts that are made while they are written, as the locks are.

use serde::{Serialize, Serializer};

use super::{load, requests, verdict};
use crate::model::Profile;

/// `verdict`.
#[derive(Debug)]
pub struct VerdictRow<'a>(pub &'a Profile);

impl Serialize for VerdictRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        verdict::row(self.0).serialize(serializer)
    }
}

/// `requests`, with so many of the slowest of each service.
#[derive(Debug)]
pub struct RequestRows<'a>(pub &'a Profile, pub usize);

impl Serialize for RequestRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        requests::all(self.0, self.1).serialize(serializer)
    }
}

/// `dependencies`.
#[derive(Debug)]
pub struct DependencyRows<'a>(pub &'a Profile);

impl Serialize for DependencyRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(load::dependencies(self.0))
    }
}

/// `queues`.
#[derive(Debug)]
pub struct QueueRows<'a>(pub &'a Profile);

impl Serialize for QueueRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(load::queues(self.0))
    }
}
