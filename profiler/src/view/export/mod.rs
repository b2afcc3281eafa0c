//! A profile for the tools that people already use.

mod change;
mod firefox;
mod flame;
mod folded;
mod perfetto;
mod pprof;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;

pub use change::flame_graph_of_change;
pub use firefox::firefox;
pub use flame::flame_graph;
pub use folded::{folded, path};
pub use perfetto::perfetto;
pub use pprof::pprof;
pub use tables::{Table, csv, parquet};

use crate::analyze::{TopWait, is_waiting_for_work, top_waits_of};
use crate::model::Profile;

use super::words;

/// Which waits are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// Those inside work: idle threads would hide them.
    #[default]
    Working,
    /// Waits for work as well.
    All,
}

/// The outermost frame of a stack whose walk ended early.
const TRUNCATED: &str = "[truncated]";

/// The waits, those of like processes added up.
pub fn waits(profile: &Profile, which: Waits) -> Vec<TopWait> {
    top_waits_of(profile, |wait| which == Waits::All || !is_waiting_for_work(wait))
}

/// What was waited for, with its kind: `[socket: from 10.0.0.1:5432 (tcp, client side)]`.
fn cause(wait: &TopWait) -> String {
    if let Some(lock) = wait.database_lock {
        return format!("[{}]", words::lock(lock));
    }
    // Without `(futex)` and the like, which the object says.
    let kind = words::kind(wait);
    let kind = kind.split_once(" (").map_or(kind, |(kind, _)| kind);
    format!("[{kind}: {}]", words::object(wait)).replace(super::layout::TIE, " ")
}

/// The waiting threads: their process, and their name where it is another one.
fn threads(wait: &TopWait) -> Vec<String> {
    let comm = words::name_or_none(&wait.comm).to_owned();
    let groups: Vec<&str> =
        wait.thread_groups.iter().map(String::as_str).filter(|group| *group != comm).collect();
    match groups.as_slice() {
        [] => vec![comm],
        [only] => vec![comm, (*only).to_owned()],
        [first, rest @ ..] => vec![comm, format!("{first} and {} more", rest.len())],
    }
}
