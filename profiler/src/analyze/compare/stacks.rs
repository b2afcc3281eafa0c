//! Waits by the stack that waits, in two recordings: what a flame graph of the change is drawn from.

use std::collections::BTreeMap;

use super::series::{Series, WaitName, name_inside_work};
use crate::model::StackReach;

/// Waits inside work from one stack, for one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct StackChange<'a> {
    /// Who waits, and what for, by what is the same in another run.
    pub wait: WaitName,
    /// The functions, innermost first.
    pub stack: Vec<&'a str>,
    /// The walk of the stack ended early.
    pub is_truncated: bool,
    /// In the first: nanoseconds of a request, or of a CPU second.
    pub before: f64,
    /// In the second.
    pub after: f64,
}

/// What tells stacks apart: no address, since that is another one in another run.
type Key<'a> = (WaitName, bool, Vec<&'a str>);

/// Compares all waits inside work, but those of kernel threads, of two recordings whose services have been chosen.
/// They are divided by what [`super::compare`] divides by: requests of the service, or CPU time.
pub fn compare_stacks<'a>(before: &'a Series, after: &'a Series) -> Vec<StackChange<'a>> {
    let mut stacks: BTreeMap<Key<'a>, [f64; 2]> = BTreeMap::new();
    for (place, series) in [before, after].into_iter().enumerate() {
        let per = series.per();
        for wait in &series.whole.waits {
            let Some(name) = name_inside_work(wait).filter(|_| per > 0.0) else { continue };
            let stack = wait.stack.iter().map(|frame| frame.name.as_str()).collect();
            let key = (name, wait.reach == StackReach::Truncated, stack);
            stacks.entry(key).or_default()[place] += wait.total.0 as f64 / per;
        }
    }
    stacks
        .into_iter()
        .map(|((wait, is_truncated, stack), [before, after])| StackChange {
            wait,
            stack,
            is_truncated,
            before,
            after,
        })
        .collect()
}
