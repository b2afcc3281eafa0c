//! Opens files that a target chose, without being led astray by them.
//!
//! A target may map a device, put a FIFO where a file is expected, or plant symbolic links. So a
//! file is first pinned without opening it (`O_PATH`), then opened only if it is a regular one.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::maps::Region;

/// Opens the file that a region of a process maps, whatever has become of its name.
///
/// `/proc/PID/map_files` gives the very file even when it was deleted or lies in another mount
/// namespace, but needs privileges; without them the name is looked up under the process's own
/// root, then as its executable, and taken only if the inode is the mapped one.
///
/// # Errors
/// The last attempt's error: no permission, the process or the file is gone, not a regular file.
pub(super) fn open_mapped(process: &Path, region: &Region) -> io::Result<File> {
    let mapped = process.join(format!("map_files/{:x}-{:x}", region.start, region.end));
    open_regular(&mapped)
        .or_else(|_| check_inode(open_in_root(process, &region.path)?, region.inode))
        .or_else(|_| check_inode(open_regular(&process.join("exe"))?, region.inode))
}

/// Gives the file back if it has the inode number that is expected of it.
fn check_inode(file: File, inode: u64) -> io::Result<File> {
    if file.metadata()?.ino() == inode {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "another file has this name now"))
}

/// Opens a regular file for reading; refuses anything else without opening it.
///
/// # Errors
/// What opening gave, or `InvalidInput` for a device, FIFO, socket or directory.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    reopen(pin(path, 0)?)
}

/// A descriptor that says which file it is, and opens nothing.
fn pin(path: &Path, flags: libc::c_int) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | flags).open(path)
}

/// File systems of the kernel: their files look like regular ones, and reading some of them changes something
/// (`/proc/kmsg`, attributes of devices) (include/uapi/linux/magic.h).
const MADE_BY_THE_KERNEL: [libc::__fsword_t; 12] = [
    libc::PROC_SUPER_MAGIC,
    libc::SYSFS_MAGIC,
    libc::DEBUGFS_MAGIC,
    libc::TRACEFS_MAGIC,
    libc::SECURITYFS_MAGIC,
    libc::CGROUP_SUPER_MAGIC,
    libc::CGROUP2_SUPER_MAGIC,
    libc::BPF_FS_MAGIC,
    libc::AUTOFS_SUPER_MAGIC,
    0x6265_6570,
    0x6165_676c,
    0xde5e_81e4,
];

/// Opens a regular file for reading whose path somebody else has written down.
///
/// # Errors
/// As [`open_regular`]; `InvalidInput` for a path that is not absolute, or leads to a file that the kernel makes up.
pub(super) fn open_stored(path: &Path) -> io::Result<File> {
    let refused = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    if !path.is_absolute() {
        return Err(refused("not an absolute path"));
    }
    let pinned = pin(path, 0)?;
    // SAFETY: plain integers, for which zero is a valid value.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills in the structure that is given, which outlives the call.
    if unsafe { libc::fstatfs(pinned.as_raw_fd(), &raw mut system) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if MADE_BY_THE_KERNEL.contains(&system.f_type) {
        return Err(refused("a file of the kernel"));
    }
    reopen(pinned)
}

/// Opens a regular file by its name inside a process's mount namespace. Links, absolute ones
/// included, are followed inside it and never lead out.
///
/// # Errors
/// As [`open_regular`]; `ENOSYS` before Linux 5.6.
pub(super) fn open_in_root(process: &Path, name: &[u8]) -> io::Result<File> {
    let root = pin(&process.join("root"), libc::O_DIRECTORY)?;
    let name = CString::new(name)?;
    // SAFETY: `open_how` is plain integers, for which zero is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the name is a string with its end, `how` is as long as said; both outlive the call.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            name.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    let descriptor = i32::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
    reopen(unsafe { File::from_raw_fd(descriptor) })
}

/// Opens for reading what is pinned, if it is a regular file.
fn reopen(pinned: File) -> io::Result<File> {
    if !pinned.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path_of(&pinned))
}

/// A path that leads to an open file for as long as it is open, even after its deletion.
pub(super) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_files_but_not_devices_or_directories() {
        assert!(open_regular(Path::new("/proc/self/exe")).is_ok());
        assert!(open_regular(Path::new("/dev/null")).is_err());
        assert!(open_regular(Path::new("/")).is_err());
        assert!(open_regular(Path::new("/nothing/here")).is_err());
    }

    #[test]
    fn a_fifo_does_not_hang() {
        let path = std::env::temp_dir().join(format!("dwell-fifo-{}", std::process::id()));
        let name = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the name is a string with its end.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let opened = open_regular(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let base = std::env::temp_dir().join(format!("dwell-root-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", base.join("root/out")).unwrap();
        std::fs::write(base.join("root/in"), "in").unwrap();
        let (out, inside) = (open_in_root(&base, b"/out"), open_in_root(&base, b"/../in"));
        std::fs::remove_dir_all(&base).unwrap();
        assert!(out.is_err());
        assert!(inside.is_ok());
    }
}
