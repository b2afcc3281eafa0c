//! Folded stacks: a line for each, as flamegraph.pl, inferno and speedscope read them.

use super::{TRUNCATED, Waits, cause, threads, waits};
use crate::analyze::TopWait;
use crate::model::Profile;

/// `process;threads;outermost;…;innermost;[kind: object] nanoseconds`, most time first.
pub fn folded(profile: &Profile, which: Waits) -> String {
    let rows = waits(profile, which);
    rows.iter().map(|wait| format!("{} {}\n", path(wait).join(";"), wait.total.0)).collect()
}

/// From the process to what was waited for.
pub fn path(wait: &TopWait) -> Vec<String> {
    let mut path = threads(wait);
    if wait.is_truncated {
        path.push(TRUNCATED.to_owned());
    }
    path.extend(wait.stack.iter().rev().map(|frame| frame.name.clone()));
    path.push(cause(wait));
    path.iter().map(|name| element(name)).collect()
}

/// What ends an element or a line is something else in a name: `[u8; 4]` becomes `[u8, 4]`.
pub fn element(name: &str) -> String {
    name.replace(';', ",").replace(['\n', '\r'], " ")
}
