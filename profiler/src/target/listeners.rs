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
}

/// `TCP_LISTEN` (include/net/tcp_states.h), as /proc/net/tcp prints it.
const LISTENING: &str = "0A";

/// Listening ports in the network namespaces of these processes.
pub fn listeners_of(pids: &[u32]) -> Vec<Listener> {
    let mut seen = HashSet::new();
    let mut found = HashSet::new();
    for pid in pids {
        let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        let namespace = namespace.ino() as u32;
        if !seen.insert(namespace) {
            continue;
        }
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            found.extend(ports(&text).map(|port| Listener { namespace, port }));
        }
    }
    found.into_iter().collect()
}

fn ports(table: &str) -> impl Iterator<Item = u16> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let port = local.rsplit_once(':')?.1;
        (state == LISTENING).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    #[test]
    fn only_listening_ports_count() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 0100007F:1538 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1538 0100007F:D431 01 00000000:00000000\n\
                     2: 00000000:0016 00000000:0000 0A 00000000:00000000\n";
        assert_eq!(super::ports(table).collect::<Vec<_>>(), [5432, 22]);
    }
}
