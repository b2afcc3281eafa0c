//! The kernel's code in user space (vDSO), which lies in no file.

use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::maps::{Backing, Region, Regions};
use super::module::Module;

/// Largest vDSO that is copied, in bytes; a usual one has 8 KiB.
const LARGEST: u64 = 1 << 20;

/// The vDSO, taken from this process: all 64-bit processes of a kernel have the same.
#[derive(Debug)]
pub(super) struct Vdso {
    /// Its size in memory, to tell that of a 32-bit process, which is another.
    pub size: u64,
    /// A copy in a file of its own.
    pub module: Module,
}

impl Vdso {
    /// Copies the vDSO of this process.
    pub fn copy() -> Option<Self> {
        let regions = Regions::read(Path::new("/proc/self")).ok()?;
        let region = regions.iter().find(|region| matches!(region.backing, Backing::Vdso))?;
        let file = copy_to_memory_file(region)?;
        Some(Self { size: region.end - region.start, module: Module::new(file, b"[vdso]").0 })
    }
}

/// Copies a region of this process into a file that lives in memory only.
fn copy_to_memory_file(region: &Region) -> Option<File> {
    let size = Some(region.end - region.start).filter(|size| *size <= LARGEST)?;
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, region.start).ok()?;
    // SAFETY: the name is a string with its end.
    let descriptor = unsafe { libc::memfd_create(c"dwell-vdso".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    file.write_all(&bytes).ok()?;
    Some(file)
}
