//! Which threads are followed, from when, and until when.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::event::{Header, THREAD_EXIT, ThreadExit, UNTRACKED_EXIT, UntrackedExit};
use profiler_common::state::State;
use profiler_common::thread::{
    FLAG_ENDED, FLAG_EXITING, FLAG_KERNEL_THREAD, ThreadEntry, ThreadRecord,
};

use crate::books::post;
use crate::maps::{
    self, BLANK_THREAD, EVENTS, FILTER, FILTER_SLOTS, NO_WAKEUP, PROCESSES, REQUESTED, SERIAL,
    SPINS, Serial, THREADS,
};
use crate::task::Task;
use crate::{globals, queue};

/// What is kept of a thread that is followed and set up.
#[inline(always)]
pub fn followed_entry(task: Task) -> Option<&'static mut ThreadEntry> {
    if may_be_followed(task) { entry_of(task) } else { None }
}

/// [`followed_entry`], past the filter.
#[inline(always)]
pub fn entry_of(task: Task) -> Option<&'static mut ThreadEntry> {
    let entry = THREADS.get_ptr_mut(task.0)?;
    // SAFETY: it has one writer at a time, see the crate's page.
    let entry = unsafe { &mut *entry };
    let record = &entry.record;
    if record.serial == 0 || record.flags & FLAG_ENDED != 0 { None } else { Some(entry) }
}

/// Whether it is worth to look the thread up. Not where reading its id costs as much as that.
#[inline(always)]
fn may_be_followed(task: Task) -> bool {
    if globals::whole_host() != 0 || globals::typed() == 0 {
        return true;
    }
    match FILTER.get(0) {
        Some(filter) => filter[filter_slot(task)] != 0,
        None => true,
    }
}

#[inline(always)]
fn filter_slot(task: Task) -> usize {
    maps::slot(task.global_tid() & (FILTER_SLOTS as u32 - 1), FILTER_SLOTS)
}

/// Lets a followed thread through the filter. Also when exec has given it the id of its leader.
#[inline(always)]
pub fn let_through(task: Task) {
    change_filter(task, 1);
}

/// The id of a leader may have been taken over by exec, so its place stays open.
#[inline(always)]
fn shut_out(task: Task) {
    if task.global_tid() != task.global_tgid() {
        change_filter(task, u32::MAX);
    }
}

#[inline(always)]
fn change_filter(task: Task, by: u32) {
    if let Some(filter) = FILTER.get_ptr_mut(0) {
        // SAFETY: a word of the table.
        unsafe {
            let word = &raw mut (*filter)[filter_slot(task)];
            atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(word, by);
        }
    }
}

/// The books of a thread that is followed and set up.
#[inline(always)]
pub fn followed(task: Task) -> Option<&'static mut ThreadRecord> {
    match followed_entry(task) {
        Some(entry) => Some(&mut entry.record),
        None => None,
    }
}

/// Whether the process with this id (initial namespace) is followed.
#[inline(always)]
pub fn is_followed_process(tgid: u32) -> bool {
    // SAFETY: a look-up; the value is not used.
    unsafe { PROCESSES.get(&tgid) }.is_some()
}

/// Whether user space asked for the process of this task, or for its cgroup.
#[inline(always)]
pub fn is_requested(task: Task) -> bool {
    if globals::cgroup_id() != 0 {
        return task.is_in_target_cgroup();
    }
    let pid = task.visible_pid();
    // SAFETY: a look-up; the value is not used.
    globals::whole_host() != 0 || (pid != 0 && unsafe { REQUESTED.get(&pid) }.is_some())
}

/// Remembers a process as followed, with the number of its address space, unless it is.
#[inline(always)]
pub fn follow_process(tgid: u32, space: u32) {
    match PROCESSES.insert(&tgid, &space, BPF_NOEXIST as u64) {
        Ok(()) => {}
        Err(error) if error == -17 => {}
        Err(_) => maps::count(|loss| loss.processes += 1),
    }
}

/// Numbers of address spaces that are given out begin here; below, it is that of the process that
/// nobody has seen executing a program.
const FIRST_SPACE: u32 = 1 << 24;

/// The number of a process's address space.
#[inline(always)]
pub fn space_of(tgid: u32) -> u32 {
    // SAFETY: one word, read at once.
    match unsafe { PROCESSES.get(&tgid) } {
        Some(space) => *space,
        None => tgid,
    }
}

/// Gives a process that has executed a program a new address space.
#[inline(always)]
pub fn renew_space(tgid: u32) -> u32 {
    let space = FIRST_SPACE + next(Serial::Space);
    let _full = PROCESSES.insert(&tgid, &space, 0);
    space
}

#[inline(always)]
fn next(serial: Serial) -> u32 {
    let Some(last) = SERIAL.get_ptr_mut(serial as u32) else { return 0 };
    // SAFETY: a word of the table.
    let last = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(last, 1) };
    last as u32 + 1
}

/// What came of [`follow`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    Begun,
    /// The books were open already, or the thread is not of the target.
    NotNeeded,
    /// There is no place for them.
    Refused,
}

