//! Stacks of small programs whose truth is known.

use std::time::Duration;

use anyhow::{Result, ensure};
use dwell_tests::document::Document;
use dwell_tests::dwell::observe;
use dwell_tests::fixtures::compile;
use dwell_tests::machine::Machine;
use dwell_tests::{need_program, need_root};

/// Waits in stacks that hold all of these functions, in this order from the inside out.
fn count_with(document: &Document, functions: &[&str]) -> u64 {
    let holds = |stack: &[String]| {
        let mut names = stack.iter();
        functions.iter().all(|function| names.any(|name| name == function))
    };
    let waits = document.body.waits.iter().filter(|wait| holds(&wait.stack));
    waits.map(|wait| wait.count).sum()
}

/// All sleeps, whatever their stacks.
fn sleeps(document: &Document) -> u64 {
    let sleeps = document.body.waits.iter().filter(|wait| wait.kind == "sleep");
    sleeps.map(|wait| wait.count).sum()
}

/// Sleeps that may be missing: a machine that stands still for a moment makes none, or of two in a row one (399 of 400, the
/// longest of them of 1.06 ms instead of 0.56, in one of fourteen runs).
const MISSING: u64 = 2;

/// Every sleep in the late library has a whole stack: only that before it is another one.
fn all_have_whole_stacks(document: &Document) -> Result<()> {
    let (counted, all) = (count_with(document, &LATE), sleeps(document));
    ensure!(
        (400 - MISSING..=400).contains(&counted) && all == counted + 1,
        "{counted} of {all} sleeps, of which 400 were in the library: {:?} {:?}",
        document.body.trust,
        document.body.waits
    );
    Ok(())
}

/// Two call sites whose stacks differ in one return address are never taken for one another, with so many bytes between
/// that address and where the thread stands.
fn are_told_apart(bytes: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let buffer = format!("-DBUFFER={bytes}");
    let program = compile(folder.path(), "two_sites.c", &["-fomit-frame-pointer", &buffer])?;
    let document = observe(&["--", &program.display().to_string(), "300"])?;
    let (first, second) = (
        count_with(&document, &["wait_ms", "first", "main", "_start"]),
        count_with(&document, &["wait_ms", "second", "main", "_start"]),
    );
    let all = sleeps(&document);
    ensure!(
        // What one site has too much, the other has not.
        first <= 300 && second <= 600 && first + second == all && all >= 900 - MISSING,
        "{bytes} bytes: counted {first} and {second} of {all}"
    );
    ensure!(document.body.trust.rechecks > 0, "nothing was looked at again");
    ensure!(document.body.trust.recheck_wrong_ns == 0, "{:?}", document.body.trust);
    // None of them is walked each time, which would tell them apart as well.
    ensure!(document.body.trust.stack_walks < 300, "{:?}", document.body.trust);
    Ok(())
}

/// Also where the probes read the stack in one go over a gap, and where the gap is wider than that.
#[test]
fn call_sites_that_share_all_but_one_frame_are_told_apart() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    [1, 1_500, 3_000, 50_000].into_iter().try_for_each(are_told_apart)
}

/// A library that is loaded while dwell is attached, built with these options.
fn late_library(options: &[&str], after: Duration) -> Result<Document> {
    let folder = tempfile::tempdir()?;
    let library = compile(folder.path(), "library.c", &[&["-shared", "-fPIC"], options].concat())?;
    let program = compile(folder.path(), "late.c", &["-fomit-frame-pointer"])?;
    let (program, library) = (program.display().to_string(), library.display().to_string());
    observe(&["--", &program, &library, &after.as_micros().to_string()])
}

/// Long after the program began.
const LONG_AFTER: Duration = Duration::from_millis(300);

const LATE: [&str; 5] = ["innermost", "wait_inside", "through_the_library", "main", "_start"];

#[test]
fn code_that_is_loaded_later_is_walked_through() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let document = late_library(&["-fomit-frame-pointer"], LONG_AFTER)?;
    all_have_whole_stacks(&document)
}

/// The program's maps were read right before, for a wait of its own: not even the first waits in the library lack a
/// stack for that.
#[test]
fn code_that_is_loaded_right_after_a_wait_is_walked_through() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let document = late_library(&["-fomit-frame-pointer"], Duration::from_micros(100))?;
    all_have_whole_stacks(&document)
}

/// The library keeps frame pointers and has no unwind table, all else the other way round.
#[test]
fn stacks_with_and_without_frame_pointers_mix() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let document = late_library(
        &[
            "-fno-omit-frame-pointer",
            "-fno-asynchronous-unwind-tables",
            "-fno-unwind-tables",
            "-fno-optimize-sibling-calls",
        ],
        LONG_AFTER,
    )?;
    all_have_whole_stacks(&document)
}

/// What a process that has ended shows is no measure for its parent, which has the same code: nothing can be looked up any
/// more.
#[test]
fn who_ends_at_once_spoils_no_stack_of_the_others() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let folder = tempfile::tempdir()?;
    let program = compile(folder.path(), "short_lives.c", &["-fomit-frame-pointer"])?;
    let document = observe(&["--", &program.display().to_string()])?;
    let of_children =
        document.body.threads.iter().filter(|thread| thread.comm == "short_lives_c").count() - 1;
    ensure!(of_children == 32, "{of_children} children");
    // Each place is new to the probes at most once for the parent, if no child has shown it.
    let whole = count_with(&document, &["main", "_start"]);
    ensure!(whole >= 320, "{whole} whole ones: {:?}", document.body.trust);
    Ok(())
}

/// The linker writes no index of the table into a program that is linked statically.
#[test]
fn statically_linked_programs_have_whole_stacks() -> Result<()> {
    need_root!();
    need_program!("cc");
    let _machine = Machine::take()?;
    let folder = tempfile::tempdir()?;
    let options = ["-fomit-frame-pointer", "-static"];
    let program = compile(folder.path(), "two_sites.c", &options)?;
    let document = observe(&["--", &program.display().to_string(), "50"])?;
    let whole = count_with(&document, &["wait_ms", "first", "main"]);
    ensure!(whole >= 49, "{whole} of 50: {:?}", document.body.waits);
    let trust = &document.body.trust;
    ensure!(trust.stacks_complete_ns > 20 * trust.stacks_truncated_ns, "{trust:?}");
    Ok(())
}
