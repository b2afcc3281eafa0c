//! What is read from a recording is what was written to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use crate::analyze::{By, fixture};
use crate::capture::{Options, Recording, Writer};
use crate::model::{
    FutexOp, Nanos, Pid, PlaceId, Profile, Protocol, RequestLabel, State, TargetKind, Tid,
    WaitObject, Window,
};
use crate::view::{self, DocumentOptions, TextOptions};

const SECOND: u64 = 1_000_000_000;
/// When the windows of the fixtures begin.
const BEGIN: u64 = 100 * SECOND;

/// A file that is deleted at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "dwell-capture-{}-{}.dwell",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn options(keep: Option<Duration>) -> Options {
    Options { slice: Duration::from_secs(1), keep, names_later: false }
}

fn record(profiles: impl IntoIterator<Item = Profile>, keep: Option<Duration>) -> Scratch {
    let scratch = Scratch::new();
    let mut writer = Writer::create(&scratch.0, options(keep)).unwrap();
    for profile in profiles {
        writer.add(profile).unwrap();
    }
    scratch
}

fn document(profile: &Profile) -> String {
    serde_json::to_string(&view::document(profile, DocumentOptions::default())).unwrap()
}

/// Shows no more than where they differ.
fn assert_same(one: &str, other: &str) {
    let place = one.bytes().zip(other.bytes()).position(|(a, b)| a != b);
    let place = place.or((one.len() != other.len()).then(|| one.len().min(other.len())));
    if let Some(place) = place {
        let around = |text: &str| {
            let bytes = &text.as_bytes()[place.saturating_sub(80)..text.len().min(place + 80)];
            String::from_utf8_lossy(bytes).into_owned()
        };
        panic!("{}\n  is not\n{}", around(one), around(other));
    }
}

/// Everything that can be printed of a profile.
fn print_all(profile: &Profile) -> usize {
    let options = TextOptions::default();
    let mut printed = document(profile).len() + view::render(profile, &options).len();
    printed += view::render_locks(profile, By::Site, &options).len();
    printed += view::render_requests(profile, &options).len();
    printed + view::render_graph(profile, &options).len()
}

fn all() -> Vec<Profile> {
    vec![
        fixture::empty(),
        fixture::demo(),
        fixture::chain(),
        fixture::requests::lock(),
        fixture::postgres(),
    ]
}

#[test]
fn a_replayed_report_is_the_live_one() {
    for mut profile in all() {
        profile.waits.sort_by(|a, b| a.order().cmp(&b.order()));
        let scratch = record([profile.clone()], None);
        let recording = Recording::open(&scratch.0).unwrap();
        let replayed = recording.profile(recording.whole()).unwrap();
        assert_same(&document(&replayed), &document(&profile));
        let options = TextOptions { threads: true, ..TextOptions::default() };
        assert_same(&view::render(&replayed, &options), &view::render(&profile, &options));
    }
}

/// Names and figures that only some targets have.
#[test]
fn rare_names_come_back() {
    let mut profile = fixture::requests::lock();
    profile.target.kind = TargetKind::Cgroup;
    profile.requests.services[0].in_flight_most = 1.25;
    profile.requests.services[0].groups[0].label =
        RequestLabel { protocol: Protocol::Http2, text: String::new() };
    profile.waits[0].object = fixture::futex(FutexOp::WaitRequeuePi, true);
    profile.waits.sort_by(|a, b| a.order().cmp(&b.order()));
    let scratch = record([profile.clone()], None);
    let recording = Recording::open(&scratch.0).unwrap();
    let replayed = document(&recording.profile(recording.whole()).unwrap());
    assert_same(&replayed, &document(&profile));
    for name in ["\"cgroup\"", "\"http2\"", "\"wait_requeue_pi\""] {
        assert!(replayed.contains(name), "{name}");
    }
}

