//! Which TCP ports are listened on: the only sound sign of which side of a connection serves.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// A listening TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Network namespace: its inode number.
    pub namespace: u32,
    /// The port.
    pub port: u16,
    /// One of the processes asked for holds the socket.
    pub own: bool,
}

/// `TCP_LISTEN` (include/net/tcp_states.h), as /proc/net/tcp prints it.
const LISTENING: &str = "0A";

/// Listening ports in the network namespaces of these processes.
pub fn listeners_of(pids: &[u32]) -> Vec<Listener> {
    let mut seen = HashSet::new();
    let mut found = HashSet::new();
    let own = sockets_of(pids);
    for pid in pids {
        let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        let namespace = namespace.ino() as u32;
        if !seen.insert(namespace) {
            continue;
        }
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            found.extend(ports(&text).map(|(port, inode)| {
                let own = own.contains(&inode);
                Listener { namespace, port, own }
            }));
        }
    }
    found.into_iter().collect()
}

/// Most descriptors of a process that are looked at: a hostile one may have a million of them.
const MOST_DESCRIPTORS: usize = 65_536;

/// Inodes of the sockets that these processes have open.
fn sockets_of(pids: &[u32]) -> HashSet<u64> {
    let files = pids.iter().flat_map(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        files.flatten().take(MOST_DESCRIPTORS)
    });
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.filter_map(|link| socket_inode(link.to_str()?)).collect()
}

/// `socket:[4711]`.
pub(super) fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Ports that are listened on, with the inode of the socket.
pub(super) fn ports(table: &str) -> impl Iterator<Item = (u16, u64)> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let port = local.rsplit_once(':')?.1;
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTENING).then(|| Some((u16::from_str_radix(port, 16).ok()?, inode))).flatten()
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    #[test]
    fn only_listening_ports_count() {
        let rest = "00000000:00000000 00:00000000 00000000 0 0";
        let table = format!(
            "  sl  local_address rem_address   st tx_queue\n\
             0: 0100007F:1538 00000000:0000 0A {rest} 17 1 0\n\
             1: 0100007F:1538 0100007F:D431 01 {rest} 18 1 0\n\
             2: 00000000:0016 00000000:0000 0A {rest} 19 1 0\n"
        );
        assert_eq!(super::ports(&table).collect::<Vec<_>>(), [(5432, 17), (22, 19)]);
        assert_eq!(super::socket_inode("socket:[4711]"), Some(4711));
    }
}
