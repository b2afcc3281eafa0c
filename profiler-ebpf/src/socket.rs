//! Sockets: addresses and role; and the table of everything waited for.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use profiler_common::object::{
    FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, NAME_LENGTH, Object, ROLE_CLIENT, ROLE_SERVER,
    ROLE_UNKNOWN, TAG_SOCKET,
};

use profiler_common::turn::LISTEN_OF_OTHERS;
use profiler_common::unwind::mix;

use crate::adopt::followed;
use crate::conn::note_target;
use crate::file::{ANON_INODE_FS, File};
use crate::globals::field;
use crate::maps::{self, LISTENERS, OBJECTS};
use crate::task::Task;

/// TCP_LISTEN (include/net/tcp_states.h), for Unix sockets too.
pub const LISTENING: u8 = 10;

/// `sun_path` begins behind the family in a `struct sockaddr_un`.
const SUN_PATH: u64 = 2;

/// Describes the socket behind an open file, and says which port of the peer it has where that
/// is not part of the object.
#[inline(always)]
pub fn describe(file: File, object: &mut Object) -> u16 {
    describe_sock(field::socket_sk().read(file.private_data()), object)
}

/// The same for the socket itself.
#[inline(always)]
pub fn describe_sock(sock: u64, object: &mut Object) -> u16 {
    clear(object);
    object.tag = TAG_SOCKET;
    object.family = field::sk_family().read::<u16>(sock) as u8;
    match object.family {
        FAMILY_INET | FAMILY_INET6 => describe_inet(sock, object),
        FAMILY_UNIX => {
            describe_unix(sock, object);
            0
        }
        _ => 0,
    }
}

#[inline(always)]
fn describe_inet(sock: u64, object: &mut Object) -> u16 {
    object.protocol = field::sk_protocol().read::<u16>(sock) as u8;
    let local_port: u16 = field::sk_num().read(sock);
    let peer_port = field::sk_dport().read::<u16>(sock).swap_bytes();
    if object.family == FAMILY_INET {
        copy_v4(field::sk_rcv_saddr().read(sock), &mut object.local);
        copy_v4(field::sk_daddr().read(sock), &mut object.peer);
    } else {
        object.local = field::sk_v6_rcv_saddr().read(sock);
        object.peer = field::sk_v6_daddr().read(sock);
    }
    let listens = field::sk_state().read::<u8>(sock) == LISTENING;
    if listens || is_listened_on(sock, local_port) {
        object.role = ROLE_SERVER;
        object.local_port = local_port;
        return peer_port;
    }
    object.peer_port = peer_port;
    if peer_port == 0 {
        // Not connected: a datagram socket, known by where it is bound.
        object.role = ROLE_UNKNOWN;
        object.local_port = local_port;
    } else {
        object.role = ROLE_CLIENT;
    }
    0
}

#[inline(always)]
fn copy_v4(address: u32, into: &mut [u8; 16]) {
    let bytes = address.to_ne_bytes();
    into[0] = bytes[0];
    into[1] = bytes[1];
    into[2] = bytes[2];
    into[3] = bytes[3];
}

/// Key of [`LISTENERS`] for a port in the network namespace of `sock`.
#[inline(always)]
pub fn listener_key(sock: u64, port: u16) -> u64 {
    let net: u64 = field::sk_net().read(sock);
    let namespace: u32 = match field::net_ns().of(net) {
        Some(common) => field::ns_inum().read(common),
        None => 0,
    };
    (namespace as u64) << 16 | port as u64
}

#[inline(always)]
fn is_listened_on(sock: u64, port: u16) -> bool {
    // SAFETY: a look-up; the value is not used.
    unsafe { LISTENERS.get(&listener_key(sock, port)) }.is_some()
}

/// A Unix socket that was accepted carries the name that the listener was bound to
/// (`unix_stream_connect`, net/unix/af_unix.c); the side that connected usually has none.
#[inline(always)]
fn describe_unix(sock: u64, object: &mut Object) {
    let own: u64 = field::unix_addr().read(sock);
    let peer: u64 = field::unix_peer().read(sock);
    let peers: u64 = field::unix_addr().read(peer);
    let address = if own != 0 {
        object.role = ROLE_SERVER;
        own
    } else if peers != 0 {
        object.role = ROLE_CLIENT;
        peers
    } else {
        // A socket pair: known by itself.
        object.role = ROLE_UNKNOWN;
        object.ino = sock;
        return;
    };
    object.ino = address;
    let length: u32 = field::unix_address_len().read(address);
    let Some(name) = field::unix_address_name().of(address) else { return };
    let length = (length.saturating_sub(SUN_PATH as u32)).min(NAME_LENGTH as u32);
    // SAFETY: `length` is at most the size of the buffer; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_kernel(
            object.name.as_mut_ptr().cast(),
            length,
            (name + SUN_PATH) as *const core::ffi::c_void,
        )
    };
    object.name_length = if result == 0 { length } else { 0 };
}

/// Zeroes an object, all of it: it is a hash table's value.
#[inline(always)]
pub fn clear(object: &mut Object) {
    // SAFETY: it consists of so many words, and zeroes are a valid object.
    maps::zero(unsafe { &mut *(&raw mut *object).cast::<[u64; size_of::<Object>() / 8]>() });
}

/// Finds or adds an object; 0 where it found no place.
#[inline(always)]
pub fn intern(object: &Object) -> u64 {
    let id = identity(object) | 1;
    // SAFETY: a look-up; the value is not used.
    if unsafe { OBJECTS.get(&id) }.is_some() {
        return id;
    }
    match OBJECTS.insert(&id, object, BPF_NOEXIST as u64) {
        Ok(()) => id,
        Err(error) if error == -17 => id,
        Err(_) => {
            maps::count(|loss| loss.objects += 1);
            0
        }
    }
}

/// Hash of what makes an object the same object.
#[inline(always)]
fn identity(object: &Object) -> u64 {
    let head = (object.tag as u64)
        | (object.family as u64) << 8
        | (object.role as u64) << 16
        | (object.protocol as u64) << 24
        | (object.local_port as u64) << 32
        | (object.peer_port as u64) << 48;
    let mut hash = mix(object.dev as u64, head);
    hash = mix(hash, object.ino);
    hash = mix(hash, word(&object.local, 0));
    hash = mix(hash, word(&object.local, 8));
    hash = mix(hash, word(&object.peer, 0));
    hash = mix(hash, word(&object.peer, 8));
    if object.magic == ANON_INODE_FS as u32 {
        // All of these have the same inode: the name tells what it is.
        hash = mix(hash, word(&object.name, 0));
        hash = mix(hash, word(&object.name, 8));
    }
    hash
}

#[inline(always)]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    const { assert!(N >= 16) };
    // SAFETY: `at` is 0 or 8, inside the array; unaligned by construction of the type.
    unsafe { bytes.as_ptr().add(at).cast::<u64>().read_unaligned() }
}

/// A TCP socket begins to listen, in the context of the thread that asks for it.
#[inline(always)]
pub fn begins_to_listen(sock: u64) {
    if followed(Task::current()).is_some() {
        return note_target(sock);
    }
    let port: u16 = field::sk_num().read(sock);
    let key = listener_key(sock, port);
    if LISTENERS
        .insert(&key, &LISTEN_OF_OTHERS, BPF_NOEXIST as u64)
        .is_err_and(|error| error != -17)
    {
        maps::count(|loss| loss.objects += 1);
    }
}

const _: () = assert!(core::mem::offset_of!(Object, local) % 8 == 0);
const _: () = assert!(size_of::<Object>() % 8 == 0 && align_of::<Object>() == 8);
