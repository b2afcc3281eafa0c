//! Graphs of a change that was planted.

use std::collections::BTreeMap;

use super::flame_graph_of_change;
use crate::analyze::{Series, choose_service, compare_stacks, fixture};
use crate::model::{Nanos, Profile, State};

/// The boxes of a graph: their colours by their names, in which the change is.
struct Boxes {
    colors: BTreeMap<String, (u8, u8, u8)>,
    svg: String,
}

fn draw(before: Profile, after: Profile) -> Boxes {
    let series = |name: &str, whole| Series::new(name.into(), "0".into(), whole);
    let mut all = [series("before", before), series("after", after)];
    choose_service(&mut all);
    let [before, after] = &all;
    let svg = flame_graph_of_change([before, after], &compare_stacks(before, after));
    let svg = String::from_utf8(svg.expect("drawn").expect("a graph")).expect("text");
    let boxes = svg.split("<title>").skip(1).map(|text| {
        let (title, rest) = text.split_once("</title>").expect("an end");
        let name = title.rsplit_once(" (").expect("a value").0.to_owned();
        let color = rest.split_once("rgb(").expect("a colour").1.split_once(')').expect("an end").0;
        let mut parts = color.split(',').map(|part| part.parse().expect("a number"));
        let mut next = || parts.next().expect("three");
        (name, (next(), next(), next()))
    });
    Boxes { colors: boxes.collect(), svg }
}

impl Boxes {
    #[track_caller]
    fn has(&self, name: &str, color: (u8, u8, u8)) {
        assert_eq!(self.colors.get(name), Some(&color), "{name} in {:#?}", self.colors);
    }
}

const GREY: (u8, u8, u8) = (250, 250, 250);

#[test]
fn what_changed_is_told_and_coloured_with_all_that_leads_to_it() {
    let mut after = fixture::demo();
    after.waits[0].total = Nanos(3 * after.waits[0].total.0);
    after.waits[1].total = Nanos(after.waits[1].total.0 / 2);
    let boxes = draw(fixture::demo(), after);
    // 28.8 s and 5.6 s of waiting, by 1.205 s of CPU time; two thirds of the lock are new, and half of the peer gone.
    boxes.has("[lock in with_inventory] +47.8 s", (255, 150, 150));
    boxes.has("pthread_mutex_lock +47.8 s", (255, 150, 150));
    boxes.has("[waiting on a socket, 127.0.0.1:5432 in query] −2.32 s", (175, 175, 255));
    boxes.has("query −2.32 s", (175, 175, 255));
    // Both together: 54.8 of 89.2 s.
    boxes.has("demo-server +45.5 s", (255, 158, 158));
    boxes.has("all", (255, 158, 158));
    assert!(boxes.svg.contains("a CPU second: 74.0 s instead of 28.5 s (+45.5 s)"));
    assert!(boxes.svg.contains("ms a CPU second") && !boxes.svg.contains("are gone"));
}

#[test]
fn what_is_the_same_is_grey() {
    let boxes = draw(fixture::demo(), fixture::demo());
    boxes.has("[lock in with_inventory] ±0", GREY);
    assert!(boxes.colors.values().all(|color| *color == GREY), "{:#?}", boxes.colors);
    // What differs from run to run tells nothing apart: addresses, processes, names of threads.
    let mut after = fixture::demo();
    after.waits[0].object = fixture::futex(crate::model::FutexOp::WaitBitset, false);
    for wait in &mut after.waits {
        wait.pid = crate::model::Pid(1);
        wait.thread_groups = vec!["other-*".into(), "more-*".into()];
        let moved = |frame: &crate::model::Frame| {
            crate::model::Frame::new(frame.name.clone(), frame.address + 0x7000, false)
        };
        wait.stack = wait.stack.iter().map(moved).collect();
    }
    let boxes = draw(fixture::demo(), after);
    assert!(boxes.colors.values().all(|color| *color == GREY), "{:#?}", boxes.colors);
}

#[test]
fn twice_as_long_is_no_change() {
    let mut after = fixture::demo();
    after.waits.iter_mut().for_each(|wait| wait.total = Nanos(2 * wait.total.0));
    for thread in &mut after.threads {
        thread.times.add(State::Running, thread.times.of(State::Running));
    }
    let boxes = draw(fixture::demo(), after);
    assert!(boxes.colors.values().all(|color| *color == GREY), "{:#?}", boxes.colors);
}

#[test]
fn what_is_gone_is_summed_up_and_what_is_new_is_red() {
    let mut only_lock = fixture::demo();
    only_lock.waits.remove(1);
    let gone = draw(fixture::demo(), only_lock.clone());
    let is_gone = |name: &String| name.starts_with("query ");
    assert!(!gone.colors.keys().any(is_gone), "no room for what is not there");
    assert!(gone.svg.contains("4.65 s are gone: swap the two to see them"));
    // The image is 1,200 wide, and a letter 7.2.
    let (_, subtitle) = gone.svg.split_once(">Waits inside").expect("a line");
    let (subtitle, _) = subtitle.split_once('<').expect("an end");
    assert!(subtitle.chars().count() < 150, "{subtitle}");
    let new = draw(only_lock, fixture::demo());
    new.has("[waiting on a socket, 127.0.0.1:5432 in query] +4.65 s", (255, 100, 100));
}

#[test]
fn figures_are_those_of_a_request_where_both_have_the_service() {
    let mut before = fixture::requests::lock();
    before.waits = fixture::demo().waits;
    let mut after = before.clone();
    after.waits[0].total = Nanos(2 * after.waits[0].total.0);
    let boxes = draw(before, after);
    // 28.8 s for 1,000 requests.
    boxes.has("[lock in with_inventory] +28.8 ms", (255, 175, 175));
    assert!(
        boxes.svg.contains("a request: 63.2 ms instead of 34.4 ms (+28.8 ms)"),
        "{}",
        boxes.svg
    );
    assert!(boxes.svg.contains("µs a request"));
}

#[test]
fn bad_names_do_no_harm() {
    let bad = |total: u64| {
        let mut profile = fixture::nasty(3);
        for wait in &mut profile.waits {
            wait.comm = "a;b\n<x>&\"".into();
            wait.stack = fixture::stack(&["f<[u8; 4]> 12 34", "--", "", "main 7"]);
            wait.total = Nanos(total);
        }
        profile.target.description = "]]><script>".into();
        profile
    };
    let boxes = draw(bad(1_000_000), bad(2_000_000));
    assert!(boxes.svg.contains("a,b &lt;x&gt;&amp;") && !boxes.svg.contains("<x>"));
    assert!(!boxes.svg.contains("]]><script>"));
    let is_whole = |name: &String| name.starts_with("f&lt;[u8, 4]&gt; 12 34 +");
    assert!(boxes.colors.keys().any(is_whole), "{:#?}", boxes.colors);
}

#[test]
fn nothing_is_no_graph() {
    let series = || Series::new("a".into(), "0".into(), fixture::empty());
    let (before, after) = (series(), series());
    assert!(flame_graph_of_change([&before, &after], &[]).expect("drawn").is_none());
}
