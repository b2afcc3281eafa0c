//! Keeps a disk busy, past the page cache, with little CPU.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Result;

use super::children::{Child, rename};

const READERS: usize = 2;
const BLOCK: usize = 2 << 20;
const BLOCKS: usize = 16;

/// Processes that read a file of their own in `folder` until they are dropped.
pub fn start(folder: &Path) -> Result<Vec<Child>> {
    let path = folder.join("read-by-others");
    let mut file = File::create(&path)?;
    for _ in 0..BLOCKS {
        file.write_all(&vec![b'.'; BLOCK])?;
    }
    file.sync_all()?;
    let readers = (0..READERS).map(|_| Child::fork(|| read_for_good(&path)));
    Ok(readers.collect::<io::Result<_>>()?)
}

fn read_for_good(path: &Path) -> Result<()> {
    rename(c"disk-load");
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    let buffer = aligned_buffer()?;
    for block in (0..BLOCKS).cycle() {
        let offset = (block * BLOCK) as libc::off_t;
        // SAFETY: the buffer has room for a block.
        let length = unsafe { libc::pread(file.as_raw_fd(), buffer, BLOCK, offset) };
        if length < 0 {
            return Err(io::Error::last_os_error().into());
        }
    }
    Ok(())
}

/// Reads past the page cache need an aligned buffer: whole pages.
fn aligned_buffer() -> io::Result<*mut libc::c_void> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice, never unmapped.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), BLOCK, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address) }
}
