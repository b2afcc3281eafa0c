//! Which Unix sockets there are: nothing in the kernel shows when one is closed.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Inodes of the Unix sockets in the network namespaces of these processes; none where one of those cannot
/// be looked at. Processes that have ended are left out.
pub fn unix_sockets_of(pids: impl IntoIterator<Item = u32>) -> Option<HashSet<u64>> {
    let (mut seen, mut found) = (HashSet::new(), HashSet::new());
    for pid in pids {
        let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if !seen.insert(namespace.ino()) {
            continue;
        }
        let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).ok()?;
        found.extend(table.lines().filter_map(inode));
    }
    (!seen.is_empty()).then_some(found)
}

/// Inode of a line of /proc/PID/net/unix.
fn inode(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn inodes_of_any_table() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 77 /run/x.sock";
        assert_eq!(super::inode(line), Some(77));
        assert_eq!(super::inode("0: 00000002 00000000 00000000 0001 03 78"), Some(78));
        assert_eq!(super::inode("Num       RefCount Protocol Flags    Type St Inode Path"), None);
        assert_eq!(super::inode(""), None);
    }
}
