//! Where the fields of the running kernel's structures lie.
//!
//! rustc emits no CO-RE relocations, so user space reads the offsets from the kernel's BTF and
//! hands them over as read-only data, which the verifier sees as constants.

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $structure:literal . $member:literal,)*) => {
        /// Byte offsets into the running kernel's structures.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct KernelOffsets {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl KernelOffsets {
            /// Every field absent.
            pub const ABSENT: Self = Self { $($field: ABSENT,)* };

            /// Fills every field from `find(structure, member)`; what it does not know stays
            /// [`ABSENT`] and is named to `missing`.
            pub fn resolve(
                mut find: impl FnMut(&str, &str) -> Option<u32>,
                mut missing: impl FnMut(&'static str, &'static str),
            ) -> Self {
                Self {
                    $($field: find($structure, $member).unwrap_or_else(|| {
                        missing($structure, $member);
                        ABSENT
                    }),)*
                }
            }
        }
    };
}

/// The kernel has no such field: the feature that needs it is off.
pub const ABSENT: u32 = u32::MAX;

offsets! {
    /// Flags of the task (`PF_KTHREAD` and others).
    task_flags = "task_struct"."flags",
    /// State of the task (`state` before Linux 5.14).
    task_state = "task_struct"."__state",
    /// Whether it is on a CPU.
    task_on_cpu = "task_struct"."on_cpu",
    /// Bottom of its kernel stack.
    task_stack = "task_struct"."stack",
    /// Thread id in the initial PID namespace.
    task_pid = "task_struct"."pid",
    /// Process id in the initial PID namespace.
    task_tgid = "task_struct"."tgid",
    /// First thread of its process.
    task_group_leader = "task_struct"."group_leader",
    /// Its `struct pid`, with the numbers in every namespace.
    task_thread_pid = "task_struct"."thread_pid",
    /// Its name.
    task_comm = "task_struct"."comm",
    /// Creation time (CLOCK_MONOTONIC).
    task_start_time = "task_struct"."start_time",
    /// How a system call goes on that was broken off.
    task_restart_block = "task_struct"."restart_block",
    /// The function that does that.
    restart_fn = "restart_block"."fn",
    /// What a wait for a futex needs for it: address, value and flags (include/linux/restart_block.h).
    restart_futex_part = "restart_block"."futex",
    /// Open files.
    task_files = "task_struct"."files",
    /// State shared by the threads of the process.
    task_signal = "task_struct"."signal",
    /// The scheduler's accounts of it (absent where they are not kept).
    task_sched_info = "task_struct"."sched_info",
    /// Time it has waited for a CPU.
    run_delay = "sched_info"."run_delay",
    /// How often it was given a CPU.
    run_count = "sched_info"."pcount",
    /// Its entity in the fair scheduling class.
    task_se = "task_struct"."se",
    /// CPU time so far.
    se_sum_exec = "sched_entity"."sum_exec_runtime",
    /// CPU time when it was last given a CPU.
    se_prev_sum_exec = "sched_entity"."prev_sum_exec_runtime",
    /// Its address space.
    task_mm = "task_struct"."mm",
    /// The lock of an address space.
    mm_mmap_lock = "mm_struct"."mmap_lock",
    /// Signals that wait for it.
    task_pending = "task_struct"."pending",
    /// Signals that it does not take now.
    task_blocked = "task_struct"."blocked",
    /// Signals that wait for any thread of the process.
    signal_shared_pending = "signal_struct"."shared_pending",
    /// The set of signals that wait.
    sigpending_signal = "sigpending"."signal",
    /// cgroups it is in.
    task_cgroups = "task_struct"."cgroups",
    /// Threads of the process that have not begun to exit.
    signal_live = "signal_struct"."live",
    /// Depth of the innermost PID namespace.
    pid_level = "pid"."level",
    /// Its numbers, one `struct upid` a level.
    pid_numbers = "pid"."numbers",
    /// The number.
    upid_nr = "upid"."nr",
    /// The namespace it is valid in.
    upid_ns = "upid"."ns",
    /// Identity of a PID namespace.
    pid_namespace_ns = "pid_namespace"."ns",
    /// Descriptor table.
    files_fdt = "files_struct"."fdt",
    /// Its array of files.
    fdt_fd = "fdtable"."fd",
    /// Inode of an open file.
    file_inode = "file"."f_inode",
    /// Path of an open file.
    file_path = "file"."f_path",
    /// What the owner of the file keeps; the socket, for a socket.
    file_private_data = "file"."private_data",
    /// Directory entry of a path.
    path_dentry = "path"."dentry",
    /// Name in a directory entry.
    dentry_name = "dentry"."d_name",
    /// Characters of a name.
    qstr_name = "qstr"."name",
    /// Type and permissions.
    inode_mode = "inode"."i_mode",
    /// Number.
    inode_ino = "inode"."i_ino",
    /// File system.
    inode_sb = "inode"."i_sb",
    /// Device of a file system.
    sb_dev = "super_block"."s_dev",
    /// Magic number of a file system.
    sb_magic = "super_block"."s_magic",
    /// Inode behind a mapping.
    mapping_host = "address_space"."host",
    /// Network side of a socket.
    socket_sk = "socket"."sk",
    /// Address family.
    sk_family = "sock_common"."skc_family",
    /// Local IPv4 address.
    sk_rcv_saddr = "sock_common"."skc_rcv_saddr",
    /// Peer's IPv4 address.
    sk_daddr = "sock_common"."skc_daddr",
    /// Local IPv6 address (absent without IPv6).
    sk_v6_rcv_saddr = "sock_common"."skc_v6_rcv_saddr",
    /// Peer's IPv6 address (absent without IPv6).
    sk_v6_daddr = "sock_common"."skc_v6_daddr",
    /// Local port, host order.
    sk_num = "sock_common"."skc_num",
    /// Peer's port, network order.
    sk_dport = "sock_common"."skc_dport",
    /// Connection state.
    sk_state = "sock_common"."skc_state",
    /// Network namespace.
    sk_net = "sock_common"."skc_net",
    /// IPPROTO_ number.
    sk_protocol = "sock"."sk_protocol",
    /// SOCK_ number.
    sk_type = "sock"."sk_type",
    /// The file's side of a socket; none until it is accepted.
    sk_socket = "sock"."sk_socket",
    /// Connections that wait to be accepted.
    sk_ack_backlog = "sock"."sk_ack_backlog",
    /// How many of them there may be.
    sk_max_ack_backlog = "sock"."sk_max_ack_backlog",
    /// What has arrived and nobody has received.
    sk_receive_queue = "sock"."sk_receive_queue",
    /// How many pieces that is.
    queue_length = "sk_buff_head"."qlen",
    /// The open file of a socket.
    socket_file = "socket"."file",
    /// Identity of a network namespace.
    net_ns = "net"."ns",
    /// Inode number of a namespace.
    ns_inum = "ns_common"."inum",
    /// Bound name of a Unix socket.
    unix_addr = "unix_sock"."addr",
    /// Other end of a Unix socket.
    unix_peer = "unix_sock"."peer",
    /// Number of the byte after all that was given to a TCP socket to send.
    tcp_write_seq = "tcp_sock"."write_seq",
    /// Length of a bound name with its family.
    unix_address_len = "unix_address"."len",
    /// The bound name, a `struct sockaddr_un`.
    unix_address_name = "unix_address"."name",
    /// cgroup v2 of a set.
    css_set_dfl_cgrp = "css_set"."dfl_cgrp",
    /// Depth of a cgroup.
    cgroup_level = "cgroup"."level",
    /// Its node in the cgroup file system.
    cgroup_kn = "cgroup"."kn",
    /// Parent's state, to climb the tree (Linux 5.x: ancestor ids instead).
    cgroup_ancestors = "cgroup"."ancestors",
    /// Id of a node.
    kernfs_id = "kernfs_node"."id",
}

