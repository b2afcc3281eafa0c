//! Which processes are meant.

mod cgroup;
mod cpu;
mod listeners;
mod listening;
mod processes;
mod unix_sockets;

pub use cgroup::find as find_cgroup;
pub use cpu::{
    Affinity, CpuTimes, LimitedCgroup, Limits, Pinned, Snapshot, Throttling, affinity_of, limits_of,
};
pub use listeners::listeners_of;
pub use listening::Listening;
pub use processes::{command_name, is_alive, pids_below, threads_of};
pub use unix_sockets::unix_sockets_of;

use std::path::PathBuf;

/// How the user says whom to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// These processes.
    Pids(Vec<u32>),
    /// Processes of this name.
    Comm(String),
    /// Processes of this cgroup (v2), by its path.
    Cgroup(PathBuf),
    /// Every process.
    WholeHost,
    /// A process that dwell has started.
    Command {
        /// The process.
        pid: u32,
        /// Program and arguments.
        words: Vec<String>,
    },
}

/// Why nobody can be followed; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No such process.
    #[error("there is no process {0}; list processes with `ps -e`")]
    NoProcess(u32),
    /// A thread, not a process.
    #[error("{thread} is a thread of process {process}; attach with `-p {process}`")]
    IsThread {
        /// What was given.
        thread: u32,
        /// Its process.
        process: u32,
    },
    /// A kernel thread.
    #[error(
        "process {0} is a kernel thread, which runs no program; kernel threads show up with the \
         whole host: `dwell attach -a`"
    )]
    IsKernelThread(u32),
    /// It has exited and waits for its parent to notice.
    #[error("process {0} has exited already; give one that is running")]
    IsZombie(u32),
    /// No process has this name.
    #[error("no process is named {0:?}; names are at most 15 characters, see `ps -eo comm`")]
    NoName(String),
    /// The name can match nothing.
    #[error("a process name has 1 to 15 characters, {0:?} has {1}; see `ps -eo comm`")]
    BadName(String, usize),
    /// No cgroup v2 hierarchy.
    #[error(
        "no cgroup v2 hierarchy is mounted here; mount one: mount -t cgroup2 none /sys/fs/cgroup"
    )]
    NoCgroup2,
    /// No such cgroup.
    #[error(
        "there is no cgroup {0:?} below {1}; list them with `systemd-cgls`, or see \
         /proc/PID/cgroup (the line that begins with 0::)"
    )]
    NoCgroup(PathBuf, PathBuf),
    /// /proc cannot be read.
    #[error("cannot list processes: {0}; dwell needs /proc")]
    NoProc(std::io::Error),
}

impl Selector {
    /// The processes meant at this instant, without those they have created.
    ///
    /// # Errors
    /// When there is none, or one is not what it seems.
    pub fn roots(&self) -> Result<Vec<u32>, TargetError> {
        match self {
            Selector::Pids(pids) => {
                for pid in pids {
                    processes::check(*pid)?;
                }
                Ok(pids.clone())
            }
            Selector::Comm(name) => match processes::named(name)? {
                found if found.is_empty() => Err(TargetError::NoName(name.clone())),
                found => Ok(found),
            },
            // An empty cgroup is fine: processes may come.
            Selector::Cgroup(path) => Ok(cgroup::find(path)?.processes()),
            Selector::WholeHost => Ok(Vec::new()),
            Selector::Command { pid, .. } => Ok(vec![*pid]),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Selector::Pids(pids) => {
                let names: Vec<String> = pids
                    .iter()
                    .map(|pid| match command_name(*pid) {
                        Some(name) => format!("{name} ({pid})"),
                        None => pid.to_string(),
                    })
                    .collect();
                names.join(", ")
            }
            Selector::Comm(name) => format!("processes named {name}"),
            Selector::Cgroup(path) => format!("cgroup {}", path.display()),
            Selector::WholeHost => "the whole host".to_owned(),
            Selector::Command { words, .. } => words.join(" "),
        }
    }
}
