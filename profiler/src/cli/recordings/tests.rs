//! Functions without names are named when a recording is read.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::analyze::fixture;
use crate::capture::{Options, Writer};
use crate::model::{CodeAddress, CodeFile, Frame, Place, Profile};
use crate::symbol::Symbolizer;

/// A variable of this program.
#[unsafe(no_mangle)]
static DWELL_TEST_LEDGER: [AtomicU32; 2] = [AtomicU32::new(1), AtomicU32::new(2)];

/// What dwell knows of an address of this process without reading its symbols.
fn unnamed_code(address: u64) -> CodeAddress {
    let mut symbols = Symbolizer::new().leaving_files();
    let frames = symbols.resolve(std::process::id(), &[address]);
    assert!(frames.len() == 1 && frames[0].function.is_none(), "{frames:?}");
    frames[0].code.clone().expect("it lies in this program")
}

fn unnamed_place(address: u64) -> Place {
    let mut symbols = Symbolizer::new().leaving_files();
    symbols.place(std::process::id(), address).expect("it lies in this program")
}

/// A wait in this function, called by one of a file that is not here.
fn profile() -> Profile {
    let mut profile = fixture::chain();
    let here = unnamed_code(profile_address());
    let file = CodeFile { path: "/nowhere/libother.so".to_owned(), ..(*here.file).clone() };
    let build_id = BuildId::parse("00112233445566778899").expect("hexadecimal");
    let elsewhere = CodeAddress { file: Arc::new(CodeFile { build_id, ..file }), address: 64 };
    let frame = |name: &str, code| Frame::new(name.to_owned(), 7, false).lying_at(code);
    let named = Frame::new("main".to_owned(), 9, false);
    profile.waits[0].stack =
        [frame("dwell+0x1", here), frame("libother.so+0x40", elsewhere), named].into();
    profile.futexes[0].place = unnamed_place((&raw const DWELL_TEST_LEDGER) as u64 + 4);
    profile
}

fn profile_address() -> u64 {
    profile as fn() -> Profile as usize as u64
}

fn record(names_later: bool) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.dwell");
    let options = Options { slice: Duration::from_secs(1), keep: None, names_later };
    Writer::create(&path, options).and_then(|mut writer| writer.add(profile())).expect("written");
    (folder, path)
}

fn read(path: &Path) -> Profile {
    let recording = Recordings::with_symbols(&[]).and_then(|mut all| all.open(path));
    recording.and_then(|recording| recording.profile(recording.whole())).expect("read")
}

#[test]
fn functions_and_variables_get_their_names() {
    for names_later in [false, true] {
        let (_folder, path) = record(names_later);
        assert_eq!(
            Recording::open(&path).and_then(|file| file.is_named_later()).ok(),
            Some(names_later)
        );
        let profile = read(&path);
        let stacks = profile.waits.iter().map(|wait| &wait.stack);
        let stack = stacks.into_iter().find(|stack| stack.iter().any(|frame| frame.address == 9));
        let stack = stack.expect("the wait");
        assert!(stack[0].name.ends_with("profile"), "{stack:?}");
        assert!(stack[0].lies_at.is_none() && stack[0].address == 7);
        // What nobody knows keeps what it had, and where it lies.
        let [.., other, main] = &**stack else { panic!("{stack:?}") };
        assert_eq!((other.name.as_str(), main.name.as_str()), ("libother.so+0x40", "main"));
        assert_eq!(other.lies_at.as_ref().map(|code| code.address), Some(64));
        let places = profile.futexes.iter().map(|futex| &futex.place);
        let is_named = |place: &Place| matches!(place, Place::Variable { name, offset: 4, .. } if name == "DWELL_TEST_LEDGER");
        assert!(places.clone().any(is_named), "{:?}", places.collect::<Vec<_>>());
    }
}

#[test]
fn without_a_namer_a_recording_says_what_it_knows() {
    let (_folder, path) = record(true);
    let recording = Recording::open(&path).expect("a recording");
    let read = recording.profile(recording.whole()).expect("read");
    let mut written = profile();
    written.waits.sort_by(|a, b| a.order().cmp(&b.order()));
    let stacks = |profile: &Profile| -> Vec<Arc<[Frame]>> {
        profile.waits.iter().map(|wait| Arc::clone(&wait.stack)).collect()
    };
    assert_eq!(stacks(&read), stacks(&written));
    let places = |profile: &Profile| -> Vec<Place> {
        profile.futexes.iter().map(|futex| futex.place.clone()).collect()
    };
    assert_eq!(places(&read), places(&written));
}

