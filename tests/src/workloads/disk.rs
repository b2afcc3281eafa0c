//! Finds a disk.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::Stage;

/// A new folder on a disk: where the command line says, in TMPDIR, here, or in /var/tmp.
pub fn disk_folder(stage: &Stage) -> Result<TempDir> {
    let temporary = std::env::var_os("TMPDIR").map(PathBuf::from);
    let wanted = stage.folder().map(Path::to_owned).into_iter().chain(temporary);
    let mut places = wanted.chain([std::env::current_dir()?, "/var/tmp".into()]);
    let place = places.find(|place| is_on_disk(place));
    let place = place.context("no folder on a disk: set TMPDIR to one")?;
    Ok(tempfile::Builder::new().prefix("dwell-").tempdir_in(place)?)
}

fn is_on_disk(folder: &Path) -> bool {
    let Ok(name) = CString::new(folder.as_os_str().as_bytes()) else { return false };
    let mut answer = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the name ends with NUL, and the answer has its place.
    if unsafe { libc::statfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call has succeeded.
    let kind = unsafe { answer.assume_init() }.f_type;
    /// `RAMFS_MAGIC`, which libc does not name.
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    kind != libc::TMPFS_MAGIC && kind != RAMFS_MAGIC
}