/// The demo so many seconds after its window began, with waits and requests in proportion.
fn at(second: u64) -> Profile {
    let mut profile = fixture::requests::lock();
    profile.window = Window { start: Nanos(BEGIN), end: Nanos(BEGIN + SECOND * second) };
    let end = profile.window.end;
    for service in &mut profile.requests.services {
        service.slowest.retain(|slow| slow.arrival + slow.latency <= end);
        service.samples.looks = second;
    }
    for thread in &mut profile.threads {
        thread.wall = Nanos(0);
        for time in thread.times.all_mut() {
            time.0 = time.0 / 5 * second;
            thread.wall += *time;
        }
    }
    for wait in &mut profile.waits {
        (wait.count, wait.total) = (wait.count * second, Nanos(wait.total.0 * second));
        let one = wait.latency.clone();
        (1..second).for_each(|_| wait.latency.merge(&one));
    }
    profile.waits.sort_by(|a, b| a.order().cmp(&b.order()));
    profile
}

#[test]
fn what_lies_between_is_the_difference() {
    let scratch = record((1..=9).map(at), None);
    let recording = Recording::open(&scratch.0).unwrap();
    assert_eq!(recording.ends().len(), 10);
    assert_same(&document(&recording.profile(recording.whole()).unwrap()), &document(&at(9)));
    let part = recording.part(Some(Duration::from_secs(2)), Some(Duration::from_secs(5))).unwrap();
    let between = recording.profile(part).unwrap();
    assert_eq!(between.window.duration(), Nanos(3 * SECOND));
    let (before, after) = (at(2), at(5));
    assert!(!between.threads.is_empty());
    for thread in &between.threads {
        let same = |other: &&crate::model::ThreadBooks| other.tid == thread.tid;
        let wall = |profile: &Profile| profile.threads.iter().find(same).unwrap().wall;
        assert_eq!(thread.wall, wall(&after).since(wall(&before)));
        assert_eq!(thread.wall, thread.times.total());
    }
    let waited = |profile: &Profile| profile.waits.iter().map(|wait| wait.total).sum::<Nanos>();
    assert_eq!(waited(&between), waited(&after).since(waited(&before)));
}

#[test]
fn slices_are_what_the_whole_consists_of() {
    let scratch = record((1..=4).map(at), None);
    let recording = Recording::open(&scratch.0).unwrap();
    let (mut slices, mut waited) = (0, Nanos(0));
    let each = |profile: Profile| {
        slices += 1;
        waited += profile.waits.iter().map(|wait| wait.total).sum();
        assert_eq!(profile.window.duration(), Nanos(SECOND));
        Ok(())
    };
    recording.each_slice(recording.whole(), each).unwrap();
    assert_eq!(slices, 4);
    assert_eq!(waited, at(4).waits.iter().map(|wait| wait.total).sum());
}

#[test]
fn a_wait_that_is_open_between_slices_is_one_wait() {
    let open = |second: u64, is_over: bool| {
        let mut profile = fixture::empty();
        profile.window = Window { start: Nanos(0), end: Nanos(second * SECOND) };
        let mut wait =
            fixture::wait(State::Futex, fixture::futex(FutexOp::Wait, false), second * SECOND, 1);
        wait.id = crate::model::WaitId(7);
        if !is_over {
            wait.clipped = 1;
            wait.open = wait.latency.clone();
        }
        profile.waits = vec![wait];
        profile
    };
    let scratch = record([open(1, false), open(2, false), open(3, true)], None);
    let recording = Recording::open(&scratch.0).unwrap();
    let whole = recording.profile(recording.whole()).unwrap();
    assert_eq!((whole.waits[0].count, whole.waits[0].clipped), (1, 0));
    for second in 1..3 {
        let from = Some(Duration::from_secs(second));
        let to = Some(Duration::from_secs(second + 1));
        let slice = recording.profile(recording.part(from, to).unwrap()).unwrap();
        let wait = &slice.waits[0];
        assert_eq!((wait.count, wait.clipped, wait.total), (1, 1, Nanos(SECOND)), "{second}");
    }
}

