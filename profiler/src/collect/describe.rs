//! Puts what was waited for into words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use profiler_common::object::{
    DIRECTION_ACCEPT, DIRECTION_CONNECT, DIRECTION_SEND, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX,
    Object, ROLE_CLIENT, ROLE_SERVER, TAG_SOCKET, futex_command, futex_is_private,
    futex_is_realtime,
};
use profiler_common::thread::{CAUSE_INTERRUPT, CAUSE_SIGNAL, CAUSE_THREAD};

use super::Names;
use super::waits::{Row, RowKey};
use crate::model::{Cause, Direction, FutexOp, IpFamily, Role, State, WaitObject, endpoint};

/// What the waits of a row were for.
pub fn object(
    key: &RowKey,
    row: &Row,
    object: Option<&Object>,
    names: &mut dyn Names,
) -> WaitObject {
    match State::from_raw(key.kind) {
        Some(State::Futex) => WaitObject::Futex {
            address: key.object,
            op: futex_operation(key.detail),
            private: futex_is_private(key.detail),
            realtime: futex_is_realtime(key.detail),
        },
        Some(State::Poll) if key.object != 0 => WaitObject::Epoll { fd: key.object as u32 },
        Some(State::IoUring) => WaitObject::IoUring { fd: key.object as u32 },
        Some(State::Kernel) if key.object != 0 => {
            WaitObject::Kernel { function: names.kernel_function(key.object) }
        }
        Some(State::Child) => WaitObject::Child { pid: key.object as u32 as i32 },
        Some(_) => match object {
            Some(object) if object.tag == TAG_SOCKET => socket(key, row, object, names),
            Some(object) => file(key, object, names),
            None => WaitObject::None,
        },
        None => WaitObject::None,
    }
}

pub fn futex_operation(detail: u8) -> FutexOp {
    // include/uapi/linux/futex.h
    match futex_command(detail) {
        0 => FutexOp::Wait,
        6 => FutexOp::LockPi,
        9 => FutexOp::WaitBitset,
        11 => FutexOp::WaitRequeuePi,
        13 => FutexOp::LockPi2,
        _ => FutexOp::Other,
    }
}

fn socket(key: &RowKey, row: &Row, object: &Object, names: &mut dyn Names) -> WaitObject {
    let direction = match key.detail {
        DIRECTION_SEND => Direction::Send,
        DIRECTION_ACCEPT => Direction::Accept,
        DIRECTION_CONNECT => Direction::Connect,
        _ => Direction::Receive,
    };
    let role = match object.role {
        ROLE_SERVER => Role::Server,
        ROLE_CLIENT => Role::Client,
        _ => Role::Unknown,
    };
    match object.family {
        FAMILY_INET | FAMILY_INET6 => inet(object, row, role, direction),
        FAMILY_UNIX => {
            let path = unix_path(object, names);
            let (local, peer) = match role {
                Role::Server => (path, String::new()),
                Role::Client => (String::new(), path),
                Role::Unknown => (String::new(), String::new()),
            };
            let protocol = "unix".to_owned();
            WaitObject::Unix { family: "unix", protocol, local, peer, role, direction }
        }
        family => WaitObject::OtherSocket { family: family_name(family), direction },
    }
}

fn inet(object: &Object, row: &Row, role: Role, direction: Direction) -> WaitObject {
    let port = |port: u16| if port == 0 { "*".to_owned() } else { port.to_string() };
    let peer_port = match row.peer_port {
        _ if object.peer_port != 0 => port(object.peer_port),
        Some(only) if !row.peer_ports_mixed => port(only),
        _ => "*".to_owned(),
    };
    WaitObject::Inet {
        family: if object.family == FAMILY_INET { IpFamily::Inet } else { IpFamily::Inet6 },
        protocol: protocol_name(object.protocol),
        local: endpoint(address(object.family, object.local), &port(object.local_port)),
        peer: endpoint(address(object.family, object.peer), &peer_port),
        role,
        direction,
    }
}

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    if family == FAMILY_INET {
        let [a, b, c, d, ..] = bytes;
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    let address = Ipv6Addr::from(bytes);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

/// include/uapi/linux/in.h
fn protocol_name(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        1 => "icmp".to_owned(),
        other => other.to_string(),
    }
}