/// Where the bit `task_struct.in_iowait` lies.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KernelLayout {
    /// Plain fields.
    pub offsets: KernelOffsets,
    /// Byte that holds `in_iowait`.
    pub iowait_byte: u32,
    /// Its bit within that byte.
    pub iowait_mask: u32,
    /// Size of `struct upid`.
    pub upid_size: u32,
    /// Whether `sched_switch` hands over the state of the thread it switches out (Linux 5.18).
    pub switch_has_state: u32,
    /// Inode number of dwell's own PID namespace: ids are reported as it sees them.
    pub pid_namespace: u32,
    /// Size of a kernel stack (`THREAD_SIZE`).
    pub kernel_stack_size: u32,
    /// BTF number of a structure that begins with a 64-bit number, through which the probes read the kernel's memory
    /// by plain loads; 0 where they have to call for it.
    pub word_type: u32,
    /// BTF number of `bpf_rdonly_cast`, which the calls of [`CAST_CALL`] are to become; 0 likewise.
    pub cast_function: u32,
}

/// The helper, which there is not, that the probes call in place of `bpf_rdonly_cast` ("dwel", read as a number).
pub const CAST_CALL: u32 = u32::from_le_bytes(*b"dwel");

impl KernelLayout {
    /// Nothing known.
    pub const ABSENT: Self = Self {
        offsets: KernelOffsets::ABSENT,
        iowait_byte: ABSENT,
        iowait_mask: 0,
        upid_size: 0,
        switch_has_state: 0,
        pid_namespace: 0,
        kernel_stack_size: 0,
        word_type: 0,
        cast_function: 0,
    };
}

/// States of a task (include/linux/sched.h). They are bits, and may come with modifiers such as
/// `TASK_FREEZABLE` or `TASK_WAKEKILL`: test, never compare.
pub mod task_state {
    /// Waits and takes signals.
    pub const INTERRUPTIBLE: u32 = 0x1;
    /// Waits and takes none.
    pub const UNINTERRUPTIBLE: u32 = 0x2;
    /// Stopped by a signal.
    pub const STOPPED: u32 = 0x4;
    /// Stopped by a tracer.
    pub const TRACED: u32 = 0x8;
    /// A parked kernel thread.
    pub const PARKED: u32 = 0x40;
    /// Gone for good.
    pub const DEAD: u32 = 0x80;
    /// Uninterruptible, yet not load: an idle kernel thread.
    pub const NOLOAD: u32 = 0x400;
    /// Not yet woken for the first time.
    pub const NEW: u32 = 0x800;
    /// Waits for a lock that sleeps on PREEMPT_RT.
    pub const RTLOCK_WAIT: u32 = 0x1000;
    /// Frozen (Linux 6.1).
    pub const FROZEN: u32 = 0x8000;
    /// Any bit that says the task is off the run queue.
    pub const BLOCKED: u32 =
        INTERRUPTIBLE | UNINTERRUPTIBLE | STOPPED | TRACED | PARKED | NEW | RTLOCK_WAIT | FROZEN;
}

/// `task_struct.flags`: exiting, I/O worker, user worker, kernel thread (include/linux/sched.h).
pub mod task_flag {
    /// Being shut down.
    pub const EXITING: u32 = 0x4;
    /// Worker of io_uring.
    pub const IO_WORKER: u32 = 0x10;
    /// Kernel thread.
    pub const KTHREAD: u32 = 0x0020_0000;
}