/// Opens the books of a thread in `state`, from `now` on. Where that is refused, whoever asks last counts it.
#[inline(always)]
pub fn follow(task: Task, state: State, now: u64) -> Follow {
    let Some(blank) = BLANK_THREAD.get(0) else { return Follow::Refused };
    match THREADS.insert(task.0, blank, BPF_NOEXIST as u64) {
        Ok(()) => {}
        Err(error) if error == -17 && !is_taken(task) => return Follow::NotNeeded,
        Err(_) => return Follow::Refused,
    }
    let Some(entry) = THREADS.get_ptr_mut(task.0) else { return Follow::Refused };
    // SAFETY: the entry is ours alone until its serial is set, which comes last.
    unsafe {
        let record = &raw mut (*entry).record;
        (*record).since_ns = now;
        (*record).born_ns = now;
        (*record).state = state as u8;
        (*record).flags = if task.is_kernel_thread() { FLAG_KERNEL_THREAD } else { 0 };
        (*record).run_delay_ns = task.run_delay_ns().unwrap_or(0);
        (*record).memo.run_count = task.run_count();
        (*record).tgid = task.global_tgid();
        name(task, &mut *record);
        (*record).space = space_of((*record).tgid);
        core::ptr::write_volatile(&raw mut (*record).serial, next(Serial::Thread));
    }
    let_through(task);
    Follow::Begun
}

/// [`follow`] where nobody asks again: a refusal is counted.
#[inline(always)]
pub fn follow_now(task: Task, state: State, now: u64) -> Follow {
    let outcome = follow(task, state, now);
    if outcome == Follow::Refused {
        maps::count(|loss| loss.threads += 1);
    }
    outcome
}

/// Whether books that could not be handed over are in the place of this thread.
#[inline(always)]
fn is_taken(task: Task) -> bool {
    match THREADS.get_ptr(task.0) {
        // SAFETY: one byte, read at once.
        Some(entry) => unsafe { (*entry).record.flags & FLAG_ENDED != 0 },
        None => false,
    }
}

/// Forgets a thread whose last switch came before its books were opened.
#[inline(always)]
pub fn abandon(task: Task) {
    let _gone = THREADS.remove(task.0);
    shut_out(task);
}

/// Whether the books of a thread that is being born are open. Those of an earlier one, of which the kernel uses the
/// `task_struct` again, are closed first.
#[inline(always)]
pub fn is_open(task: Task, window_start: u64) -> bool {
    let Some(entry) = THREADS.get_ptr_mut(task.0) else { return false };
    // SAFETY: an earlier thread writes no more, and of this one another CPU can at most open the books.
    let record = unsafe { &mut (*entry).record };
    let has_ended = record.flags & FLAG_ENDED != 0;
    if !has_ended && (record.serial == 0 || record.born_ns >= task.start_ns()) {
        return true;
    }
    bury(task, record, window_start);
    false
}

/// Closes the books of an earlier thread in the place of this one. Either there was no room to hand them over, or its last
/// switch was not shown: when it ended is not known then, only what was seen last.
#[inline(never)]
fn bury(place: Task, record: &mut ThreadRecord, window_start: u64) {
    if record.flags & FLAG_ENDED == 0 {
        maps::count(|loss| loss.anomalies += 1);
        if record.queued != 0 {
            queue::leave(record, record.since_ns, queue::By::Other, window_start);
        }
        post(record);
        let _gone = SPINS.remove(&record.serial);
        record.flags |= FLAG_ENDED;
    }
    hand_over(place, record, record.since_ns);
}

/// Takes over the ids and the name, which exec can change.
#[inline(always)]
pub fn name(task: Task, record: &mut ThreadRecord) {
    record.tid = task.visible_tid();
    record.pid = task.visible_pid();
    record.comm = task.comm();
}

/// The thread has switched out for the last time: hands its books over and closes them.
/// If the ring buffer is full they stay in the table, where the final pass finds them.
#[inline(always)]
pub fn finish(task: Task, record: &mut ThreadRecord, now: u64) {
    // From Linux 7 on the probe of the exit can be skipped (see `dwell_new`): nobody else would forget
    // the process, and whoever waits for its end would wait for ever.
    if record.flags & FLAG_EXITING == 0 && task.is_last_of_process() {
        let _gone = PROCESSES.remove(&record.tgid);
    }
    record.comm = task.comm();
    let _gone = SPINS.remove(&record.serial);
    if hand_over(task, record, now) {
        shut_out(task);
    } else {
        maps::count(|loss| loss.events += 1);
        record.flags |= FLAG_ENDED;
    }
}

/// Hands over the books of the thread that had this place until `end_ns`, and frees the place; false where there is no room
/// for them.
#[inline(never)]
fn hand_over(place: Task, record: &ThreadRecord, end_ns: u64) -> bool {
    let Some(mut slot) = EVENTS.reserve::<ThreadExit>(0) else { return false };
    let exit = slot.as_mut_ptr();
    // SAFETY: reserved for exactly this record.
    unsafe {
        (*exit).header = Header { kind: THREAD_EXIT, reserved: 0 };
        (*exit).end_ns = end_ns;
        (*exit).thread = *record;
    }
    slot.submit(NO_WAKEUP);
    let _gone = THREADS.remove(place.0);
    true
}

/// Tells of a thread that should have been followed and was not, so that its time is accounted.
#[inline(always)]
pub fn report_untracked(task: Task, now: u64) {
    let Some(mut slot) = EVENTS.reserve::<UntrackedExit>(0) else {
        maps::count(|loss| loss.events += 1);
        return;
    };
    let exit = slot.as_mut_ptr();
    // SAFETY: reserved for exactly this record.
    unsafe {
        (*exit).header = Header { kind: UNTRACKED_EXIT, reserved: 0 };
        (*exit).start_ns = task.start_ns();
        (*exit).end_ns = now;
        (*exit).pid = task.visible_pid();
        (*exit).tid = task.visible_tid();
        (*exit).comm = task.comm();
    }
    slot.submit(NO_WAKEUP);
}
