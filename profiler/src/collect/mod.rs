//! From what the probes hand over to a [`crate::model::Profile`]: decoding, pairing, adding up.

mod collector;
mod decode;
mod describe;
mod waits;

#[cfg(test)]
mod endless;

pub use collector::{Collector, Names, Outcome};
use decode::decode;
pub use decode::decode_partial;
