//! Chains of waiting, as a tree and for Graphviz.

use std::collections::BTreeMap;

use super::color::{Line, Style};
use super::layout::{cut_middle, wrap_words};
use super::units::{counted, duration, percent};
use super::{TextOptions, locks, words};
use crate::analyze::{Behind, End, Graph, Leaf, Part, Source, What};
use crate::model::{Nanos, Profile};

/// What takes less of its beginning than this is left out.
pub const LEAST: f64 = 0.02;
/// Ends shown.
const LEAVES: usize = 5;
/// Columns of a label.
const LABEL: usize = 56;

/// The tree, and what it comes down to.
pub fn lines(profile: &Profile, graph: &Graph, options: &TextOptions, width: usize) -> Vec<Line> {
    let window = duration(profile.window.duration());
    let target = &profile.target.description;
    if graph.sources.is_empty() {
        let text = format!("{target}: nothing waited inside work in {window}.");
        return vec![Line::new(Style::Strong, text)];
    }
    let all: Nanos = graph.sources.iter().map(|source| source.total).sum();
    let text = format!("{target}: {} of waiting inside work in {window}.", duration(all));
    let mut lines: Vec<Line> = styled(wrap_words(&text, "", 0, width), Style::Strong);
    for source in graph.sources.iter().take(options.top) {
        if source.total.share_of(all) < LEAST {
            break;
        }
        lines.push(Line::default());
        lines.extend(tree(source, width));
    }
    lines.push(Line::default());
    lines.extend(ends(graph, all, width));
    lines
}

fn styled(lines: Vec<String>, style: Style) -> Vec<Line> {
    lines.into_iter().map(|line| Line::new(style, line)).collect()
}

fn tree(source: &Source, width: usize) -> Vec<Line> {
    let text = format!("{}: {}", begin(&source.what), duration(source.total));
    let mut lines = styled(wrap_words(&text, "", 4, width), Style::Strong);
    lines.extend(holders(&source.behind, source, "", width));
    lines
}

/// Who waits, and for what.
pub fn begin(what: &What) -> String {
    match what {
        What::Lock(row) => format!("{} → {}", who(&row.comm, &row.thread_groups), locks::name(row)),
        What::Wait(wait) => {
            let whom = who(&wait.comm, &wait.thread_groups);
            format!("{whom} → {}", words::wait(wait))
        }
    }
}

fn who<'a>(comm: &str, groups: impl IntoIterator<Item = &'a String>) -> String {
    let comm = words::name_or_none(comm);
    let groups: Vec<&str> =
        groups.into_iter().map(String::as_str).filter(|group| *group != comm).collect();
    match groups.as_slice() {
        [] => comm.to_owned(),
        [only] => format!("{only} ({comm})"),
        [first, rest @ ..] => format!("{first} and {} more ({comm})", rest.len()),
    }
}

fn holders(behind: &[Behind], source: &Source, indent: &str, width: usize) -> Vec<Line> {
    let shown: Vec<&Behind> =
        behind.iter().filter(|next| next.total.share_of(source.total) >= LEAST).collect();
    let mut lines = Vec::new();
    for (index, holder) in shown.iter().enumerate() {
        let is_last = index + 1 == shown.len();
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let group = words::name_or_none(&holder.group);
        let text = format!("behind {group}{}: {}", locks::pids(holder), duration(holder.total));
        let inner = format!("{indent}{below}");
        lines.extend(branch_lines(&text, &format!("{indent}{branch}"), &inner, width));
        lines.extend(doings(&holder.doing, source, &inner, width));
    }
    lines
}

fn doings(parts: &[Part], source: &Source, indent: &str, width: usize) -> Vec<Line> {
    let shown: Vec<&Part> =
        parts.iter().filter(|part| part.total.share_of(source.total) >= LEAST).collect();
    let mut lines = Vec::new();
    for (index, part) in shown.iter().enumerate() {
        let is_last = index + 1 == shown.len();
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let text = format!("{}: {}", locks::short(&part.doing), duration(part.total));
        let inner = format!("{indent}{below}");
        lines.extend(branch_lines(&text, &format!("{indent}{branch}"), &inner, width));
        lines.extend(holders(&part.behind, source, &inner, width));
    }
    lines
}

