//! A mapped file that is not in memory, on a disk that is busy with something else.
//!
//! On a fast idle disk a page is there within some 30 µs, of which the way into the scheduler
//! and out of it is a good part: where the wait begins would be a matter of opinion.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use serde_json::json;

use super::Stage;
use super::disk::disk_folder;
use super::disk_load;
use super::meter::Meter;
use super::stage::Running;
use super::system::{check, device};

const PAGE: usize = 4096;
const PAGES: usize = 16 * 1024;
/// Odd, so that its multiples visit every page once, and far enough to be no sequence.
const STRIDE: usize = 7919;

pub fn run(stage: Stage) -> Result<()> {
    let folder = disk_folder(&stage)?;
    let path = folder.path().join("mapped");
    let file = make_file(&path)?;
    let _rivals = disk_load::start(folder.path())?;
    let metadata = file.metadata()?;
    let mut meter = Meter::new()?;
    let (mut rounds, mut touched) = (0, 0);
    let running = stage.begin()?;
    while running.goes_on() {
        evict(&file)?;
        let mapping = Mapping::of(&file)?;
        touched += meter.measure(|| mapping.touch(&running));
        rounds += 1;
    }
    let object = json!({
        "inode": metadata.ino(), "device": device(&metadata), "path": path,
        "rounds": rounds, "touched": touched,
    });
    running.end("page-fault", meter.waits(), object)
}

fn make_file(path: &Path) -> Result<File> {
    let mut file = File::options().create_new(true).read(true).write(true).open(path)?;
    for page in 0..PAGES {
        file.write_all(&[page as u8; PAGE])?;
    }
    file.sync_all()?;
    Ok(file)
}

fn evict(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open. Pages that are mapped would stay: none is.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

struct Mapping(NonNull<u8>);

impl Mapping {
    /// Maps the file so that a fault reads its own page and no other.
    fn of(file: &File) -> Result<Self> {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice; nobody truncates the file.
        let address = unsafe {
            let nowhere = std::ptr::null_mut();
            libc::mmap(nowhere, PAGES * PAGE, protection, flags, file.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("cannot map the file");
        }
        let mapping = Self(NonNull::new(address.cast()).context("mapped at 0")?);
        // SAFETY: the range is the mapping.
        check(unsafe { libc::madvise(address, PAGES * PAGE, libc::MADV_RANDOM) })?;
        Ok(mapping)
    }

    /// Reads a byte of every page, in no sequence, while time is left; says how many.
    fn touch(&self, running: &Running) -> usize {
        let order = (0..PAGES).map(|turn| turn * STRIDE % PAGES);
        let touched = order.take_while(|_| running.goes_on()).map(|page| {
            // SAFETY: the page lies within the mapping.
            unsafe { self.0.add(page * PAGE).read_volatile() }
        });
        touched.count()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping, and nobody else knows of it.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGES * PAGE) };
    }
}
