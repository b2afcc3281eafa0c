//! A recording: a file with everything that is known about a window, slice by slice (docs/recording.md).
//!
//! A profile is taken apart into things (a thread, a row of waits, a stack, …), which are written down
//! once, and their figures. Each slice holds by how much the figures of the whole window so far have
//! changed since the slice before. So the figures of any part of the recording are the differences between
//! its ends, and all of it together is what a live report says.

mod connect;
mod figures;
mod flatten;
mod format;
mod name;
mod read;
mod restore;
mod thing;
mod things;
mod visit;
mod write;

pub use read::{Part, Recording};
pub use write::{Options, Summary, Writer};

/// Index of the figure that says that a thing is there.
const PRESENT: u32 = 0;
/// Indices that a distribution takes; the first one begins at the first multiple of it.
const DISTRIBUTION: u32 = 1 << 18;