/// A branch of a tree, with what does not fit below it.
fn branch_lines(text: &str, first: &str, further: &str, width: usize) -> Vec<Line> {
    let room = width.saturating_sub(super::layout::width(first)).max(20);
    let wrapped = wrap_words(text, "", 0, room);
    let starts = std::iter::once(first.to_owned()).chain(std::iter::repeat(format!("{further}  ")));
    let joined = starts.zip(wrapped).map(|(start, line)| start + &line);
    styled(joined.collect(), Style::Plain)
}

fn ends(graph: &Graph, all: Nanos, width: usize) -> Vec<Line> {
    let title = "What it all comes down to, and how much waiting one second less of it would save:";
    let mut lines = styled(wrap_words(title, "", 0, width), Style::Strong);
    for (index, leaf) in graph.leaves.iter().take(LEAVES).enumerate() {
        let share = leaf.waiting.share_of(all);
        if share < LEAST {
            break;
        }
        let text = format!(
            "{}: {} of waiting ({}), saves at most {:.1} s",
            end(&leaf.end),
            duration(leaf.waiting),
            percent(share),
            leaf.saves
        );
        let rank = format!("{:2}. ", index + 1);
        lines.extend(styled(wrap_words(&text, &rank, 4, width), Style::Plain));
    }
    lines
}

/// The end of a chain in words.
pub fn end(end: &End) -> String {
    match end {
        End::Doing { group, pids, doing } => {
            let group = words::name_or_none(group);
            let whose = match pids.first() {
                Some(only) if pids.len() == 1 => format!("{group}, pid {only}"),
                _ => format!("{group}, {}", counted(pids.len() as u64, "process")),
            };
            format!("{whose}: {}", locks::short(doing))
        }
        End::Wait(what) => format!("{}, ended by no thread that is followed", begin(what)),
    }
}

/// The chains for Graphviz.
pub fn dot(graph: &Graph) -> String {
    let net = Net::of(graph);
    let mut text = String::from("digraph dwell {\n  rankdir=LR;\n  node [shape=box];\n");
    for (label, id) in &net.nodes {
        text += &format!("  n{id} [label=\"{}\"];\n", escaped(label));
    }
    for ((from, to), time) in &net.edges {
        text += &format!("  n{from} -> n{to} [label=\"{}\"];\n", escaped(&duration(*time)));
    }
    text += "}\n";
    text
}

fn escaped(text: &str) -> String {
    let blank = text.replace(super::layout::TIE, " ");
    cut_middle(&blank, LABEL).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Nodes and edges: chains laid over each other.
#[derive(Default)]
pub struct Net {
    /// Numbers by label.
    pub nodes: BTreeMap<String, usize>,
    /// Time from node to node.
    pub edges: BTreeMap<(usize, usize), Nanos>,
}

impl Net {
    /// The chains of a graph.
    pub fn of(graph: &Graph) -> Self {
        let mut net = Self::default();
        for source in &graph.sources {
            let (waiter, thing) = match &source.what {
                What::Lock(row) => (who(&row.comm, &row.thread_groups), locks::name(row)),
                What::Wait(wait) => (who(&wait.comm, &wait.thread_groups), words::wait(wait)),
            };
            let (waiter, thing) = (net.node(waiter), net.node(thing));
            net.add(waiter, thing, source.total);
            net.follow(thing, &source.behind);
        }
        net
    }

    fn node(&mut self, label: String) -> usize {
        let next = self.nodes.len();
        *self.nodes.entry(label).or_insert(next)
    }

    fn add(&mut self, from: usize, to: usize, time: Nanos) {
        *self.edges.entry((from, to)).or_default() += time;
    }

    fn follow(&mut self, from: usize, behind: &[Behind]) {
        for holder in behind {
            let whose = format!("{}{}", words::name_or_none(&holder.group), locks::pids(holder));
            let whose = self.node(whose);
            self.add(from, whose, holder.total);
            for part in &holder.doing {
                let doing = self.node(locks::short(&part.doing));
                self.add(whose, doing, part.total);
                self.follow(doing, &part.behind);
            }
        }
    }
}

/// An end in words, for the document.
pub fn leaf_label(leaf: &Leaf) -> String {
    end(&leaf.end).replace(super::layout::TIE, " ")
}
