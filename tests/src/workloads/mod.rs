//! One small file for each workload.

mod children;
mod churn;
mod crew;
mod crowd;
mod disk;
mod disk_load;
mod exec;
mod file_lock;
mod fork_tree;
mod fsync;
mod hostile;
mod hostile_code;
mod lock_deadlock;
mod lock_hot_cold;
mod lock_idle_pool;
mod lock_many;
mod lock_over_socket;
mod lock_parking_lot;
mod lock_priority;
mod lock_queue;
mod lock_robust;
mod lock_rw;
mod lock_std;
mod lock_timeouts;
mod long_wait;
mod meter;
mod mutex;
mod page_fault;
mod pipe;
mod pthread;
mod requests;
mod shared;
mod sleep;
mod socket;
mod spin;
mod stage;
mod stopped;
mod system;
mod threads;
mod turns;
mod waitpid;

pub use stage::Stage;

use anyhow::Result;
use clap::Subcommand;

/// What to do.
#[derive(Subcommand)]
pub enum Workload {
    /// Four threads take turns on one mutex, each holding it for 5 ms of sleep.
    Mutex,
    /// Sleeps of 10 ms.
    Sleep,
    /// A TCP client; its server, another process, answers after 20 ms.
    Socket,
    /// The same over a Unix socket.
    UnixSocket,
    /// A reader of a byte that another process writes every 10 ms.
    Pipe,
    /// Writes and flushes a file on a disk.
    Fsync,
    /// Waits for children that sleep 50 ms.
    Waitpid,
    /// Two processes contend for the lock of a file, each holding it for 10 ms.
    Flock {
        /// By fcntl(2) in place of flock(2).
        #[arg(long)]
        fcntl: bool,
    },
    /// Twice as many spinning threads as CPUs, and one.
    Spin,
    /// Touches the pages of a mapped file that is not in memory.
    PageFault,
    /// A child that is stopped for 300 ms of every 600.
    Stopped,
    /// Waits that are older than `ready`, that end after the end, or both.
    LongWait,
    /// Creates and joins many short threads.
    Threads {
        /// A second.
        #[arg(long, default_value_t = 2000)]
        rate: u64,
    },
    /// A thread that is not the leader turns the process into `sleep`.
    Exec,
    /// Children and grandchildren that come and go.
    ForkTree,
    /// Threads, files and sockets whose names are made to fool a terminal.
    HostileNames,
    /// Waits inside files and memory that hold code made to mislead.
    HostileCode {
        #[command(subcommand)]
        what: hostile_code::What,
    },
    /// Many threads that stay, and wait in every way there is.
    Crowd {
        /// How many.
        #[arg(long, default_value_t = 2000)]
        threads: usize,
    },
    /// Processes that die in every way there is: exit, exec, SIGKILL in the middle of a wait.
    Churn {
        /// A second.
        #[arg(long, default_value_t = 100)]
        rate: u64,
        /// Which way each of them dies.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Six threads in a queue for one mutex, each holding it for 20 ms.
    LockQueue,
    /// Two mutexes, of which hardly anybody has to wait for one.
    LockHotCold,
    /// Readers and a writer of a reader–writer lock.
    LockRw,
    /// A mutex held while another process is asked over TCP, which answers after 20 ms.
    LockOverSocket {
        /// How many want it.
        #[arg(long, default_value_t = 4)]
        threads: usize,
    },
    /// A priority inversion on one CPU. Needs root.
    LockPriority,
    /// Workers that wait for work in a condition variable, not for each other.
    LockIdlePool,
    /// A deadlock of three threads.
    LockDeadlock {
        /// Whose mutexes.
        #[arg(long, default_value = "pthread")]
        kind: lock_deadlock::Kind,
    },
    /// A robust mutex in memory that two processes share.
    LockRobust,
    /// Attempts at a mutex that end by their time limit.
    LockTimeouts,
    /// Waits for very many futexes.
    LockMany {
        /// How many.
        #[arg(long, default_value_t = 100_000)]
        futexes: usize,
    },
    /// The standard library's mutex, contended.
    LockStd,
    /// parking_lot's mutex, contended.
    LockParkingLot,
    /// A server that does for each request what was planned. It ends with its stdin, or by SIGTERM.
    Serve(requests::Serve),
    /// A client of it, or of another server of HTTP.
    Drive(requests::Drive),
    /// A client that sends what no server expects.
    HostileRequests(requests::Hostile),
}

impl Workload {
    /// Does it.
    pub fn run(self, stage: Stage) -> Result<()> {
        match self {
            Self::Mutex => mutex::run(stage),
            Self::Sleep => sleep::run(stage),
            Self::Socket => socket::run_tcp(stage),
            Self::UnixSocket => socket::run_unix(stage),
            Self::Pipe => pipe::run(stage),
            Self::Fsync => fsync::run(stage),
            Self::Waitpid => waitpid::run(stage),
            Self::Flock { fcntl } => file_lock::run(stage, fcntl),
            Self::Spin => spin::run(stage),
            Self::PageFault => page_fault::run(stage),
            Self::Stopped => stopped::run(stage),
            Self::LongWait => long_wait::run(stage),
            Self::Threads { rate } => threads::run(stage, rate),
            Self::Exec => exec::run(stage),
            Self::ForkTree => fork_tree::run(stage),
            Self::HostileNames => hostile::run(stage),
            Self::HostileCode { what } => hostile_code::run(stage, &what),
            Self::Crowd { threads } => crowd::run(stage, threads),
            Self::Churn { rate, seed } => churn::run(stage, rate, seed),
            Self::LockQueue => lock_queue::run(stage),
            Self::LockHotCold => lock_hot_cold::run(stage),
            Self::LockRw => lock_rw::run(stage),
            Self::LockOverSocket { threads } => lock_over_socket::run(stage, threads),
            Self::LockPriority => lock_priority::run(stage),
            Self::LockIdlePool => lock_idle_pool::run(stage),
            Self::LockDeadlock { kind } => lock_deadlock::run(stage, kind),
            Self::LockRobust => lock_robust::run(stage),
            Self::LockTimeouts => lock_timeouts::run(stage),
            Self::LockMany { futexes } => lock_many::run(stage, futexes),
            Self::LockStd => lock_std::run(stage),
            Self::LockParkingLot => lock_parking_lot::run(stage),
            Self::Serve(serve) => serve.run(&stage),
            Self::Drive(drive) => drive.run(stage),
            Self::HostileRequests(hostile) => hostile.run(),
        }
    }
}
