//! Profiles made by hand, for the tests of analysis and views.

pub mod requests;

use std::sync::Arc;

use crate::model::{
    AffinityGroup, Blame, Cause, CpuQuota, CpuSupply, CpuUse, Direction, Doing, Frame, Futex,
    FutexOp, Holds, Host, IpFamily, Latency, Nanos, Pid, Place, Profile, Queue, Reason, ReasonId,
    Role, StackReach, State, StateTimes, Target, TargetKind, ThreadBooks, Tid, Trust, Wait, WaitId,
    WaitObject, WakerCount, Window,
};

const SECOND: u64 = 1_000_000_000;

/// A stack of these names, innermost first.
pub fn stack(names: &[&str]) -> Arc<[Frame]> {
    let frame = |(index, name): (usize, &&str)| {
        Frame::new((*name).to_owned(), 0x1000 + index as u64, false)
    };
    names.iter().enumerate().map(frame).collect()
}

/// A futex.
pub fn futex(op: FutexOp, realtime: bool) -> WaitObject {
    WaitObject::Futex { address: 0x55d0_c0ff_ee40, op, private: true, realtime }
}

/// A TCP socket to a database.
pub fn inet(role: Role, direction: Direction) -> WaitObject {
    let (local, peer) = ("127.0.0.1:5432".to_owned(), "127.0.0.1:40404".to_owned());
    let (local, peer) = if role == Role::Client { (peer, local) } else { (local, peer) };
    WaitObject::Inet {
        family: IpFamily::Inet,
        protocol: "tcp".into(),
        local,
        peer,
        role,
        direction,
    }
}

/// Waits of process 4242, `demo-server`, that all took equally long.
pub fn wait(kind: State, object: WaitObject, total: u64, count: u64) -> Wait {
    let mut latency = Latency::default();
    for _ in 0..count {
        latency.add(Nanos(total / count));
    }
    Wait {
        comm: "demo-server".into(),
        thread_groups: vec!["worker-*".into()],
        syscall: Some("futex".into()),
        count,
        total: Nanos(total),
        latency,
        threads: 8,
        reach: StackReach::Entry,
        ..Wait::none(WaitId(total ^ count), Pid(4242), kind, object)
    }
}

/// The books of a thread with these times.
pub fn thread(
    pid: u32,
    tid: u32,
    comm: &str,
    process: &str,
    spent: &[(State, u64)],
) -> ThreadBooks {
    let mut times = StateTimes::default();
    for (state, time) in spent {
        times.add(*state, Nanos(*time));
    }
    ThreadBooks {
        pid: Pid(pid),
        tid: Tid(tid),
        comm: comm.into(),
        process: process.into(),
        wall: times.total(),
        times,
        preempted: Nanos(0),
        voluntary: 1000,
        involuntary: 10,
        folded: 1,
        ended: false,
        in_kernel: false,
    }
}

fn waker(comm: &str, tid: u32, cause: Cause, count: u64) -> WakerCount {
    let pid = Pid(if cause == Cause::Thread { 4242 } else { 0 });
    WakerCount { comm: comm.into(), tid: Tid(tid), pid, cause, count }
}

/// Five seconds in which nothing lived.
pub fn empty() -> Profile {
    Profile {
        window: Window { start: Nanos(100 * SECOND), end: Nanos(105 * SECOND) },
        host: Host { name: "box".into(), kernel: "6.12.0".into(), cpus: 2 },
        target: Target {
            kind: TargetKind::Pid,
            description: "process 4242".into(),
            children: true,
        },
        trust: Trust {
            coverage: 1.0,
            clipped_waits: 3,
            probe_ns: Some(Nanos(40_863_936)),
            probe_runs: Some(123_456),
            collector_cpu_ns: Nanos(40_000_000),
            table_bytes: 3_145_728,
            ..Trust::default()
        },
        cpu: CpuSupply { per_cpu: cpus(&[40, 30]), ..CpuSupply::default() },
        threads: Vec::new(),
        waits: Vec::new(),
        reasons: Vec::new(),
        futexes: Vec::new(),
        kernel_locks: Vec::new(),
        stuck: Vec::new(),
        cpu_waits: Vec::new(),
        requests: crate::model::Requests::default(),
    }
}

/// CPUs that were busy for that many percent of five seconds.
pub fn cpus(busy: &[u64]) -> Vec<CpuUse> {
    let cpu = |(cpu, busy): (usize, &u64)| CpuUse {
        cpu: cpu as u32,
        busy_ns: Nanos(busy * SECOND / 20),
        iowait_ns: Nanos(0),
        steal_ns: Nanos(0),
        idle_ns: Nanos((100 - busy) * SECOND / 20),
    };
    busy.iter().enumerate().map(cpu).collect()
}