#[test]
fn only_the_last_part_is_kept() {
    let scratch = record((1..=60).map(at), Some(Duration::from_secs(20)));
    let recording = Recording::open(&scratch.0).unwrap();
    let slices = recording.ends().len() - 1;
    assert!((20..=25).contains(&slices), "{slices}");
    let profile = recording.profile(recording.whole()).unwrap();
    assert_eq!(profile.window.end, at(60).window.end);
    let seconds = profile.window.duration().0 / SECOND;
    assert_eq!(seconds, slices as u64);
    let waited = |profile: &Profile| profile.waits.iter().map(|wait| wait.total.0).sum::<u64>();
    assert_eq!(waited(&profile), waited(&at(1)) * seconds);
    for thread in &profile.threads {
        assert_eq!(thread.wall, thread.times.total());
    }
}

#[test]
fn a_copy_is_a_recording() {
    let (scratch, copy) = (Scratch::new(), Scratch::new());
    let mut writer = Writer::create(&scratch.0, options(None)).unwrap();
    writer.add(at(1)).unwrap();
    writer.copy(&copy.0).unwrap();
    let recording = Recording::open(&copy.0).unwrap();
    assert_same(&document(&recording.profile(recording.whole()).unwrap()), &document(&at(1)));
}

/// What a recorder leaves that dies while it writes to the file: half a slice, and beside it what was there.
fn half_written() -> (Scratch, Scratch) {
    let whole = record((1..=3).map(at), None);
    let half = Scratch::new();
    let beside = |path: &Path| PathBuf::from(format!("{}-journal", path.display()));
    let mut writer = rusqlite::Connection::open(&whole.0).unwrap();
    // So small that the transaction reaches the file before its end.
    writer.execute_batch("PRAGMA cache_size = 2; PRAGMA cache_spill = 1").unwrap();
    let transaction = writer.transaction().unwrap();
    for id in 100..200 {
        let slice = rusqlite::params![id, i64::MAX, 0, vec![7_u8; 3000]];
        transaction.execute("INSERT INTO slice VALUES (?1, ?2, ?3, ?4)", slice).unwrap();
    }
    std::fs::copy(&whole.0, &half.0).unwrap();
    std::fs::copy(beside(&whole.0), beside(&half.0)).unwrap();
    (Scratch(beside(&half.0)), half)
}

#[test]
fn half_a_slice_is_left_out() {
    let (journal, half) = half_written();
    let before = [&half.0, &journal.0].map(|path| std::fs::read(path).unwrap());
    let recording = Recording::open(&half.0).unwrap();
    assert_eq!(recording.ends().len(), 4);
    assert_same(&document(&recording.profile(recording.whole()).unwrap()), &document(&at(3)));
    let after = [&half.0, &journal.0].map(|path| std::fs::read(path).unwrap());
    assert!(before == after, "a report wrote to the recording");
}

#[test]
fn half_a_slice_is_not_put_into_a_new_recording() {
    let (journal, half) = half_written();
    let mut writer = Writer::create(&half.0, options(None)).unwrap();
    assert!(!journal.0.exists());
    writer.add(at(1)).unwrap();
    assert_eq!(Recording::open(&half.0).unwrap().ends().len(), 2);
}

fn error_of(path: &Path) -> String {
    let error = Recording::open(path).err().expect("it is refused");
    let text = format!("{error:#}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn other_files_are_refused_in_words() {
    let scratch = record([at(1)], None);
    let sql = |text: &str| {
        let connection = rusqlite::Connection::open(&scratch.0).unwrap();
        connection.execute_batch(text).unwrap();
    };
    sql("PRAGMA user_version = 3");
    assert!(error_of(&scratch.0).contains("newer dwell (format 3; this one reads 2)"));
    sql("PRAGMA user_version = 2; CREATE VIEW v AS SELECT 1");
    assert!(error_of(&scratch.0).contains("not those of a recording"));
    sql("DROP VIEW v; PRAGMA application_id = 0");
    assert!(error_of(&scratch.0).contains("no recording of dwell"));
    sql("PRAGMA application_id = 0x6477656c; DELETE FROM slice");
    assert!(error_of(&scratch.0).contains("holds no slice"));
    for content in [&b""[..], b"\x7fELF", &[b'x'; 5000]] {
        std::fs::write(&scratch.0, content).unwrap();
        error_of(&scratch.0);
    }
    assert!(error_of(&std::env::temp_dir()).contains("directory"));
    assert!(error_of(Path::new("/nowhere/at.dwell")).contains("No such file"));
}

#[test]
fn nothing_but_a_recording_is_replaced() {
    let scratch = record([at(1)], None);
    drop(Writer::create(&scratch.0, options(None)).unwrap());
    assert!(error_of(&scratch.0).contains("holds no slice"));
    std::fs::write(&scratch.0, "precious").unwrap();
    assert!(Writer::create(&scratch.0, options(None)).is_err());
    assert_eq!(std::fs::read(&scratch.0).unwrap(), b"precious");
}

/// A device is as empty as a new file, and gone for the whole host when it is replaced.
#[test]
fn what_is_no_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, link) = (folder.path().join("empty"), folder.path().join("link"));
    std::fs::write(&empty, "").unwrap();
    std::os::unix::fs::symlink(&empty, &link).unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&link, &socket] {
        let before = std::fs::symlink_metadata(path).unwrap().file_type();
        let error = Writer::create(path, options(None)).err().expect("it was replaced");
        assert!(format!("{error:#}").contains("no file"), "{error:#}");
        assert_eq!(std::fs::symlink_metadata(path).unwrap().file_type(), before);
    }
}

