//! `mm_filemap_fault` (Linux 6.12): a fault on a mapped file that is not in the page cache. It
//! comes right before the wait for the disk, and is the only thing that names the file.

use super::hook;
use crate::adopt::followed;
use crate::globals::field;
use crate::task::Task;

hook!("mm_filemap_fault", dwell_fault, dwell_fault_raw, |context| {
    let mapping: u64 = context.arg(0);
    if let Some(record) = followed(Task::current()) {
        let inode: u64 = field::mapping_host().read(mapping);
        let file_system: u64 = field::inode_sb().read(inode);
        record.fault_ino = field::inode_ino().read(inode);
        record.fault_dev = field::sb_dev().read(file_system);
    }
});