/// A limit of half a CPU.
pub fn quota(periods: u64, throttled_periods: u64) -> CpuQuota {
    CpuQuota {
        cgroup: "/shop/web".into(),
        quota_ns: Nanos(50_000_000),
        period_ns: Nanos(100_000_000),
        periods,
        throttled_periods,
        throttled_ns: Nanos(throttled_periods * 50_000_000),
        used_ns: Some(Nanos(periods * 50_000_000)),
    }
}

/// So many threads of this name that may only run on these CPUs.
pub fn affinity(cpus: &[u32], threads: u64, group: &str) -> AffinityGroup {
    AffinityGroup { cpus: cpus.to_vec(), threads, thread_groups: vec![group.into()] }
}

/// Everything by which a host keeps CPU time from threads of this name.
pub fn starved(name: &str) -> CpuSupply {
    let mut per_cpu = cpus(&[96, 10, 12, 14]);
    for cpu in &mut per_cpu {
        cpu.steal_ns = Nanos(cpu.idle_ns.0 / 10);
        cpu.idle_ns = cpu.idle_ns.since(cpu.steal_ns);
    }
    let quota = CpuQuota { cgroup: format!("/{name}"), ..quota(50, 38) };
    CpuSupply {
        quotas: vec![quota],
        affinity: vec![affinity(&[0], 8, name), affinity(&[0, 2, 3], u64::MAX, name)],
        affinity_unlisted: 7,
        per_cpu,
        pressure_some_ns: Some(Nanos(SECOND)),
        unavailable: vec![format!("CPU limits: {name}")],
    }
}

/// Eight workers behind one lock that is held across a slow call downstream.
pub fn demo() -> Profile {
    let mut profile = empty();
    let main = [(State::Running, 5_000_000), (State::Poll, 4_995_000_000)];
    profile.threads.push(thread(4242, 4242, "demo-server", "demo-server", &main));
    for worker in 1..=8 {
        let spent = [
            (State::Running, 150_000_000),
            (State::Runnable, 50_000_000),
            (State::Futex, 3_600_000_000),
            (State::Socket, 1_200_000_000),
        ];
        let name = format!("worker-{worker}");
        profile.threads.push(thread(4242, 4242 + worker, &name, "demo-server", &spent));
    }
    profile.waits = vec![lock(), downstream(), requests(), event_loop()];
    profile
}

fn lock() -> Wait {
    let names = ["__lll_lock_wait", "pthread_mutex_lock", "with_inventory", "handle_request"];
    let outer = ["serve_connection", "worker_main", "start_thread", "clone3"];
    Wait {
        wakers: (1..=4)
            .map(|n| waker(&format!("worker-{n}"), 4242 + n, Cause::Thread, 330))
            .chain([waker("", 0, Cause::Irq, 80)])
            .collect(),
        other_wakers: 34,
        stack: [stack(&names), stack(&outer)].concat().into(),
        clipped: 3,
        ..wait(State::Futex, futex(FutexOp::Wait, false), 28_800_000_000, 1434)
    }
}

fn downstream() -> Wait {
    Wait {
        syscall: Some("recvfrom".into()),
        threads: 1,
        wakers: vec![waker("", 0, Cause::Network, 1400)],
        stack: stack(&["recv", "query", "with_inventory", "handle_request", "worker_main"]),
        ..wait(State::Socket, inet(Role::Client, Direction::Receive), 5_600_000_000, 1400)
    }
}

fn requests() -> Wait {
    Wait {
        syscall: Some("recvfrom".into()),
        ..wait(State::Socket, inet(Role::Server, Direction::Receive), 4_000_000_000, 1440)
    }
}

fn event_loop() -> Wait {
    Wait {
        syscall: Some("epoll_wait".into()),
        thread_groups: vec!["demo-server".into()],
        threads: 1,
        ..wait(State::Poll, WaitObject::Epoll { fd: 5 }, 4_995_000_000, 12)
    }
}

/// [`demo`] with what the holder of the lock was doing: it asked another process, which slept.
pub fn chain() -> Profile {
    let mut profile = demo();
    let reason = |group: &str, pid, release: &[&str], doing| Reason {
        pid: Pid(pid),
        group: group.into(),
        release: stack(release),
        doing,
    };
    let waiting = |kind, syscall: &str, object, names: &[&str], next| Doing::Waiting {
        kind,
        syscall: Some(syscall.into()),
        object,
        stack: stack(names),
        next,
    };
    let slept = waiting(
        State::Sleep,
        "clock_nanosleep",
        WaitObject::None,
        &["clock_nanosleep", "answer", "main"],
        None,
    );
    let asked = waiting(
        State::Socket,
        "recvfrom",
        inet(Role::Client, Direction::Receive),
        &["recv", "query", "with_inventory", "handle_request"],
        Some(ReasonId(0)),
    );
    let unlock = ["pthread_mutex_unlock", "with_inventory", "handle_request"];
    profile.reasons = vec![
        reason("backend", 4300, &["send", "answer", "main"], slept),
        reason("worker-*", 4242, &unlock, asked),
        reason("worker-*", 4242, &unlock, Doing::Running),
    ];
    let blame = |reason, time, count| Blame { reason: ReasonId(reason), time: Nanos(time), count };
    profile.waits[0].blames = vec![blame(1, 27_000_000_000, 1400), blame(2, 1_000_000_000, 1400)];
    profile.waits[1].blames = vec![blame(0, 5_500_000_000, 1400)];
    profile.futexes = vec![Futex {
        pid: Pid(4242),
        address: 0x55d0_c0ff_ee40,
        private: true,
        place: Place::Variable {
            module: "demo-server".into(),
            name: "INVENTORY".into(),
            offset: 0,
        },
        queue: Queue { most: 7, busy: Nanos(4_900_000_000) },
        holds: Holds {
            count: 1430,
            total: Nanos(4_862_000_000),
            longest: Nanos(9_000_000),
            partial: 3,
        },
        value: Some(2),
    }];
    profile
}

