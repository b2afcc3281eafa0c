//! `dwell locks`.

use anyhow::Result;

use super::arguments::{Locks, LocksBy};
use super::{attach, output};
use crate::analyze::By;
use crate::view::DocumentOptions;

/// Runs `dwell locks`.
///
/// # Errors
/// One that says what to do.
pub fn run(locks: Locks) -> Result<()> {
    let profile = attach::follow(&locks.follow, None)?;
    let by = match locks.by {
        LocksBy::Lock => By::Lock,
        LocksBy::Site => By::Site,
    };
    if locks.json {
        return output::write_document(
            &profile,
            DocumentOptions { by, ..DocumentOptions::default() },
        );
    }
    output::print_locks(&profile, by, locks.top, locks.full_stacks)
}
