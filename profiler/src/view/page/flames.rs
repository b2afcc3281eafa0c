//! The flame graph: data for the script, which draws, searches and zooms.

use std::cmp::Reverse;
use std::collections::HashMap;

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use crate::model::{Nanos, Profile, state_name};
use crate::view::export::{Waits, path, waits};
use crate::view::layout::cut_middle;
use crate::view::units::{count, duration};

/// Parts of the graph at most: so many take 4 MB, and no screen shows more.
const MOST: usize = 50_000;

/// Characters of a name at most: names of generic functions may have thousands.
const NAME: usize = 200;

/// Where the graph will be; nothing where nothing waited inside work.
pub fn body(profile: &Profile) -> Option<Markup> {
    let tree = Tree::of(profile);
    let (flames, left_out, left_out_time) = tree.flames(MOST);
    // Escaped so that no name can end the element: JSON knows `\u003c`, and has no `<` outside of strings.
    let json = serde_json::to_string(&flames).ok()?.replace('<', "\\u003c");
    (tree.nodes.len() > 1).then(|| {
        html! {
            p {
                "Waits inside work: the wider, the longer. On top the process, at the bottom what was waited for. "
                "Enter or a click zooms in, Escape out; arrow keys move; " kbd { "/" } " searches."
            }
            p {
                label for="flame-search" { "Search " } input type="search" id="flame-search" autocomplete="off" spellcheck="false";
                " " span id="flame-found" role="status" {}
            }
            div id="flame-graph" role="tree" aria-label="Flame graph of waits" {
                noscript { "The graph needs JavaScript. `dwell export --format flamegraph` draws one that needs less." }
            }
            p id="flame-status" role="status" {}
            @if left_out > 0 {
                p { (count(left_out as u64)) " parts of at most " (duration(left_out_time)) " each are left out." }
            }
            script type="application/json" id="flame-data" { (PreEscaped(json)) }
        }
    })
}

/// What the script reads.
#[derive(Debug, Serialize)]
struct Flames {
    names: Vec<String>,
    /// Kinds of waits: classes of colours.
    kinds: Vec<&'static str>,
    /// Four numbers for each part, those above before those below: its depth, place of its name, place of its
    /// kind, and microseconds.
    nodes: Vec<u64>,
}

struct Node {
    name: usize,
    kind: usize,
    total: Nanos,
    children: Vec<usize>,
}

/// Waits by process, threads, functions and what was waited for.
struct Tree {
    names: Vec<String>,
    kinds: Vec<&'static str>,
    nodes: Vec<Node>,
}

/// The kind of a part that is no wait itself.
const NONE: usize = 0;

impl Tree {
    fn of(profile: &Profile) -> Self {
        let mut tree = Self {
            names: vec!["all waits inside work".to_owned()],
            kinds: vec!["none"],
            nodes: vec![Node { name: 0, kind: NONE, total: Nanos(0), children: Vec::new() }],
        };
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut places: HashMap<(usize, usize), usize> = HashMap::new();
        for wait in waits(profile, Waits::Working) {
            let kind = tree.kind(state_name(wait.kind));
            let mut at = 0;
            tree.nodes[at].total += wait.total;
            for name in path(&wait) {
                let name = *names.entry(name).or_insert_with_key(|name| {
                    tree.names.push(cut_middle(name, NAME));
                    tree.names.len() - 1
                });
                let next = tree.nodes.len();
                let below = *places.entry((at, name)).or_insert(next);
                if below == next {
                    tree.nodes.push(Node {
                        name,
                        kind: NONE,
                        total: Nanos(0),
                        children: Vec::new(),
                    });
                    tree.nodes[at].children.push(next);
                }
                tree.nodes[below].total += wait.total;
                at = below;
            }
            tree.nodes[at].kind = kind;
        }
        tree
    }

    fn kind(&mut self, name: &'static str) -> usize {
        let known = self.kinds.iter().position(|known| *known == name);
        known.unwrap_or_else(|| {
            self.kinds.push(name);
            self.kinds.len() - 1
        })
    }

    /// The largest parts; how many others there are, and how long the largest of those is.
    fn flames(&self, most: usize) -> (Flames, usize, Nanos) {
        // Those above a part are at least as long, and come before it: none is left without them.
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|place| (Reverse(self.nodes[*place].total), *place));
        let left_out = order.split_off(most.min(order.len()));
        let longest = left_out.first().map_or(Nanos(0), |place| self.nodes[*place].total);
        let mut is_shown = vec![true; self.nodes.len()];
        left_out.iter().for_each(|place| is_shown[*place] = false);
        let mut flames = Flames { names: Vec::new(), kinds: self.kinds.clone(), nodes: Vec::new() };
        let mut places: HashMap<usize, u64> = HashMap::new();
        let mut open = vec![(0, 0_u64)];
        while let Some((place, depth)) = open.pop() {
            let node = &self.nodes[place];
            let name = *places.entry(node.name).or_insert_with(|| {
                flames.names.push(self.names[node.name].clone());
                flames.names.len() as u64 - 1
            });
            let micros = (node.total.0 / 1_000).max(1);
            flames.nodes.extend([depth, name, node.kind as u64, micros]);
            let mut below: Vec<usize> = node.children.clone();
            below.retain(|child| is_shown[*child]);
            // The last one in is the first one out: the longest.
            below.sort_by_key(|child| self.nodes[*child].total);
            open.extend(below.into_iter().map(|child| (child, depth + 1)));
        }
        (flames, left_out.len(), longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::fixture;

    #[test]
    fn parts_lie_inside_those_above() {
        let tree = Tree::of(&fixture::demo());
        let (flames, left_out, _) = tree.flames(MOST);
        assert_eq!(left_out, 0);
        let nodes: Vec<&[u64]> = flames.nodes.chunks(4).collect();
        assert_eq!(nodes[0][0], 0);
        for (place, node) in nodes.iter().enumerate() {
            let below = nodes[place + 1..].iter().take_while(|next| next[0] > node[0]);
            let sum: u64 = below.filter(|next| next[0] == node[0] + 1).map(|next| next[3]).sum();
            assert!(sum <= node[3] + 1, "{node:?}: {sum}");
        }
        let waited = flames.nodes.chunks(4).find(|node| node[2] != 0).expect("a wait");
        assert_eq!(flames.kinds[waited[2] as usize], "futex");
    }

    #[test]
    fn the_largest_are_kept_with_all_above_them() {
        let tree = Tree::of(&fixture::nasty(500));
        let all = tree.nodes.len();
        let (flames, left_out, longest) = tree.flames(20);
        let shown = flames.nodes.len() / 4;
        assert!(shown == 20 && shown + left_out == all, "{shown} {left_out} {all}");
        assert!(longest > Nanos(0));
        let depths: Vec<u64> = flames.nodes.chunks(4).map(|node| node[0]).collect();
        assert!(depths.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{depths:?}");
    }
}
