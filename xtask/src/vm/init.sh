#!/bin/busybox sh
# The first process of the machine that `cargo xtask vm` boots: runs the checks in /checks (or
# another file that `checks=` on the kernel's command line names), each between two marked lines on the serial console, and turns the machine off.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up

export DWELL_BIN=/bin/dwell DWELL_NO_SKIP=1

# check NAME SECONDS COMMAND…: the output goes through a file, so that it is no terminal's.
check() {
    name=$1 limit=$2
    shift 2
    echo "@@ begin $name"
    timeout -s KILL "$limit" "$@" </dev/null >/tmp/output 2>&1
    status=$?
    cat /tmp/output
    echo
    echo "@@ end $name $status"
}

# What the kernel found wrong with itself meanwhile.
kernel_log() {
    ! dmesg | grep -E 'WARNING:|BUG:|Oops|Call Trace:|soft lockup|hung task|rcu.*stall'
}

echo "@@ up $(uname -r)"
. "/${checks:-checks}"
if kernel_log >/tmp/output; then status=0; else status=1; fi
echo "@@ begin kernel-log"
cat /tmp/output
echo "@@ end kernel-log $status"
echo "@@ done $(cut -d' ' -f1 /proc/uptime)"
poweroff -f
