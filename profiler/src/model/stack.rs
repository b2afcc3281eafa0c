//! Stacks before their functions are named.

use profiler_common::unwind::{mix, stack_id};
use profiler_common::wait::{END_ENTRY, END_TRUNCATED, STACK_DEPTH, StackFrames};

/// The addresses of a stack, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The first is where the thread stands, all others are return addresses.
    pub addresses: Vec<u64>,
    /// The walk reached the function in which the thread began; a stack that it did not is
    /// truncated.
    pub complete: bool,
}

impl Walked {
    /// The number that the probes give to the same stack.
    pub fn id(&self) -> u64 {
        let depth = self.addresses.len().min(STACK_DEPTH);
        let hash = self.addresses[..depth].iter().fold(0, |hash, address| mix(hash, *address));
        stack_id(hash, depth, if self.complete { END_ENTRY } else { END_TRUNCATED })
    }
}

impl From<&StackFrames> for Walked {
    fn from(stack: &StackFrames) -> Self {
        let depth = usize::from(stack.depth).min(stack.frames.len());
        Self { addresses: stack.frames[..depth].to_vec(), complete: stack.end == END_ENTRY }
    }
}