#[test]
fn files_of_code_that_are_not_there_are_an_error() {
    for change in [
        "DELETE FROM thing WHERE kind = 'code_file'; INSERT INTO thing VALUES (999, 'code_file', NULL, '{}')",
        "UPDATE thing SET body = replace(body, '00112233445566778899', '..') WHERE kind = 'code_file'",
        "UPDATE thing SET body = json_set(body, '$.unnamed[0][1]', 1) WHERE kind = 'stack' AND body LIKE '%unnamed%'",
        "UPDATE thing SET body = json_set(body, '$.unnamed[0][0]', 9) WHERE kind = 'stack' AND body LIKE '%unnamed%'",
    ] {
        let (_folder, path) = record(true);
        rusqlite::Connection::open(&path)
            .and_then(|file| file.execute_batch(change))
            .expect(change);
        let error = Recordings::with_symbols(&[]).and_then(|mut all| all.open(&path).map(drop));
        let error = format!("{:#}", error.expect_err(change));
        assert!(error.contains("damaged") && !error.contains('\n'), "{error}");
        let unnamed = Recording::open(&path).expect("a recording");
        assert!(unnamed.profile(unnamed.whole()).is_err(), "{change}");
    }
}

#[test]
fn older_recordings_are_read() {
    let (_folder, path) = record(false);
    let connection = rusqlite::Connection::open(&path).expect("a file");
    connection.execute_batch("PRAGMA user_version = 1").expect("changed");
    drop(connection);
    read(&path);
}

#[test]
fn folders_have_to_be_there() {
    let error = Recordings::with_symbols(&["/nothing/here".into()]).map(drop).expect_err("refused");
    assert_eq!(error.to_string(), "--symbols: /nothing/here is no folder");
}

#[test]
fn what_has_no_names_is_told_in_a_line() {
    let of = |numbers: std::ops::RangeInclusive<usize>| {
        places(numbers.map(|number| (number, format!("f{number} (build id {number})"))).collect())
    };
    assert_eq!(of(1..=1), "no names for 1 place in f1 (build id 1)");
    let five = "f5 (build id 5), f4 (build id 4), f3 (build id 3) and 2 more";
    assert_eq!(of(1..=5), format!("no names for 15 places in {five}"));
    let wanted = Nameless { code: [1, 2].into(), ..Nameless::default() };
    let build = BuildId::new(vec![0; 8]).expect("long enough");
    let lines = |found: &Result<Names, NoNames>, is_named_later, has_folders| {
        let mut missing = Missing::default();
        missing.note(&build, &wanted, found);
        missing.lines(is_named_later, has_folders).len()
    };
    for (found, told) in [
        (Err(NoNames::NoFile), [0, 1, 1]),
        (Err(NoNames::TooLarge), [0, 1, 1]),
        // Stripped programs are nothing new.
        (Ok(Names::default()), [0, 0, 1]),
    ] {
        let ways = [(false, false), (true, false), (false, true)];
        assert_eq!(ways.map(|(later, folders)| lines(&found, later, folders)), told);
    }
}

/// A function that is inlined everywhere can make a file of a few bytes one of gigabytes.
#[test]
fn names_take_bounded_room() {
    let (_folder, path) = record(true);
    let names = |length: usize| {
        let functions = vec![("x".repeat(length), false)];
        let functions = [(unnamed_code(profile_address()).address, functions)].into();
        let build = unnamed_code(profile_address()).file.build_id.clone();
        HashMap::from([(build, Names { functions, ..Names::default() })])
    };
    for (length, is_named) in [(1000, true), (300 << 20, false)] {
        let mut recording = Recording::open(&path).expect("a recording");
        recording.name(&names(length)).expect("named");
        let profile = recording.profile(recording.whole()).expect("read");
        let frames = profile.waits.iter().flat_map(|wait| wait.stack.iter());
        let named = frames.filter(|frame| frame.name.starts_with("xx")).count();
        assert_eq!(named > 0, is_named, "{length}");
    }
}
