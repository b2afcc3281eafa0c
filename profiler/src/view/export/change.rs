//! A flame graph of waits, coloured by how much more or less of each there is than in another recording.
//!
//! inferno's own differential graphs colour the innermost box alone, on a scale that the largest change sets, and
//! say 0 % of all others. Of waits, the innermost box is just what was waited for; and where nothing but noise has
//! changed, the largest of that would be as red as can be. So each box is coloured here by the share of it, with all
//! that it calls, that has changed.

use std::collections::BTreeMap;
use std::io;

use inferno::flamegraph::color::{Color, PaletteMap};

use super::TRUNCATED;
use super::flame::{Drawing, Stack, draw};
use super::folded::element;
use crate::analyze::{Change, Series, StackChange, WaitName};
use crate::model::Nanos;
use crate::view::compare::{subject, wait_name};
use crate::view::layout::{TIE, cut_middle};
use crate::view::{units, words};

/// Columns for the name of a recording.
const NAME: usize = 30;

/// As SVG: the waits of the second recording, red where there is more of them than in the first, blue where there
/// is less, by the share that the change is of the larger of the two. What only the first has takes no room: it is
/// summed up below the title. None where nothing waited in the second.
///
/// # Errors
/// Those of inferno.
pub fn flame_graph_of_change(
    [before, after]: [&Series; 2],
    stacks: &[StackChange<'_>],
) -> io::Result<Option<Vec<u8>>> {
    let paths: Vec<Vec<String>> = stacks.iter().map(path).collect();
    let mut boxes = Boxes::new();
    for (path, stack) in paths.iter().zip(stacks) {
        for depth in 0..=path.len() {
            boxes.entry(&path[..depth]).or_default().add(stack);
        }
    }
    let whole = boxes.get(&[][..]).copied().unwrap_or_default();
    let is_gone = |stack: &&StackChange<'_>| stack.after.round() < 1.0;
    let gone = stacks.iter().filter(is_gone).map(|stack| stack.before).sum();
    // Whatever a damaged recording says, their sum is a number.
    let most = u64::MAX / stacks.len().max(1) as u64;
    let drawn: Vec<Stack> = paths
        .iter()
        .zip(stacks)
        .filter(|(_, stack)| !is_gone(stack))
        .map(|(path, stack)| labelled(path, &boxes, (stack.after.round() as u64).min(most)))
        .collect();
    draw(drawing([before, after], whole, gone), &mut colors(&boxes), &drawn)
}

fn drawing([before, after]: [&Series; 2], whole: Pair, gone: f64) -> Drawing {
    let per = if after.service().is_some() { "a request" } else { "a CPU second" };
    let (unit, factor) = unit(whole.after);
    Drawing {
        title: format!(
            "Where {} waits in {}, compared with {}",
            subject(after),
            cut_middle(&after.name, NAME),
            cut_middle(&before.name, NAME)
        ),
        subtitle: subtitle(whole, gone, per),
        count_name: format!("{unit} {per}"),
        factor,
    }
}

/// Each box, by the path to it; the empty one is the whole.
type Boxes<'a> = BTreeMap<&'a [String], Pair>;

/// What is drawn of a path, this many nanoseconds wide.
fn labelled(path: &[String], boxes: &Boxes<'_>, ns: u64) -> Stack {
    let label = |depth: usize| boxes[&path[..depth]].label(&path[depth - 1]);
    let labels: Vec<String> = (1..=path.len()).map(label).collect();
    Stack { path: labels.join(";"), ns }
}

/// Colours go by names, so the change is in the name: boxes that share both share the colour as well.
fn colors(boxes: &Boxes<'_>) -> PaletteMap {
    let mut colors = PaletteMap::default();
    for (path, pair) in boxes {
        // Nothing is what inferno shows as `all`.
        let name = path.last().map(|name| pair.label(name)).unwrap_or_default();
        colors.insert(name, pair.color());
    }
    colors
}

/// From the process to what is waited for. Names of threads are left out: which of them wait in one place is not
/// the same in every run.
fn path(stack: &StackChange<'_>) -> Vec<String> {
    let process = stack.wait.process.as_deref().unwrap_or_default();
    let what = wait_name(&WaitName { process: None, ..stack.wait.clone() });
    let mut path = vec![element(words::name_or_none(process))];
    path.extend(stack.is_truncated.then(|| TRUNCATED.to_owned()));
    path.extend(stack.stack.iter().rev().map(|name| element(name)));
    path.push(element(&format!("[{what}]")));
    path
}

/// Waits of a box, with all that it calls, in both recordings.
#[derive(Clone, Copy, Default)]
struct Pair {
    before: f64,
    after: f64,
}

impl Pair {
    fn add(&mut self, stack: &StackChange<'_>) {
        self.before += stack.before;
        self.after += stack.after;
    }

    /// In whole nanoseconds.
    fn by(self) -> i64 {
        (self.after - self.before).round() as i64
    }

    fn change(self) -> String {
        match self.by() {
            0 => "±0".to_owned(),
            by => units::change(Change(by)).replace(TIE, " "),
        }
    }

    fn label(self, name: &str) -> String {
        format!("{name} {}", self.change())
    }

    /// From white, where it is the same, to red or blue, where all of it is new or gone.
    fn color(self) -> Color {
        let share = (self.after - self.before).abs() / self.after.max(self.before);
        let faded = 250 - (150.0 * share).round() as u8;
        match self.by() {
            0 => Color { r: 250, g: 250, b: 250 },
            1.. => Color { r: 255, g: faded, b: faded },
            _ => Color { r: faded, g: faded, b: 255 },
        }
    }
}

fn subtitle(whole: Pair, gone: f64, per: &str) -> String {
    let time = |ns: f64| units::duration(Nanos(ns as u64));
    let mut text = format!(
        "Waits inside work {per}: {} instead of {} ({}). Red: more, blue: less, be it noise or not.",
        time(whole.after),
        time(whole.before),
        whole.change()
    );
    if gone >= 0.5 {
        text.push_str(&format!(" {} are gone: swap the two to see them.", time(gone)));
    }
    text.replace(TIE, " ")
}

/// A unit in which the whole has four digits at least, and how many of it a nanosecond is.
fn unit(whole: f64) -> (&'static str, f64) {
    match whole {
        ..1e7 => ("ns", 1.0),
        ..1e10 => ("µs", 1e-3),
        _ => ("ms", 1e-6),
    }
}

#[cfg(test)]
mod tests;
