//! From what the probes hand over to a [`crate::model::Profile`]: decoding, pairing, adding up.

mod assemble;
mod books;
mod collector;
mod decode;
mod describe;
mod locks;
mod turns;
mod waits;

#[cfg(test)]
mod endless;

pub use assemble::{NamedStacks, Names, Outcome};
pub use collector::{Closing, Collector};
use decode::decode;
pub use decode::decode_partial;
pub use locks::RawReason;
pub use turns::{ConnLook, RequestNotes, label_text, last_call, turn_budget};
