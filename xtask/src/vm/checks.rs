//! What is checked in every machine.

/// Test programs that are taken along.
pub const SUITES: [&str; 2] = ["truth", "targets"];

/// How the output of a check is judged, where the exit code alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judge {
    /// Every program of the probes was loaded and attached.
    Programs,
    /// The report finds what the demo has planted, and is complete.
    Demo,
    /// The report is complete.
    Report,
    /// The report is complete, and has the sleep that was older than the window.
    Sleep,
    /// One test passed.
    Test,
    /// The exit code alone.
    Exit,
}

/// A check.
pub struct Check {
    /// Its row in the report.
    pub name: &'static str,
    command: &'static str,
    /// Longest time, in seconds of the machine.
    limit: u32,
    /// Its judge.
    pub judge: Judge,
}

const fn check(name: &'static str, command: &'static str, judge: Judge) -> Check {
    Check { name, command, limit: 60, judge }
}

/// In this sequence.
pub const CHECKS: [Check; 6] = [
    check("doctor", "dwell doctor", Judge::Exit),
    check("programs", "dwell doctor --programs", Judge::Programs),
    check("attach", "dwell attach -a -d 2s", Judge::Report),
    check("attach-raw", "dwell attach -a -d 2s --raw-tracepoints", Judge::Report),
    check("blocked-before", "sh -c 'sleep 30 & exec dwell attach -d 2s -p $!'", Judge::Sleep),
    check("demo", "dwell demo -d 3s", Judge::Demo),
];

/// Those that are run where dwell has to refuse.
const REFUSAL: [&str; 2] = ["doctor", "attach"];

/// The kernel's own log at the end, see init.sh.
pub const KERNEL_LOG: Check = check("kernel-log", "", Judge::Exit);

/// A test of a suite.
pub struct Test {
    /// The test program.
    pub suite: &'static str,
    /// The test.
    pub name: &'static str,
    /// Why it is not run here; `None`: it is.
    pub left_out: Option<&'static str>,
}

const fn run(suite: &'static str, name: &'static str) -> Test {
    Test { suite, name, left_out: None }
}

const fn not(suite: &'static str, name: &'static str, reason: &'static str) -> Test {
    Test { suite, name, left_out: Some(reason) }
}

const SHORT_WAITS: &str = "many waits of well under a millisecond: emulated, the way into the \
                           scheduler is longer than the tolerance of 2 %";
const TOO_SHORT: &str = "an emulated machine is so slow to begin a sleep of 200 µs that it can be \
                         over by then";
const SLOW_WAKEUP: &str = "its clock is read by the thread that was woken, which an emulated \
                           machine gives a CPU some milliseconds later: `blocked-before` is run \
                           instead";
const ONCE_IS_ENOUGH: &str = "the same hooks and structures as the tests that are run";

/// Every test of the suites.
pub const TESTS: [Test; 23] = [
    run("truth", "mutex"),
    run("truth", "sleep"),
    run("truth", "socket"),
    run("truth", "unix_socket"),
    run("truth", "pipe"),
    run("truth", "waitpid"),
    run("truth", "flock"),
    run("truth", "fcntl_lock"),
    run("truth", "spin"),
    run("truth", "stopped"),
    run("truth", "children_and_grandchildren_are_followed"),
    run("truth", "exec_by_a_thread_that_is_not_the_leader"),
    not("truth", "waits_cut_by_the_edges_of_the_window", SLOW_WAKEUP),
    not("truth", "fsync", SHORT_WAITS),
    not("truth", "page_fault", SHORT_WAITS),
    not("truth", "short_threads", TOO_SHORT),
    run("targets", "by_cgroup_entered_later"),
    run("targets", "by_plain_raw_tracepoints"),
    not("targets", "both_of_two", ONCE_IS_ENOUGH),
    not("targets", "by_cgroup", ONCE_IS_ENOUGH),
    not("targets", "by_name", ONCE_IS_ENOUGH),
    not("targets", "by_the_whole_host", ONCE_IS_ENOUGH),
    not("targets", "without_children", ONCE_IS_ENOUGH),
];

impl Check {
    fn line(&self) -> String {
        format!("check {} {} {}\n", self.name, self.limit, self.command)
    }
}

impl Test {
    /// Its row in the report.
    pub fn row(&self) -> String {
        format!("{}::{}", self.suite, self.name)
    }
}

/// Names of all tests of a suite.
pub fn known_tests(suite: &str) -> impl Iterator<Item = &'static str> {
    TESTS.iter().filter(move |test| test.suite == suite).map(|test| test.name)
}

/// Every check, by its row.
pub fn all() -> Vec<(String, Judge)> {
    let checks = CHECKS.iter().map(|check| (check.name.to_owned(), check.judge));
    let tests = TESTS.iter().filter(|test| test.left_out.is_none());
    let tests = tests.map(|test| (test.row(), Judge::Test));
    let last = (KERNEL_LOG.name.to_owned(), KERNEL_LOG.judge);
    checks.chain(tests).chain([last]).collect()
}

/// Whether a check is run where dwell has to refuse.
pub fn is_of_refusal(row: &str) -> bool {
    REFUSAL.contains(&row) || row == KERNEL_LOG.name
}

/// What init.sh runs where dwell has to refuse.
pub fn refusal_script() -> String {
    let checks = CHECKS.iter().filter(|check| is_of_refusal(check.name));
    checks.map(Check::line).collect()
}

/// What init.sh runs.
pub fn script() -> String {
    let checks = CHECKS.iter().map(Check::line);
    let tests = TESTS.iter().filter(|test| test.left_out.is_none()).map(|test| {
        format!("check {} 60 /tests/{} --exact {}\n", test.row(), test.suite, test.name)
    });
    checks.chain(tests).collect()
}
