//! Reports of constructed profiles.

mod requests;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::{DocumentOptions, TextOptions, document, dot, render, render_graph, render_locks};
use crate::analyze::{self, By, fixture};
use crate::model::{Direction, Nanos, Profile, Role, State, StateTimes, Trust, WaitObject};

const SCHEMA: &str = include_str!("../../../docs/schema/dwell-1.schema.json");

fn at(width: usize) -> TextOptions {
    TextOptions { width, ..TextOptions::default() }
}

/// Compares with src/view/snapshots; writes it instead if UPDATE_SNAPSHOTS is set.
pub fn assert_snapshot(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/view/snapshots");
    let path = folder.join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, text).expect("a writable checkout");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{name} differs (UPDATE_SNAPSHOTS=1 accepts it):\n{text}");
}

#[test]
fn the_demo() {
    assert_snapshot("demo-80.txt", &render(&fixture::demo(), &at(80)));
    assert_snapshot("demo-120.txt", &render(&fixture::demo(), &at(120)));
    let all = TextOptions { threads: true, all_frames: true, top: 2, ..at(80) };
    assert_snapshot("locks-80.txt", &render_locks(&fixture::chain(), By::Lock, &at(80)));
    assert_snapshot("locks-120.txt", &render_locks(&fixture::chain(), By::Lock, &at(120)));
    assert_snapshot("graph-80.txt", &render_graph(&fixture::chain(), &at(80)));
    assert_snapshot("graph.dot", &dot(&analyze::graph(&fixture::chain())));
    assert_snapshot("demo-threads-80.txt", &render(&fixture::demo(), &all));
}

#[test]
fn many_processes() {
    assert_snapshot("postgres-80.txt", &render(&fixture::postgres(), &at(80)));
    assert_snapshot("postgres-120.txt", &render(&fixture::postgres(), &at(120)));
}

#[test]
fn nothing_lived() {
    assert_snapshot("empty-80.txt", &render(&fixture::empty(), &at(80)));
}

#[test]
fn all_idle() {
    let mut profile = fixture::empty();
    let spent = [(State::Poll, 5_000_000_000)];
    profile.threads.push(fixture::thread(7, 7, "loop", "loop", &spent));
    let mut wait = fixture::wait(State::Poll, WaitObject::Epoll { fd: 3 }, 5_000_000_000, 1);
    wait.pid = profile.threads[0].pid;
    wait.comm = "loop".into();
    wait.thread_groups = vec!["loop".into()];
    profile.waits.push(wait);
    assert_snapshot("idle-80.txt", &render(&profile, &at(80)));
}

#[test]
fn losses_are_named() {
    let mut profile = fixture::demo();
    profile.trust = Trust {
        lost_keys: 1236,
        lost_waits: 1234,
        lost_threads: 2,
        missed_switches: 1,
        failed_stacks: 17,
        unattributed_ns: Nanos(9_600_000_000),
        coverage: 35.4 / 45.0,
        probe_ns: None,
        probe_runs: None,
        switched_off: vec!["kernel stacks".into(), "socket peers".into()],
        ..profile.trust
    };
    // The waits on sockets were refused.
    profile.waits.retain(|wait| wait.kind != State::Socket);
    for thread in &mut profile.threads {
        let mut times = StateTimes::default();
        for state in State::ALL {
            let known = if state == State::Socket { State::Unattributed } else { state };
            times.add(known, thread.times.of(state));
        }
        thread.times = times;
    }
    assert_snapshot("losses-80.txt", &render(&profile, &at(80)));
}

#[test]
fn lack_of_cpu_time_is_named() {
    let mut profile = fixture::demo();
    profile.cpu = fixture::starved("worker-*");
    profile.cpu.quotas[0] = fixture::quota(50, 38);
    assert_snapshot("starved-80.txt", &render(&profile, &at(80)));
    profile.cpu.affinity.clear();
    let text = flowed(&profile, &at(80));
    let unbalanced = "CPU: threads wait while CPU 0 is 96 % busy and all CPUs 33 % on average.";
    assert!(text.contains(unbalanced), "{text}");
}