/// Reads whatever can be read of a file.
fn look_at(path: &Path) {
    let Ok(recording) = Recording::open(path) else { return };
    if let Ok(profile) = recording.profile(recording.whole()) {
        assert!(print_all(&profile) > 0);
    }
    let _any = recording.each_slice(recording.whole(), |profile| {
        assert!(print_all(&profile) > 0);
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..Default::default() })]

    #[test]
    fn damaged_files_are_errors(
        cut in proptest::option::of(0.0..1.0),
        flips in proptest::collection::vec((0.0..1.0, any::<u8>()), 1..40),
    ) {
        let scratch = record((1..=3).map(at), None);
        let mut bytes = std::fs::read(&scratch.0).unwrap();
        for (place, byte) in flips {
            let place = (place * bytes.len() as f64) as usize;
            bytes[place] ^= byte;
        }
        let length = cut.map_or(bytes.len(), |cut| (cut * bytes.len() as f64) as usize);
        std::fs::write(&scratch.0, &bytes[..length]).unwrap();
        look_at(&scratch.0);
    }

    #[test]
    fn hostile_things_and_figures_are_errors(
        things in proptest::collection::vec((0..400_u32, 0..400_u32, any::<u8>()), 1..20),
        slices in proptest::collection::vec((1..4_u32, 0.0..1.0, any::<u8>()), 0..4),
    ) {
        let scratch = record((1..=3).map(at), None);
        {
            let connection = rusqlite::Connection::open(&scratch.0).unwrap();
            for (id, other, how) in things {
                let text = match how % 5 {
                    // Of another sort.
                    0 => "UPDATE thing SET kind = (SELECT kind FROM thing WHERE id = ?2) WHERE id = ?1",
                    1 => "UPDATE thing SET body = (SELECT body FROM thing WHERE id = ?2) WHERE id = ?1",
                    // Belongs to another, or to itself.
                    2 => "UPDATE thing SET parent = ?2 WHERE id = ?1",
                    // Other numbers.
                    3 => "UPDATE thing SET body = replace(body, '1', ?2) WHERE id = ?1",
                    _ => "UPDATE OR REPLACE thing SET id = ?2 WHERE id = ?1",
                };
                // Some of it the tables refuse.
                let _refused = connection.execute(text, [id, other]);
            }
            for (id, place, byte) in slices {
                let read = "SELECT figures FROM slice WHERE id = ?1";
                let mut bytes: Vec<u8> =
                    connection.query_row(read, [id], |row| row.get(0)).unwrap();
                let place = (place * bytes.len() as f64) as usize;
                bytes[place] ^= byte;
                let write = "UPDATE slice SET figures = ?2 WHERE id = ?1";
                connection.execute(write, rusqlite::params![id, bytes]).unwrap();
            }
        }
        look_at(&scratch.0);
    }
}

