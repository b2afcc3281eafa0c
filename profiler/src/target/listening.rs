//! Which process listens at an address of this host.

use std::collections::HashMap;
use std::fs;

use super::command_name;
use super::listeners::{ports, socket_inode};

/// Most descriptors of a process that are looked at: a hostile one may have a million of them.
const MOST_DESCRIPTORS: usize = 65_536;

/// Who listens where, now, in dwell's own network namespace.
#[derive(Debug, Default)]
pub struct Listening {
    /// Inode of the socket by TCP port.
    ports: HashMap<u16, u64>,
    /// Inode of the socket by path, `@` first if abstract.
    paths: HashMap<String, u64>,
    /// Process by inode of a socket.
    owners: HashMap<u64, u32>,
}

impl Listening {
    /// Looks through the tables of sockets, and through the descriptors of every process.
    pub fn look() -> Self {
        let mut found = Self::default();
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
            found.ports.extend(ports(&text));
        }
        let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        found.paths.extend(text.lines().filter_map(path));
        found.find_owners();
        found
    }

    fn find_owners(&mut self) {
        let wanted: Vec<u64> = self.ports.values().chain(self.paths.values()).copied().collect();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let files = fs::read_dir(process.path().join("fd")).into_iter().flatten();
            for file in files.flatten().take(MOST_DESCRIPTORS) {
                let link = fs::read_link(file.path()).unwrap_or_default();
                if let Some(inode) = link.to_str().and_then(socket_inode)
                    && wanted.contains(&inode)
                {
                    self.owners.entry(inode).or_insert(pid);
                }
            }
        }
    }

    /// Name of the process at `address:port` (of this host) or at a path.
    pub fn at(&self, address: &str) -> Option<String> {
        let inode = match address.rsplit_once(':') {
            Some((host, port)) if is_local(host) => self.ports.get(&port.parse().ok()?)?,
            Some(_) => return None,
            None => self.paths.get(address)?,
        };
        command_name(*self.owners.get(inode)?)
    }
}

/// Loopback. What is behind another address of the host, or of a container, is not looked for.
fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Path and inode of a line of /proc/net/unix that listens: its flags hold SO_ACCEPTCON.
fn path(line: &str) -> Option<(String, u64)> {
    let mut fields = line.split_ascii_whitespace();
    if fields.nth(3)? != "00010000" {
        return None;
    }
    let inode = fields.nth(2)?.parse().ok()?;
    Some((fields.next()?.to_owned(), inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_listening_sockets() {
        let unix = "0000000000000000: 00000002 00000000 00010000 0001 01 77 /run/x.sock";
        assert_eq!(path(unix), Some(("/run/x.sock".to_owned(), 77)));
        assert_eq!(path(&unix.replace("00010000", "00000000")), None);
        assert_eq!(path("Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }
}
