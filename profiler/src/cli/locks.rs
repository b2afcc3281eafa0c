//! `dwell locks`.

use anyhow::Result;

use super::arguments::{Locks, LocksBy, ReportArguments};
use super::{attach, output};
use crate::analyze::By;
use crate::model::Profile;
use crate::view::DocumentOptions;

/// Runs `dwell locks`.
///
/// # Errors
/// One that says what to do.
pub fn run(locks: Locks) -> Result<()> {
    let profile = attach::follow(&locks.follow, None)?;
    let report = ReportArguments { threads: false, top: locks.top, full_stacks: locks.full_stacks };
    print(&profile, locks.by, locks.json, report)
}

/// Prints a profile.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(profile: &Profile, by: LocksBy, json: bool, report: ReportArguments) -> Result<()> {
    let by = match by {
        LocksBy::Lock => By::Lock,
        LocksBy::Site => By::Site,
    };
    if json {
        let options = DocumentOptions { by, ..DocumentOptions::default() };
        return output::write_document(profile, options);
    }
    output::print_locks(profile, by, report)
}