/// include/linux/socket.h
fn family_name(number: u8) -> String {
    match number {
        16 => "netlink".to_owned(),
        17 => "packet".to_owned(),
        40 => "vsock".to_owned(),
        44 => "xdp".to_owned(),
        other => other.to_string(),
    }
}

/// The bound path: abstract names begin with NUL, shown as `@` like in /proc/net/unix.
fn unix_path(object: &Object, names: &mut dyn Names) -> String {
    let name = name_bytes(object);
    match name.split_first() {
        Some((0, rest)) => format!("@{}", names.clean(rest)),
        _ => {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            names.clean(&name[..end])
        }
    }
}

fn name_bytes(object: &Object) -> &[u8] {
    let length = (object.name_length as usize).min(object.name.len());
    &object.name[..length]
}

/// ANON_INODE_FS_MAGIC and PIPEFS_MAGIC (include/uapi/linux/magic.h).
const ANON_INODE_FS: u32 = 0x0904_1934;
const PIPE_FS: u32 = 0x5049_5045;
/// File types (include/uapi/linux/stat.h).
const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;

fn file(key: &RowKey, object: &Object, names: &mut dyn Names) -> WaitObject {
    let inode = object.ino;
    let device = format!("{}:{}", object.dev >> 20, object.dev & 0xf_ffff);
    let name = names.clean(name_bytes(object));
    let is_pipe = object.magic == ANON_INODE_FS
        || object.magic == PIPE_FS
        || matches!(object.mode & S_IFMT, S_IFCHR | S_IFIFO);
    if is_pipe {
        let name = match object.magic {
            PIPE_FS => format!("pipe:[{inode}]"),
            _ => name,
        };
        return WaitObject::Pipe { inode, device, name };
    }
    let path = names.file_path(key.pid, object.dev, inode);
    let name = match (&path, name.is_empty()) {
        (Some(path), true) => path.rsplit('/').next().unwrap_or_default().to_owned(),
        _ => name,
    };
    WaitObject::File { inode, device, name, path }
}

/// What ended a wait of this kind, from the context that the wakeup came in.
pub fn cause(kind: State, object: &WaitObject, raw: u32) -> Cause {
    match (raw, kind) {
        (CAUSE_THREAD, _) => Cause::Thread,
        // No device wakes a futex: what is left is the end of its time.
        (CAUSE_INTERRUPT, State::Sleep | State::Futex) => Cause::Timer,
        (CAUSE_SIGNAL, _) => Cause::Signal,
        (CAUSE_INTERRUPT, State::Socket) if matches!(object, WaitObject::Inet { .. }) => {
            Cause::Network
        }
        (CAUSE_INTERRUPT, _) => Cause::Irq,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(endpoint(address(FAMILY_INET, v4), "80"), "127.0.0.1:80");
        let v6 = Ipv6Addr::LOCALHOST.octets();
        assert_eq!(endpoint(address(FAMILY_INET6, v6), "80"), "[::1]:80");
        let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
        assert_eq!(endpoint(address(FAMILY_INET6, mapped), "*"), "10.0.0.1:*");
    }

    #[test]
    fn a_timer_is_named_only_where_it_must_have_been_one() {
        let none = WaitObject::None;
        assert_eq!(cause(State::Sleep, &none, CAUSE_INTERRUPT), Cause::Timer);
        assert_eq!(cause(State::Futex, &none, CAUSE_INTERRUPT), Cause::Timer);
        assert_eq!(cause(State::Poll, &none, CAUSE_INTERRUPT), Cause::Irq);
        assert_eq!(cause(State::Futex, &none, CAUSE_THREAD), Cause::Thread);
        assert_eq!(cause(State::Futex, &none, 0), Cause::Unknown);
    }
}