#[test]
fn reasons_that_go_round_in_a_circle_are_an_error() {
    let scratch = record([fixture::chain()], None);
    let connection = rusqlite::Connection::open(&scratch.0).unwrap();
    let changed = connection
        .execute(
            "UPDATE thing SET body = json_set(body, '$.doing.waiting.next', id) \
             WHERE kind = 'reason' AND body LIKE '%\"next\":%'",
            (),
        )
        .unwrap();
    assert!(changed > 0);
    drop(connection);
    let recording = Recording::open(&scratch.0).unwrap();
    let error = recording.profile(recording.whole()).expect_err("it is refused");
    assert!(format!("{error:#}").contains("circle"), "{error:#}");
}

#[test]
fn slow_requests_belong_to_the_part_in_which_they_were_answered() {
    let slow = |second: u64| {
        let mut profile = at(second);
        let service = &mut profile.requests.services[0];
        let all = fixture::requests::lock().requests.services[0].slowest.clone();
        let template = all.first().cloned().expect("there is one");
        service.slowest = (1..=second)
            .map(|second| crate::model::SlowRequest {
                arrival: Nanos(BEGIN + second * SECOND - SECOND / 2),
                latency: Nanos(SECOND / 4 + second),
                tid: Tid(second as u32),
                pid: Pid(1),
                ..template.clone()
            })
            .collect();
        service.slowest.sort_by_key(crate::model::SlowRequest::order);
        profile
    };
    let scratch = record((1..=3).map(slow), None);
    let recording = Recording::open(&scratch.0).unwrap();
    let part = recording.part(Some(Duration::from_secs(1)), Some(Duration::from_secs(2))).unwrap();
    let profile = recording.profile(part).unwrap();
    let tids: Vec<u32> =
        profile.requests.services[0].slowest.iter().map(|slow| slow.tid.0).collect();
    assert_eq!(tids, [2]);
    assert!(!matches!(profile.waits.first().map(|wait| &wait.object), Some(WaitObject::Others)));
}

/// A look meanwhile counts requests whose answers are not whole yet: it may know places that a later one does not
/// know, and number others otherwise.
#[test]
fn places_are_found_however_they_are_numbered() {
    let place = |number: u64| {
        let mut place = fixture::requests::lock().requests.places[0].clone();
        place.id = crate::model::WaitId(number);
        place.syscall = Some(format!("call{number}"));
        place
    };
    let look = |second: u64, places: &[u64]| {
        let mut profile = at(second);
        profile.requests.places = places.iter().map(|number| place(*number)).collect();
        let service = &mut profile.requests.services[0];
        let last = PlaceId(places.len() as u32 - 1);
        service.slowest = fixture::requests::lock().requests.services[0].slowest.clone();
        service.slowest.truncate(1);
        service.slowest[0].arrival = Nanos(BEGIN + second * SECOND - SECOND / 2);
        service.slowest[0].latency = Nanos(SECOND / 4);
        service.slowest[0].longest = Some((last, Nanos(SECOND / 8)));
        for group in &mut service.groups {
            group.count *= second;
            for band in &mut group.bands {
                band.count *= second;
                band.longest = vec![(last, 1, Nanos(second * 1000))];
            }
        }
        profile
    };
    let looks = [look(1, &[5, 6, 7]), look(2, &[6]), look(3, &[6, 8])];
    let scratch = record(looks, None);
    let recording = Recording::open(&scratch.0).unwrap();
    let mut found: Vec<Vec<String>> = Vec::new();
    let each = |profile: Profile| {
        let requests = &profile.requests;
        let longest = requests.services[0].groups[0].bands[0].longest.iter();
        let slow = requests.services[0].slowest.iter().filter_map(|slow| slow.longest);
        let all = longest.map(|(place, ..)| *place).chain(slow.map(|(place, _)| place));
        found.push(all.map(|id| requests.place(id).unwrap().syscall.clone().unwrap()).collect());
        Ok(())
    };
    recording.each_slice(recording.whole(), each).unwrap();
    let pair = |number: u64| vec![format!("call{number}"); 2];
    assert_eq!(found, [pair(7), pair(6), pair(8)]);
    let whole = recording.profile(recording.whole()).unwrap();
    assert_eq!(whole.requests.services[0].slowest.len(), 3);
}
