//! Birth, exec and death of threads and processes.

use profiler_common::state::State;
use profiler_common::thread::FLAG_EXITING;

use super::{clock, hook};
use crate::adopt::{
    Follow, entry_of, follow, follow_now, follow_process, followed, is_followed_process, is_open,
    let_through, name, renew_space, report_untracked, space_of,
};
use crate::log::trace;
use crate::maps::PROCESSES;
use crate::task::Task;
use crate::{blame, globals, memo, task};

hook!("sched_process_fork", dwell_fork, dwell_fork_raw, |context| {
    trace!(&context, "fork: {}", Task(context.arg(1)).global_tid());
    // Where it is refused, the first wakeup asks again.
    let _outcome = fork(Task(context.arg(0)), Task(context.arg(1)));
});

/// A new thread belongs to the target with its process; a new process with its parent.
#[inline(always)]
pub fn fork(parent: Task, child: Task) -> Follow {
    let Some((now, start)) = clock() else { return Follow::NotNeeded };
    if is_open(child, start) {
        return Follow::NotNeeded;
    }
    let (parent_process, child_process) = (parent.global_tgid(), child.global_tgid());
    let belongs = if globals::whole_host() != 0 {
        true
    } else if globals::cgroup_id() != 0 && child.is_in_target_cgroup() {
        true
    } else if parent_process == child_process || globals::follow_children() != 0 {
        is_followed_process(parent_process)
    } else {
        false
    };
    if !belongs {
        return Follow::NotNeeded;
    }
    if parent_process != child_process {
        follow_process(child_process, space_of(parent_process));
    }
    follow(child, State::Runnable, now)
}

hook!("sched_process_exec", dwell_exec, dwell_exec_raw, |context| {
    trace!(&context, "exec: {}", Task(context.arg(0)).global_tid());
    exec(Task(context.arg(0)))
});

/// Exec renames the thread, gives it the leader's id, and may make it match `--comm`.
#[inline(always)]
fn exec(task: Task) {
    // The filter does not know the id that it has now.
    if let Some(entry) = entry_of(task) {
        let_through(task);
        name(task, &mut entry.record);
        entry.record.space = renew_space(entry.record.tgid);
        memo::forget(&mut entry.memo);
        blame::forget(&mut entry.past);
        return;
    }
    let wanted = globals::comm();
    if wanted[0] != 0
        && task.comm() == wanted
        && let Some((now, _)) = clock()
    {
        renew_space(task.global_tgid());
        follow_now(task, State::Running, now);
    }
}

// Before the new name is in its place.
hook!("task_rename", dwell_rename, dwell_rename_raw, |context| {
    if let Some(record) = followed(Task(context.arg(0))) {
        record.comm = task::read_name(context.arg(1));
    }
});

hook!("sched_process_exit", dwell_exit, dwell_exit_raw, |context| {
    trace!(&context, "exit: {}", Task(context.arg(0)).global_tid());
    exit(Task(context.arg(0)))
});

/// The thread goes on to run, and to wait, until its last switch: the books close there.
#[inline(always)]
fn exit(task: Task) {
    let Some((now, _)) = clock() else { return };
    let process = task.global_tgid();
    if let Some(record) = followed(task) {
        record.flags |= FLAG_EXITING;
    } else if globals::whole_host() != 0 || is_followed_process(process) {
        report_untracked(task, now);
    } else {
        return;
    }
    if task.is_last_of_process() {
        let _gone = PROCESSES.remove(&process);
    }
}
