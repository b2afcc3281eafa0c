//! What is waited for.
//!
//! [`crate::wait::WaitKey::object`] means, by kind:
//! - `futex`: the user address; `detail` holds the operation (see [`futex_detail`])
//! - `socket`: an interned [`Object`] of tag [`TAG_SOCKET`]; `detail` is a `DIRECTION_`
//! - `disk`, `pipe`, `file_lock`, `page_fault`: an interned [`Object`] of tag [`TAG_FILE`], or 0
//! - `poll`: the descriptor of the epoll instance, or 0
//! - `child`: the pid argument as given
//! - `kernel`: the address of the kernel function waited in
//! - the others: 0 (the system call says it all)

/// [`Object::tag`] of a socket.
pub const TAG_SOCKET: u8 = 1;
/// [`Object::tag`] of an inode.
pub const TAG_FILE: u8 = 2;

/// [`Object::role`]: neither side is known to have listened.
pub const ROLE_UNKNOWN: u8 = 0;
/// [`Object::role`]: the waiter's side was accepted, or listens.
pub const ROLE_SERVER: u8 = 1;
/// [`Object::role`]: the waiter's side connected.
pub const ROLE_CLIENT: u8 = 2;

/// Waiting for data to come.
pub const DIRECTION_RECEIVE: u8 = 0;
/// Waiting for room to send.
pub const DIRECTION_SEND: u8 = 1;
/// Waiting for a connection to come.
pub const DIRECTION_ACCEPT: u8 = 2;
/// Waiting for a connection to be made.
pub const DIRECTION_CONNECT: u8 = 3;

/// AF_UNIX.
pub const FAMILY_UNIX: u8 = 1;
/// AF_INET.
pub const FAMILY_INET: u8 = 2;
/// AF_INET6.
pub const FAMILY_INET6: u8 = 10;

/// Longest name kept.
pub const NAME_LENGTH: usize = 64;

/// A socket or a file. The port that a client's kernel picked is not part of it: a server with
/// many short connections would otherwise have as many objects.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// `TAG_`.
    pub tag: u8,
    /// AF_ number (socket).
    pub family: u8,
    /// `ROLE_` (socket).
    pub role: u8,
    /// IPPROTO_ number (socket).
    pub protocol: u8,
    /// Local port, host order (socket); 0 where it is not part of the object.
    pub local_port: u16,
    /// Peer port, host order (socket); 0 where it is not part of the object.
    pub peer_port: u16,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Peer address, likewise.
    pub peer: [u8; 16],
    /// Inode number (file), address of the bound name in the kernel (Unix socket).
    pub ino: u64,
    /// Device number as the kernel keeps it: major << 20 | minor (file).
    pub dev: u32,
    /// Magic number of the file system (file).
    pub magic: u32,
    /// File mode (file).
    pub mode: u32,
    /// Bytes of `name` in use.
    pub name_length: u32,
    /// Last component of the path (file); bound path, NUL first if abstract (Unix socket).
    pub name: [u8; NAME_LENGTH],
}

const _: () = assert!(size_of::<Object>() == 128);

/// The op argument of futex(2), packed into a byte: command in the low six bits, then
/// FUTEX_CLOCK_REALTIME, then FUTEX_PRIVATE_FLAG (include/uapi/linux/futex.h).
#[inline(always)]
pub const fn futex_detail(op: u64) -> u8 {
    ((op & 0x3f) | ((op & 0x100) >> 2) | (op & 0x80)) as u8
}

/// The command of a [`futex_detail`].
pub const fn futex_command(detail: u8) -> u8 {
    detail & 0x3f
}

/// Whether a [`futex_detail`] is of a process-private futex.
pub const fn futex_is_private(detail: u8) -> bool {
    detail & 0x80 != 0
}

/// Whether a [`futex_detail`] measures its timeout by CLOCK_REALTIME.
pub const fn futex_is_realtime(detail: u8) -> bool {
    detail & 0x40 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futex_operations_survive_packing() {
        // FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME
        let detail = futex_detail(9 | 128 | 256);
        assert_eq!(futex_command(detail), 9);
        assert!(futex_is_private(detail) && futex_is_realtime(detail));
        assert!(!futex_is_private(futex_detail(9)) && !futex_is_realtime(futex_detail(137)));
    }
}
