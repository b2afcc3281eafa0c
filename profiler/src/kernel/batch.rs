//! Reads whole hash tables by BPF_MAP_LOOKUP_BATCH (Linux 5.6), for which aya has no call: one
//! system call for hundreds of entries instead of two for each.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Plain data as the kernel writes it: any bytes are a valid value.
///
/// # Safety
/// The type must be `#[repr(C)]`, without padding, and valid for every bit pattern.
pub unsafe trait Plain: Copy {}

/// `union bpf_attr`, its part for batches (include/uapi/linux/bpf.h).
#[repr(C)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Entries asked for at a time; a bucket of the table must fit.
const BATCH: usize = 256;

/// Hands every entry to `each`.
///
/// # Errors
/// What the kernel answers, but for the end of the table.
pub fn for_each<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(K, &V),
) -> io::Result<()> {
    let mut size = BATCH;
    let mut keys: Vec<K> = Vec::with_capacity(size);
    let mut values: Vec<V> = Vec::with_capacity(size);
    let mut position = 0u64;
    let mut next = 0u64;
    let mut first = true;
    loop {
        let mut attributes = BatchAttributes {
            in_batch: if first { 0 } else { (&raw const position) as u64 },
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size as u32,
            map_fd: map.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the buffers hold `size` entries of the map's own key and value sizes, which
        // `Tables` checks when it opens the map.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                &raw mut attributes,
                size_of::<BatchAttributes>(),
            )
        };
        let error = if result < 0 { io::Error::last_os_error().raw_os_error() } else { None };
        match error {
            // A bucket did not fit: again from the same place, with more room.
            Some(libc::ENOSPC) => {
                size *= 4;
                keys.reserve(size);
                values.reserve(size);
                continue;
            }
            None | Some(libc::ENOENT) => {}
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
        }
        let count = (attributes.count as usize).min(size);
        for index in 0..count {
            // SAFETY: the kernel filled `count` entries; any bytes are valid (`Plain`).
            unsafe { each(*keys.as_ptr().add(index), &*values.as_ptr().add(index)) };
        }
        if error.is_some() {
            return Ok(());
        }
        position = next;
        first = false;
    }
}

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;

/// `union bpf_attr`, its part for single elements.
#[repr(C)]
struct ElementAttributes {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// One entry; `None` where there is none.
pub fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> Option<V> {
    let mut value = std::mem::MaybeUninit::<V>::uninit();
    let found = element(map, BPF_MAP_LOOKUP_ELEM, key, value.as_mut_ptr() as u64);
    // SAFETY: the kernel filled it; any bytes are valid (`Plain`).
    found.then(|| unsafe { value.assume_init() })
}

/// Adds an entry; false where the kernel refuses.
pub fn insert<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> bool {
    element(map, BPF_MAP_UPDATE_ELEM, key, std::ptr::from_ref(value) as u64)
}

/// Deletes an entry; one that is gone already is fine.
pub fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) {
    let _gone = element(map, BPF_MAP_DELETE_ELEM, key, 0);
}

fn element<K: Plain>(map: BorrowedFd<'_>, command: libc::c_long, key: &K, value: u64) -> bool {
    let mut attributes = ElementAttributes {
        map_fd: map.as_raw_fd() as u32,
        reserved: 0,
        key: std::ptr::from_ref(key) as u64,
        value,
        flags: 0,
    };
    // SAFETY: key and value have the map's own sizes, which `Tables` checks when it opens the map.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size_of::<ElementAttributes>())
    };
    result == 0
}
