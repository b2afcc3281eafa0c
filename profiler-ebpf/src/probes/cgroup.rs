//! `cgroup_attach_task`: a process is moved into the cgroup that is followed.

use profiler_common::state::State;

use super::{clock, hook};
use crate::adopt::{follow_now, follow_process};
use crate::globals;
use crate::task::{Task, cgroup_is_below};

hook!("cgroup_attach_task", dwell_cgroup, dwell_cgroup_raw, |context| {
    attach(context.arg(0), Task(context.arg(2)))
});

/// Follows the process from here on: the thread named at once, its siblings when user space, which
/// compares the followed processes with the cgroup's on every tick, runs the seeding passes again.
#[inline(always)]
fn attach(cgroup: u64, task: Task) {
    let wanted = globals::cgroup_id();
    if wanted == 0 || !cgroup_is_below(cgroup, wanted) {
        return;
    }
    if let Some((now, _)) = clock() {
        follow_process(task.global_tgid(), task.global_tgid());
        follow_now(task, State::Unsettled, now);
    }
}