/// 32 backends of a database that wait for clients, the disk and row locks.
pub fn postgres() -> Profile {
    let mut profile = empty();
    profile.target = Target {
        kind: TargetKind::Comm,
        description: "processes named postgres".into(),
        children: true,
    };
    for backend in 0..32 {
        let pid = 700 + backend;
        let spent = [
            (State::Running, 400_000_000),
            (State::Runnable, 600_000_000 + u64::from(backend) * 1_000_000),
            (State::Poll, 2_500_000_000),
            (State::Disk, 1_499_000_000),
            (State::Unattributed, 1_000_000),
        ];
        profile.threads.push(thread(pid, pid, "postgres", "postgres", &spent));
        profile.waits.extend(backend_waits(pid));
    }
    profile.trust.unattributed_ns = Nanos(32_000_000);
    profile.trust.coverage = Trust::coverage_of(&profile.threads);
    profile
}

fn backend_waits(pid: u32) -> [Wait; 3] {
    let latch = ["epoll_wait", "WaitLatch"];
    let base = |wait: Wait, syscall: &str, rest: &[&str]| Wait {
        id: WaitId(wait.id.0 ^ u64::from(pid) << 40),
        pid: Pid(pid),
        comm: "postgres".into(),
        thread_groups: vec!["postgres".into()],
        threads: 1,
        syscall: Some(syscall.into()),
        stack: stack(rest),
        ..wait
    };
    let poll = |total, count| wait(State::Poll, WaitObject::Epoll { fd: 9 }, total, count);
    let file = WaitObject::File {
        inode: 77,
        device: "8:1".into(),
        name: "000000010000000000000042".into(),
        path: Some("/var/lib/postgresql/17/main/pg_wal/000000010000000000000042".into()),
    };
    let lock = [&latch[..], &["ProcSleep", "LockAcquireExtended", "XactLockTableWait"]].concat();
    let client = [&latch[..], &["secure_read", "PostgresMain"]].concat();
    [
        base(poll(500_000_000, 40), "epoll_wait", &lock),
        base(poll(2_000_000_000, 900), "epoll_wait", &client),
        base(
            wait(State::Disk, file, 1_499_000_000, 450),
            "fdatasync",
            &["fdatasync", "issue_xlog_fsync", "XLogFlush", "CommitTransaction"],
        ),
    ]
}

/// A profile whose names are as bad as a target can make them, with `threads` threads.
pub fn nasty(threads: u32) -> Profile {
    let mut profile = empty();
    let bad = [
        "会議室の予約を管理するサーバー",
        "\u{1b}[31mred\u{7}",
        "a̐éö̲👩‍👩‍👧‍👦❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}",
        "",
    ];
    let long = "very::long::".repeat(40) + "name";
    profile.target.description = format!("process {long} {}", bad[1]);
    for number in 0..threads {
        let name = bad[number as usize % bad.len()];
        let pid = 1 + number % 50;
        let spent = [(State::Running, u64::from(number)), (State::Other, u64::MAX / 1_000_000)];
        profile.threads.push(thread(pid, number + 100, name, &long, &spent));
    }
    for name in bad {
        let path = Some(format!("/{name}/{long}"));
        let file = WaitObject::File { inode: 1, device: "0:1".into(), name: name.into(), path };
        profile.waits.push(Wait {
            pid: Pid(1),
            comm: name.into(),
            thread_groups: vec![name.into(), long.clone()],
            wakers: vec![waker(&long, 1, Cause::Thread, u64::MAX / 8)],
            stack: stack(&[&format!("f{name}"), &long, "x"]),
            ..wait(State::Other, file, u64::MAX / 8, 2)
        });
    }
    profile.cpu = starved(&long);
    profile.trust = Trust {
        lost_events: u64::MAX,
        lost_stacks: 1,
        lost_keys: u64::MAX,
        missed_switches: u64::MAX,
        unattributed_ns: Nanos(u64::MAX),
        table_bytes: u64::MAX,
        switched_off: vec![long, bad[0].into(), bad[1].into()],
        ..profile.trust
    };
    profile
}