/// The text without line breaks and indents.
fn flowed(profile: &Profile, options: &TextOptions) -> String {
    render(profile, options).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn unseen_switches_are_no_loss() {
    let mut profile = fixture::demo();
    profile.trust.missed_switches = 3;
    let text = flowed(&profile, &at(80));
    let whole = "Trust: complete: 100.00 % of thread time attributed, nothing lost; 3 context \
                 switches unseen (filled in from the scheduler's accounts); 3 waits cut";
    assert!(text.contains(whole), "{text}");
    profile.trust.unattributed_ns = Nanos(1);
    let text = flowed(&profile, &at(80));
    assert!(text.contains("scheduler's accounts or unattributed);"), "{text}");
}

#[test]
fn no_lock_without_evidence() {
    let mut profile = fixture::demo();
    for wait in &mut profile.waits {
        wait.stack = fixture::stack(&["syscall", "with_inventory", "main"]);
    }
    let text = flowed(&profile, &at(80));
    let headline = "80 % of its working time is spent waiting for a lock or condition (futex \
                    0x55d0c0ffee40 in with_inventory), 16 %";
    assert!(text.contains(headline), "{text}");
    assert!(text.contains("1. lock or condition (futex): futex 0x55d0c0ffee40"), "{text}");
    profile.waits[0].object = fixture::futex(crate::model::FutexOp::LockPi, false);
    let text = flowed(&profile, &at(80));
    assert!(text.contains("spent waiting for a lock (futex"), "{text}");
    assert!(text.contains("1. lock (futex): futex 0x55d0c0ffee40"), "{text}");
}

#[test]
fn equal_frames_in_a_row_are_shown_once() {
    let mut profile = fixture::demo();
    let names = ["__libc_recv", "__libc_recv", "query", "main", "query"];
    profile.waits[1].stack = fixture::stack(&names);
    for all_frames in [false, true] {
        let text = flowed(&profile, &TextOptions { all_frames, ..at(80) });
        assert!(text.contains(" (100 %) __libc_recv ← query ← main ← query 3."), "{text}");
    }
    let stack = &as_value(&profile)["waits"][1]["stack"];
    assert_eq!(*stack, json!(names));
}

fn everything() -> Vec<Profile> {
    let requests = fixture::requests::every().into_iter().map(|(_, profile)| profile);
    let others = vec![
        fixture::empty(),
        fixture::demo(),
        fixture::postgres(),
        fixture::nasty(3),
        fixture::nasty(10_000),
        every_object(),
    ];
    others.into_iter().chain(requests).collect()
}

fn every_object() -> Profile {
    let mut profile = fixture::demo();
    let directions = [Direction::Receive, Direction::Send, Direction::Accept, Direction::Connect];
    let mut objects = vec![
        (State::Futex, fixture::futex(crate::model::FutexOp::LockPi, false)),
        (State::Poll, WaitObject::None),
        (State::Disk, WaitObject::None),
        (State::Sleep, WaitObject::None),
        (State::IoUring, WaitObject::IoUring { fd: 4 }),
        (State::Kernel, WaitObject::Kernel { function: "rwsem_down_read_slowpath".into() }),
        (State::Child, WaitObject::Child { pid: -1 }),
        (State::Stopped, WaitObject::None),
    ];
    for direction in directions {
        for role in [Role::Server, Role::Client, Role::Unknown] {
            objects.push((State::Socket, fixture::inet(role, direction)));
            let (local, peer) = ("/run/app.sock".to_owned(), String::new());
            let (family, protocol) = ("unix", "unix".to_owned());
            let unix = WaitObject::Unix { family, protocol, local, peer, role, direction };
            objects.push((State::Socket, unix));
        }
        let family = "netlink".to_owned();
        objects.push((State::Socket, WaitObject::OtherSocket { family, direction }));
    }
    let (inode, device) = (9, "0:15".to_owned());
    let name = "pipe:[9]".to_owned();
    objects.push((State::Pipe, WaitObject::Pipe { inode, device: device.clone(), name }));
    let file = WaitObject::File { inode, device, name: String::new(), path: None };
    objects.push((State::FileLock, file));
    for (kind, object) in objects {
        let mut wait = fixture::wait(kind, object, 1_000_000, 3);
        wait.syscall = None;
        profile.waits.push(wait);
    }
    profile
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for profile in everything() {
        for width in [0, 60, 61, 80, 100, 120, 250] {
            for threads in [false, true] {
                let options = TextOptions { threads, all_frames: threads, top: 99, ..at(width) };
                for line in render(&profile, &options).lines() {
                    assert!(line.width() <= width.max(60), "{} > {width}: {line}", line.width());
                }
            }
        }
    }
}

#[test]
fn no_escapes_without_colour() {
    for profile in everything() {
        let text = render(&profile, &at(80));
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for profile in everything() {
        let colored = render(&profile, &TextOptions { color: true, ..at(80) });
        let mut plain = String::new();
        for (index, piece) in colored.split('\u{1b}').enumerate() {
            let text =
                if index == 0 { Some(piece) } else { piece.split_once('m').map(|cut| cut.1) };
            plain.push_str(text.expect("a whole sequence"));
        }
        let trimmed: Vec<&str> = plain.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n"), render(&profile, &at(80)).trim_end_matches('\n'));
    }
}

fn as_value(profile: &Profile) -> Value {
    serde_json::to_value(document(profile, DocumentOptions::default())).expect("a document")
}

#[test]
fn documents_are_as_the_schema_says() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    for profile in everything() {
        let value = as_value(&profile);
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .take(5)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let good = as_value(&fixture::demo());
    assert!(validator.is_valid(&good));
    for (pointer, wrong) in [
        ("/schema", json!("dwell/2")),
        ("/window/duration_ns", json!(-1)),
        ("/trust/coverage", json!(1.5)),
        ("/cpu/per_cpu/0/busy_ns", json!(-1)),
        ("/cpu/pressure_some_ns", json!("1")),
        ("/threads/0/blocked_ns", json!({ "futex": 1 })),
        ("/threads/0/pid", json!("1")),
        ("/waits/0/kind", json!("running")),
        ("/waits/0/object", json!({ "type": "futex" })),
        ("/waits/0/object/type", json!("lock")),
        ("/waits/0/wakers/0/cause", json!("magic")),
        ("/waits/0/stack", json!([{}])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = wrong;
        assert!(!validator.is_valid(&bad), "it takes a wrong {pointer}");
    }
    let mut more = good;
    more["threads"][0]["surprise"] = json!(1);
    assert!(!validator.is_valid(&more));
}

#[test]
fn the_document_has_every_thread_and_wait() {
    let profile = fixture::postgres();
    let value = as_value(&profile);
    assert_eq!(value["schema"], "dwell/1");
    assert_eq!(value["threads"].as_array().map(Vec::len), Some(profile.threads.len()));
    assert_eq!(value["waits"].as_array().map(Vec::len), Some(profile.waits.len()));
    let thread = &value["threads"][0];
    let blocked = thread["blocked_ns"].as_object().expect("kinds");
    assert_eq!(blocked.len(), 14);
    let blocked: u64 = blocked.values().filter_map(Value::as_u64).sum();
    let on_cpu = thread["running_ns"].as_u64().zip(thread["runnable_ns"].as_u64());
    assert_eq!(on_cpu.map(|(run, wait)| run + wait + blocked), thread["wall_ns"].as_u64());
}
