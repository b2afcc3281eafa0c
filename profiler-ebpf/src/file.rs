//! Open files and inodes.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use profiler_common::object::{NAME_LENGTH, Object, TAG_FILE};
use profiler_common::thread::FileMemo;

use crate::globals::field;
use crate::task::{self, Task};

/// Type bits of a file mode and their values (include/uapi/linux/stat.h).
const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFSOCK: u16 = 0o140_000;

/// ANON_INODE_FS_MAGIC (include/uapi/linux/magic.h): eventfd, timerfd, signalfd, inotify, …
/// Its inodes have had no file type until Linux 6.15 and that of a regular file since.
pub const ANON_INODE_FS: u64 = 0x0904_1934;

/// What kind of thing an open file is, as far as waiting on it goes.
#[repr(u8)]
#[derive(Clone, Copy)]
pub enum Nature {
    Stored = 0,
    Socket = 1,
    Pipe = 2,
}

impl Nature {
    /// From [`FileMemo::nature`].
    #[inline(always)]
    pub fn of_memo(memo: &FileMemo) -> Self {
        match memo.nature {
            1 => Nature::Socket,
            2 => Nature::Pipe,
            _ => Nature::Stored,
        }
    }
}

/// A `struct file` in the kernel.
#[derive(Clone, Copy)]
pub struct File(u64);

impl File {
    /// The file that `task` has open as `descriptor`.
    #[inline(always)]
    pub fn of(task: Task, descriptor: u64) -> Option<File> {
        let files: u64 = field::task_files().load(task.0);
        let table: u64 = field::files_fdt().load(files);
        let array: u64 = field::fdt_fd().load(table);
        if array == 0 {
            return None;
        }
        // Descriptors are int: the upper half of the register is not part of them. That this one
        // is in the table, the system call that the task is blocked in has checked.
        let descriptor = descriptor as u32;
        let file: u64 = task::read(array + descriptor as u64 * 8);
        if file == 0 { None } else { Some(File(file)) }
    }

    #[inline(always)]
    fn inode(self) -> u64 {
        field::file_inode().read(self.0)
    }

    /// Whether this is the file that the memo is about.
    #[inline(always)]
    pub fn is_remembered(self, memo: &FileMemo) -> bool {
        memo.file == self.0 && field::inode_ino().read::<u64>(self.inode()) == memo.ino
    }

    /// Begins a memo about this file.
    #[inline(always)]
    pub fn remember(self, nature: Nature, memo: &mut FileMemo) {
        memo.file = self.0;
        memo.ino = field::inode_ino().read(self.inode());
        memo.nature = nature as u8;
    }

    #[inline(always)]
    pub fn private_data(self) -> u64 {
        field::file_private_data().read(self.0)
    }

    #[inline(always)]
    pub fn nature(self) -> Nature {
        let inode = self.inode();
        let mode: u16 = field::inode_mode().read(inode);
        match mode & S_IFMT {
            S_IFSOCK => Nature::Socket,
            S_IFIFO | S_IFCHR => Nature::Pipe,
            _ => {
                let file_system: u64 = field::inode_sb().read(inode);
                let magic: u64 = field::sb_magic().read(file_system);
                if magic == ANON_INODE_FS { Nature::Pipe } else { Nature::Stored }
            }
        }
    }

    /// Describes the file, with the last component of its path.
    #[inline(always)]
    pub fn describe(self, object: &mut Object) {
        describe_inode(self.inode(), object);
        let Some(path) = field::file_path().of(self.0) else { return };
        let dentry: u64 = field::path_dentry().read(path);
        let Some(name) = field::dentry_name().of(dentry) else { return };
        let text: u64 = field::qstr_name().read(name);
        // SAFETY: the buffer is as long as said; the helper checks the source.
        let length = unsafe {
            bpf_probe_read_kernel_str(
                object.name.as_mut_ptr().cast(),
                NAME_LENGTH as u32,
                text as *const core::ffi::c_void,
            )
        };
        object.name_length = if length > 0 { length as u32 - 1 } else { 0 };
    }
}

/// Describes an inode that is not known by an open file.
#[inline(always)]
pub fn describe_inode(inode: u64, object: &mut Object) {
    let file_system: u64 = field::inode_sb().read(inode);
    describe_identity(field::inode_ino().read(inode), field::sb_dev().read(file_system), object);
    object.magic = field::sb_magic().read::<u64>(file_system) as u32;
    object.mode = field::inode_mode().read::<u16>(inode) as u32;
}

/// Describes a file of which only the identity is known.
#[inline(always)]
pub fn describe_identity(ino: u64, dev: u32, object: &mut Object) {
    crate::socket::clear(object);
    object.tag = TAG_FILE;
    object.ino = ino;
    object.dev = dev;
}
